"""The operator that finds everything in videos, without prompts."""

from typing import Any

import fiftyone.operators.types as types

from sam2_plugins.fiftyone_plugin.automatic import AutoOptions, find_masklets
from sam2_plugins.fiftyone_plugin.operators.choices import (
    FormOperator,
    add_model,
    field_param,
    model_param,
    model_settings,
    number_param,
    target_units,
    whole_param,
    with_progress,
)
from sam2_plugins.fiftyone_plugin.progress import noting_failure, raise_failures
from sam2_plugins.fiftyone_plugin.store import UnitLabels, declare_output

DEFAULT_FIELD = "auto_masks"
_USUAL = AutoOptions()
_THRESHOLDS = {"min_predicted_iou": "Lowest predicted IoU", "min_stability": "Lowest stability"}


class AutoMasklets(FormOperator):
    """Everything on chosen frames, each object once, through the whole video."""

    NAME = "auto_masklets"
    LABEL = "SAM 2: automatic masklets"
    DESCRIPTION = "Finds everything on some frames and follows it, without prompts"

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form."""
        inputs = types.Object()
        ctx.target_view()
        inputs.str("output_field", default=DEFAULT_FIELD, label="Masks", description="To write")
        add_model(inputs, ctx)
        inputs.str(
            "key_frames",
            default="",
            label="Frames to look at",
            description="Numbers from 1, comma separated; empty for every nth",
        )
        inputs.int("every", default=_USUAL.every, label="Every nth frame")
        inputs.str("label", default=_USUAL.label, label="Class of what is found")
        inputs.int(
            "points_per_side",
            default=_USUAL.points_per_side,
            label="Points per side",
            description="More find smaller objects, and take longer",
        )
        for name, label in _THRESHOLDS.items():
            inputs.float(name, label=label, description="From 0 to 1; empty for the model's own")
        inputs.int("min_area", default=_USUAL.min_area, label="Smallest area, in pixels")
        inputs.bool(
            "overwrite",
            default=False,
            label="Redo",
            description="Also videos that are done with the same model and settings",
        )
        return types.Property(inputs, view=types.View(label=self.LABEL))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Find and follow.

        Returns:
            `num_videos` that were done, `num_skipped` that were before, and `num_tracks`.

        Raises:
            ValueError: A number is out of range, or something is wrong with videos; the others are
                done.
        """
        options = read_options(ctx)
        field = field_param(ctx, "output_field", DEFAULT_FIELD)
        dataset, units = target_units(ctx)
        model, settings = model_param(ctx), model_settings(ctx).digest(options)
        declare_output(dataset, field, is_video=units[0].is_video)
        overwrite = bool(ctx.params.get("overwrite"))
        counts: list[int | None] = []
        failures: list[str] = []
        for unit in with_progress(ctx, units):
            with noting_failure(failures):
                labels = UnitLabels(dataset, unit)
                count = find_masklets(
                    *(model, labels),
                    field=field,
                    options=options,
                    settings=settings,
                    overwrite=overwrite,
                )
                counts.append(count)
        ctx.trigger("reload_dataset")
        raise_failures(failures, len(units))
        done = [count for count in counts if count is not None]
        return {
            "num_videos": len(done),
            "num_skipped": len(counts) - len(done),
            "num_tracks": sum(done),
        }

    def resolve_output(self, ctx: Any) -> types.Property:
        """What was found."""
        outputs = types.Object()
        outputs.int("num_videos", label="Videos")
        outputs.int("num_skipped", label="Done before")
        outputs.int("num_tracks", label="Objects")
        return types.Property(outputs, view=types.View(label="Found"))


def read_options(ctx: Any) -> AutoOptions:
    """The operator's parameters, checked.

    Raises:
        ValueError: One is malformed or out of range.
    """
    given = str(ctx.params.get("key_frames") or "")
    try:
        key_frames = tuple(int(number) for number in given.split(",") if number.strip())
    except ValueError:
        raise ValueError(f"key_frames must be numbers such as 1, 40, not {given!r}") from None
    return AutoOptions(
        key_frames,
        whole_param(ctx, "every", _USUAL.every),
        ctx.params.get("label") or _USUAL.label,
        whole_param(ctx, "points_per_side", _USUAL.points_per_side, most=128),
        number_param(ctx, "min_predicted_iou", None, least=0, most=1),
        number_param(ctx, "min_stability", None, least=0, most=1),
        whole_param(ctx, "min_area", _USUAL.min_area, least=0),
        number_param(ctx, "max_area_share", _USUAL.max_area_share, least=0, most=1),
    )
