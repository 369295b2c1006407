"""What the panel shows: pure functions, and the panel itself on a real sample."""

from types import SimpleNamespace
from typing import Any

from tracked import write_masks
from video_files import moving_discs

from sam2_plugins.fiftyone_plugin.panel import SAM2Panel
from sam2_plugins.fiftyone_plugin.quality import Suggestion, TrackFrame
from sam2_plugins.fiftyone_plugin.records import RunRecord
from sam2_plugins.fiftyone_plugin.timeline import (
    describe_runs,
    describe_suggestions,
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

    def set_state(self, key: str, value: Any) -> None:
        self.state[key] = value

    def set_data(self, key: str, value: Any) -> None:
        self.data[key] = value


def test_the_panel_shows_the_open_sample(video_dataset: Any) -> None:
    sample = video_dataset.skip(1).first()
    write_masks(sample, moving_discs(12, num_objects=2)[1])
    panel = PanelState()
    prompts: list[tuple[str, Any]] = []
    chosen: list[list[str]] = []
    # The App's part is a stand-in here.
    ctx = SimpleNamespace(
        dataset=video_dataset,
        view=None,
        panel=panel,
        current_sample=None,
        selected=[],
        params={},
        ops=SimpleNamespace(set_selected_samples=chosen.append),
        prompt=lambda uri, params, on_success: prompts.append((uri, params)),
    )
    shown = SAM2Panel()
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
