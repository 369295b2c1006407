"""Propagation: which way, how far, when to stop; and what came of it."""

from functools import partial

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QProgressBar, QSpinBox
from superqt import QLabeledRangeSlider

from sam2_plugins.napari_plugin.document import PlaneObject
from sam2_plugins.napari_plugin.forms import Panel, button, notice, say
from sam2_plugins.napari_plugin.keys import keys_of, with_key
from sam2_plugins.napari_plugin.messages import Progress, RunEnded, Suggestion
from sam2_plugins.napari_plugin.score_strip import ScoreStrip, StripFacts
from sam2_plugins.napari_plugin.viewer_session import ViewerSession

UP_TO_DATE = "Nothing to compute: every slice is as your prompts have it."
ELSEWHERE = "Nothing on this stack has a prompt yet: click on an object first."
_FULL = 1000
"""Of the progress bar."""


class PropagatePanel(Panel):
    """Starts and stops runs.

    Args:
        session: Of the viewer.
    """

    def __init__(self, session: ViewerSession) -> None:
        super().__init__("Propagate")
        self._session = session
        controller = session.controller
        self.backward = button("◀", lambda: self.run("backward"), tip="Towards the first slice")
        self._keys = keys_of(session)
        make = partial(self.key_button, self._keys)
        self.both = make(
            "propagate", text="Both", on_click=lambda: self.run("both"), tip="From every prompt"
        )
        self.forward = button("▶", lambda: self.run("forward"), tip="Towards the last slice")
        self._tips = {b: b.toolTip() for b in (self.backward, self.both, self.forward)}
        self.add(*self._tips, stretch=1)
        self._build_limits()
        self.progress = QProgressBar()
        self.progress.setMaximum(_FULL)
        self.cancel = make(
            "cancel", text="Cancel", on_click=controller.cancel, tip="Keeps finished slices"
        )
        self._progress_row = self.add(self.progress, self.cancel, stretch=0)
        self.notice = notice()
        self.column.addWidget(self.notice)
        self.strip = ScoreStrip()
        self.strip.chosen.connect(self._show_slice)
        self.column.addWidget(self.strip)
        self.lock = button("", self.toggle_lock, tip="A locked mask is never changed")
        self.worst = make(
            "worst",
            text="Worst slice",
            on_click=self.go_to_worst,
            tip="The slice most worth checking",
        )
        self.add(self.lock, self.worst, stretch=1)
        for signal in (
            *(controller.objects_changed, controller.scores_changed, controller.slice_changed),
            *(controller.status_changed, controller.processed, session.image_changed),
            self._keys.changed,
        ):
            self.listen(signal, self.update_state)
        self.listen(controller.progressed, self._on_progress)
        self.listen(controller.run_ended, self._on_run_ended)
        self.listen(controller.stepped, lambda _: say(self.notice, ""))
        self.listen(controller.suggested, self._on_suggestion)
        self._on_run_ended()
        self.update_state()

    def run(self, direction: str) -> None:
        """Start a run with the limits that are set."""
        start, stop = self.span()
        try:
            self._session.controller.propagate(
                direction,
                start,
                stop,
                stop_after_absent=self.absent.value() or None,
                min_iou=self.min_iou.value(),
            )
        except (ValueError, RuntimeError) as error:
            self._session.controller.failed.emit(str(error))
            return
        self.progress.setValue(0)
        self._progress_row.show()
        self.update_state()

    def span(self) -> tuple[int | None, int | None]:
        """First slice and the one after the last; None for no limit."""
        if not self.is_limited.isChecked():
            return None, None
        first, last = self.range.value()
        return int(first), int(last) + 1

    def toggle_lock(self) -> None:
        """Lock the mask on show, or unlock it."""
        controller = self._session.controller
        document, plane = controller.document, controller.plane
        if document is not None and plane is not None:
            index = controller.slice_index
            is_locked = document.is_confirmed(plane, document.current_object, index)
            controller.confirm(index, is_confirmed=not is_locked)

    def go_to_worst(self) -> None:
        """Ask for the slice most worth checking; the viewer goes there when it is known."""
        if self._session.controller.plane is not None:
            self._session.controller.suggest_slice()

    def update_state(self) -> None:
        """Show what is known, and what can be done."""
        controller = self._session.controller
        document, plane = controller.document, controller.plane
        num_frames = 0 if plane is None else plane.num_frames
        can_run = document is not None and bool(document.prompts) and num_frames > 1
        reason = "" if can_run else self._reason(num_frames)
        for made, tip in self._tips.items():
            made.setEnabled(can_run and not controller.is_running)
            made.setToolTip(reason or tip)
        self._update_range(num_frames)
        facts = StripFacts(num_frames, controller.slice_index)
        if document is not None and plane is not None:
            object_id = document.current_object
            known = document.knowledge.get(plane)
            facts.scores = dict(document.scores.get(PlaneObject(plane, object_id), {}))
            if known is not None:
                facts.prompted = known.prompted.get(object_id, frozenset())
                facts.confirmed = known.confirmed.get(object_id, frozenset())
        is_locked = controller.slice_index in facts.confirmed
        text = "Unlock slice" if is_locked else "Lock slice"
        self.lock.setText(with_key(text, self._keys.text("lock")))
        self.lock.setEnabled(controller.slice_index in facts.scores)
        self.strip.show_facts(facts)
        self.strip.setVisible(num_frames > 1)
        self.worst.setEnabled(bool(facts.scores))

    def _reason(self, num_frames: int) -> str:
        """Why nothing can be propagated."""
        binding = self._session.active
        if binding is not None and not num_frames:
            return binding.problem
        return "Click on an object first" if num_frames > 1 else "One slice only"

    def _build_limits(self) -> None:
        self.is_limited = QCheckBox("Only slices")
        self.range = QLabeledRangeSlider()
        self.range.setOrientation(self.range.orientation().Horizontal)
        # The handles tell: the ends would say the same again.
        self.range.setEdgeLabelMode(self.range.EdgeLabelMode.NoLabel)
        self.range.setEnabled(False)
        self.is_limited.toggled.connect(self.range.setEnabled)
        self.range_row = self.add(self.is_limited, self.range, stretch=1)
        self.absent = QSpinBox()
        self.absent.setRange(0, 100)
        self.absent.setSpecialValueText("never")
        self.absent.setToolTip("Give up on an object after so many slices without it")
        self.min_iou = QDoubleSpinBox()
        self.min_iou.setRange(0, 1)
        self.min_iou.setSingleStep(0.05)
        self.min_iou.setSpecialValueText("off")
        self.min_iou.setToolTip("Stop at the first mask with a predicted IoU below")
        self.add("Stop after empty slices", self.absent, stretch=1)
        self.add("Stop below predicted IoU", self.min_iou, stretch=1)

    def _update_range(self, num_frames: int) -> None:
        self.range_row.setVisible(num_frames > 1)
        if num_frames > 1 and (self.range.minimum(), self.range.maximum()) != (0, num_frames - 1):
            with QSignalBlocker(self.range):
                self.range.setRange(0, num_frames - 1)
                self.range.setValue((0, num_frames - 1))

    def _show_slice(self, frame_index: int) -> None:
        binding = self._session.active
        if binding is not None:
            binding.show_slice(frame_index)

    def _on_progress(self, progress: Progress) -> None:
        self._progress_row.show()
        self.progress.setValue(round(_FULL * progress.share))

    def _on_run_ended(self, ended: RunEnded | None = None) -> None:
        self._progress_row.hide()
        if ended is None or ended.num_frames or ended.was_cancelled or ended.has_failed:
            return
        if ended.step.what.startswith("propagate"):
            document, plane = self._session.controller.document, self._session.controller.plane
            # Without a plane on show all are propagated.
            is_said = document is not None and (plane is None or plane in document.planes())
            say(self.notice, UP_TO_DATE if is_said else ELSEWHERE)

    def _on_suggestion(self, suggestion: Suggestion) -> None:
        if suggestion.frame_index is not None:
            self._show_slice(suggestion.frame_index)
