"""Earlier work on the image, and bringing it back."""

from sam2_plugins.napari_plugin.forms import Panel, button, fill_combo, narrow_combo, notice, say
from sam2_plugins.napari_plugin.messages import Restorable
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

FOUND = "Work on this image was saved earlier: it can be restored."
ELSEWHERE = (
    "Somebody works on this image in another window or layer, too: each work is saved by itself."
)


class EarlierPanel(Panel):
    """Said before anything new is; afterwards earlier work can still be chosen.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self.notice = notice()
        self.column.addWidget(self.notice)
        self.sessions = narrow_combo("Earlier work on this image, the latest first")
        self.restore = button(
            "Restore",
            self._restore,
            tip="Prompts, masks and locks that were saved; what is on show now stays saved too",
        )
        # In a row with both, at the dock's least width there was no room for date and number.
        self._rows = self.add("Earlier work", self.restore), self.add(self.sessions, stretch=0)
        self._shown: Restorable | None = None
        controller = session.controller
        for signal in (
            *(controller.earlier_changed, controller.objects_changed),
            session.image_changed,
        ):
            self.listen(signal, self.update_entries)
        self.update_entries()

    def update_entries(self) -> None:
        """Show what there is of the image."""
        document = self._session.controller.document
        earlier = (None if document is None else document.earlier) or Restorable()
        if earlier is not self._shown:
            self._shown = earlier
            entries = [(found.title, found.folder) for found in earlier.sessions]
            fill_combo(self.sessions, entries, entries[0][1] if entries else None)
        for row in self._rows:
            row.setVisible(bool(earlier.sessions))
        is_new = document is not None and not document.prompts
        told = [FOUND] * bool(earlier.sessions) + [ELSEWHERE] * earlier.is_open_elsewhere
        say(self.notice, "\n".join(told) if is_new else "")

    def _restore(self) -> None:
        folder = self.sessions.currentData()
        if folder is not None:
            self._session.controller.restore(folder)
