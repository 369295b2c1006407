"""Quality, suggestions and verdicts on real samples, through the operators."""

from typing import Any

import fiftyone.operators as foo
import numpy as np
import pytest
from numpy.typing import NDArray
from tracked import unchanged, write_masks
from video_files import moving_discs

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.quality import JUMP, LOST, LOW_IOU
from sam2_plugins.fiftyone_plugin.reviewing import SENT_BACK

SUGGEST = "@sam2-plugins/sam2/suggest_frames"
REVIEW = "@sam2-plugins/sam2/review_masklets"


def doubtful(number: int, object_id: int, mask: NDArray[np.bool_]) -> Any:
    """Object 1 is ill seen on frame 7; object 2 is lost from frame 9 on."""
    if object_id == 2 and number >= 9:
        return None
    return mask, 0.3 if (number, object_id) == (7, 1) else 0.9


@pytest.fixture
def tracked(video_dataset: Any) -> Any:
    """The second video has two doubtful tracks, the others one good track each."""
    for sample, count, change in zip(
        video_dataset, (1, 2, 1), (unchanged, doubtful, unchanged), strict=True
    ):
        write_masks(sample, moving_discs(12, num_objects=count)[1], change=change)
    return video_dataset


def run(uri: str, dataset: Any, **params: Any) -> dict[str, Any]:
    context = {key: params.pop(key) for key in ("view", "selected_labels") if key in params}
    return foo.execute_operator(uri, dataset=dataset, params=params, **context).result


def test_the_worst_frames_come_first_and_videos_are_tagged(tracked: Any) -> None:
    result = run(SUGGEST, tracked, num_frames=2)
    good, bad, other = (tracked[sample_id] for sample_id in tracked.values("id"))
    assert (result["num_videos"], result["flagged"], result["view"]) == (3, 1, "review")
    first = result["suggestions"][0]
    assert (first["sample_id"], first["frame_number"], first["track"]) == (bad.id, 7, "disc 1")
    assert bad.tags == [LOST, LOW_IOU]
    assert good.tags == other.tags == []
    assert bad.masks_suggestions == [7, 9]
    quality = bad.masks_quality
    assert (quality.num_tracks, quality.lowest_frame, quality.num_absences) == (2, 7, 1)
    assert quality.mean_predicted_iou == pytest.approx((0.9 * 11 / 12 + 0.3 / 12 + 0.9) / 2)
    assert [track.absences for track in quality.tracks] == [[], [[9, 12]]]
    assert tracked.load_saved_view("review").values("id") == [bad.id]
    # What the App sorts and filters by is in the schema.
    assert "masks_quality.lowest_predicted_iou" in tracked.get_field_schema(flat=True)


def test_a_view_of_that_name_that_is_not_ours_is_kept(tracked: Any) -> None:
    tracked.save_view("review", tracked.limit(1), description="mine")
    assert run(SUGGEST, tracked)["view"] == "review (SAM 2)"
    assert len(tracked.load_saved_view("review")) == 1


def test_tags_that_are_not_ours_stay(tracked: Any) -> None:
    sample = tracked.skip(1).first()
    sample.tags = ["night", JUMP]
    sample.save()
    run(SUGGEST, tracked)
    assert tracked[sample.id].tags == ["night", LOST, LOW_IOU]


def test_verdicts_are_kept_and_settle_a_video(tracked: Any) -> None:
    run(SUGGEST, tracked)
    bad_id = tracked.values("id")[1]
    view = tracked.select(bad_id)
    run(REVIEW, tracked, view=view, verdict="accept", tracks="1")
    assert tracked[bad_id].tags == [LOST]
    result = run(REVIEW, tracked, view=view, verdict="send_back", tracks="2", note="lost at 9")
    assert (result["num_tracks"], result["num_videos"]) == (1, 1)
    sample = tracked[bad_id]
    assert sample.tags == [LOST, SENT_BACK]
    assert [(e.index, e.verdict, e.sam2_run, e.note) for e in sample.masks_review] == [
        (1, "accept", "run1", None),
        (2, "send_back", "run1", "lost at 9"),
    ]
    labels = sample.frames[3].masks.detections
    assert [(label.index, label.tags) for label in labels] == [
        (1, ["sam2:accepted"]),
        (2, ["sam2:sent_back"]),
    ]
    # Sent back, track 2 is still to be corrected; track 1 is settled.
    assert {row["track"] for row in run(SUGGEST, tracked, view=view)["suggestions"]} == {"disc 2"}


def test_a_verdict_can_be_taken_back(tracked: Any) -> None:
    run(SUGGEST, tracked)
    bad_id = tracked.values("id")[1]
    view = tracked.select(bad_id)
    before = run(SUGGEST, tracked, view=view)["suggestions"]
    run(REVIEW, tracked, view=view, verdict="accept")
    assert len(tracked.load_saved_view("review")) == 0
    run(REVIEW, tracked, view=view, verdict="withdraw", tracks="2", note="by mistake")
    sample = tracked[bad_id]
    assert sample.tags == [LOST]
    assert [label.tags for label in sample.frames[3].masks.detections] == [["sam2:accepted"], []]
    run(REVIEW, tracked, view=view, verdict="withdraw")
    assert run(SUGGEST, tracked, view=view)["suggestions"] == before
    assert tracked.load_saved_view("review").values("id") == [bad_id]
    # What was said stays as history.
    said = [entry.verdict for entry in tracked[bad_id].masks_review]
    assert said == ["accept", "accept", "withdraw", "withdraw", "withdraw"]


def test_a_track_that_is_made_again_is_open_again(tracked: Any) -> None:
    bad_id = tracked.values("id")[1]
    view = tracked.select(bad_id)
    run(REVIEW, tracked, view=view, verdict="reject")
    assert tracked[bad_id].tags == []
    labels = moving_discs(12, num_objects=2)[1]
    write_masks(tracked[bad_id], labels, change=doubtful, run_id="run2")
    run(SUGGEST, tracked, view=view)
    sample = tracked[bad_id]
    assert sample.tags == [LOST, LOW_IOU]
    assert [entry.verdict for entry in sample.masks_review] == ["reject", "reject"]


def test_selected_labels_choose_their_tracks(tracked: Any) -> None:
    sample = tracked.skip(1).first()
    label = sample.frames[4].masks.detections[1]
    selected = [
        {
            "label_id": label.id,
            "sample_id": sample.id,
            "field": "frames.masks",
            "frame_number": 4,
        }
    ]
    result = run(REVIEW, tracked, selected_labels=selected, verdict="accept")
    assert result["num_tracks"] == 1
    assert [entry.index for entry in tracked[sample.id].masks_review] == [2]


@pytest.mark.parametrize(
    ("uri", "params", "message"),
    [
        (REVIEW, {"verdict": "maybe"}, "must be accept, reject, send_back, withdraw, not 'maybe'"),
        (REVIEW, {"tracks": "7"}, "no track 7; indices are 1, 2"),
        (REVIEW, {"field": "nope"}, "'nope' is no field of detections in this dataset; those are"),
        (SUGGEST, {"num_frames": 0}, "num_frames must be a number from 1"),
        (SUGGEST, {"field": "prompts 2"}, "is no name of a label field"),
    ],
)
def test_bad_input_is_one_line(tracked: Any, uri: str, params: dict, message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        run(uri, tracked, **params)
    assert type(caught.value).__name__ == "ExecutionError"
    assert all(not sample.tags for sample in tracked)


def test_a_label_that_a_person_drew_is_not_doubted(dataset: Any) -> None:
    sample = fo.Sample(filepath="/nowhere/a.mp4")
    box = [0.1, 0.1, 0.2, 0.2]
    for number in range(1, 6):
        label = fo.Detection(
            label="cat", index=1, bounding_box=box, confidence=0.1, keyframe=number == 3
        )
        sample.frames[number] = fo.Frame(masks=fo.Detections(detections=[label]))
    dataset.add_sample(sample)
    dataset.add_dynamic_frame_fields()
    result = run(SUGGEST, dataset, num_frames=5)
    assert [row["frame_number"] for row in result["suggestions"]] == [1, 4]
