"""What the axes of an image mean, where its file does not say, or says it wrongly."""

from functools import partial
from typing import TYPE_CHECKING

from sam2_plugins.napari_plugin.axes import axis_title, axis_with_role
from sam2_plugins.napari_plugin.forms import Panel, button, fill_combo, narrow_combo, notice, say
from sam2_plugins.napari_plugin.naming_axes import choose_role
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

if TYPE_CHECKING:
    from qtpy.QtWidgets import QComboBox

WORDS = {"channel": "Channels are", "depth": "Depth (z) is", "time": "Time (t) is"}
TIPS = {
    "channel": "Axis along which one and the same plane is seen in several channels",
    "depth": "Axis along which slices of a volume lie",
    "time": "Axis along which time points lie",
}
UNNAMED = "Nothing says what these axes mean: if one is channels or time, say so here."


class AxesPanel(Panel):
    """Which axis is channels, depth and time; folded where there is nothing to ask.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self.show_axes = button(
            "Axes…", self._fold, tip="Say which axis is channels, depth or time", checkable=True
        )
        self.add(self.show_axes)
        self.notice = notice()
        self.column.addWidget(self.notice)
        self.roles: dict[str, QComboBox] = {}
        self._rows = []
        for role, words in WORDS.items():
            combo = self.roles[role] = narrow_combo(TIPS[role])
            combo.activated.connect(partial(self._choose, role))
            self._rows.append(self.add(words, combo, stretch=1))
        self.listen(session.image_changed, self.update_entries)
        self.listen(session.image_chosen, self._offer)
        self._offer()

    def update_entries(self) -> None:
        """Show what the axes mean now."""
        binding = self._session.active
        stack = None if binding is None else binding.document.stack
        shape = () if stack is None else stack.shape
        names = () if stack is None else stack.axis_labels
        self.setVisible(len(shape) > 2)
        axes = [(f"{axis_title(names, a)}, {n} long", a) for a, n in enumerate(shape)]
        for role, combo in self.roles.items():
            fill_combo(combo, [("none of them", None), *axes], axis_with_role(names, role))
        is_open = self.show_axes.isChecked()
        for row in self._rows:
            row.setVisible(is_open)
        is_unnamed = len(shape) > 3 and not any(axis_with_role(names, role) is not None
                                                for role in WORDS)  # fmt: skip
        say(self.notice, UNNAMED if is_open and is_unnamed else "")

    def _offer(self) -> None:
        """Ask where a person has to: more than one axis could be walked, and none has a name."""
        binding = self._session.active
        if binding is not None:
            stack = binding.document.stack
            has_roles = any(axis_with_role(stack.axis_labels, role) is not None for role in WORDS)
            if len(stack.shape) > 3 and not has_roles:
                self.show_axes.setChecked(True)
        self.update_entries()

    def _fold(self) -> None:
        self.update_entries()

    def _choose(self, role: str) -> None:
        choose_role(self._session, role, self.roles[role].currentData())
