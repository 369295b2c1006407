"""Where a run takes place: here, on FiftyOne's delegated queue, or on Ray."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from sam2_plugins.fiftyone_plugin import store
from sam2_plugins.fiftyone_plugin.database import patiently
from sam2_plugins.fiftyone_plugin.mask_files import check_mask_folder
from sam2_plugins.fiftyone_plugin.options import ENGINES, Options, whole_number
from sam2_plugins.fiftyone_plugin.propagating import QUEUED, Progress, prepare, propagate_units
from sam2_plugins.fiftyone_plugin.records import Records
from sam2_plugins.fiftyone_plugin.sources import Unit, has_slices, root_dataset

Events = Generator[Progress | int, None, None]


def start_engine(ctx: Any, options: Options) -> Events:
    """Run on what an operator is asked to work on, as `run_engine` does."""
    view = ctx.target_view()
    if has_slices(view):
        view = ctx.target_view(require_flat=True)
    # Of a queued run that is a part of another, all of its videos may be without prompts.
    yield from run_engine(view, options, ctx.params, is_part=bool(ctx.delegated))


def run_engine(
    view: Any, options: Options, params: Mapping[str, Any], *, is_part: bool = False
) -> Events:
    """Run on the engine that the parameters name.

    Args:
        view: Of the videos.
        options: How to propagate.
        params: "engine", and what only one engine takes.
        is_part: Whether there may be no prompts at all.

    Yields:
        The number of videos, then progress of each.

    Raises:
        ValueError: There is no such engine, or a field does not fit, or holds no prompt.
        ImportError: The engine is not installed.
        OSError: Mask files cannot be written.
    """
    engine = engine_param(params)
    units = prepare(view, options)
    if not is_part:
        refuse_without_prompts(root_dataset(view), units, options)
    yield len(units)
    if engine == "delegated":
        from sam2_plugins.fiftyone_plugin.queueing import queue_units

        size = whole_number("videos_per_task", params.get("videos_per_task"))
        for _, batch in queue_units(view, units, options, videos_per_task=size):
            yield from (Progress(unit, QUEUED) for unit in batch)
    elif engine == "ray":
        from sam2_plugins.fiftyone_plugin.ray_runner import run_on_ray

        workers = whole_number("num_workers", params.get("num_workers"))
        yield from run_on_ray(root_dataset(view), units, options, num_workers=workers)
    else:
        check_mask_folder(options)
        yield from propagate_units(root_dataset(view), units, options)


def engine_param(params: Mapping[str, Any]) -> str:
    """Where to run, checked.

    Raises:
        ValueError: There is no such engine, or what it takes is wrong.
    """
    engine = params.get("engine") or ENGINES[0]
    if engine not in ENGINES:
        raise ValueError(f"engine must be {', '.join(ENGINES)}, not {engine!r}")
    for name in ("num_workers", "videos_per_task"):
        whole_number(name, params.get(name))
    return str(engine)


def refuse_without_prompts(dataset: Any, units: Sequence[Unit], options: Options) -> None:
    """Say so where nothing was said of any object: nothing would be done, without a word.

    Where something was said before, and taken back, there is something to do.

    Raises:
        ValueError: There is no prompt.
    """
    fields = options.prompt_fields
    if patiently(lambda: store.count_prompts(dataset, units, fields, options.field)):
        return
    meant = {unit.unit_id for unit in units}
    records = [one for one in Records(dataset).find_all(options.field) if one.unit_id in meant]
    if not any(track.prompt_fields for one in records for track in one.tracks):
        where = " and ".join(repr(field) for field in fields)
        raise ValueError(
            f"there is no prompt: {where} holds no label that a person made on any of {len(units)} "
            "videos; draw some, give what runs made keyframe=True, or name another prompt_field"
        )
