"""Propagates through the videos of a dataset: reads, tracks what changed, writes, keeps records.

What is written is merged in chunks and under a claim, and a track counts as finished only by the
record, which is written last. So a run may end at any point; the next one redoes what is not
finished and nothing else.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from sam2_plugins.core import FrameMasks
from sam2_plugins.fiftyone_plugin import store
from sam2_plugins.fiftyone_plugin.checkpoints import find_checkpoint
from sam2_plugins.fiftyone_plugin.claiming import claimed
from sam2_plugins.fiftyone_plugin.database import patiently
from sam2_plugins.fiftyone_plugin.jobs import make_job, open_unit
from sam2_plugins.fiftyone_plugin.labels import make_generated_detection, to_frame_number
from sam2_plugins.fiftyone_plugin.leftovers import (
    note_on_leftovers,
    note_on_unseen,
    remove_leftovers,
)
from sam2_plugins.fiftyone_plugin.mask_files import MaskFiles
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.planning import UnitPlan, note_on_skipped, plan_unit
from sam2_plugins.fiftyone_plugin.records import (
    FAILED,
    FORESEEN,
    BusyError,
    Claim,
    Records,
    TrackRecord,
    describe_error,
)
from sam2_plugins.fiftyone_plugin.reviewing import (
    assess,
    make_fields,
    save_review_view,
    store_assessment,
)
from sam2_plugins.fiftyone_plugin.runner import run_job
from sam2_plugins.fiftyone_plugin.sources import (
    Unit,
    list_units,
    missing_media,
    note_on_video,
    root_dataset,
)
from sam2_plugins.fiftyone_plugin.store import UnitLabels

FLUSH_FRAMES, FLUSH_S = 64, 5.0
NUM_SUGGESTIONS = 5
"""So many frames worth correcting are named for every video."""

logger = logging.getLogger(__name__)

TRACKING, DONE, SKIPPED, BUSY, QUEUED = "tracking", "done", "skipped", "busy", "queued"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one video is.

    Attributes:
        unit: The video.
        state: "tracking", then "done"; or "skipped" where nothing changed, "busy" where another
            worker has it, "failed", "queued" for workers.
        frames_done: How many frames were tracked or passed.
        frames_total: How many there are; those reached from both sides count twice.
        num_tracks: Tracks that are redone.
        message: Why it failed or was skipped; or, when it is done, what else there is to know.
    """

    unit: Unit
    state: str
    frames_done: int = 0
    frames_total: int = 0
    num_tracks: int = 0
    message: str = ""


def prepare(view: Any, options: Options) -> list[Unit]:
    """Check the fields, make the output field known, and list the videos.

    Raises:
        ValueError: A field does not fit, or the view holds no videos.
    """
    units = list_units(view)
    if not units:
        raise ValueError("the view is empty: there is nothing to propagate through")
    dataset, is_video = root_dataset(view), units[0].is_video
    store.check_prompt_fields(dataset, options.prompt_fields, is_video=is_video)
    field, others = options.field, make_fields(options.field)
    patiently(lambda: store.declare_output(dataset, field, is_video=is_video, others=others))
    save_review_view(dataset, field, is_video=is_video)
    return units


def propagate_units(dataset: Any, units: Sequence[Unit], options: Options) -> Iterator[Progress]:
    """Propagate through videos one after the other.

    A video that fails is reported and does not keep the others from being done. Closing the
    generator ends within one frame and keeps what is finished.

    Yields:
        Progress of each video: every frame while it is tracked, then how it ended.
    """
    for unit in units:
        try:
            yield from propagate_unit(dataset, unit, options)
        except BusyError as error:
            yield Progress(unit, BUSY, message=str(error))
        except ConnectionError:
            raise  # without the database nothing more can be done
        except Exception as error:
            if not isinstance(error, FORESEEN):
                logger.exception("%s", unit.name)
            yield Progress(unit, FAILED, message=describe_error(error))


def propagate_unit(dataset: Any, unit: Unit, options: Options) -> Iterator[Progress]:
    """Propagate through one video; what every engine runs.

    Yields:
        Progress: every frame, then "done" or "skipped".

    Raises:
        BusyError: Another worker has it.
        ClaimLostError: Another worker took it.
        ValueError: Prompts or frames are wrong; the message says where.
        OSError: The video cannot be read, or masks cannot be written.
        ConnectionError: The database is gone for good.
    """
    records, labels = Records(dataset), UnitLabels(dataset, unit)
    plan = patiently(lambda: plan_unit(labels, options, records))
    if plan.is_empty and not plan.is_news:
        yield Progress(unit, SKIPPED, message=note_on_skipped(plan, options))
        return
    with claimed(labels, options.field) as claim:
        # Planned again: another worker may have finished it before it could be claimed.
        plan = patiently(lambda: plan_unit(labels, options, records))
        run = _Run(labels, plan, options, claim)
        yield from run.work()
    told = (note_on_video(unit, run.num_frames), note_on_leftovers(unit, plan.leftovers))
    said = "; ".join(note for note in (*told, note_on_unseen(unit, run.unseen)) if note)
    ended = SKIPPED if plan.is_empty else DONE
    yield Progress(unit, ended, run.done, run.done, len(plan.tracks), said)


class _Run:
    """One run over one video."""

    def __init__(self, labels: UnitLabels, plan: UnitPlan, options: Options, claim: Claim) -> None:
        self._labels = labels
        self._plan = plan
        self._options = options
        self._claim = claim
        self._files = MaskFiles(options, labels, run_id=plan.run_id)
        self._tracks = dict(enumerate(plan.tracks, 1))
        self._ious: dict[int, dict[int, float]] = {object_id: {} for object_id in self._tracks}
        self._waiting: dict[int, list[tuple[Any, Any | None]]] = {}
        self._written_at = time.monotonic()
        self.done = 0
        self.num_frames = 0
        self.unseen: list[TrackRecord] = []

    def work(self) -> Iterator[Progress]:
        """Track and write; the record last."""
        unit, plan = self._labels.unit, self._plan
        if not plan.tracks:
            self._finish({})
            return
        problem = missing_media(unit)
        if problem:
            raise FileNotFoundError(problem)
        model = self._options.load_model()
        with closing(open_unit(unit)) as frames:
            job = make_job(frames, unit, self._tracks, self._options)
            total, self.num_frames = job.num_visits, frames.num_frames
            self._claim.begin(plan.run_id, plan.job_digest, total)
            checkpoint = find_checkpoint(self._labels.dataset, unit, self._options, plan.job_digest)
            yield Progress(unit, TRACKING, 0, total, len(self._tracks))
            # Closed with the claim still held: it puts the tracker aside for the next run.
            with closing(run_job(model, job, checkpoint)) as masks:
                try:
                    for found, self.done in masks:
                        self._take(found)
                        yield Progress(unit, TRACKING, self.done, total, len(self._tracks))
                except GeneratorExit:
                    self._flush()
                    raise
        self.done = total
        self._flush()
        self._finish(
            {
                track.identity.instance_id: job.last_reached(object_id)
                for object_id, track in self._tracks.items()
            }
        )
        checkpoint.remove()

    def _take(self, found: FrameMasks) -> None:
        """Turn the masks of a frame into labels now: they are smaller, and masks are not kept."""
        number = to_frame_number(found.frame_index)
        new = []
        rows = zip(
            *(found.object_ids.tolist(), found.masks, found.predicted_iou.tolist()),
            found.object_score_logits.tolist(),
            strict=True,
        )
        for object_id, mask, predicted_iou, object_score_logit in rows:
            identity, ious = self._tracks[object_id].identity, self._ious[object_id]
            label = make_generated_detection(
                mask,
                identity,
                predicted_iou=predicted_iou,
                object_score_logit=object_score_logit,
                run_id=self._plan.run_id,
            )
            ious.pop(number, None)
            if label is not None:
                ious[number] = predicted_iou
            new.append((identity, label))
        self._waiting[number] = new
        is_due = time.monotonic() - self._written_at >= FLUSH_S
        if is_due or len(self._waiting) >= FLUSH_FRAMES:
            self._flush()

    def _flush(self) -> None:
        """Write what waits, if the video is still ours."""
        if self._waiting:
            self._claim.advance(self.done)
            self._files.write(self._waiting)
            patiently(lambda: self._labels.merge(self._options.field, self._waiting))
            self._waiting = {}
        self._written_at = time.monotonic()

    def _finish(self, last_frames: Mapping[str, int]) -> None:
        """Say that it is done: first on the sample, which anyone may still see as running."""
        made = [self._record(object_id) for object_id in self._tracks]
        self.unseen = [track for track in made if not track.num_labels]
        self._claim.advance(self.done)
        field, leftovers = self._options.field, self._plan.leftovers
        patiently(lambda: remove_leftovers(self._labels, field, leftovers))
        patiently(self._files.remove_unused)
        if last_frames or leftovers:
            patiently(lambda: self._judge(last_frames))
        patiently(lambda: self._labels.set_state(field, DONE))
        self._claim.finish([*self._plan.finished, *made])

    def _judge(self, last_frames: Mapping[str, int]) -> None:
        """Keep on the sample how good the masks are, those of other clips of it too."""
        labels, field = self._labels, self._options.field
        whole = replace(labels.unit, frame_numbers=None)
        assessment = assess(labels.dataset, whole, field, last_frames=last_frames)
        store_assessment(labels.dataset, assessment, field, num_suggestions=NUM_SUGGESTIONS)

    def _record(self, object_id: int) -> TrackRecord:
        track, values = self._tracks[object_id], self._ious[object_id].values()
        return TrackRecord(
            instance_id=track.identity.instance_id,
            index=track.identity.index,
            label=track.identity.label,
            digest=self._plan.digests[track.identity.instance_id],
            run_id=self._plan.run_id,
            num_labels=len(values),
            mean_iou=round(sum(values) / len(values), 6) if values else 0.0,
            prompt_fields=self._plan.prompt_fields[track.identity.instance_id],
        )
