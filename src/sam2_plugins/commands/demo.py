"""`sam2-plugins demo`: objects tracked through a generated stack by the bundled model, offline."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.options import add_json

if TYPE_CHECKING:
    import argparse
    from argparse import _SubParsersAction
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from sam2_plugins.core.samples import SampleStack
    from sam2_plugins.core.tracker import VideoTracker

NUM_OBJECTS = 5
STACK, PROMPTS, LABELS, OVERLAY = "stack.tif", "prompts.json", "labels.tif", "overlay.png"


def add_parser(subparsers: _SubParsersAction[Any]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo", help="track nuclei through a generated stack with the bundled model"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="where to write (demo)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write a stack, track objects in it, and compare with the truth."""
    from sam2_plugins.commands.prompt_file import give_prompts, read_prompts
    from sam2_plugins.commands.tracked import with_progress, write_tracked
    from sam2_plugins.core.frames import open_frames
    from sam2_plugins.core.samples import nuclei_stack
    from sam2_plugins.core.tracker import VideoTracker
    from sam2_plugins.core.weights import load_model

    out: Path = arguments.out
    sample = nuclei_stack()
    prompts = choose_prompts(sample.labels)
    check_folder(out, sample, prompts)
    write_sample(out, sample, prompts)
    with closing(open_frames(out / STACK)) as frames:
        started = time.monotonic()
        tracker = VideoTracker(load_model("nano"), frames)
        give_prompts(tracker, read_prompts(out / PROMPTS, frames))
        for _ in with_progress(tracker.propagate()):
            pass
        seconds = time.monotonic() - started
        shown = [prompts[0]["frame"]]
        write_tracked(tracker, out / LABELS, out / OVERLAY, shown=shown)
    _report(arguments, prompts, overlaps(tracker, sample.labels), seconds)


def check_folder(out: Path, sample: SampleStack, prompts: Sequence[dict[str, Any]]) -> None:
    """Refuse a folder with files of these names that are not those of an earlier demo.

    Raises:
        ValueError: There are.
    """
    there = [name for name in (STACK, PROMPTS, LABELS, OVERLAY) if (out / name).exists()]
    if there and not _is_demo(out, sample, prompts):
        raise ValueError(
            f"{out / there[0]} exists and is not that of an earlier demo; choose another --out"
        )


def _is_demo(out: Path, sample: SampleStack, prompts: Sequence[dict[str, Any]]) -> bool:
    import numpy as np
    import tifffile

    try:
        is_prompted = (out / PROMPTS).read_text(encoding="utf-8") == _document(prompts)
        return is_prompted and np.array_equal(tifffile.imread(out / STACK), sample.images)
    except (OSError, ValueError):
        return False


def write_sample(out: Path, sample: SampleStack, prompts: Sequence[dict[str, Any]]) -> None:
    """Write `stack.tif` and `prompts.json` into a folder, which is made if need be."""
    import tifffile

    from sam2_plugins.core.formats.staging import (
        explain_write_errors,
        move_into_place,
        staging_folder,
    )

    with explain_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        with staging_folder(out / STACK) as staging:
            aside = staging / STACK
            tifffile.imwrite(
                aside, sample.images, photometric="minisblack", metadata={"axes": "ZYX"}
            )
            move_into_place(aside, out / STACK)
        (out / PROMPTS).write_text(_document(prompts), encoding="utf-8")
    depth, height, width = sample.images.shape
    say(f"wrote {out / STACK}: {depth} slices of {height} x {width} pixels")


def _document(prompts: Sequence[dict[str, Any]]) -> str:
    lines = ",\n    ".join(json.dumps(prompt) for prompt in prompts)
    return f'{{"version": 1, "prompts": [\n    {lines}\n]}}\n'


def choose_prompts(labels: NDArray[np.integer], count: int = NUM_OBJECTS) -> list[dict[str, Any]]:
    """Prompts on the middle slice: by turns a box and a single click, for its largest objects.

    Args:
        labels: (T, H, W) true object ids.
        count: How many objects.
    """
    import numpy as np

    from sam2_plugins.core.mask_regions import distances_inside
    from sam2_plugins.core.masks import mask_to_box

    middle = len(labels) // 2
    truth = labels[middle]
    ids, areas = np.unique(truth[truth > 0], return_counts=True)
    prompts: list[dict[str, Any]] = []
    for index, object_id in enumerate(ids[np.argsort(-areas)][:count].tolist()):
        mask = truth == object_id
        prompt: dict[str, Any] = {"frame": middle, "object": object_id}
        if index % 2 == 0:
            prompt["box"] = [int(side) for side in mask_to_box(mask[None])[0]]
        else:
            depth = distances_inside(mask)
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            prompt["points"], prompt["labels"] = [[int(x), int(y)]], [1]
        prompts.append(prompt)
    return prompts


def overlaps(tracker: VideoTracker, labels: NDArray[np.integer]) -> dict[int, float]:
    """IoU of every tracked object with its true voxels, over the whole stack."""
    import numpy as np

    both = dict.fromkeys(tracker.object_ids, 0)
    either = dict.fromkeys(tracker.object_ids, 0)
    for frame_index, truth in enumerate(labels):
        found = tracker.masks(frame_index)
        masks = dict(zip(found.object_ids.tolist(), found.masks, strict=True))
        for object_id in both:
            mask = masks.get(object_id, np.zeros(truth.shape, bool))
            both[object_id] += int(np.count_nonzero(mask & (truth == object_id)))
            either[object_id] += int(np.count_nonzero(mask | (truth == object_id)))
    return {object_id: both[object_id] / max(either[object_id], 1) for object_id in both}


def _report(
    arguments: argparse.Namespace,
    prompts: Sequence[dict[str, Any]],
    ious: dict[int, float],
    seconds: float,
) -> None:
    out = arguments.out
    mean = sum(ious.values()) / len(ious)
    if arguments.json:
        json_result(
            command="demo",
            output=str(out),
            iou={str(object_id): round(iou, 4) for object_id, iou in ious.items()},
            mean_iou=round(mean, 4),
            seconds=round(seconds, 3),
        )
        return
    for prompt in prompts:
        kind = "a box" if "box" in prompt else "one click"
        object_id = prompt["object"]
        result(
            f"object {object_id:2d}, {kind} on slice {prompt['frame']}: IoU {ious[object_id]:.3f}"
        )
    result(f"mean IoU over the whole stack {mean:.3f}, tracked in {seconds:.1f} s")
    result(f"see {out / 'overlay.png'} and {out / 'labels.tif'}; the same from the shell:")
    files = f"{out / 'stack.tif'} --prompts {out / 'prompts.json'} -o {out / 'again.tif'}"
    result(f"  sam2-plugins track {files}")
