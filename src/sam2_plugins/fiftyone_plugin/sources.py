"""What a view holds to track through: videos, clips, frames of videos, ordered groups of images."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av

import fiftyone as fo


@dataclass(frozen=True, slots=True)
class Unit:
    """One video, or one ordered group of images, and which of its frames are meant.

    Attributes:
        unit_id: The same whenever the same frames of the same video are meant.
        sample_ids: Of the video's sample, or of the images in order.
        paths: Of the video, or of the images in order.
        is_video: Whether labels are on the frames of one sample.
        frame_numbers: The 1-based frames that are meant, ascending; None for all.
    """

    unit_id: str
    sample_ids: tuple[str, ...]
    paths: tuple[str, ...]
    is_video: bool
    frame_numbers: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"{self.paths[0]} (sample {self.sample_ids[0]})"


def root_dataset(view: Any) -> Any:
    """The dataset whose samples hold the labels."""
    return view._root_dataset  # noqa: SLF001 - there is no public name for it


def source_samples(view: Any, ids: Sequence[str]) -> list[str]:
    """The dataset's samples that samples of a view are of.

    Clips, frames and patches have ids of their own.

    Args:
        view: A dataset or view; None where nothing is shown.
        ids: Of its samples; those of the dataset's stay as they are.
    """
    if view is None or view._dataset is root_dataset(view):  # noqa: SLF001
        return list(ids)
    rows = _ungrouped(view).select(list(ids)).values(["id", "sample_id"])
    found = dict(zip(*rows, strict=True))
    return list(dict.fromkeys(str(found.get(key, key)) for key in ids))


def list_units(view: Any) -> list[Unit]:
    """What to track through, in the view's order.

    Args:
        view: A video dataset or view, clips, frames, or images grouped with an order. For videos
            in grouped datasets, a view of one slice.

    Raises:
        ValueError: It is none of these.
    """
    if not len(view):
        return []
    dataset = view._dataset  # noqa: SLF001
    if dataset._is_frames:  # noqa: SLF001
        return list(_frames(_ungrouped(view)))
    if dataset._is_clips:  # noqa: SLF001
        return list(_clips(_ungrouped(view)))
    if is_ordered(view):
        return list(_groups(view))
    if view.media_type == "video":
        return [_video(*row) for row in zip(*view.values(["id", "filepath"]), strict=True)]
    if has_slices(view):
        raise ValueError(
            "the dataset has several slices: choose one, such as by select_group_slices"
        )
    raise ValueError(
        f"masks are propagated through videos, not through {view.media_type}s; images can be "
        "put in order by view.group_by(FIELD, order_by=FIELD)"
    )


def flat_samples(dataset: Any, ids: Sequence[str], *, is_video: bool) -> Any:
    """The samples with these ids, in this order; in grouped datasets, whatever slice they are of.

    Args:
        dataset: Whose `select` finds samples of one slice alone, if it is grouped.
        ids: Of samples that are videos, or of samples that are images.
        is_video: Which of the two.
    """
    return all_slices(dataset, is_video=is_video).select(list(ids), ordered=True)


def all_slices(dataset: Any, *, is_video: bool) -> Any:
    """The videos or the images of a dataset; of a grouped one, those of all its slices."""
    if dataset.media_type != "group":
        return dataset
    return dataset.select_group_slices(media_type="video" if is_video else "image")


def single_unit(dataset: Any, sample_id: str) -> Unit | None:
    """A sample by itself, of whatever slice: a whole video, or an image.

    Returns:
        None where the dataset has no such sample.
    """
    try:
        sample = dataset[sample_id]
    except KeyError:
        return None
    is_video = sample.media_type == "video"
    return Unit(sample_id, (sample_id,), (sample.filepath,), is_video=is_video)


def is_ordered(view: Any) -> bool:
    """Whether samples are put in groups by a field, as by `group_by`; not those of slices."""
    return isinstance(view, fo.DatasetView) and bool(view._is_dynamic_groups)  # noqa: SLF001


def _ungrouped(view: Any) -> Any:
    """All samples of a view: of groups, FiftyOne would give the first of each."""
    return view.flatten() if is_ordered(view) else view


def has_slices(view: Any) -> bool:
    """Whether samples come in groups of several media, of which one is to be chosen."""
    return bool(view.media_type == "group") and not is_ordered(view)


def view_of(view: Any, units: Sequence[Unit]) -> Any:
    """The part of a view that holds some of its units."""
    ids = [sample_id for unit in units for sample_id in unit.sample_ids]
    root = root_dataset(view)
    if view._dataset is not root:  # noqa: SLF001 - clips and frames are made from another dataset
        return _ungrouped(view).select_by("sample_id", ids)
    if units[0].is_video:
        return flat_samples(root, ids, is_video=True)
    return flat_samples(root, ids, is_video=False).add_stage(_grouping(view))


def by_video(units: Sequence[Unit]) -> dict[Unit, frozenset[int] | None]:
    """Whole videos and groups, each with the frames of it that units are of; None for all."""
    found: dict[Unit, frozenset[int] | None] = {}
    for unit in units:
        whole, numbers = unit, unit.frame_numbers
        if numbers is not None:
            whole = replace(unit, unit_id=unit.sample_ids[0], frame_numbers=None)
        before = found.get(whole, frozenset())
        found[whole] = None if numbers is None or before is None else before.union(numbers)
    return found


def join_clips(units: Sequence[Unit]) -> list[Unit]:
    """Units of which no two are of the same video: of a video with clips, the frames of all."""
    return [
        whole if numbers is None else replace(whole, frame_numbers=tuple(sorted(numbers)))
        for whole, numbers in by_video(units).items()
    ]


def _video(
    sample_id: str, path: str, frame_numbers: Sequence[int] | None = None, *, part: str = ""
) -> Unit:
    numbers = None if frame_numbers is None else tuple(frame_numbers)
    return Unit(sample_id + part, (sample_id,), (path,), is_video=True, frame_numbers=numbers)


def _clips(view: Any) -> Iterator[Unit]:
    rows = zip(*view.values(["sample_id", "filepath", "support"]), strict=True)
    for sample_id, path, (first, last) in rows:
        yield _video(sample_id, path, range(first, last + 1), part=f":{first}-{last}")


def _frames(view: Any) -> Iterator[Unit]:
    numbers: dict[str, list[int]] = {}
    for sample_id, number in zip(*view.values(["sample_id", "frame_number"]), strict=True):
        numbers.setdefault(sample_id, []).append(number)
    source = flat_samples(root_dataset(view), list(numbers), is_video=True)
    paths = dict(zip(*source.values(["id", "filepath"]), strict=True))
    for sample_id, chosen in numbers.items():
        chosen = sorted(chosen)
        part = hashlib.sha256(repr(chosen).encode()).hexdigest()[:12]
        yield _video(sample_id, paths[sample_id], chosen, part=f":{part}")


def _groups(view: Any) -> Iterator[Unit]:
    if _grouping(view).order_by is None:
        raise ValueError("the groups have no order: use view.group_by(FIELD, order_by=FIELD)")
    for group in view.iter_dynamic_groups():
        if group.media_type != "image":
            raise ValueError(f"groups to track through are of images, not of {group.media_type}s")
        yield _group(*group.values(["id", "filepath"]))


def images_in_order(dataset: Any, sample_ids: Sequence[str]) -> Unit:
    """Images that were chosen one by one, as a group.

    Raises:
        ValueError: One of them is not in the dataset.
    """
    samples = flat_samples(dataset, sample_ids, is_video=False)
    paths = dict(zip(*samples.values(["id", "filepath"]), strict=True))
    for sample_id in sample_ids:
        if sample_id not in paths:
            raise ValueError(f"dataset {dataset.name!r} has no sample {sample_id!r}")
    return _group(sample_ids, [paths[sample_id] for sample_id in sample_ids])


def _group(ids: Sequence[str], paths: Sequence[str]) -> Unit:
    part = hashlib.sha256("".join(ids).encode()).hexdigest()[:12]
    return Unit(f"{ids[0]}:{part}", tuple(ids), tuple(paths), is_video=False)


def _grouping(view: Any) -> Any:
    stages = [stage for stage in view._stages if isinstance(stage, fo.GroupBy)]  # noqa: SLF001
    return stages[-1]


def missing_media(unit: Unit) -> str | None:
    """One line that names a file that is not there; None where all are."""
    for path in unit.paths:
        if not Path(path).is_file():
            return f"{path}: no such file (sample {unit.sample_ids[0]})"
    return None


def note_on_video(unit: Unit, num_frames: int) -> str:
    """What to say of a video that breaks off, or whose rate varies; nothing of others.

    The App finds the frame of a moment by the average rate, so where frames are not shown for
    equally long, it may show the labels of another.

    Args:
        unit: The video.
        num_frames: That could be decoded; 0 where nobody tried.
    """
    if not unit.is_video or not num_frames:
        return ""
    try:
        with av.open(unit.paths[0]) as video:
            stream = video.streams.video[0]
            mean, base = stream.average_rate, stream.base_rate
            # Not the number of packets: of a file that was cut, some are never shown.
            ticks, tick = stream.duration, stream.time_base
            meant = round(ticks * tick * mean) if ticks and tick and mean else 0
    except (av.FFmpegError, OSError, IndexError):
        return ""
    if num_frames < meant - 1:
        return (
            f"{unit.name}: only {num_frames} of {meant} frames can be decoded, and have masks; the "
            "file is truncated or damaged"
        )
    if not mean or not base or num_frames * abs(1 - base / mean) <= 1:
        return ""
    return (
        f"{unit.name}: its frame rate varies, so the App may show masks on frames beside theirs; "
        "fiftyone.utils.video.reencode_videos makes it constant"
    )
