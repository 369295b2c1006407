"""One video's work, without a dataset: how far it is."""

import pytest

from sam2_plugins.core import VideoTracker, load_model, open_frames
from sam2_plugins.fiftyone_plugin.frame_prompt import Prompt
from sam2_plugins.fiftyone_plugin.runner import Job, run_job
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(12)


def boxes(object_id, *frames):
    return {frame: Prompt(box=tuple(CLIP.box(frame, object_id))) for frame in frames}


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
@pytest.mark.parametrize(
    ("prompts", "compute"),
    [
        ({1: boxes(1, 0)}, range(12)),
        ({1: boxes(1, 3, 8)}, range(12)),
        ({1: boxes(1, 3, 8), 2: boxes(2, 5)}, range(12)),
        ({1: boxes(1, 3, 8), 2: boxes(2, 11)}, range(2, 10)),
        # Frames with prompts are read, though they are to have no masks.
        ({1: boxes(1, 3, 8), 2: boxes(2, 0, 6)}, range(1, 12, 2)),
    ],
)
def test_the_visits_of_a_job_are_those_of_the_core(monkeypatch, direction, prompts, compute):
    runs = []
    propagate = VideoTracker.propagate

    def noted(tracker, **options):
        runs.append(propagate(tracker, **options))
        return runs[-1]

    monkeypatch.setattr(VideoTracker, "propagate", noted)
    job = Job(open_frames(CLIP.frames), prompts, list(compute), direction=direction)
    found = list(run_job(load_model("nano", image_size=128), job))
    (run,) = runs
    assert job.num_visits == run.num_visits == run.num_visited
    visited = [num_visited for _, num_visited in found]
    assert visited == sorted(visited)
    assert 0 < visited[0] <= visited[-1] <= job.num_visits
    assert {masks.frame_index for masks, _ in found} <= set(compute)
