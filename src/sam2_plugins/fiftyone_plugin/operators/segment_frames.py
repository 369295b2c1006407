"""The operator that segments prompted objects on their own images and frames."""

from typing import Any

import fiftyone.operators.types as types

from sam2_plugins.fiftyone_plugin.operators.choices import (
    DEFAULT_FIELD,
    FormOperator,
    add_model,
    add_prompt_fields,
    field_param,
    model_param,
    prompt_fields_param,
    target_units,
    with_progress,
)
from sam2_plugins.fiftyone_plugin.progress import noting_failure, raise_failures
from sam2_plugins.fiftyone_plugin.segmenting import segment_prompts
from sam2_plugins.fiftyone_plugin.store import check_prompt_fields, declare_output


class SegmentFrames(FormOperator):
    """Prompts to masks, image by image, without propagation."""

    NAME = "segment_frames"
    LABEL = "SAM 2: segment frames"
    DESCRIPTION = "Boxes, points and polygons to masks, on images and single frames"

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form."""
        inputs = types.Object()
        ctx.target_view()
        add_prompt_fields(inputs, ctx)
        inputs.str("output_field", default=DEFAULT_FIELD, label="Masks", description="To write")
        add_model(inputs, ctx)
        return types.Property(inputs, view=types.View(label=self.LABEL))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Segment.

        Returns:
            `num_samples` and `num_masks`.

        Raises:
            ValueError: There is no such field or model, or something is wrong with samples; the
                others are done.
        """
        prompts = prompt_fields_param(ctx)
        field = field_param(ctx, "output_field", DEFAULT_FIELD)
        dataset, units = target_units(ctx)
        is_video = units[0].is_video
        check_prompt_fields(dataset, prompts, is_video=is_video)
        model = model_param(ctx)
        declare_output(dataset, field, is_video=is_video)
        num_masks = 0
        failures: list[str] = []
        for unit in with_progress(ctx, units):
            with noting_failure(failures):
                num_masks += segment_prompts(model, dataset, unit, prompts, field)
        ctx.trigger("reload_dataset")
        raise_failures(failures, len(units))
        return {"num_samples": len(units), "num_masks": num_masks}

    def resolve_output(self, ctx: Any) -> types.Property:
        """What was done."""
        outputs = types.Object()
        outputs.int("num_samples", label="Samples")
        outputs.int("num_masks", label="Masks")
        return types.Property(outputs, view=types.View(label="Segmented"))
