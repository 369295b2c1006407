"""Propagates on Ray: actors that keep the model loaded, one video at a time.

Only names, ids and parameters travel; the database is the only thing that workers share, so every
one of them must reach it, the videos' files and the plugin.
"""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from sam2_plugins.fiftyone_plugin.importing import fiftyone_variables, import_fiftyone
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.propagating import (
    BUSY,
    SKIPPED,
    TRACKING,
    Progress,
    propagate_units,
)
from sam2_plugins.fiftyone_plugin.records import FAILED, Records, describe_error
from sam2_plugins.fiftyone_plugin.sources import Unit

NO_RAY = "Ray is not installed: pip install 'sam2-plugins[ray]'"
TRIES = 3
POLL_S = 1.0


class Worker:
    """What runs in each of Ray's processes."""

    def process_id(self) -> int:
        """Of this process."""
        return os.getpid()

    def run(self, dataset_name: str, unit: Unit, params: dict[str, Any]) -> tuple[str, str]:
        """Propagate through one video.

        Returns:
            How it ended, and a message where it failed.
        """
        dataset = import_fiftyone().load_dataset(dataset_name)
        options = Options.from_params(params)
        last = Progress(unit, SKIPPED)
        for progress in propagate_units(dataset, [unit], options):
            last = progress
        return last.state, last.message


@dataclass(slots=True)
class _Task:
    """A video that waits or runs."""

    unit: Unit
    tries: int = 0


class _Pool:
    """Actors, and which task each has."""

    def __init__(self, ray: Any, size: int) -> None:
        self._ray = ray
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        # Restarted by hand: a task that was running must first be known to have failed.
        self._make = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(Worker).remote
        self.idle = [self._make() for _ in range(size)]
        self.running: dict[Any, tuple[Any, _Task]] = {}

    def start(self, task: _Task, dataset_name: str, params: dict[str, Any]) -> None:
        actor = self.idle.pop()
        task.tries += 1
        self.running[actor.run.remote(dataset_name, task.unit, params)] = actor, task

    def collect(self) -> list[tuple[_Task, str, str]]:
        """Tasks that ended, how, and why; a dead actor is replaced."""
        ready, _ = self._ray.wait(list(self.running), num_returns=1, timeout=POLL_S)
        ended = []
        for reference in ready:
            actor, task = self.running.pop(reference)
            try:
                state, message = self._ray.get(reference)
            except self._ray.exceptions.RayActorError:
                actor, state, message = self._make(), BUSY, "its worker died"
            except self._ray.exceptions.RayTaskError as error:
                state, message = FAILED, describe_error(error.cause or error)
            self.idle.append(actor)
            ended.append((task, state, message))
        return ended

    def close(self) -> None:
        """End the actors, whatever they do."""
        for actor in [*self.idle, *(actor for actor, _ in self.running.values())]:
            self._ray.kill(actor)


def run_on_ray(
    dataset: Any, units: Sequence[Unit], options: Options, *, num_workers: int | None = None
) -> Generator[Progress, None, None]:
    """Propagate through videos on Ray's workers.

    Args:
        dataset: Saved under its name.
        units: The videos.
        options: How to propagate.
        num_workers: Processes; by default one per GPU, or per two cores where there is none.

    Yields:
        Progress of each video that runs, every second, then how it ended.

    Raises:
        ImportError: Ray is not installed.
        OSError: It does not start.
    """
    ray = start_ray()
    resources = ray.cluster_resources()
    usual = int(resources.get("GPU", 0)) or max(1, int(resources.get("CPU", 1)) // 2)
    pool = _Pool(ray, min(num_workers or usual, len(units)))
    records = Records(dataset)
    waiting = [_Task(unit) for unit in reversed(units)]
    try:
        while waiting or pool.running:
            while waiting and pool.idle:
                pool.start(waiting.pop(), dataset.name, options.to_params())
            for task, state, message in pool.collect():
                if state == BUSY and task.tries < TRIES:
                    waiting.insert(0, task)
                else:
                    yield Progress(task.unit, FAILED if state == BUSY else state, message=message)
            yield from _look(records, pool, options)
    finally:
        pool.close()


def _look(records: Records, pool: _Pool, options: Options) -> Generator[Progress, None, None]:
    """How far the running videos are, by their records."""
    for _, task in list(pool.running.values()):
        record = records.read(task.unit.unit_id, options.field)
        if record and record.is_alive:
            yield Progress(task.unit, TRACKING, record.frames_done, record.frames_total)


def start_ray() -> Any:
    """Ray's module, with a connection to it that `ray.shutdown` ends.

    Raises:
        ImportError: Ray is not installed.
        OSError: It does not start.
    """
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise ImportError(NO_RAY, name="ray") from error
    if not ray.is_initialized():
        try:
            ray.init(
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                runtime_env={"env_vars": fiftyone_variables()},
            )
        except Exception as error:  # Ray raises this very class where it is slow to start
            raise OSError(f"Ray does not start: {' '.join(str(error).split())}") from error
    return ray
