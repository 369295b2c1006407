"""A strip that shows each slice's predicted IoU and presence, and where prompts and locks are."""

from dataclasses import dataclass, field

from qtpy.QtCore import QPointF, QRectF, Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from sam2_plugins.napari_plugin.frame_labels import Score

HEIGHT = 34
MARK = 7
BACKGROUND, ABSENT, CURSOR = QColor("#1d2026"), QColor("#5a5f6b"), QColor("#ffffff")
PROMPTED, LOCKED = QColor("#ffffff"), QColor("#ffdc00")


@dataclass
class StripFacts:
    """What the strip shows, by frame index."""

    num_frames: int = 0
    current: int = 0
    scores: dict[int, Score] = field(default_factory=dict)
    prompted: frozenset[int] = frozenset()
    confirmed: frozenset[int] = frozenset()


class ScoreStrip(QWidget):
    """Bars from red (bad) to green (good); a click goes to the slice."""

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.facts = StripFacts()
        self.setFixedHeight(HEIGHT)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_facts(self, facts: StripFacts) -> None:
        """Show something else."""
        if facts != self.facts:
            self.facts = facts
            self.update()

    def frame_at(self, x: float) -> int | None:
        """The frame at a horizontal position."""
        count = self.facts.num_frames
        return min(max(int(x * count / max(self.width(), 1)), 0), count - 1) if count else None

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the slice."""
        frame = None if event is None else self.frame_at(event.position().x())
        if frame is not None:
            self.chosen.emit(frame)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Say what is known of the slice under the cursor."""
        frame = None if event is None else self.frame_at(event.position().x())
        if event is None or frame is None:
            return
        text = f"slice {frame}"
        score = self.facts.scores.get(frame)
        if score is not None:
            text += f": {describe_score(score)}"
        if frame in self.facts.prompted:
            text += ", prompted"
        if frame in self.facts.confirmed:
            text += ", locked"
        QToolTip.showText(event.globalPosition().toPoint(), text, self)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), BACKGROUND)
        facts = self.facts
        if not facts.num_frames:
            return
        step = self.width() / facts.num_frames
        room = self.height() - MARK
        for frame, score in facts.scores.items():
            share = max(min(score.predicted_iou, 1.0), 0.05) if score.area else 0.08
            bar = QRectF(frame * step, self.height() - share * room, max(step, 1.0), share * room)
            painter.fillRect(bar, score_colour(score))
        for frames, colour in ((facts.prompted, PROMPTED), (facts.confirmed, LOCKED)):
            painter.setBrush(colour)
            painter.setPen(Qt.PenStyle.NoPen)
            for frame in frames:
                x = (frame + 0.5) * step
                corners = [QPointF(x - 4, 0), QPointF(x + 4, 0), QPointF(x, MARK - 1)]
                painter.drawPolygon(QPolygonF(corners))
        painter.setPen(QPen(CURSOR, 1))
        x = int((facts.current + 0.5) * step)
        painter.drawLine(x, 0, x, self.height())


def describe_score(score: Score) -> str:
    """What is known of an object on a slice, in a few words."""
    if score.area:
        return f"predicted IoU {score.predicted_iou:.2f}"
    return "found on what another object has, and not drawn" if score.gives_way else "not there"


def score_colour(score: Score) -> QColor:
    """Grey where the object is absent, else red to green by predicted IoU from 0.4 to 1."""
    if not score.area:
        return ABSENT
    share = min(max((score.predicted_iou - 0.4) / 0.6, 0.0), 1.0)
    return QColor.fromHsvF(share / 3, 0.75, 0.85)
