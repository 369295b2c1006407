"""The panel: how runs are getting on, the current video's scores, and buttons."""

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types

from sam2_plugins.fiftyone_plugin.operators import OPERATORS
from sam2_plugins.fiftyone_plugin.quality import suggest_frames
from sam2_plugins.fiftyone_plugin.records import Records
from sam2_plugins.fiftyone_plugin.reviewing import assess, current_verdicts, open_part
from sam2_plugins.fiftyone_plugin.sources import Unit, root_dataset, single_unit, source_samples
from sam2_plugins.fiftyone_plugin.timeline import (
    describe_runs,
    describe_suggestions,
    timeline_layout,
    timeline_traces,
)
from sam2_plugins.fiftyone_plugin.tracks import mask_fields

NAME = "sam2_panel"
_NUM_SUGGESTIONS = 5
_COLUMNS = 4
_BUTTONS = {
    "propagate_masks": "Propagate",
    "auto_masklets": "Find everything",
    "suggest_frames": "Suggest frames",
    "review_masklets": "Review",
    "evaluate_masklets": "Evaluate",
    "export_masklets": "Export",
    "open_in_napari": "Open in napari",
}


class SAM2Panel(foo.Panel):  # type: ignore[misc]  # FiftyOne is untyped
    """State of the runs, score timeline of the current sample, buttons for the operators."""

    @property
    def config(self) -> foo.PanelConfig:
        """Name and where it can be opened."""
        return foo.PanelConfig(
            name=NAME, label="SAM 2", surfaces="grid modal", icon="auto_awesome_motion"
        )

    def on_load(self, ctx: Any) -> None:
        """Show what there is."""
        self.refresh(ctx)

    def on_change_current_sample(self, ctx: Any) -> None:
        """Show the sample that was opened."""
        self.refresh(ctx)

    def on_change_selected(self, ctx: Any) -> None:
        """Show the sample that was selected in the grid."""
        self.refresh(ctx)

    def on_change_field(self, ctx: Any) -> None:
        """Show the masks of another field."""
        ctx.panel.set_state("field", ctx.params.get("value"))
        self.refresh(ctx)

    def refresh(self, ctx: Any) -> None:
        """Read runs and scores again."""
        if ctx.dataset is None:
            return
        unit, field = current_unit(ctx), ctx.panel.get_state("field")
        fields = _fields_of(ctx, unit)
        if field not in fields:
            field = _preferred(fields)
            ctx.panel.set_state("field", field)
        ctx.panel.set_state("runs", describe_runs(Records(ctx.dataset).find_all(field)))
        if unit is None or field is None:
            ctx.panel.set_state("title", "Open or select a video to see its scores.")
            ctx.panel.set_state("frames", "")
            ctx.panel.set_data("timeline", [])
            return
        dataset = root_dataset(ctx.dataset)
        assessment = assess(dataset, unit, field)
        tracks = assessment.tracks
        suggestions = suggest_frames(open_part(dataset, assessment, field), _NUM_SUGGESTIONS)
        sample = dataset[unit.sample_ids[0]]
        verdicts = current_verdicts(sample, tracks.values(), field)
        name = Path(unit.paths[0]).name
        ctx.panel.set_state("title", f"**{name}**" + ("" if tracks else ": no masks yet"))
        ctx.panel.set_data("timeline", timeline_traces(tracks.values(), suggestions))
        words = describe_suggestions(suggestions, tracks, verdicts, frame_rate=frame_rate(sample))
        ctx.panel.set_state("frames", words)

    def press(self, ctx: Any) -> None:
        """Open the form of the operator whose button was pressed."""
        operator = ctx.params.get("operator")
        field = ctx.panel.get_state("field")
        params = {} if field is None else {"field": field}
        if ctx.current_sample and ctx.current_sample not in ctx.selected:
            # So that the form offers the video that is open, not the dataset alone.
            ctx.ops.set_selected_samples([ctx.current_sample])
        ctx.prompt(f"@sam2-plugins/sam2/{operator}", params=params, on_success=self.refresh)

    def render(self, ctx: Any) -> types.Property:
        """Lay everything out."""
        panel = types.Object()
        self._add_buttons(panel)
        choices = types.DropdownView()
        for field in _fields_of(ctx, current_unit(ctx)) if ctx.dataset is not None else []:
            choices.add_choice(field, label=field)
        panel.str("field", label="Masks", view=choices, on_change=self.on_change_field)
        panel.md(ctx.panel.get_state("runs") or "No run yet.", name="runs_text")
        panel.md(ctx.panel.get_state("title") or "", name="title_text")
        panel.plot("timeline", layout=timeline_layout(), config={"displayModeBar": False})
        panel.md(ctx.panel.get_state("frames") or "", name="frames_text")
        # One column over the whole width: else the widest part is cut off where there is less.
        whole = types.GridView(orientation="vertical", columns=1, gap=2, px=2, py=2)
        return types.Property(panel, view=whole)

    def _add_buttons(self, panel: types.Object) -> None:
        grid = types.GridView(orientation="vertical", columns=_COLUMNS, gap=1)
        buttons = types.Object()
        for operator, label in _BUTTONS.items():
            if operator not in OPERATORS:
                continue
            buttons.btn(
                operator,
                label=label,
                variant="contained" if operator == "propagate_masks" else "outlined",
                on_click=self.press,
                params={"operator": operator},
            )
        buttons.btn("refresh", label="Refresh", variant="outlined", on_click=self.refresh)
        panel.define_property("buttons", buttons, view=grid)


def _fields_of(ctx: Any, unit: Unit | None) -> list[str]:
    """Fields of masks that the current sample can have; in grouped datasets it depends on it."""
    return mask_fields(ctx.dataset, is_video=None if unit is None else unit.is_video)


def _preferred(fields: list[str]) -> str | None:
    """`masks` where there is one, else the last: fields are made in the order of the work."""
    if "masks" in fields:
        return "masks"
    return fields[-1] if fields else None


def frame_rate(sample: Any) -> float | None:
    """Frames per second by a video's metadata; None where they are not known."""
    return getattr(sample.metadata, "frame_rate", None) or None


def current_unit(ctx: Any) -> Unit | None:
    """The video that is open, or the first that is selected."""
    sample_id = ctx.current_sample or next(iter(ctx.selected or ()), None)
    if sample_id is None:
        return None
    (sample_id,) = source_samples(ctx.view, [sample_id])
    return single_unit(root_dataset(ctx.dataset), sample_id)
