"""`sam2-plugins benchmark napari`: how quick the window is, and the memory of a long run."""

from __future__ import annotations

import math
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_plugins.commands.console import json_result, result, say
from sam2_plugins.commands.napari import check_display
from sam2_plugins.commands.options import add_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

LATENCY_GOAL_MS, CLICK_GOAL_MS = 50.0, 150.0
BEAT_MS = 5
TIMEOUT_S = 3600.0
WIDGET = ("sam2-plugins", "SAM 2")
POINTS, MASKS = "SAM 2 points", "SAM 2 masks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--model", default="nano", help="a name from `sam2-plugins models` (nano)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
    parser.add_argument("--side", type=int, default=512, help="of the slices, in pixels (512)")
    parser.add_argument("--slices", type=int, default=64, help="of the stack (64)")
    parser.add_argument("--objects", type=int, default=4, help="that are propagated (4)")
    parser.add_argument("--clicks", type=int, default=20, help="that are timed (20)")
    parser.add_argument(
        *("--long",), type=int, default=1000, help="slices of the stack for memory; 0: none (1000)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure in a real window and print a table; 1 where a goal is missed."""
    check_display()
    import napari
    from sam2_plugins.napari_plugin.models import ModelChoice

    figures: dict[str, float] = {}
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    viewer = napari.Viewer(show=True)
    try:
        viewer.window.resize(1300, 850)
        _, widget = viewer.window.add_plugin_dock_widget(*WIDGET)
        # Work is saved as it is for a person, but not among theirs.
        widget.controller.autosave_folder = Path(folder.name)
        widget.controller.choose_model(ModelChoice(arguments.model, device=arguments.device))
        viewer.add_image(moving_disks(arguments.slices, arguments.side, arguments.objects))
        bench = Bench(viewer, widget)
        say("clicks on encoded slices")
        figures |= bench.clicks(arguments.clicks, arguments.slices)
        say("propagation")
        figures |= bench.propagation(arguments.objects, arguments.side)
        device = widget.controller.models.device
        if arguments.long:
            say(f"memory over {arguments.long} slices")
            figures |= bench.long_run(arguments.long)
        widget.controller.close(TIMEOUT_S)
    finally:
        viewer.close()
        folder.cleanup()
    _report(arguments, figures, device)
    return int(not (is_met(figures, "latency_p95_ms", LATENCY_GOAL_MS)
                    and is_met(figures, "click_median_ms", CLICK_GOAL_MS)))  # fmt: skip


class Bench:
    """Measures in one viewer.

    Args:
        viewer: With a stack open.
        widget: The SAM 2 widget in it.
    """

    def __init__(self, viewer: Any, widget: Any) -> None:
        self.viewer = viewer
        self.widget = widget

    def clicks(self, count: int, num_slices: int) -> dict[str, float]:
        """From a click on a slice that is encoded to its mask in the layer, and on the screen.

        Args:
            count: Clicks, each on a slice of its own.
            num_slices: Of the stack.
        """
        from qtpy.QtWidgets import QApplication

        controller = self.widget.controller
        height, width = self.viewer.layers[MASKS].data.shape[-2:]
        times, painted = [], []
        for number in range(count):
            frame = number % num_slices
            self._go_to(frame)
            # The first click encodes the slice, and at first loads the model; it is taken back.
            self._click(frame, height / 2, width / 2)
            controller.undo()
            self._wait(lambda: not controller.is_busy)
            started = time.perf_counter()
            times.append(1000 * self._click(frame, height / 2, width / 2))
            QApplication.processEvents()
            painted.append(1000 * (time.perf_counter() - started))
        while controller.undo():
            self._wait(lambda: not controller.is_busy)
        return {
            "click_median_ms": percentile(times, 50),
            "click_p95_ms": percentile(times, 95),
            "click_painted_median_ms": percentile(painted, 50),
        }

    def propagation(self, num_objects: int, side: int) -> dict[str, float]:
        """The event loop's latency while objects are propagated.

        Args:
            num_objects: One click each, on the middle slice.
            side: Of the slices.
        """
        controller = self.widget.controller
        num_slices = len(self.viewer.layers[MASKS].data)
        middle = num_slices // 2
        self._go_to(middle)
        for y, x in disk_places(num_objects, side, middle):
            self._click(middle, y, x)
            controller.new_object()
        rest, _ = self._latencies(2.0)
        controller.propagate()
        latencies, seconds = self._latencies(is_over=lambda: not controller.is_busy)
        return {
            "latency_idle_p95_ms": percentile(rest, 95),
            "latency_p50_ms": percentile(latencies, 50),
            "latency_p95_ms": percentile(latencies, 95),
            "latency_max_ms": max(latencies),
            "masks_per_second": num_objects * num_slices / seconds,
        }

    def long_run(self, num_slices: int, side: int = 128) -> dict[str, float]:
        """Memory of the process while one object is propagated through a long stack.

        Args:
            num_slices: Of the stack; its pixels are made when they are read.
            side: Of the slices.
        """
        import psutil  # type: ignore[import-untyped]

        process = psutil.Process()
        controller = self.widget.controller
        layer = self.viewer.add_image(moving_disks(num_slices, side, 1), name="long")
        self.widget.session.choose([layer])
        self._go_to(0)
        ((y, x),) = disk_places(1, side, 0)
        self._click(0, y, x)
        seen: list[tuple[float, int]] = []

        def note(progress: Any) -> None:
            seen.append((progress.share, process.memory_info().rss))

        controller.progressed.connect(note)
        controller.propagate()
        self._wait(lambda: not controller.is_busy)
        controller.progressed.disconnect(note)
        early = [rss for share, rss in seen if share <= 0.1] or [seen[0][1]]
        late = [rss for _, rss in seen]
        return {
            "long_slices": float(num_slices),
            "long_rss_mib": max(late) / 2**20,
            "long_growth_mib": (max(late) - max(early)) / 2**20,
        }

    def _go_to(self, frame: int) -> None:
        self.viewer.dims.set_point(0, frame)

    def _click(self, frame: int, y: float, x: float) -> float:
        """Click, and wait until the mask is in the layer; how many seconds that took."""
        controller = self.widget.controller
        started = time.perf_counter()
        self.viewer.layers[POINTS].add([frame, y, x])
        self._wait(lambda: not controller.is_busy)
        return time.perf_counter() - started

    def _wait(self, is_over: Callable[[], bool]) -> None:
        from qtpy.QtWidgets import QApplication

        until = time.monotonic() + TIMEOUT_S
        while not is_over():
            QApplication.processEvents()
            time.sleep(0.001)
            if time.monotonic() > until:
                raise TimeoutError("the window did not get there")

    def _latencies(
        self, seconds: float = math.inf, is_over: Callable[[], bool] | None = None
    ) -> tuple[list[float], float]:
        """How much too late a timer of the window's event loop is, in ms, and for how long."""
        from qtpy.QtCore import QEventLoop, Qt, QTimer

        loop, timer = QEventLoop(), QTimer()
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        started = last = time.perf_counter()
        found: list[float] = []

        def beat() -> None:
            nonlocal last
            now = time.perf_counter()
            found.append(max(1000 * (now - last) - BEAT_MS, 0.0))
            if now - started > seconds or (is_over is not None and is_over()):
                loop.quit()
            last = time.perf_counter()

        timer.timeout.connect(beat)
        timer.start(BEAT_MS)
        loop.exec()
        timer.stop()
        return found, time.perf_counter() - started


def moving_disks(num_slices: int, side: int, num_disks: int) -> NDArray[np.uint16]:
    """(num_slices, side, side) bright disks on a dim, noisy background, drifting to and fro."""
    import numpy as np

    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    noise = random.integers(0, 120, (side, side), np.uint16)
    stack = np.empty((num_slices, side, side), np.uint16)
    for index, frame in enumerate(stack):
        frame[:] = 300 + np.roll(noise, index, axis=1)
        for y, x in disk_places(num_disks, side, index):
            frame[np.hypot(rows - y, columns - x) < side / 14] = 4000
    return stack


def disk_places(num_disks: int, side: int, index: int) -> list[tuple[float, float]]:
    """(y, x) of every disk on a slice."""
    across = math.ceil(math.sqrt(num_disks))
    drift = math.sin(index / 40) * side / 20
    return [
        ((disk // across + 0.5) * side / across, (disk % across + 0.5) * side / across + drift)
        for disk in range(num_disks)
    ]


def percentile(values: list[float], share: float) -> float:
    """The value below which so many percent are."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share / 100), len(ordered) - 1)]


def is_met(figures: dict[str, float], name: str, goal: float) -> bool:
    """Whether a figure is as small as it should be."""
    return figures[name] < goal


def _report(arguments: argparse.Namespace, figures: dict[str, float], device: str) -> None:
    machine = f"{platform.machine()}, Python {sys.version.split()[0]}, {device}"
    if arguments.json:
        rounded = {name: round(value, 2) for name, value in figures.items()}
        json_result(command="benchmark napari", machine=machine, model=arguments.model, **rounded)
        return
    stack = f"{arguments.slices} x {arguments.side} x {arguments.side}"
    result(f"{arguments.model} on {machine}; {stack}, {arguments.objects} objects")
    rows = [
        ("event loop late, propagating, 95 %", "latency_p95_ms", "ms", LATENCY_GOAL_MS),
        ("event loop late, propagating, most", "latency_max_ms", "ms", None),
        ("event loop late, at rest, 95 %", "latency_idle_p95_ms", "ms", None),
        ("click to mask, slice encoded, median", "click_median_ms", "ms", CLICK_GOAL_MS),
        ("click to mask, slice encoded, 95 %", "click_p95_ms", "ms", None),
        ("the same, and painted, median", "click_painted_median_ms", "ms", None),
        ("propagation", "masks_per_second", "masks/s", None),
        (f"memory of the process, {arguments.long} slices", "long_rss_mib", "MiB", None),
        ("of which after the first tenth", "long_growth_mib", "MiB", None),
    ]
    for title, name, unit, goal in rows:
        if name in figures:
            ending = "" if goal is None else f"  (goal: less than {goal:g})"
            result(f"{title:40s} {figures[name]:8.1f} {unit}{ending}")
