"""A user's own labelled data, in whatever layout, and the rule by which a part is kept apart."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam2_plugins.core.evaluation import VosSequence, load_sequences
from sam2_plugins.core.formats.davis import read_png
from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.training.clips import Clip
from sam2_plugins.core.training.labelled import LabelledImage, LabelledStack, find_instances
from sam2_plugins.core.training.labelled_stacks import LabelsWhenRead, read_stack
from sam2_plugins.core.training.masklet_folders import find_masklets
from sam2_plugins.core.training.own_clips import own_clip
from sam2_plugins.core.training.sessions import is_session, read_session

KEPT_APART_EVERY = 5
MIN_SPLIT_FRAMES = 8


@dataclass(frozen=True)
class OwnData:
    """What a user wants to train on, in memory.

    Attributes:
        images: Labelled images.
        stacks: Labelled videos and volumes.
    """

    images: tuple[LabelledImage, ...]
    stacks: tuple[LabelledStack, ...]

    def clip(
        self,
        seed: tuple[int, ...],
        *,
        size: int,
        num_frames: int,
        num_objects: int,
        kinds: Mapping[str, float] | None = None,
    ) -> Clip:
        """Make a clip, or with one frame an image; the same arguments make the same."""
        del kinds  # there is what there is
        return own_clip(
            (self.images, self.stacks),
            np.random.default_rng(seed),
            size=size,
            num_frames=num_frames,
            num_objects=num_objects,
        )

    def __str__(self) -> str:
        counts = (len(self.images), "image"), (len(self.stacks), "stack")
        parts = [f"{count} {what}{'s' * (count != 1)}" for count, what in counts if count]
        frames = sum(len(stack.frames) for stack in self.stacks)
        return " and ".join(parts) + (f" of {frames} frames" if frames else "")


def load_own_data(
    path: str | Path, *, max_side: int = 512, image: str | Path | None = None
) -> OwnData:
    """Read labelled data of any known layout.

    Args:
        path: `images/` with `labels/` of the same names (pictures, or TIFF stacks as volumes),
            any layout that `load_sequences` knows, videos with SA-V masklets beside them, an
            export of the FiftyOne plugin, or an autosave folder of the napari plugin.
        max_side: Larger frames are shrunk to this long side, in pixels.
        image: The image that an autosave folder is of, which holds masks alone.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Nothing labelled is in it, or labels do not fit their images.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    if is_session(root):
        if image is None:
            raise ValueError(f"{root} holds masks alone; name the image they are of with --image")
        return _sort(read_session(root, Path(image), max_side=max_side))
    pairs = list(_find_pairs(root))
    if not pairs and (root / "images").is_dir() and (root / "labels").is_dir():
        raise ValueError(f"{root} has images/ and labels/, but nothing in them of one name")
    if pairs:
        return _sort(_read_pair(*pair, max_side=max_side) for pair in pairs)
    if masklets := find_masklets(root):
        return _sort(file.read(max_side=max_side) for file in masklets)
    try:
        sequences = load_sequences(root)
    except ValueError as error:
        # The layouts that can be evaluated are not all of those that can be learnt from.
        reason = str(error).partition("; expected")[0]
        raise ValueError(
            f"{reason}; `sam2-plugins train finetune --help` lists what can be learnt from, such "
            "as images/ with labels/ of the same names"
        ) from error
    return _sort(_read_sequence(sequence, max_side=max_side) for sequence in sequences)


def keep_apart(data: OwnData) -> tuple[OwnData, OwnData]:
    """Split into what is learnt from and what the result is measured on, always the same way.

    Of five images or more the first and every fifth after it, by name, are kept apart, of fewer
    the first; likewise of three stacks or more. Of one or two stacks the last quarter of the
    frames with objects is kept apart of each, and all that is after it.

    Raises:
        ValueError: There is too little to keep something apart.
    """
    images, stacks = data.images, data.stacks
    if len(images) == 1 and not stacks:
        raise ValueError("there is one labelled image; at least two are needed, one to measure on")
    apart_images = images[:: min(KEPT_APART_EVERY, max(len(images), 1))]
    learnt_images = tuple(i for i in images if all(i is not other for other in apart_images))
    if not learnt_images:  # a single image beside stacks is learnt from
        learnt_images, apart_images = images, ()
    if len(stacks) >= 3:
        apart = stacks[:: min(KEPT_APART_EVERY, len(stacks))]
        learnt = tuple(s for s in stacks if all(s is not other for other in apart))
        return OwnData(learnt_images, learnt), OwnData(apart_images, apart)
    first, last = [], []
    for stack in stacks:
        seen = np.flatnonzero(stack.labels.any((1, 2)))
        if len(seen) < MIN_SPLIT_FRAMES:
            raise ValueError(
                f"{stack.name} has objects on {len(seen)} frames; with fewer than three stacks "
                f"each needs {MIN_SPLIT_FRAMES}, the last quarter of which is measured on"
            )
        # An organ is in the middle of its stack: both parts must have some of it.
        cut = int(seen[len(seen) * 3 // 4])
        first.append(stack.part(slice(0, cut), stack.name))
        last.append(stack.part(slice(cut, None), f"{stack.name}, frames from {cut}"))
    return OwnData(learnt_images, tuple(first)), OwnData(apart_images, tuple(last))


def _sort(found: Iterator[LabelledImage | LabelledStack] | list[LabelledStack]) -> OwnData:
    """Sort into images and stacks; a stack of one frame is an image."""
    images, stacks = [], []
    for item in found:
        if isinstance(item, LabelledImage):
            images.append(item)
        elif len(item.frames) == 1:
            labels = item.labels[0]
            images.append(LabelledImage(item.name, item.frames[0], labels, find_instances(labels)))
        elif item.labels.any():
            stacks.append(item)
    kept = tuple(image for image in images if image.instances)
    if not kept and not stacks:
        raise ValueError("the labels are all empty: there is nothing to learn")
    return OwnData(kept, tuple(stacks))


def _find_pairs(root: Path) -> Iterator[tuple[Path, Path]]:
    for folder in (root, *sorted(child for child in root.iterdir() if child.is_dir())):
        images, labels = folder / "images", folder / "labels"
        if not (images.is_dir() and labels.is_dir()):
            continue
        label_of = {file.stem: file for file in labels.iterdir() if not file.name.startswith(".")}
        for file in sorted(images.iterdir()):
            if file.stem in label_of:
                yield file, label_of[file.stem]


def _read_pair(image: Path, labels: Path, *, max_side: int) -> LabelledStack:
    with closing(open_frames(image)) as source:
        if labels.suffix.lower() == ".png":
            planes = read_png(labels)[None]
        else:
            with closing(open_frames(labels)) as label_source:
                planes = np.stack(
                    [np.asarray(label_source.read(i)) for i in range(label_source.num_frames)]
                )
        if planes.shape != (source.num_frames, *source.frame_size):
            raise ValueError(
                f"{image} is {(source.num_frames, *source.frame_size)}, its labels {labels} are "
                f"{planes.shape}; they must be of one shape"
            )
        return read_stack(
            image.stem, source, dict(enumerate(planes)), max_side=max_side, is_volume=True
        )


def _read_sequence(sequence: VosSequence, *, max_side: int) -> LabelledStack:
    with closing(sequence.open()) as source:
        labels = LabelsWhenRead(
            sequence.annotated_frames, lambda index: sequence.read_truth(index).to_labels()
        )
        return read_stack(
            sequence.name, source, labels, max_side=max_side, is_volume=sequence.is_volume
        )
