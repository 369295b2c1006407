"""Speed and memory on this machine, all measured in one run.

Times depend on the machine and on what else it does; ratios within one run much less. Therefore
what is compared takes turns, and of all turns the quickest counts.
"""

import mmap
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sam2_plugins.core.config import MODELS
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.published import Box, PublishedTracker, published_version
from sam2_plugins.core.tracker import VideoTracker

MANY = 5
FRAME_SIZE = (270, 480)
_MEMORY_SIDE = 64
_MEMORY_FRAMES = 60, 600
_SPEED_UP_TO = 3
"""Frames that are not timed: the first ones encode prompts and have little to remember."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure, and what it is compared with.

    Attributes:
        name: What was measured.
        value: Ours.
        unit: Of both figures.
        other: The figure it is compared with, if any.
        compared_with: What that is.
        is_better: Whether "higher" or "lower" is better.
    """

    name: str
    value: float
    unit: str
    is_better: Literal["higher", "lower"]
    other: float | None = None
    compared_with: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better ours is than the other."""
        if self.other is None:
            return None
        quotient = self.value / self.other
        return quotient if self.is_better == "higher" else 1 / quotient


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured.

    Attributes:
        model: Name of a model; its weights are random, which costs the same.
        image_size: Side of the network's input.
        device: Where it runs.
        num_frames: Of the clip that is tracked; at least 4.
        rounds: How often everything is measured.
        with_published: Compare with the sam2 package, where it is installed and has the model.
    """

    model: str
    image_size: int
    device: str
    num_frames: int = 10
    rounds: int = 2
    with_published: bool = True

    def __post_init__(self) -> None:
        if self.num_frames <= _SPEED_UP_TO:
            raise ValueError(f"at least {_SPEED_UP_TO + 1} frames are needed to measure speed")
        if self.rounds < 1:
            raise ValueError(f"everything is measured once or more often, not {self.rounds} times")


def benchmark_core(workload: Workload) -> Iterator[Measurement]:
    """Measure, and yield each figure as soon as it is there."""
    yield from _memory(workload)
    model = random_model(workload.model, workload.image_size).to(workload.device)
    frames, boxes = moving_discs(workload.num_frames, MANY)
    published = None
    if workload.with_published and workload.model != "nano" and published_version():
        published = PublishedTracker(model, frames)
    for count in (1, MANY):
        yield _tracking(workload, model, frames, boxes[:count], published)
    yield _click(workload, model, frames, boxes[0], published)
    yield from _dtypes(workload, model, frames, boxes[:1])


def random_model(name: str, image_size: int) -> SAM2:
    """A network with random weights that sees objects on every frame."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SAM2(MODELS[name], image_size=image_size)
    weights = model.state_dict()
    last = max(name for name in weights if "pred_obj_score_head" in name and name.endswith("bias"))
    torch.nn.init.constant_(weights[last], 10.0)
    return model.eval()


def moving_discs(num_frames: int, count: int) -> tuple[NDArray[np.uint8], list[Box]]:
    """Discs that drift over a texture: (T, H, W, 3) RGB, and their boxes on the first frame."""
    height, width = FRAME_SIZE
    random = np.random.default_rng(0)
    texture = random.integers(60, 100, (height, width, 3), np.uint8)
    frames = np.repeat(texture[None], num_frames, axis=0)
    rows, columns = np.mgrid[:height, :width]
    boxes = []
    for index in range(count):
        x, y, radius = 50 + 90 * index, 60 + 35 * index, 20 + 4 * index
        boxes.append((x - radius, y - radius, x + radius, y + radius))
        for frame_index, frame in enumerate(frames):
            inside = (columns - x - frame_index) ** 2 + (rows - y) ** 2 < radius**2
            frame[inside] = random.integers(120, 255, 3)
    return frames, boxes


def _tracking(
    workload: Workload,
    model: SAM2,
    frames: NDArray[np.uint8],
    boxes: list[Box],
    published: PublishedTracker | None,
) -> Measurement:
    """Frames per second while objects are tracked, image encoder included."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(workload.rounds):
        tracker = _prompted(model, frames, boxes)
        times[0].append(_seconds_per_item(tracker.propagate(direction="forward"), workload))
        if published is not None:
            published.restart()
            published.add_boxes(boxes)
            times[1].append(_seconds_per_item(published.propagate(), workload))
    plural = "s" if len(boxes) > 1 else ""
    return Measurement(
        f"tracking {len(boxes)} object{plural}",
        1 / min(times[0]),
        "frames/s",
        "higher",
        1 / min(times[1]) if times[1] else None,
        f"sam2 {published_version()}" if times[1] else "",
    )


def _click(
    workload: Workload,
    model: SAM2,
    frames: NDArray[np.uint8],
    box: Box,
    published: PublishedTracker | None,
) -> Measurement:
    """From a further click on an encoded frame to its mask."""
    tracker = _prompted(model, frames, [box])
    if published is not None:
        published.restart()
        published.add_boxes([box])
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(5 * workload.rounds):
        point = (box[0] + 5.0 + turn, box[1] + 15.0)
        times[0].append(_seconds(workload, partial(tracker.add_points, 0, 1, [point], [1])))
        if published is not None:
            times[1].append(_seconds(workload, partial(published.click, 1, point)))
    return Measurement(
        "a click on an encoded frame",
        1000 * statistics.median(times[0]),
        "ms",
        "lower",
        1000 * statistics.median(times[1]) if times[1] else None,
        f"sam2 {published_version()}" if times[1] else "",
    )


def _dtypes(
    workload: Workload, model: SAM2, frames: NDArray[np.uint8], boxes: list[Box]
) -> Iterator[Measurement]:
    """The same in float32 and in bfloat16, which some processors compute faster."""
    half = random_model(workload.model, workload.image_size).cast(torch.bfloat16)
    models = {"bfloat16": half.to(workload.device), "float32": model}
    tracking: dict[str, list[float]] = {name: [] for name in models}
    encoding: dict[str, list[float]] = {name: [] for name in models}
    image = torch.zeros(1, 3, workload.image_size, workload.image_size, device=workload.device)
    for _ in range(workload.rounds):
        for name, network in models.items():
            with torch.inference_mode():
                encoding[name].append(_seconds(workload, partial(network.encode_image, image)))
            found = _prompted(network, frames, boxes).propagate(direction="forward")
            tracking[name].append(_seconds_per_item(found, workload))
    for name, times, unit in (
        ("encoding an image in bfloat16", encoding, "images/s"),
        ("tracking 1 object in bfloat16", tracking, "frames/s"),
    ):
        ours, other = (1 / min(times[dtype]) for dtype in models)
        yield Measurement(name, ours, unit, "higher", other, "float32")


def _memory(workload: Workload) -> Iterator[Measurement]:
    """Peak memory of a process that tracks a long clip, over that after its beginning."""
    model = random_model("nano", _MEMORY_SIDE).to(workload.device)
    short, long = _MEMORY_FRAMES
    tracker = VideoTracker(model, _MadeFrames(long))
    tracker.set_box(0, 1, (10, 10, 60, 60))
    peaks: dict[int, float] = {}
    peak = 0.0
    for done, _ in enumerate(tracker.propagate(direction="forward"), start=1):
        peak = max(peak, _memory_bytes(workload.device))
        if done in (short, long):
            peaks[done] = peak
    yield Measurement(
        f"peak memory, {long} frames tracked",
        peaks[long] / 2**20,
        "MiB",
        "lower",
        peaks[short] / 2**20,
        f"{short} frames",
    )


class _MadeFrames:
    """A `FrameSource` of frames that are made when they are read, so that none has to be kept."""

    frame_size = FRAME_SIZE
    is_rgb = True
    signature = "made"

    def __init__(self, num_frames: int) -> None:
        self.num_frames = num_frames

    def read(self, frame_index: int) -> NDArray[np.uint8]:
        return np.random.default_rng(frame_index).integers(0, 255, (*FRAME_SIZE, 3), np.uint8)

    def close(self) -> None:
        """Nothing to release."""


def _prompted(model: SAM2, frames: NDArray[np.uint8], boxes: list[Box]) -> VideoTracker:
    tracker = VideoTracker(model, frames)
    for object_id, box in enumerate(boxes, start=1):
        tracker.set_box(0, object_id, box)
    return tracker


def _seconds(workload: Workload, work: Callable[[], Any]) -> float:
    """How long a call takes, on the device too."""
    _synchronise(workload.device)
    start = time.perf_counter()
    work()
    _synchronise(workload.device)
    return time.perf_counter() - start


def _seconds_per_item(items: Iterator[Any], workload: Workload) -> float:
    """How long an item takes once the first ones are done."""
    for _ in islice(items, _SPEED_UP_TO):
        pass
    count = workload.num_frames - _SPEED_UP_TO
    return _seconds(workload, lambda: [None for _ in items]) / count


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _memory_bytes(device: str) -> int:
    """The device's memory that is in use, or on a CPU the process's."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * mmap.PAGESIZE
    import resource  # which Windows lacks

    # The most there ever was, in bytes on macOS: what came before may hide what comes now.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
