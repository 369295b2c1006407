"""The table of objects."""

from collections import Counter, defaultdict
from functools import partial

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from sam2_plugins.napari_plugin.document import Document, ObjectFacts
from sam2_plugins.napari_plugin.forms import Panel
from sam2_plugins.napari_plugin.keys import keys_of
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

COLUMNS = ("", "Name", "Slices", "Score", "State")
NAME_COLUMN = 1
TABLE_HEIGHT = 118


class ObjectPanel(Panel):
    """Objects: which one prompts are of, what is known of each.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__("Objects")
        self._session = session
        controller = session.controller
        make = partial(self.key_button, keys_of(session))
        self.new = make(
            "new_object",
            text="New",
            on_click=controller.new_object,
            tip="Prompts are of a new object",
        )
        self.commit = make(
            "commit",
            text="Commit",
            on_click=controller.commit,
            tip="Finish this object; double-click it to reopen",
        )
        self.remove = make(
            "remove",
            text="Remove",
            on_click=controller.remove_object,
            tip="Remove this object with its prompts and masks",
        )
        self.add(self.new, self.commit, self.remove, stretch=1)
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header, side = self.table.horizontalHeader(), self.table.verticalHeader()
        assert header is not None
        assert side is not None
        side.hide()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(NAME_COLUMN, QHeaderView.ResizeMode.Stretch)
        self.table.setFixedHeight(TABLE_HEIGHT)
        self.table.itemSelectionChanged.connect(self._select)
        self.table.cellDoubleClicked.connect(self._reopen)
        self.table.itemChanged.connect(self._rename)
        self.column.addWidget(self.table)
        self.listen(controller.objects_changed, self.update_rows)
        self.listen(controller.scores_changed, self.update_rows)
        self.listen(session.image_changed, self.update_rows)
        self.update_rows()

    def update_rows(self) -> None:
        """Show what is known of each object."""
        document = self._session.controller.document
        ids = [] if document is None else sorted(document.objects)
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(ids))
            self._fill({} if document is None else _cells(document))
            if document is not None and document.current_object in ids:
                self.table.selectRow(ids.index(document.current_object))
        for widget in (self.new, self.commit, self.remove):
            widget.setEnabled(document is not None)

    def _fill(self, cells: dict[int, tuple[str, ...]]) -> None:
        model = self.table.model()
        # Told of each cell, Qt would measure all that are in its column, each time.
        with QSignalBlocker(model):
            for row, object_id in enumerate(sorted(cells)):
                for column, text in enumerate(cells[object_id]):
                    self._set(row, column, text)
                colour = self._colour(object_id)
                item = self.table.item(row, 0)
                if colour is not None and item is not None:
                    # A square beside the id: a background is hidden where the row is selected.
                    item.setData(Qt.ItemDataRole.DecorationRole, colour)
        if model is not None:
            model.layoutChanged.emit()

    def _set(self, row: int, column: int, text: str) -> None:
        item = self.table.item(row, column)
        if item is None:
            item = QTableWidgetItem()
            if column != NAME_COLUMN:
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
            self.table.setItem(row, column, item)
        if item.text() != text:
            item.setText(text)

    def _colour(self, object_id: int) -> QColor | None:
        binding = self._session.active
        if binding is None or binding.masks.layer is None:
            return None
        return QColor.fromRgbF(*binding.masks.colours.of(object_id)[:3].tolist())

    def _id(self, row: int) -> int | None:
        item = self.table.item(row, 0)
        return None if item is None else int(item.text())

    def _select(self) -> None:
        object_id = self._id(self.table.currentRow())
        controller = self._session.controller
        if object_id is not None and object_id != controller.current_object:
            controller.select_object(object_id)

    def _reopen(self, row: int, column: int) -> None:
        object_id = self._id(row)
        if object_id is not None and column != NAME_COLUMN:
            self._session.controller.reopen(object_id)

    def _rename(self, item: QTableWidgetItem) -> None:
        object_id = self._id(item.row())
        if object_id is not None and item.column() == NAME_COLUMN:
            self._session.controller.set_name(object_id, item.text())


def _cells(document: Document) -> dict[int, tuple[str, ...]]:
    """What is shown of every object."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for (_, object_id), scores in document.scores.items():
        found[object_id] += [score.predicted_iou for score in scores.values() if score.area]
    num_locked: Counter[int] = Counter()
    for known in document.knowledge.values():
        num_locked.update({i: len(frames) for i, frames in known.confirmed.items()})
    return {
        object_id: _row(object_id, facts, found[object_id], num_locked[object_id])
        for object_id, facts in document.objects.items()
    }


def _row(
    object_id: int, facts: ObjectFacts, predicted: list[float], num_locked: int
) -> tuple[str, ...]:
    mean = f"{sum(predicted) / len(predicted):.2f}" if predicted else ""
    state = "done" if facts.is_committed else ""
    if num_locked:
        state = ", ".join(filter(None, (state, f"{num_locked} locked")))
    return str(object_id), facts.name, str(len(predicted) or ""), mean, state
