"""What a sample is told of several fields of masks, of its clips, and of runs over a part of it."""

from typing import Any

import fiftyone.operators as foo
import pytest
from numpy.typing import NDArray
from propagation import boxed, masks_of
from tracked import write_masks
from video_files import moving_discs, relative_box

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.quality import LOST, LOW_IOU
from sam2_plugins.fiftyone_plugin.reviewing import SENT_BACK, current_verdicts
from sam2_plugins.fiftyone_plugin.sources import list_units
from sam2_plugins.fiftyone_plugin.tracks import read_tracks


def poor_on_3(number: int, _object_id: int, mask: NDArray[Any]) -> Any:
    return mask, 0.3 if number == 3 else 0.9


@pytest.fixture
def tracked(video_dataset: Any) -> Any:
    """The first video has masks in two fields; those of frame 3 in `masks` are poor."""
    sample, labels = video_dataset.first(), moving_discs(12)[1]
    write_masks(sample, labels, change=poor_on_3)
    write_masks(sample, labels, field="other")
    return video_dataset


def run(name: str, dataset: Any, **params: Any) -> dict[str, Any]:
    view = params.pop("view", None) or dataset[:1]
    uri = f"@sam2-plugins/sam2/{name}"
    return foo.execute_operator(uri, dataset=dataset, view=view, params=params).result


def tags(dataset: Any) -> list[str]:
    dataset.reload()
    return list(dataset.first().tags)


def test_judging_one_field_leaves_what_is_known_of_another(tracked: Any, propagate: Any) -> None:
    run("suggest_frames", tracked)
    run("review_masklets", tracked, verdict="send_back")
    assert tags(tracked) == [LOW_IOU, SENT_BACK]
    run("suggest_frames", tracked, field="other")
    assert tags(tracked) == [LOW_IOU, SENT_BACK]
    run("review_masklets", tracked, field="other", verdict="accept")
    assert tags(tracked) == [LOW_IOU, SENT_BACK]
    propagate(tracked[:1], output_field="third")
    assert {LOW_IOU, SENT_BACK} <= set(tags(tracked))
    assert len(tracked.load_saved_view("review")) == 1
    tracked.delete_frame_field("third")
    run("review_masklets", tracked, verdict="accept")
    assert tags(tracked) == []
    # A field that is gone says nothing any more.
    run("review_masklets", tracked, verdict="send_back")
    tracked.delete_frame_field("masks")
    run("suggest_frames", tracked, field="other")
    assert tags(tracked) == []


def test_of_clips_the_whole_video_is_judged(tracked: Any) -> None:
    clips = tracked[:1].to_clips([[(1, 6), (7, 12)]])
    result = run("suggest_frames", tracked, view=clips)
    assert (result["num_videos"], result["flagged"]) == (1, 1)
    sample = tracked.first()
    assert sample.tags == [LOW_IOU]
    assert sample.masks_suggestions[0] == 3
    assert (sample.masks_quality.lowest_frame, sample.masks_quality.tracks[0].num_frames) == (3, 12)
    # The result is of the clips' frames alone.
    second = tracked[:1].to_clips([[(7, 12)]])
    rows = run("suggest_frames", tracked, view=second)["suggestions"]
    assert rows
    assert min(row["frame_number"] for row in rows) >= 7
    assert tags(tracked) == [LOW_IOU]


def test_what_lies_between_clips_was_not_looked_at(video_dataset: Any, propagate: Any) -> None:
    sample = video_dataset.first()
    for number in (1, 9):
        box = relative_box(moving_discs(12)[1][number - 1] == 1)
        label = fo.Detection(label="disc", index=1, bounding_box=box)
        sample.frames[number]["prompts"] = fo.Detections(detections=[label])
    sample.save()
    clips = video_dataset[:1].to_clips([[(1, 3), (9, 12)]])
    propagate(clips)
    run("suggest_frames", video_dataset, view=clips)
    video_dataset.reload()
    (track,) = video_dataset.first().masks_quality.tracks
    assert set(masks_of(video_dataset.first(), 1)) == {1, 2, 3, 9, 10, 11, 12}
    assert not track.absences
    assert LOST not in tags(video_dataset)


def test_how_far_masks_reached_that_are_gone_says_nothing(
    video_dataset: Any, propagate: Any
) -> None:
    propagate(video_dataset[:1])
    video_dataset.delete_frame_field("masks")
    propagate(video_dataset[:1], stop=6)
    assert LOST not in tags(video_dataset)


def test_what_is_found_in_a_clip_is_not_lost_after_it(video_dataset: Any) -> None:
    clips = video_dataset[:1].to_clips([[(1, 6)]])
    options = {"points_per_side": 2, "min_predicted_iou": 0, "min_stability": 0, "every": 12}
    found = run("auto_masklets", video_dataset, view=clips, output_field="masks", **options)
    assert found["num_tracks"] > 0
    for name, more in (("suggest_frames", {}), ("review_masklets", {"verdict": "accept"})):
        run(name, video_dataset, view=clips, **more)
        assert LOST not in tags(video_dataset)


def test_a_verdict_on_a_clip_is_on_its_labels(tracked: Any) -> None:
    run("suggest_frames", tracked)
    first, second = (tracked[:1].to_clips([[span]]) for span in ((1, 6), (7, 12)))
    run("review_masklets", tracked, view=second, verdict="accept")
    assert tags(tracked) == [LOW_IOU]
    frames = tracked.first().frames
    assert [frames[n].masks.detections[0].tags for n in (6, 7)] == [[], ["sam2:accepted"]]
    run("review_masklets", tracked, view=first, verdict="accept")
    assert tags(tracked) == []
    run("review_masklets", tracked, view=second, verdict="reject")
    unit = list_units(tracked[:1])[0]
    tracks = read_tracks(tracked, unit, "masks").values()
    sample = tracked.first()
    assert [*current_verdicts(sample, tracks, "masks").values()] == ["reject"]
    of_first = current_verdicts(sample, tracks, "masks", frame_numbers=set(range(1, 7)))
    assert [*of_first.values()] == ["accept"]
    assert [entry.frames for entry in sample.masks_review] == [[[7, 12]], [[1, 6]], [[7, 12]]]


def test_what_is_kept_of_an_evaluation_is_of_the_whole_video(tracked: Any) -> None:
    clips = tracked[:1].to_clips([[(1, 6), (7, 9)]])
    given = {"truth_field": "truth", "prompt_field": "none"}
    result = run("evaluate_masklets", tracked, view=clips, **given)
    assert (result["num_videos"], result["num_tracks"]) == (1, 1)
    tracked.reload()
    sample = tracked.first()
    assert [track.num_frames for track in sample.masks_eval.tracks] == [12]
    assert sample.frames[12].masks_eval == 1


def test_a_track_that_is_partly_made_again_is_open_again(
    propagate: Any, video_dataset: Any
) -> None:
    view = video_dataset[:1]
    propagate(view)
    run("review_masklets", video_dataset, verdict="accept")
    sample = video_dataset.first()
    unit = list_units(view)[0]

    def verdicts() -> list[str]:
        tracks = read_tracks(video_dataset, unit, "masks").values()
        return [*current_verdicts(video_dataset.first(), tracks, "masks").values()]

    assert verdicts() == ["accept"]
    sample.frames[3]["prompts"] = boxed(moving_discs(12)[1][2], 1)
    sample.save()
    propagate(view, stop=6)
    assert len({label.sam2_run for label in masks_of(sample, 1).values()}) == 2
    assert verdicts() == []
    run("review_masklets", video_dataset, verdict="accept")
    assert verdicts() == ["accept"]


def test_frames_that_no_run_has_reached_are_no_absence(propagate: Any, video_dataset: Any) -> None:
    second = video_dataset[1:2]
    propagate(second, direction="backward")
    sample = video_dataset[second.first().id]
    assert [list(masks_of(sample, index)) for index in (1, 2)] == [
        list(range(1, 6)),
        list(range(1, 10)),
    ]

    def judged() -> tuple[list[Any], set[str]]:
        video_dataset.reload()
        kept = video_dataset[sample.id]
        return [track.absences for track in kept.masks_quality.tracks], set(kept.tags)

    absences, flags = judged()
    assert absences == [[], []]
    assert LOST not in flags
    run("suggest_frames", video_dataset, view=second)
    assert judged()[0] == [[], []]
    assert LOST not in judged()[1]
