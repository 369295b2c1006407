"""Small pieces that the panels are made of."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from psygnal import SignalInstance
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from sam2_plugins.napari_plugin.keys import KeyBook, with_key

SPACING = 4
LONG_WORD = 24
ZERO_WIDTH_SPACE = "\u200b"
# Colours of its own for both: a theme's background may be as light as the words, or as dark.
NOTICE_STYLE = "QLabel { background: #ffb347; color: #1d2026; padding: 2px 4px; }"
SPIN_BUTTONS = 48
"""Pixels that napari's style takes for the buttons of a field for a number."""


def button(
    text: str, on_click: Callable[[], Any], *, tip: str = "", checkable: bool = False
) -> QPushButton:
    """A button that is as narrow as its text allows."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    made.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
    made.setStyleSheet("QPushButton { padding: 4px 5px; min-width: 18px; }")
    made.clicked.connect(lambda _=False: on_click())
    return made


def row(*widgets: QWidget | str, stretch: int | None = None) -> QWidget:
    """Widgets side by side; `stretch` is the number of the one that takes the room left."""
    box = QWidget()
    layout = QHBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(SPACING)
    for index, widget in enumerate(widgets):
        made = QLabel(widget) if isinstance(widget, str) else widget
        layout.addWidget(made, 1 if index == stretch else 0)
    if stretch is None:
        layout.addStretch()
    return box


class Panel(QWidget):
    """A titled column.

    Args:
        title: Empty for none.
    """

    def __init__(self, title: str = "") -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 2, 0, 2)
        self.column.setSpacing(SPACING)
        if title:
            label = QLabel(title)
            font = QFont(label.font())
            font.setBold(True)
            label.setFont(font)
            self.column.addWidget(label)

        self._connections: list[tuple[SignalInstance, Callable[..., Any]]] = []

    def listen(self, signal: SignalInstance, slot: Callable[..., Any]) -> None:
        """Call a method whenever something happens, until `release`."""
        signal.connect(slot)
        self._connections.append((signal, slot))

    def release(self) -> None:
        """Listen to nothing any more: the widget is going."""
        for signal, slot in self._connections:
            signal.disconnect(slot, missing_ok=True)
        self._connections.clear()

    def key_button(
        self, keys: KeyBook, action: str, *, text: str, on_click: Callable[[], Any], tip: str = ""
    ) -> QPushButton:
        """A button that shows the key which does the same, also when that is changed."""
        made = button(text, on_click, tip=tip)

        def show_key() -> None:
            made.setText(with_key(text, keys.text(action)))

        self.listen(keys.changed, show_key)
        show_key()
        return made

    def add(self, *widgets: QWidget | str, stretch: int | None = None) -> QWidget:
        """Add a row."""
        made = row(*widgets, stretch=stretch)
        self.column.addWidget(made)
        return made


def narrow_combo(tip: str = "") -> QComboBox:
    """A combo box that does not force its longest entry on the dock's width."""
    combo = QComboBox()
    combo.setToolTip(tip)
    policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    combo.setSizeAdjustPolicy(policy)
    combo.setMinimumContentsLength(6)
    return combo


def fit_spin_box(box: QDoubleSpinBox) -> None:
    """Give a field room for its longest text; a style sheet, since napari's own has a width."""
    text = f"{box.maximum():.{box.decimals()}f}{box.suffix()}"
    width = box.fontMetrics().horizontalAdvance(text) + SPIN_BUTTONS
    box.setStyleSheet(f"QDoubleSpinBox {{ min-width: {width}px; }}")


def fill_combo(combo: QComboBox, entries: Sequence[tuple[str, Any]], current: Any) -> None:
    """Replace a combo box's (text, data) entries without telling anyone."""
    with QSignalBlocker(combo):
        combo.clear()
        chosen = -1
        for index, (text, data) in enumerate(entries):
            combo.addItem(text, data)
            combo.setItemData(index, text, Qt.ItemDataRole.ToolTipRole)
            if data is current or (not isinstance(data, QWidget) and data == current):
                chosen = index
        combo.setCurrentIndex(chosen)


def unfold(widget: QWidget) -> None:
    """Open the folded parts that a widget is in, so that it is seen."""
    above = widget.parentWidget()
    while above is not None:
        if isinstance(above, QCollapsible):
            above.expand(animate=False)
        above = above.parentWidget()


class Words(QLabel):
    """Words that wrap anywhere, so that a long path does not widen the dock."""

    def __init__(self) -> None:
        super().__init__()
        self._words = ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        # Otherwise the longest word is the least width.
        policy = self.sizePolicy()
        policy.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
        self.setSizePolicy(policy)

    def setText(self, text: str | None) -> None:
        """Show words; whole, they are the tip too."""
        self._words = text or ""
        super().setText(breakable(self._words))
        self.setToolTip(self._words)

    def text(self) -> str:
        """The words, without the places where they can break."""
        return self._words


def breakable(text: str) -> str:
    """Words that can be broken: a path after each folder, what is long without that anywhere."""
    parted = re.sub(r"([/\\])(?=[^\s/\\])", rf"\1{ZERO_WIDTH_SPACE}", text)
    long = re.compile(rf"[^\s{ZERO_WIDTH_SPACE}]{{{LONG_WORD},}}")
    return long.sub(lambda word: ZERO_WIDTH_SPACE.join(word[0]), parted)


def notice() -> Words:
    """A line of words that wraps and hides when there is nothing to say."""
    label = Words()
    label.setStyleSheet(NOTICE_STYLE)
    label.hide()
    return label


def say(label: QLabel, text: str) -> None:
    """Show a notice, or hide it."""
    label.setText(text)
    label.setVisible(bool(text))
