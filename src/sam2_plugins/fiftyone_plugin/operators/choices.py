"""Inputs that several operators have, and walking over the videos that were chosen."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import fiftyone.operators as foo
import fiftyone.operators.types as types

from sam2_plugins.core import SAM2, list_models
from sam2_plugins.fiftyone_plugin.options import load_shared_model
from sam2_plugins.fiftyone_plugin.sources import Unit, root_dataset
from sam2_plugins.fiftyone_plugin.store import clean_field
from sam2_plugins.fiftyone_plugin.tracks import check_masks_field, list_media, mask_fields

DEFAULT_FIELD = "masks"
_ENDLESS = 10**9
_PROGRESS_S = 1.0
"""Every report of a delegated run is a write to the database."""


class FormOperator(foo.Operator):  # type: ignore[misc]  # FiftyOne is untyped
    """An operator with a form that follows what is chosen in it, and whose errors are seen.

    Attributes:
        NAME: By which it is called.
        LABEL: What the App shows.
        DESCRIPTION: What it does.
        MAY_BE_DELEGATED: Whether it may be queued for a worker, too.
    """

    NAME: ClassVar[str]
    LABEL: ClassVar[str]
    DESCRIPTION: ClassVar[str]
    MAY_BE_DELEGATED: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        """Every such operator tells its errors in the same way."""
        super().__init_subclass__()
        cls.execute = telling_errors(cls.execute)

    @property
    def config(self) -> foo.OperatorConfig:
        """Name and how it runs."""
        return foo.OperatorConfig(
            name=self.NAME,
            label=self.LABEL,
            description=self.DESCRIPTION,
            dynamic=True,
            allow_immediate_execution=True,
            allow_delegated_execution=self.MAY_BE_DELEGATED,
        )


def telling_errors(execute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Shows what an operator raises as a note in the App, which by itself hides the reason."""

    @functools.wraps(execute)
    def told(self: Any, ctx: Any) -> Any:
        try:
            return execute(self, ctx)
        except (ValueError, OSError) as error:
            if not ctx.delegated:
                ctx.ops.notify(str(error), variant="error")
            raise

    return told


def target_units(ctx: Any) -> tuple[Any, list[Unit]]:
    """The dataset, and the videos or images that were chosen.

    Raises:
        ValueError: Nothing was chosen, or what cannot be worked on.
    """
    view = target_view(ctx)
    units = list_media(view)
    if not units:
        raise ValueError("no samples were chosen; choose the dataset, a view or a selection")
    return root_dataset(view), units


def target_view(ctx: Any) -> Any:
    """What was chosen: of grouped datasets the slice that is shown."""
    view = ctx.target_view()
    is_ordered = getattr(view, "_is_dynamic_groups", False)
    if view.media_type == "group" and not is_ordered:
        return ctx.target_view(require_flat=True)
    return view


def field_param(ctx: Any, name: str, default: str) -> str:
    """A parameter that names a field, without `frames.`.

    Raises:
        ValueError: It is no name of a field.
    """
    return clean_field(ctx.params.get(name) or default)


def add_masks_field(
    inputs: types.Object,
    ctx: Any,
    name: str,
    *,
    default: str = DEFAULT_FIELD,
    label: str = "Masks",
    description: str = "Field of detections with masks",
) -> None:
    """A choice among the fields of detections; anything else is refused."""
    fields = mask_fields(target_view(ctx)) if ctx.dataset is not None else []
    choices = types.AutocompleteView(allow_user_input=True)
    for field in fields:
        choices.add_choice(field, label=field)
    prop = inputs.str(name, label=label, description=description, default=default, view=choices)
    refuse_unless(
        prop, lambda: check_masks_field(target_view(ctx), field_param(ctx, name, default))
    )


def refuse_unless(prop: Any, check: Callable[[], object]) -> None:
    """Mark an input as wrong, with the one line that a check raises."""
    try:
        check()
    except ValueError as error:
        prop.invalid = True
        prop.error_message = str(error)


def add_choice(
    inputs: types.Object,
    name: str,
    values: Sequence[str],
    *,
    label: str,
    description: str = "",
    labels: Sequence[str] | None = None,
) -> None:
    """A choice among a few values; the first is the default."""
    view = types.DropdownView()
    for value, shown in zip(values, labels or values, strict=True):
        view.add_choice(value, label=shown)
    # A string, not an enum: of a wrong value FiftyOne would say that it is wrong, but not what is
    # right.
    inputs.str(name, default=values[0], label=label, description=description, view=view)


def choice_param(ctx: Any, name: str, values: Sequence[str]) -> str:
    """A parameter that is one of a few values; the first is the default.

    Raises:
        ValueError: It is another.
    """
    value = ctx.params.get(name) or values[0]
    if value not in values:
        raise ValueError(f"{name} must be {', '.join(values)}, not {value!r}")
    return str(value)


def add_model(inputs: types.Object) -> None:
    """A choice among all models there are, the user's own too; a path is taken as well."""
    view = types.AutocompleteView(allow_user_input=True)
    for info in list_models():
        view.add_choice(info.name, label=info.name)
    inputs.str(
        "model",
        default="nano",
        label="Model",
        description="A name, or the path of a checkpoint",
        view=view,
    )


def model_param(ctx: Any) -> SAM2:
    """The model that was chosen, loaded once."""
    return load_shared_model(
        ctx.params.get("model") or "nano",
        ctx.params.get("image_size") or None,
        ctx.params.get("device") or "auto",
    )


def number_param(ctx: Any, name: str, default: float, *, least: float, most: float) -> float:
    """A parameter that is a number.

    Raises:
        ValueError: It is none, or out of range.
    """
    value = ctx.params.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not least <= number <= most:
        to = "on" if most >= _ENDLESS else f"to {most:g}"
        raise ValueError(f"{name} must be a number from {least:g} {to}, not {value!r}")
    return number


def whole_param(ctx: Any, name: str, default: int, *, least: int = 1, most: int = _ENDLESS) -> int:
    """A parameter that is a whole number.

    Raises:
        ValueError: It is none, or out of range.
    """
    number = number_param(ctx, name, default, least=least, most=most)
    if number != int(number):
        raise ValueError(f"{name} must be a whole number, not {ctx.params[name]!r}")
    return int(number)


def add_whole(
    inputs: types.Object,
    ctx: Any,
    name: str,
    default: int,
    *,
    label: str,
    description: str = "",
) -> None:
    """A whole number of 1 or more; anything else is refused."""
    prop = inputs.int(name, default=default, label=label, description=description)
    refuse_unless(prop, lambda: whole_param(ctx, name, default))


def with_progress(ctx: Any, units: Sequence[Unit]) -> Iterator[Unit]:
    """The videos one by one, with the progress reported."""
    reported = 0.0
    for number, unit in enumerate(units):
        if time.monotonic() - reported > _PROGRESS_S:
            reported = time.monotonic()
            label = f"{number + 1} of {len(units)}"
            ctx.set_progress(progress=number / len(units), label=label)
        yield unit
    ctx.set_progress(progress=1.0, label=f"{len(units)} done")
