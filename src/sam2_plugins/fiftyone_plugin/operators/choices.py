"""Inputs that several operators have, and walking over the videos that were chosen."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import fiftyone.operators as foo
import fiftyone.operators.types as types

from sam2_plugins.core import SAM2, list_models
from sam2_plugins.fiftyone_plugin.options import Options, check_model, field_names
from sam2_plugins.fiftyone_plugin.queueing import alive
from sam2_plugins.fiftyone_plugin.records import describe_error
from sam2_plugins.fiftyone_plugin.sources import Unit, has_slices, root_dataset
from sam2_plugins.fiftyone_plugin.store import check_prompt_fields, clean_field, possible_prompts
from sam2_plugins.fiftyone_plugin.tracks import check_masks_field, list_media, mask_fields

DEFAULT_FIELD = "masks"
DEFAULT_PROMPTS = "prompts"
DEFAULT_MODEL = "nano"
_Default = TypeVar("_Default", bound=float | None)
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
    """Shows errors in a note, as the App hides their reason; other workers see it at work."""

    @functools.wraps(execute)
    def told(self: Any, ctx: Any) -> Any:
        try:
            with alive(getattr(ctx, "_delegated_operation_id", None)):
                return execute(self, ctx)
        except Exception as error:
            if not ctx.delegated:
                ctx.ops.notify(describe_error(error), variant="error")
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
    return ctx.target_view(require_flat=True) if has_slices(view) else view


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
    view = target_view(ctx) if ctx.dataset is not None else None
    # A view of frames or patches knows only the fields that there were when it was made.
    root = None if view is None else root_dataset(view)
    is_video = view is not None and is_on_frames(view)
    fields = [] if root is None else mask_fields(root, is_video=is_video)
    choices = types.AutocompleteView(allow_user_input=True)
    for field in fields:
        choices.add_choice(field, label=field)
    prop = inputs.str(name, label=label, description=description, default=default, view=choices)
    refuse_unless(
        prop, lambda: check_masks_field(root, field_param(ctx, name, default), is_video=is_video)
    )


def add_prompt_fields(inputs: types.Object, ctx: Any, *, are_needed: bool = True) -> None:
    """A choice of one or more of the fields that hold labels; where some are needed, no others."""
    view = target_view(ctx) if ctx.dataset is not None else None
    found = (
        [] if view is None else possible_prompts(root_dataset(view), is_video=is_on_frames(view))
    )
    usual = DEFAULT_PROMPTS if DEFAULT_PROMPTS in found or not found else found[0]
    choices = types.AutocompleteView(multiple=True, allow_duplicates=False)
    for field in found:
        choices.add_choice(field, label=field)
    # From Python it is text with commas, too, of which FiftyOne would say that it is no list.
    is_text = isinstance(ctx.params.get("prompt_field"), str)
    prop = inputs.define_property(
        "prompt_field",
        types.String() if is_text else types.List(types.String()),
        label="Prompt fields",
        description="What was drawn: boxes, points, outlines or masks; one field or several",
        default=usual if is_text else [usual],
        view=choices,
    )
    if are_needed and view is not None:
        refuse_unless(prop, lambda: _check_prompts(ctx, view))


def _check_prompts(ctx: Any, view: Any) -> None:
    fields = prompt_fields_param(ctx)
    if not fields:
        raise ValueError("prompt_field must name a field with prompts")
    check_prompt_fields(root_dataset(view), fields, is_video=is_on_frames(view))


def prompt_fields_param(ctx: Any) -> list[str]:
    """The fields that prompts are in, without `frames.`.

    Raises:
        ValueError: It is no name of a field.
    """
    given = ctx.params.get("prompt_field")
    return field_names(DEFAULT_PROMPTS if given is None or given == "" else given)


def is_on_frames(view: Any) -> bool:
    """Whether labels are on the frames of samples: of videos, clips and frames of videos."""
    is_of_frames = bool(view._dataset._is_frames)  # noqa: SLF001 - there is no public name for it
    return is_of_frames or "video" in (view.media_type, root_dataset(view).media_type)


def refuse_unless(prop: Any, check: Callable[[], object]) -> None:
    """Mark an input as wrong, with the one line that a check raises."""
    try:
        check()
    except (ValueError, OSError) as error:
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


def add_model(inputs: types.Object, ctx: Any) -> None:
    """A choice among all models there are, the user's own too; a path is taken as well."""
    view = types.AutocompleteView(allow_user_input=True)
    for info in list_models():
        view.add_choice(info.name, label=f"{info.name} ({info.where})")
    prop = inputs.str(
        "model",
        default=DEFAULT_MODEL,
        label="Model",
        description="A name, or the path of a checkpoint; larger ones see more and take longer",
        view=view,
    )
    refuse_unless(prop, lambda: check_model(ctx.params.get("model") or DEFAULT_MODEL))


def model_settings(ctx: Any) -> Options:
    """The model that was chosen, and at which size; all else is as usual."""
    return Options(
        model=ctx.params.get("model") or DEFAULT_MODEL,
        image_size=ctx.params.get("image_size") or None,
        device=ctx.params.get("device") or "auto",
    )


def model_param(ctx: Any) -> SAM2:
    """The model that was chosen, loaded once."""
    return model_settings(ctx).load_model()


def number_param(
    ctx: Any, name: str, default: _Default, *, least: float, most: float
) -> float | _Default:
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
