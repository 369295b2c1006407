"""The panel: how runs are getting on, the current video's scores, and buttons."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
from pymongo.errors import PyMongoError

from sam2_plugins.fiftyone_plugin.operators import OPERATORS
from sam2_plugins.fiftyone_plugin.quality import suggest_frames
from sam2_plugins.fiftyone_plugin.records import Records, RunRecord
from sam2_plugins.fiftyone_plugin.reviewing import assess, current_verdicts, open_part
from sam2_plugins.fiftyone_plugin.sources import Unit, root_dataset, single_unit, source_samples
from sam2_plugins.fiftyone_plugin.timeline import (
    NO_RUN,
    describe_runs,
    describe_suggestions,
    follow_pace,
    timeline_layout,
    timeline_traces,
)
from sam2_plugins.fiftyone_plugin.tracks import mask_fields

NAME = "sam2_panel"
_NUM_SUGGESTIONS = 5
_COLUMNS = 4
_BUSY_S, _IDLE_S = 3.0, 15.0
"""How often runs are looked at: while one goes on, and while none does.

A look takes the server some 10 ms, and a tenth of a second where 10,000 videos have records.
"""
_LINGERS_S = 20.0
"""How long after the last sign of a run the next video of it may begin."""
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

    def execute(self, ctx: Any) -> Any:
        """Answer the App; where runs merely go on, nothing but their text is drawn anew."""
        if ctx.params.get("__method__") == "watch" and not self._has_turned(ctx):
            return None
        return super().execute(ctx)

    def watch(self, ctx: Any) -> None:
        """Show all anew, since a run has begun or ended; the timer calls it."""
        self.refresh(ctx)

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
        value = ctx.params.get("value")
        # The App also says so when it was the panel that has set it.
        if value == ctx.panel.get_state("shown"):
            self._forget_plot(ctx)
            return
        ctx.panel.set_state("chosen", value)
        self.refresh(ctx)

    def refresh(self, ctx: Any) -> None:
        """Read runs and scores again."""
        if ctx.dataset is None:
            return
        unit, field = current_unit(ctx), ctx.panel.get_state("chosen")
        fields = _fields_of(ctx, unit)
        if field not in fields:
            field = _preferred(fields)
        ctx.panel.set_state({"field": field, "shown": field})
        self._forget_plot(ctx)
        ctx.panel.set_state("open_sample", None if unit is None else unit.sample_ids[0])
        ctx.panel.set_state(self._follow(ctx, Records(ctx.dataset).find_states()))
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
        # What the state has of this name is shown, so it is renewed without laying out anything.
        panel.md(NO_RUN, name="runs")
        panel.md(ctx.panel.get_state("title") or "", name="title_text")
        panel.plot("timeline", layout=timeline_layout(), config={"displayModeBar": False})
        panel.md(ctx.panel.get_state("frames") or "", name="frames_text")
        if hasattr(types, "TimerView"):  # from FiftyOne 1.1 on; before, there is Refresh
            seconds = _BUSY_S if is_busy(ctx.panel.get_state("alive_at")) else _IDLE_S
            timer = types.TimerView(interval=int(1000 * seconds), on_interval=self.watch)
            panel.view("timer", timer)
        # One column over the whole width: else the widest part is cut off where there is less.
        whole = types.GridView(orientation="vertical", columns=1, gap=2, px=2, py=2)
        return types.Property(panel, view=whole)

    def _has_turned(self, ctx: Any) -> bool:
        """Look at the runs, and tell of them; whether there is more to be read than that."""
        try:
            if ctx.dataset is None:
                return False
            records = Records(ctx.dataset).find_states()
        except (PyMongoError, ConnectionError, ValueError):
            return False  # the database is away, or the dataset deleted: no error of the panel's
        followed = self._follow(ctx, records)
        if followed["turn"] != ctx.panel.get_state("turn"):
            return True
        news = {key: value for key, value in followed.items() if value != ctx.panel.get_state(key)}
        if news:
            ctx.panel.set_state(news)
        return False

    def _follow(self, ctx: Any, records: Sequence[RunRecord]) -> dict[str, Any]:
        """What the panel's state has of runs."""
        field, now = ctx.panel.get_state("field"), time.time()
        is_alive = any(record.is_alive for record in records)
        alive_at = now if is_alive else ctx.panel.get_state("alive_at")
        seen, left = follow_pace(records, ctx.panel.get_state("seen") or {}, now=now)
        return {
            "runs": describe_runs(records, field=field, seconds_left=left),
            "seen": seen,
            "alive_at": alive_at,
            "turn": turning_point(
                records, ctx.panel.get_state("open_sample"), busy=is_busy(alive_at)
            ),
        }

    def _forget_plot(self, ctx: Any) -> None:
        """Take back what the App copies into the state on a choice, and mixes with what is new."""
        ctx.panel.set_state("timeline", [])

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


def is_busy(alive_at: float | None) -> bool:
    """Whether a run goes on: between two of its videos, none is at work for a moment."""
    return alive_at is not None and time.time() - alive_at < _LINGERS_S


def turning_point(records: Sequence[RunRecord], sample_id: str | None, *, busy: bool) -> str:
    """Is another when a run has begun, or ended on the video that is open, or made a field."""
    fields = sorted({record.output_field for record in records})
    own = sorted(
        f"{record.unit_id} {record.output_field} {record.run_id} {record.state} {record.is_alive}"
        for record in records
        if record.sample_id == sample_id
    )
    return repr((busy, fields, own))


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
