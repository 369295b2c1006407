"""What was corrected in napari comes back: prompts of the user, and masks in their place.

Where a person said something anew, the mask that was seen there becomes a keyframe of the prompt
field, in place of what was said before; masks of tracks that changed are put in place of those that
were generated. Doing it twice is the same as doing it once.
"""

import shutil
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fiftyone as fo
from sam2_plugins.core import Handover, read_handover
from sam2_plugins.fiftyone_plugin import correcting, store
from sam2_plugins.fiftyone_plugin.correcting import PromptChange, make_absence
from sam2_plugins.fiftyone_plugin.database import patiently
from sam2_plugins.fiftyone_plugin.labels import (
    Identity,
    make_generated_detection,
    make_mask_detection,
    to_frame_number,
)
from sam2_plugins.fiftyone_plugin.mask_files import MaskFiles
from sam2_plugins.fiftyone_plugin.napari_session import (
    CHUNK_FRAMES,
    RETURNED,
    Origin,
    add_identity,
    identity_of,
    read_origin,
)
from sam2_plugins.fiftyone_plugin.records import Records
from sam2_plugins.fiftyone_plugin.store import UnitLabels

_RECEIVING = "receiving"


@dataclass(frozen=True, slots=True)
class Received:
    """What came back.

    Attributes:
        num_prompts: Frames of objects on which something was said anew.
        num_tracks: Tracks that changed.
        num_frames: Frames whose masks were put in place.
    """

    num_prompts: int
    num_tracks: int
    num_frames: int

    @property
    def text(self) -> str:
        """In words."""
        return (
            f"{self.num_prompts} corrections of {self.num_tracks} tracks came back, with masks on "
            f"{self.num_frames} frames; the next run redoes these tracks"
        )


@dataclass(slots=True)
class _Changes:
    """What is to be written."""

    prompts: dict[int, list[PromptChange]] = field(default_factory=lambda: defaultdict(list))
    masks: dict[int, list[tuple[Identity, Any | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )


def receive(folder: Path) -> Received | None:
    """Take over what napari has sent back, if there is anything.

    Returns:
        What came; None where nothing waits.

    Raises:
        BusyError: The video is being propagated; try again.
        FileNotFoundError: The folder holds no session.
        ValueError: What came back is damaged, or the dataset is gone.
    """
    waiting = folder / _RECEIVING
    if not waiting.exists():
        if not (folder / RETURNED).exists():
            return None
        # Moved away first: what is sent while this is written comes next, and is not lost.
        (folder / RETURNED).rename(waiting)
    origin = read_origin(folder)
    if not fo.dataset_exists(origin.dataset):
        raise ValueError(f"dataset {origin.dataset!r} is gone; what came back stays in {folder}")
    dataset = fo.load_dataset(origin.dataset)
    back, masks = read_handover(waiting)
    changed = {object_id for _, object_id in (*back.prompts, *back.cleared)}
    for object_id in sorted(changed - set(origin.identities)):
        identity = identity_of(origin, object_id, back.names.get(object_id, ""))
        origin = add_identity(folder, origin, object_id, identity)
    options, unit = origin.options, origin.unit
    claim = Records(dataset).claim(unit.unit_id, options.field, sample_id=unit.sample_ids[0])
    try:
        # Listed anew for every try: writing mask files takes the masks out of the labels.
        changes = patiently(lambda: _write(dataset, origin, _list_changes(origin, back, masks)))
    finally:
        claim.give_back()
        claim.close()
    shutil.rmtree(waiting)
    return Received(len(back.prompts) + len(back.cleared), len(changed), len(changes.masks))


def _list_changes(origin: Origin, back: Handover, masks: Any) -> _Changes:
    changes = _Changes()
    changed = {object_id for _, object_id in (*back.prompts, *back.cleared)}
    given = {object_id for _, object_id in origin.prompts}
    left = {(to_frame_number(f), i) for f, i in back.prompts} | set(origin.prompts)
    left -= {(to_frame_number(frame_index), i) for frame_index, i in back.cleared}
    removed = (given & changed) - {object_id for _, object_id in left}
    run_id = f"napari-{uuid.uuid4().hex[:12]}"
    for found in masks:
        number = to_frame_number(found.frame_index)
        rows = dict(zip(found.object_ids.tolist(), range(len(found.object_ids)), strict=True))
        for object_id in changed & set(rows):
            row, identity = rows[object_id], origin.identities[object_id]
            label = make_generated_detection(
                found.masks[row],
                identity,
                predicted_iou=float(found.predicted_iou[row]),
                object_score_logit=float(found.object_score_logits[row]),
                run_id=run_id,
            )
            changes.masks[number].append((identity, label))
            if (found.frame_index, object_id) in back.prompts:
                _add_prompt(changes, origin, (number, object_id), found.masks[row])
    for frame_index, object_id in back.cleared:
        _add_prompt(changes, origin, (to_frame_number(frame_index), object_id), None)
    for number in range(1, back.num_frames + 1) if removed else ():
        changes.masks[number] += [(origin.identities[key], None) for key in sorted(removed)]
    return changes


def _add_prompt(
    changes: _Changes, origin: Origin, key: tuple[int, int], mask: NDArray[np.bool_] | None
) -> None:
    """Say with a mask what was said of an object on a frame; None takes it back."""
    number, object_id = key
    identity = origin.identities[object_id]
    label = None
    if mask is not None:
        label = make_mask_detection(mask, identity) or make_absence(mask.shape, identity)
    ids = frozenset(label_id for _, label_id in origin.prompts.get(key, ()))
    changes.prompts[number].append(PromptChange(identity, ids, label))


def _write(dataset: Any, origin: Origin, changes: _Changes) -> _Changes:
    unit, options = origin.unit, origin.options
    labels = UnitLabels(dataset, unit)
    store.declare_output(dataset, options.field, is_video=unit.is_video)
    target = correcting.declare_prompts(dataset, options.prompt_fields, is_video=unit.is_video)
    fields = [*options.prompt_fields, options.field, target or options.field]
    for name in store.known_fields(dataset, dict.fromkeys(fields), is_video=unit.is_video):
        correcting.change_prompts(
            labels, name, changes.prompts, is_added=name == (target or options.field)
        )
    files = MaskFiles(options, labels, run_id=f"napari-{uuid.uuid4().hex[:12]}")
    numbers = sorted(changes.masks)
    for start in range(0, len(numbers), CHUNK_FRAMES):
        chunk = {number: changes.masks[number] for number in numbers[start:][:CHUNK_FRAMES]}
        files.write(chunk)
        labels.merge(options.field, chunk)
    files.remove_unused()
    return changes
