"""The form of `propagate_masks`: what there is to choose from, and what is wrong with a choice."""

from importlib.util import find_spec
from typing import Any

import fiftyone.operators.types as types

from sam2_plugins.fiftyone_plugin import store
from sam2_plugins.fiftyone_plugin.engines import engine_param
from sam2_plugins.fiftyone_plugin.operators.choices import (
    add_choice,
    add_model,
    add_prompt_fields,
    is_on_frames,
    refuse_unless,
    target_view,
)
from sam2_plugins.fiftyone_plugin.options import ENGINES, STORAGES, Options
from sam2_plugins.fiftyone_plugin.ray_runner import NO_RAY
from sam2_plugins.fiftyone_plugin.run_states import check_state, state_field
from sam2_plugins.fiftyone_plugin.runner import DIRECTIONS
from sam2_plugins.fiftyone_plugin.sources import list_units, root_dataset

_USUAL = Options()
_MORE = (
    *("overwrite", "start", "stop", "stride", "image_size", "device"),
    *("mask_storage", "mask_dir", "work_dir"),
)
"""What is shown on demand only."""


def make_form(ctx: Any) -> types.Object:
    """The inputs; every one has a default, and wrong ones say so at once."""
    inputs = types.Object()
    view = target_view(ctx) if ctx.dataset is not None else None
    if view is not None:
        _refuse_what_is_no_video(inputs, view)
    add_prompt_fields(inputs, ctx)
    _add_output(inputs, ctx, view)
    add_model(inputs, ctx)
    add_choice(
        *(inputs, "direction", DIRECTIONS),
        label="Direction",
        labels=("both ways from the prompts", "forward only", "backward only"),
    )
    _add_engine(inputs, ctx)
    inputs.bool("more", label="More settings", default=False, view=types.SwitchView())
    if ctx.params.get("more") or any(_is_given(ctx, name) for name in _MORE):
        _add_more(inputs, ctx)
    _refuse_wrong(inputs, ctx)
    return inputs


def _refuse_what_is_no_video(inputs: types.Object, view: Any) -> None:
    try:
        if not len(view):
            raise ValueError("there is no sample to propagate through: choose others above")
        list_units(view.limit(1))
    except ValueError as error:
        notice = inputs.view("problem", types.Error(label=str(error)))
        notice.invalid, notice.error_message = True, str(error)


def _add_output(inputs: types.Object, ctx: Any, view: Any) -> None:
    field = str(ctx.params.get("output_field") or _USUAL.output_field).strip()
    is_there = view is not None and view.has_field(state_field(field))
    prop = inputs.str(
        "output_field",
        label="Masks",
        description="Of an earlier run: only tracks whose prompts changed are redone"
        if is_there
        else "A new field for the masks",
        default=_USUAL.output_field,
    )
    if view is not None:
        dataset, is_video = root_dataset(view), is_on_frames(view)
        refuse_unless(prop, lambda: _check_output(dataset, field, is_video=is_video))


def _check_output(dataset: Any, name: str, *, is_video: bool) -> None:
    field = store.clean_field(name)
    store.check_output(dataset, field, is_video=is_video)
    check_state(dataset, field)


def _add_engine(inputs: types.Object, ctx: Any) -> None:
    add_choice(
        *(inputs, "engine", ENGINES),
        label="Where",
        labels=(
            "here, one video after the other",
            "on FiftyOne's queue, split among its workers",
            "on Ray's workers",
        ),
    )
    engine = ctx.params.get("engine")
    if engine == "delegated":
        inputs.int(
            "videos_per_task",
            label="Videos per queued task",
            description="Empty for 256 tasks at most; workers: fiftyone delegated launch",
        )
    elif engine == "ray":
        inputs.int(
            "num_workers", label="Ray workers", description="Empty for one per GPU or two cores"
        )


def _add_more(inputs: types.Object, ctx: Any) -> None:
    inputs.bool(
        "overwrite",
        label="Redo everything",
        description="Also tracks whose prompts have not changed",
        default=_USUAL.overwrite,
    )
    inputs.int("start", label="First frame", description="From 1; empty for the first of all")
    inputs.int("stop", label="Last frame", description="Empty for the last of all")
    inputs.int("stride", label="Every nth frame", default=_USUAL.stride)
    inputs.int(
        "image_size",
        label="Size of the network's input",
        description="Pixels a side, a multiple of 32; empty for the model's own. Larger sees finer",
    )
    inputs.str(
        "device",
        label="Device",
        description="auto, cpu, mps, cuda or cuda:N",
        default=_USUAL.device,
    )
    add_choice(
        *(inputs, "mask_storage", STORAGES),
        label="Masks are kept in",
        labels=("the database", "PNG files"),
    )
    if ctx.params.get("mask_storage") == "path":
        inputs.str("mask_dir", label="Folder of mask files", description="Empty for FiftyOne's own")
    inputs.str(
        "work_dir",
        label="Folder of unfinished work",
        description="From which an interrupted run goes on; empty for FiftyOne's own",
    )


def _is_given(ctx: Any, name: str) -> bool:
    given = ctx.params.get(name)
    return given is not None and given not in ("", getattr(_USUAL, name))


def _refuse_wrong(inputs: types.Object, ctx: Any) -> None:
    """What no input has said of itself, at the input that the message begins with."""
    try:
        Options.from_params(ctx.params)
        if engine_param(ctx.params) == "ray" and find_spec("ray") is None:
            raise ValueError(NO_RAY)
    except ValueError as error:
        name = str(error).split()[0].rstrip(":")
        wrong = inputs.properties.get(name) or inputs.properties["engine"]
        if not any(prop.invalid for prop in inputs.properties.values()):
            wrong.invalid, wrong.error_message = True, str(error)
