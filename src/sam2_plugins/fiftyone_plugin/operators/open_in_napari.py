"""The operator that opens a sample in napari, where it can be corrected frame by frame."""

from typing import Any

import fiftyone.operators.types as types

from sam2_plugins.fiftyone_plugin.napari_process import find_unit, start_detached
from sam2_plugins.fiftyone_plugin.operators.choices import (
    DEFAULT_FIELD,
    FormOperator,
    add_model,
    add_prompt_fields,
    field_param,
    target_view,
)
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.sources import root_dataset, source_samples


class OpenInNapari(FormOperator):
    """Opens the sample that is on show or selected; what is corrected comes back."""

    NAME = "open_in_napari"
    LABEL = "SAM 2: open in napari"
    DESCRIPTION = "Correct a sample in napari, on the machine where the App's server runs"
    MAY_BE_DELEGATED = False

    def resolve_input(self, ctx: Any) -> types.Property:
        """The form."""
        inputs = types.Object()
        add_prompt_fields(inputs, ctx, are_needed=False)
        inputs.str("field", label="Masks", default=DEFAULT_FIELD)
        add_model(inputs, ctx)
        return types.Property(inputs, view=types.View(label=self.LABEL))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Open it.

        Returns:
            `sample_id`, and what to do next as `message`.

        Raises:
            ValueError: No sample is on show or selected, or several are.
            OSError: There is no display.
        """
        chosen, view = _chosen_sample(ctx), target_view(ctx)
        dataset = root_dataset(view)
        (sample_id,) = source_samples(ctx.view, [chosen])
        unit = find_unit(dataset if dataset.media_type == "video" else view, sample_id)
        options = Options.from_params(
            {**ctx.params, "output_field": field_param(ctx, "field", DEFAULT_FIELD)}
        )
        params = {
            "prompt_field": options.prompt_field,
            "output_field": options.output_field,
            "model": options.model,
            "image_size": options.image_size,
            "device": options.device,
        }
        if len(unit.sample_ids) > 1:
            params["sample_ids"] = ",".join(unit.sample_ids)
        process = start_detached(dataset, sample_id, params)
        message = "napari opens in a moment; after 'Send back' there, refresh the App"
        return {"sample_id": sample_id, "process": process.pid, "message": message}

    def resolve_output(self, ctx: Any) -> types.Property:
        """What was done."""
        outputs = types.Object()
        outputs.str("message", label="napari")
        return types.Property(outputs, view=types.View(label=self.LABEL))


def _chosen_sample(ctx: Any) -> str:
    """The sample on show, else the one that is selected."""
    named = ctx.params.get("sample_id") or ctx.current_sample
    chosen = [named] if named else list(ctx.selected or ())
    if len(chosen) != 1:
        found = "none is" if not chosen else f"{len(chosen)} are"
        raise ValueError(f"open or select the one sample to be opened in napari: {found} selected")
    return str(chosen[0])
