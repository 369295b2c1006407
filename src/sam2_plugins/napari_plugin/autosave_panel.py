"""Where work is saved as it is done."""

from pathlib import Path

from qtpy.QtCore import Qt
from superqt import QElidingLabel

from sam2_plugins.napari_plugin.forms import Panel, fill_combo, narrow_combo, notice, say, unfold
from sam2_plugins.napari_plugin.saving import Places
from sam2_plugins.napari_plugin.settings import BESIDE, OWN_FOLDER, write_setting
from sam2_plugins.napari_plugin.viewer_session import ViewerSession


class AutosavePanel(Panel):
    """Beside the image or in the user's folder, and which folder that is.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__()
        self._session = session
        self.place = narrow_combo(
            "Beside the image, where it is a file in a folder that can be written to; "
            "or in the autosave folder, which Preferences ▸ SAM 2 names"
        )
        fill_combo(self.place, [(name, name) for name in (OWN_FOLDER, BESIDE)], OWN_FOLDER)
        self._row = self.add("Save work in", self.place, stretch=1)
        self.folder = QElidingLabel()
        self.folder.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.column.addWidget(self.folder)
        self.notice = notice()
        self.column.addWidget(self.notice)
        self.place.activated.connect(self._choose)
        self.listen(session.controller.saving_changed, self.update_place)
        self.listen(session.image_changed, self.update_place)
        self.update_place()

    def update_place(self) -> None:
        """Show where work is saved."""
        controller = self._session.controller
        places, folder = controller.places, controller.autosave_folder
        self._row.setVisible(places.folder is not None)
        self.place.setCurrentText(BESIDE if places.is_beside else OWN_FOLDER)
        if places.folder is None:
            self.folder.setText("Autosave is off: Preferences ▸ SAM 2 turns it on")
        elif folder is None:
            self.folder.setText("Work is not saved")
        else:
            self.folder.setText(str(folder).replace(str(Path.home()), "~", 1))
        self.folder.setToolTip("" if folder is None else f"Work is saved in {folder}")
        document = controller.document
        saving = None if document is None else document.saving
        problem = "" if saving is None else saving.problem
        if problem and problem != self.notice.text():
            unfold(self)
        say(self.notice, problem)

    def _choose(self) -> None:
        controller = self._session.controller
        chosen = self.place.currentData()
        controller.save_in(Places(controller.places.folder, is_beside=chosen == BESIDE))
        write_setting("autosave_place", chosen)
        self.update_place()
