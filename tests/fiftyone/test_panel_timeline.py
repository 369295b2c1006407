"""What the panel shows: pure functions, and the panel itself on a real sample."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fiftyone.operators import types
from pymongo.errors import ServerSelectionTimeoutError
from tracked import write_masks
from video_files import moving_discs

from sam2_plugins.fiftyone_plugin import panel as panel_module
from sam2_plugins.fiftyone_plugin.panel import SAM2Panel
from sam2_plugins.fiftyone_plugin.quality import Suggestion, TrackFrame
from sam2_plugins.fiftyone_plugin.records import Records, RunRecord
from sam2_plugins.fiftyone_plugin.store import declare_output
from sam2_plugins.fiftyone_plugin.timeline import (
    describe_runs,
    describe_suggestions,
    follow_pace,
    run_key,
    timeline_traces,
)
from sam2_plugins.fiftyone_plugin.tracks import Track

BOX = (0.1, 0.1, 0.2, 0.2)


def make_track(*scored: tuple[int, float]) -> Track:
    frames = [TrackFrame(index, BOX, iou, 5.0) for index, iou in scored]
    return Track("k", 3, "cat", frames=frames)


def test_a_track_is_a_line_with_gaps_counted_from_one() -> None:
    (line,) = timeline_traces([make_track((0, 0.9), (1, 0.8), (4, 0.7))])
    assert line["x"] == [1, 2, 3, 5]
    assert line["y"] == [0.9, 0.8, None, 0.7]
    assert line["name"] == "cat 3"


def test_suggested_frames_are_marked_where_they_are() -> None:
    traces = timeline_traces([make_track((0, 0.9), (1, 0.2))], [Suggestion(-0.8, 1, "k", "low")])
    assert (traces[1]["x"], traces[1]["y"], traces[1]["text"]) == ([2], [0.2], ["low"])


def test_runs_are_counted_by_state_and_errors_are_shown() -> None:
    assert describe_runs([]) == "No run yet."
    records = [
        RunRecord("a", "a", "masks", "done", "r"),
        RunRecord("b", "b", "masks", "done", "r"),
        RunRecord(
            *("c", "c", "masks", "running", "r"),
            frames_done=3,
            frames_total=9,
            is_alive=True,
            worker="box, process 7",
        ),
        RunRecord("d", "d", "masks", "running", "r"),
        RunRecord("e", "e", "masks", "failed", "r", error="e.mp4: no such file"),
    ]
    text = describe_runs(records)
    first, *rest = text.splitlines()
    assert first == (
        "**Runs** over 5 videos: "
        "2 done, 1 failed, 1 left unfinished by a worker that is gone, 1 running"
    )
    assert rest == ["- box, process 7: step 3 of 9", "- e.mp4: no such file"]


def running(done: int, *, field: str = "masks") -> RunRecord:
    record = RunRecord("a", "a", field, "running", "r", frames_done=done, frames_total=100)
    return replace(record, is_alive=True, worker="box, process 7")


def test_who_is_at_work_on_other_masks_is_told_too() -> None:
    done = RunRecord("a", "a", "masks", "done", "r")
    text = describe_runs([done, running(3, field="auto_masks")], field="masks")
    assert text.splitlines() == [
        "**Runs** over 1 videos: 1 done",
        "- box, process 7: step 3 of 100, masks in auto_masks",
    ]
    text = describe_runs([running(3, field="auto_masks")], field="masks")
    assert text.splitlines()[0] == "No run yet."


def test_the_time_that_is_left_is_told_from_the_pace_that_was_seen() -> None:
    seen: Any = {}
    # It begins at 0, and where it goes on with an earlier run is soon far beyond.
    for done, now in ((0, 10.0), (60, 20.0)):
        seen, left = follow_pace([running(done)], seen, now=now)
        assert left == {}
    seen, left = follow_pace([running(70)], seen, now=25.0)
    assert left == {run_key(running(70)): 15.0}
    _, later = follow_pace([running(70)], seen, now=27.0)  # of which nothing was heard since
    assert later == {run_key(running(70)): 13.0}
    assert "step 70 of 100, 15 s left" in describe_runs([running(70)], seconds_left=left)
    seen, left = follow_pace([RunRecord("a", "a", "masks", "done", "r")], seen, now=30.0)
    assert (seen, left) == ({}, {})


def test_what_to_look_at_and_what_was_said() -> None:
    track = make_track((0, 0.9))
    text = describe_suggestions([Suggestion(-1, 6, "k", "jumps")], {"k": track}, {"k": "send_back"})
    assert "- frame 7, cat 3: jumps" in text
    assert "**Verdicts**: cat 3: send back" in text
    assert describe_suggestions([], {"k": track}, {}) == "Nothing stands out."
    assert describe_suggestions([], {}, {}) == ""


def test_the_time_of_a_frame_is_told_as_the_player_shows_it() -> None:
    given = [Suggestion(-1, 6, "k", "jumps")], {"k": make_track((0, 0.9))}, {}
    text = describe_suggestions(*given, frame_rate=4.0)
    assert "frame 7 (1.50 s), cat 3: jumps" in text


class PanelState:
    """What FiftyOne keeps of a panel."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.data: dict[str, Any] = {}

    def get_state(self, key: str) -> Any:
        return self.state.get(key)

    def set_state(self, key: Any, value: Any = None) -> None:
        self.state |= key if isinstance(key, dict) else {key: value}

    def set_data(self, key: str, value: Any) -> None:
        self.data[key] = value


def context(dataset: Any, **given: Any) -> Any:
    """The App's part, which is a stand-in here."""
    usual = {"view": None, "panel": PanelState(), "current_sample": None, "selected": []}
    return SimpleNamespace(**{"dataset": dataset, "params": {}, **usual, **given})


def test_the_panel_shows_the_open_sample(video_dataset: Any) -> None:
    sample = video_dataset.skip(1).first()
    write_masks(sample, moving_discs(12, num_objects=2)[1])
    prompts: list[tuple[str, Any]] = []
    chosen: list[list[str]] = []
    ctx = context(
        video_dataset,
        ops=SimpleNamespace(set_selected_samples=chosen.append),
        prompt=lambda uri, params, on_success: prompts.append((uri, params)),
    )
    panel, shown = ctx.panel, SAM2Panel()
    shown.on_load(ctx)
    assert panel.state["field"] == "masks"
    assert panel.data["timeline"] == []
    ctx.current_sample = sample.id
    shown.on_change_current_sample(ctx)
    assert [trace["name"] for trace in panel.data["timeline"][:2]] == ["disc 1", "disc 2"]
    assert panel.data["timeline"][0]["x"] == list(range(1, 13))
    # Of a clip, the whole video.
    ctx.view = video_dataset[1:2].to_clips([[(2, 6)]])
    ctx.current_sample = ctx.view.first().id
    shown.on_change_current_sample(ctx)
    assert panel.data["timeline"][0]["x"] == list(range(1, 13))
    ctx.view, ctx.current_sample = None, sample.id
    ctx.params = {"operator": "export_masklets"}
    shown.press(ctx)
    assert prompts == [("@sam2-plugins/sam2/export_masklets", {"field": "masks"})]
    assert chosen == [[sample.id]]
    assert shown.render(ctx) is not None


def test_the_timer_draws_anew_only_where_a_run_has_begun_or_ended(
    video_dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, other, _ = video_dataset
    declare_output(video_dataset, "masks", is_video=True)
    drawn: list[Any] = []
    ctx = context(
        video_dataset,
        current_sample=sample.id,
        ops=SimpleNamespace(show_panel_output=drawn.append),
    )
    shown, now = SAM2Panel(), [100.0]
    monkeypatch.setattr(panel_module, "time", SimpleNamespace(time=lambda: now[0]))

    def interval() -> int:
        return int(shown.render(ctx).type.properties["timer"].view.to_json()["interval"])

    def look() -> bool:
        """Whether that the timer has come round draws anything anew."""
        drawn.clear()
        ctx.params = {"__method__": "watch"}
        shown.execute(ctx)
        return bool(drawn)

    shown.on_load(ctx)
    assert (look(), interval()) == (False, 15000)
    claims = [Records(video_dataset).claim(s.id, "masks", sample_id=s.id) for s in (sample, other)]
    claims[0].begin("run1", "digest", 12)
    assert (look(), interval()) == (True, 3000)
    claims[0].advance(5)
    claims[1].stop()
    assert not look()
    assert "step 5 of 12" in ctx.panel.state["runs"]
    claims[0].stop("failed", "it broke")
    assert look()
    assert "it broke" in ctx.panel.state["runs"]
    # Between two videos of a run none is at work.
    assert (look(), interval()) == (False, 3000)
    now[0] += 30
    assert (look(), interval()) == (True, 15000)


def test_the_timer_bears_a_database_that_is_away(
    video_dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context(video_dataset, params={"__method__": "watch"})
    shown = SAM2Panel()
    shown.refresh(ctx)
    before = dict(ctx.panel.state)

    def fail(_: Any) -> None:
        raise ServerSelectionTimeoutError("it is away")

    monkeypatch.setattr(Records, "find_states", fail)
    assert shown.execute(ctx) is None
    assert ctx.panel.state == before


def test_where_the_app_has_no_timers_there_is_none(
    video_dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(types, "TimerView")
    ctx = context(video_dataset)
    shown = SAM2Panel()
    shown.refresh(ctx)
    assert "timer" not in shown.render(ctx).type.properties


def test_masks_that_were_chosen_stay_and_others_give_way_to_those_of_a_run(
    video_dataset: Any,
) -> None:
    ctx, shown = context(video_dataset), SAM2Panel()
    shown.refresh(ctx)
    first = ctx.panel.state["field"]
    assert first in ("truth", "prompts")
    # That is how the App answers when it is told which are shown.
    ctx.params = {"value": first}
    shown.on_change_field(ctx)
    declare_output(video_dataset, "masks", is_video=True)
    shown.refresh(ctx)
    assert ctx.panel.state["field"] == "masks"
    ctx.params = {"value": first}
    shown.on_change_field(ctx)
    shown.refresh(ctx)
    assert ctx.panel.state["field"] == first
