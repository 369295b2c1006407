"""Speed, memory and write rate of propagation, beside FiftyOne's built-in video model.

Each run has a process of its own, so that its peak memory is its own.
"""

import multiprocessing
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import av
import numpy as np

from sam2_plugins.fiftyone_plugin.importing import import_fiftyone

FRAME_SIZE = (270, 480)
WRITTEN_OBJECTS = 3


@dataclass(frozen=True, slots=True)
class Task:
    """One run.

    Attributes:
        dataset: Its name; one video with a box on the first frame.
        weights: A checkpoint in the published format.
        config_file: The published package's name for the network; "" to run ours.
        image_size: Side of the network's input.
        device: "cpu" or "cuda".
    """

    dataset: str
    weights: str
    config_file: str
    image_size: int
    device: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run took.

    Attributes:
        seconds: From opening the video to the last label in the database.
        cpu_seconds: Of all cores, which depends little on what else the machine does.
        growth_bytes: By how much the process's memory grew at most, frames and model included.
        device_bytes: Peak memory on the GPU; 0 on a CPU.
    """

    seconds: float
    cpu_seconds: float
    growth_bytes: int
    device_bytes: int


def make_dataset(folder: Path, num_frames: int) -> Any:
    """A dataset of one H.264 video of a drifting disc, with a box on its first frame.

    The built-in model needs every frame in the database, so all are.
    """
    fiftyone = import_fiftyone()
    path = folder / f"{num_frames}.mp4"
    _write_video(path, num_frames)
    dataset = fiftyone.Dataset()
    sample = fiftyone.Sample(filepath=str(path))
    box = [30 / 480, 40 / 270, 40 / 480, 40 / 270]
    label = fiftyone.Detection(label="disc", index=1, bounding_box=box)
    sample.frames[1] = fiftyone.Frame(prompts=fiftyone.Detections(detections=[label]))
    dataset.add_sample(sample)
    dataset.ensure_frames()
    return dataset


def measure(task: Task) -> Cost:
    """Run a task in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_run, (task,))


def measure_writing(num_frames: int) -> float:
    """Frames per second that are merged into the database, each with three masks."""
    from sam2_plugins.fiftyone_plugin.labels import Identity, make_generated_detection
    from sam2_plugins.fiftyone_plugin.propagating import FLUSH_FRAMES
    from sam2_plugins.fiftyone_plugin.sources import list_units
    from sam2_plugins.fiftyone_plugin.store import UnitLabels, declare_output

    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder), num_frames)
    declare_output(dataset, "masks", is_video=True)
    labels = UnitLabels(dataset, list_units(dataset)[0])
    rows, columns = np.mgrid[: FRAME_SIZE[0], : FRAME_SIZE[1]]
    start = time.perf_counter()
    for first in range(1, num_frames + 1, FLUSH_FRAMES):
        chunk = {}
        for number in range(first, min(first + FLUSH_FRAMES, num_frames + 1)):
            chunk[number] = [
                (
                    identity := Identity(f"{index:024x}", index, "disc"),
                    make_generated_detection(
                        (rows - 130) ** 2 + (columns - 200 - number % 50) ** 2 < (40 * index) ** 2,
                        identity,
                        predicted_iou=0.9,
                        object_score_logit=4.0,
                        run_id="benchmark",
                    ),
                )
                for index in range(1, WRITTEN_OBJECTS + 1)
            ]
        labels.merge("masks", chunk)
    rate = num_frames / (time.perf_counter() - start)
    dataset.delete()
    return rate


def build_published(config_file: str, ckpt_path: str, device: Any) -> Any:
    """FiftyOne's built-in model calls this in place of the package's builder.

    Args:
        config_file: The package's name for the network, and the input's side: "NAME@SIDE".
        ckpt_path: The weights.
        device: Where to.
    """
    name, _, side = config_file.rpartition("@")
    cells = [int(side) // 16] * 2
    attention = "++model.memory_attention.layer"
    build = import_module("sam2.build_sam").build_sam2_video_predictor
    return build(
        name,
        ckpt_path,
        device=str(device),
        hydra_overrides_extra=[
            f"++model.image_size={side}",
            f"{attention}.self_attention.feat_sizes={cells}",
            f"{attention}.cross_attention.feat_sizes={cells}",
        ],
    )


def _run(task: Task) -> Cost:
    dataset = import_fiftyone().load_dataset(task.dataset)
    before = _memory_now()
    start, cpu_start = time.perf_counter(), time.process_time()
    if task.config_file:
        _run_built_in(dataset, task)
    else:
        _run_ours(dataset, task)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    growth = _peak_memory() - before
    import torch

    on_device = torch.cuda.max_memory_allocated() if task.device != "cpu" else 0
    return Cost(seconds, cpu_seconds, growth, on_device)


def _run_ours(dataset: Any, task: Task) -> None:
    from sam2_plugins.fiftyone_plugin.options import Options
    from sam2_plugins.fiftyone_plugin.propagating import prepare, propagate_units
    from sam2_plugins.fiftyone_plugin.records import FAILED

    options = Options(
        output_field="ours",
        model=task.weights,
        image_size=task.image_size,
        device=task.device,
        overwrite=True,
    )
    for progress in propagate_units(dataset, prepare(dataset, options), options):
        if progress.state == FAILED:
            raise RuntimeError(progress.message)


def _run_built_in(dataset: Any, task: Task) -> None:
    wrapper = import_module("fiftyone.utils.sam2")
    config = wrapper.SegmentAnything2VideoModelConfig(
        {
            "entrypoint_fcn": f"{__name__}.build_published",
            "entrypoint_args": {"config_file": f"{task.config_file}@{task.image_size}"},
            "model_path": task.weights,
            "device": task.device,
        }
    )
    # It downloads what it does not know.
    config.download_model_if_necessary = lambda: None
    model = wrapper.SegmentAnything2VideoModel(config)
    dataset.apply_model(model, label_field="frames.built_in", prompt_field="frames.prompts")


def _memory_now() -> int:
    if not Path("/proc/self/statm").exists():
        return _peak_memory()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _write_video(path: Path, num_frames: int) -> None:
    rows, columns = np.mgrid[: FRAME_SIZE[0], : FRAME_SIZE[1]]
    ground = np.random.default_rng(0).integers(60, 100, (*FRAME_SIZE, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = FRAME_SIZE[1], FRAME_SIZE[0], "yuv420p"
        for index in range(num_frames):
            frame = ground.copy()
            x = 50 + index * 380 / num_frames
            frame[(rows - 60) ** 2 + (columns - x) ** 2 < 400] = (220, 60, 40)
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
