"""A folder of stacks, each with labels that say where its objects are: all are propagated.

`python -m sam2_plugins.napari_plugin.batch IMAGES LABELS OUT` runs without a window, in a process
of its own, so that napari stays as quick as it was; it prints one line of JSON per event.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2, FrameSource, VideoTracker

LABEL_ENDINGS = (".tif", ".tiff", ".zarr", ".npy", ".png")
STACK_ENDINGS = (
    ".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".npy", ".zarr", ".png", ".jpg", ".jpeg",
    ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm",
    ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".ogv", ".3gp", ".gif", ".mjpeg",
)  # fmt: skip
"""Files with other endings lie beside the stacks, and are none."""
HIDDEN = (".", "_")
WITH_LABELS, LARGEST = "labelled", "largest"


@dataclass(frozen=True)
class Pair:
    """A stack and its labels.

    Attributes:
        images: File or folder.
        labels: None where there are none.
        output: Where masks are to be.
    """

    images: Path
    labels: Path | None
    output: Path


@dataclass(frozen=True)
class BatchEvent:
    """What has happened.

    Attributes:
        name: Of the stack.
        state: "skipped", "started", "slice", "done" or "failed".
        text: Why, or where.
        done: Slices that were tracked or passed so far.
        total: Of so many; those between prompts count twice.
    """

    name: str
    state: str
    text: str = ""
    done: int = 0
    total: int = 0

    @classmethod
    def of_failure(cls, name: str, error: Exception) -> "BatchEvent":
        """An error, in one line."""
        return cls(name, "failed", " ".join(str(error).split()) or type(error).__name__)


def find_pairs(images: Path, labels: Path, out: Path, ending: str = ".tif") -> list[Pair]:
    """Every stack in a folder, with the labels of the same name; other files are left out.

    Args:
        images: Folder of stacks: files, zarr folders or folders of images.
        labels: Folder of label images or label stacks.
        out: Folder of the masks.
        ending: Of the masks; it chooses their format.

    Raises:
        ValueError: One of the folders is none, is another one too, or there is nothing in it.
    """
    for folder in (images, labels):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder")
    if len({folder.resolve() for folder in (images, labels, out)}) < 3:
        raise ValueError(
            "images, labels and masks are files of the same names: choose a folder for each"
        )
    known = {_stem(path): path for path in _entries(labels) if path.name.endswith(LABEL_ENDINGS)}
    stacks = [
        path
        for path in _entries(images)
        if path not in (labels, out) and (_may_be_stack(path) or _stem(path) in known)
    ]
    if not stacks:
        raise ValueError(f"there are no images in {images}")
    return [Pair(path, known.get(_stem(path)), out / f"{_stem(path)}{ending}") for path in stacks]


def run_batch(
    pairs: Sequence[Pair], model: "Callable[[], SAM2]", *, prompt_slice: str = WITH_LABELS
) -> Iterator[BatchEvent]:
    """Propagate every stack's labels, one after the other.

    A stack whose output is there already is skipped, so a batch that was stopped goes on where it
    was; one that fails does not keep the others from being done.

    Args:
        pairs: From `find_pairs`.
        model: Gives the network; asked once there is a stack to propagate.
        prompt_slice: Which slices of the labels are prompts: "labelled" for every one that has
            labels, "largest" for the one on which an object is largest, "first", "middle" or
            "last", or a number. Labels of one slice are for the slice that this names (the middle
            one where it names none).

    Yields:
        An event per stack and slice.
    """
    for pair in pairs:
        name = pair.images.name
        if pair.output.exists():
            yield BatchEvent(name, "skipped", f"{pair.output} is there already")
        elif pair.labels is None:
            yield BatchEvent(name, "skipped", f"no labels are called {_stem(pair.images)}")
        else:
            network = model()
            try:
                yield from _run_one(name, pair, network, prompt_slice)
            except Exception as error:
                yield BatchEvent.of_failure(name, error)


def prompts_of(
    labels: "FrameSource", num_frames: int, prompt_slice: str = WITH_LABELS
) -> Iterator[tuple[int, int, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Mask prompts from labels.

    Args:
        labels: Label images, of one slice or of all.
        num_frames: Of the stack that they are for.
        prompt_slice: As in `run_batch`.

    Yields:
        (frame index, object id, (H, W) bool).

    Raises:
        ValueError: Labels and stack do not fit.
    """
    chosen = _choose_slices(labels.num_frames, num_frames, prompt_slice)
    largest = _largest(labels) if prompt_slice == LARGEST and labels.num_frames > 1 else None
    for frame_index, of in chosen.items():
        image = labels.read(of)
        if image.ndim != 2:
            raise ValueError(f"labels have one channel, these have {image.shape[-1]}")
        for value in np.unique(image[image > 0]):
            if largest is None or largest[int(value)] == frame_index:
                yield frame_index, int(value), image == value


def _choose_slices(num_labels: int, num_frames: int, prompt_slice: str) -> dict[int, int]:
    """Slices of the stack that are prompted, with the slices of the labels that say how."""
    if num_labels not in (1, num_frames):
        raise ValueError(f"{num_labels} slices of labels for {num_frames} of the image")
    named = {"first": 0, "middle": num_frames // 2, "last": num_frames - 1}
    if prompt_slice in (WITH_LABELS, LARGEST):
        if num_labels > 1:
            return {index: index for index in range(num_frames)}
        prompt_slice = "middle"
    index = int(prompt_slice) if prompt_slice.isdigit() else named.get(prompt_slice, -1)
    if not 0 <= index < num_frames:
        raise ValueError(f"there is no slice {prompt_slice}: there are {num_frames}")
    return {index: index if num_labels > 1 else 0}


def _run_one(name: str, pair: Pair, model: "SAM2", prompt_slice: str) -> Iterator[BatchEvent]:
    from sam2_plugins.core import VideoTracker, open_frames, save_masks

    assert pair.labels is not None
    with closing(open_frames(pair.images)) as frames, closing(open_frames(pair.labels)) as labels:
        if labels.frame_size != frames.frame_size:
            raise ValueError(f"labels are {labels.frame_size}, the image {frames.frame_size}")
        yield BatchEvent(name, "started", total=frames.num_frames)
        tracker = VideoTracker(model, frames)
        for frame_index, object_id, mask in prompts_of(labels, frames.num_frames, prompt_slice):
            tracker.set_mask(frame_index, object_id, mask)
        if not tracker.object_ids:
            raise ValueError("there are no labels on the slices that are prompts")
        run = tracker.propagate()
        for _ in run:
            yield BatchEvent(name, "slice", done=run.num_visited, total=run.num_visits)
        pair.output.parent.mkdir(parents=True, exist_ok=True)
        save_masks(
            pair.output,
            _known(tracker),
            frame_size=frames.frame_size,
            num_frames=frames.num_frames,
            sources=[pair.images, pair.labels],
        )
        yield BatchEvent(name, "done", str(pair.output), frames.num_frames, frames.num_frames)


def _known(tracker: "VideoTracker") -> Iterator[Any]:
    return map(tracker.masks, tracker.known_frames())


def _largest(labels: "FrameSource") -> dict[int, int]:
    best: dict[int, tuple[int, int]] = {}
    for frame_index in range(labels.num_frames):
        image = labels.read(frame_index)
        for value, count in zip(*np.unique(image[image > 0], return_counts=True), strict=True):
            if int(count) > best.get(int(value), (0, 0))[1]:
                best[int(value)] = (frame_index, int(count))
    return {value: frame_index for value, (frame_index, _) in best.items()}


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(HIDDEN))


def _may_be_stack(path: Path) -> bool:
    return path.is_dir() or path.name.lower().endswith(STACK_ENDINGS)


def _stem(path: Path) -> str:
    """The name without its endings: `a.ome.tif`, `a.zarr` and the folder `a` are all `a`."""
    is_plain_folder = path.is_dir() and path.suffix != ".zarr"
    return path.name if is_plain_folder else path.stem.removesuffix(".ome")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a batch and print its events; 1 where a stack failed."""
    parser = argparse.ArgumentParser(prog="batch", description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("images", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--ending", default=".tif")
    parser.add_argument("--slice", default=WITH_LABELS, dest="prompt_slice")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--checkpoint")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--image-size", type=int)
    chosen = parser.parse_args(argv)
    has_failed = False
    try:
        pairs = find_pairs(chosen.images, chosen.labels, chosen.out, chosen.ending)
        model = cache(partial(_load, chosen))
        for event in run_batch(pairs, model, prompt_slice=chosen.prompt_slice):
            has_failed |= event.state == "failed"
            _print(event)
    except (ValueError, OSError, RuntimeError) as error:
        _print(BatchEvent.of_failure("", error))
        return 1
    return int(has_failed)


def _load(chosen: argparse.Namespace) -> "SAM2":
    from sam2_plugins.core import load_model

    return load_model(
        chosen.model,
        checkpoint=chosen.checkpoint,
        device=chosen.device,
        dtype=chosen.dtype,
        image_size=chosen.image_size,
    )


def _print(event: BatchEvent) -> None:
    sys.stdout.write(json.dumps(asdict(event)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
