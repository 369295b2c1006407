"""A sample on its way to napari and back: a folder that `sam2-plugins napari --session` opens.

Beside what is handed over, the folder remembers which track of the dataset each object is, and
which labels its prompts came from. What comes back is merged under the claim of the video.
"""

import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fiftyone as fo
from sam2_plugins.core import FrameMasks, HandedPrompt, Handover, write_handover
from sam2_plugins.fiftyone_plugin import store
from sam2_plugins.fiftyone_plugin.frame_prompt import Prompt
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.labels import (
    OBJECT_SCORE,
    Identity,
    instance_id,
    make_instance_id,
    to_frame_index,
)
from sam2_plugins.fiftyone_plugin.merging import same_track
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.planning import read_prompts
from sam2_plugins.fiftyone_plugin.prompts import Track, group_tracks
from sam2_plugins.fiftyone_plugin.records import Records
from sam2_plugins.fiftyone_plugin.sources import Unit, missing_media
from sam2_plugins.fiftyone_plugin.store import UnitLabels
from sam2_plugins.fiftyone_plugin.tracks import media_size, read_tracks

GIVEN, RETURNED, UNSENT, DATASET = "given", "returned", "unsent", "dataset.json"
CHUNK_FRAMES = 64
_SEEN = 10.0
"""The object score logit of masks that have none."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the objects of a session are in the dataset.

    Attributes:
        dataset: Its name.
        unit: The video or group.
        options: Say which fields.
        identities: By object id.
        prompts: (frame number, object id) -> (field, id) of every label that is a prompt there.
    """

    dataset: str
    unit: Unit
    options: Options
    identities: Mapping[int, Identity]
    prompts: Mapping[tuple[int, int], Sequence[tuple[str, str]]]


def session_folder(dataset: Any, unit: Unit, field: str) -> Path:
    """Where the session of a video is: always the same, so that unsent work is found again."""
    name = re.sub(r"\W+", "-", f"{unit.unit_id}-{field}")
    base = Path(fo.config.default_dataset_dir) / "sam2-napari"
    return base / str(dataset._doc.id) / name  # noqa: SLF001 - the only lasting name


def write_session(dataset: Any, unit: Unit, options: Options) -> Path:
    """Write what the dataset has of a video; work that was not sent back is left as it is.

    Returns:
        The folder.

    Raises:
        ValueError: The video cannot be decoded, or a prompt is malformed.
        FileNotFoundError: The video is not there.
        OSError: The folder cannot be written.
    """
    folder = session_folder(dataset, unit, options.field)
    if (folder / UNSENT).exists() and (folder / DATASET).exists():
        return folder
    problem = missing_media(unit)
    if problem:
        raise FileNotFoundError(problem)
    size, num_frames = media_size(unit)
    labels = UnitLabels(dataset, unit)
    known_fields = store.known_fields(dataset, options.prompt_fields, is_video=unit.is_video)
    outputs = store.known_fields(dataset, [options.field], is_video=unit.is_video)
    sources = read_prompts(labels, known_fields, options.field if outputs else None)
    record = Records(dataset).read(unit.unit_id, options.field)
    known = [track.identity for track in record.tracks] if record else []
    tracks = group_tracks(unit, [*sources.values()], known)
    identities = _object_ids(dataset, unit, options, tracks)
    ids = {identity.instance_id: object_id for object_id, identity in identities.items()}
    where = {
        label.id: field
        for field, source in sources.items()
        for found in source.values()
        for label in found
    }
    prompts, origins = {}, {}
    for track in tracks:
        object_id = ids[track.identity.instance_id]
        for number, given in track.labels.items():
            if number <= num_frames:
                said = track.prompt(number, size)
                prompts[to_frame_index(number), object_id] = _handed(said, size)
                origins[number, object_id] = [(where[label.id], label.id) for label in given]
    handover = Handover(
        media=unit.paths,
        num_frames=num_frames,
        frame_size=size,
        names={key: identity.label or "" for key, identity in identities.items()},
        prompts=prompts,
        model=options.model,
        image_size=options.image_size,
        title=f"{Path(unit.paths[0]).name}, {dataset.name}",
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    masks = _given_masks(labels, options.field, identities, handover) if outputs else ()
    write_handover(folder / GIVEN, handover, masks)
    _write_origin(folder, Origin(dataset.name, unit, options, identities, origins))
    return folder


def read_origin(folder: Path) -> Origin:
    """Where the objects of a session are.

    Raises:
        FileNotFoundError: The folder holds no session of a dataset.
    """
    path = folder / DATASET
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no session of a FiftyOne dataset")
    content = json.loads(path.read_text(encoding="utf-8"))
    unit: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in content["unit"].items()
    }
    return Origin(
        content["dataset"],
        Unit(**unit),
        Options(**content["options"]),
        {int(key): Identity(**value) for key, value in content["identities"].items()},
        {
            (number, object_id): [(field, label_id) for field, label_id in labels]
            for number, object_id, labels in content["prompts"]
        },
    )


def identity_of(origin: Origin, object_id: int, name: str) -> Identity:
    """Which track an object is; for one that was made in napari, a new one."""
    known = origin.identities.get(object_id)
    if known is not None:
        return known
    key = make_instance_id(origin.unit.sample_ids[0], "napari", uuid.uuid4().hex)
    taken = {identity.index for identity in origin.identities.values()}
    index = object_id if object_id not in taken else max(taken) + 1
    return Identity(key, index, name or None)


def _write_origin(folder: Path, origin: Origin) -> None:
    content = {
        "dataset": origin.dataset,
        "unit": asdict(origin.unit),
        "options": origin.options.to_params(),
        "identities": {key: asdict(value) for key, value in origin.identities.items()},
        "prompts": [[*key, labels] for key, labels in origin.prompts.items()],
    }
    (folder / DATASET).write_text(json.dumps(content), encoding="utf-8")


def add_identity(folder: Path, origin: Origin, object_id: int, identity: Identity) -> Origin:
    """Remember a new object's track, so that it is the same the next time."""
    made = Origin(
        *(origin.dataset, origin.unit, origin.options),
        {**origin.identities, object_id: identity},
        origin.prompts,
    )
    _write_origin(folder, made)
    return made


def _object_ids(
    dataset: Any, unit: Unit, options: Options, tracks: Sequence[Track]
) -> dict[int, Identity]:
    """An object id for every track: its index where that is free. Single labels have no track."""
    found = {track.identity.instance_id: track.identity for track in tracks}
    indices = {track.identity.index for track in tracks}
    former = {track.identity.former_id for track in tracks}
    is_there = store.known_fields(dataset, [options.field], is_video=unit.is_video)
    for key, track in read_tracks(dataset, unit, options.field).items() if is_there else ():
        is_linked = track.index is not None or len(track.label_ids) > 1
        is_known = key in found or key in former
        if is_known or not is_linked or (key.startswith("track-") and track.index in indices):
            continue
        if key.startswith("track-"):
            key = make_instance_id(unit.sample_ids[0], "index", str(track.index))
        index = track.index if track.index is not None else max([0, *indices]) + 1
        found[key] = Identity(key, index, track.label)
        indices.add(index)
    identities: dict[int, Identity] = {}
    for identity in found.values():
        is_free = identity.index >= 1 and identity.index not in identities
        object_id = identity.index if is_free else max([0, *identities, *indices]) + 1
        identities[object_id] = identity
    return identities


def _handed(said: Prompt, size: tuple[int, int]) -> HandedPrompt:
    """A prompt with its points on pixels: at the very edge they would be beside the frame."""
    height, width = size
    points = tuple((min(x, width - 1.0), min(y, height - 1.0)) for x, y in said.points)
    return HandedPrompt(points, said.point_labels, said.box, said.mask)


def _given_masks(
    labels: UnitLabels, field: str, identities: Mapping[int, Identity], handover: Handover
) -> Iterator[FrameMasks]:
    """What the output field has of each frame, read some frames at a time."""
    ids = {identity.instance_id: object_id for object_id, identity in identities.items()}
    numbers = range(1, handover.num_frames + 1)
    for start in range(0, handover.num_frames, CHUNK_FRAMES):
        for number, found in labels.read(field, numbers[start : start + CHUNK_FRAMES]).items():
            rows = {}
            for label in found:
                object_id = ids.get(instance_id(label) or "") or next(
                    (key for key, who in identities.items() if same_track(label, who)), None
                )
                if object_id is not None and (label.mask is not None or label.mask_path):
                    rows[object_id] = label
            if rows:
                yield _frame_masks(number, rows, handover.frame_size)


def _frame_masks(number: int, rows: Mapping[int, Any], size: tuple[int, int]) -> FrameMasks:
    scores = [getattr(label, OBJECT_SCORE, None) for label in rows.values()]
    return FrameMasks(
        to_frame_index(number),
        np.array([*rows], np.int64),
        np.stack([detection_mask(label, size) for label in rows.values()]),
        np.array([1 if lb.confidence is None else lb.confidence for lb in rows.values()], "f4"),
        np.array([_SEEN if score is None else _logit(score) for score in scores], np.float32),
    )


def _logit(probability: float) -> float:
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return float(np.log(clipped / (1 - clipped)))
