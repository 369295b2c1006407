"""Prompts that are taken back, drawn again or renumbered take the masks along that they had."""

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import pytest
from propagation import masks_of

import fiftyone as fo

ALL = list(range(1, 13))
AUTO = "@sam2-plugins/sam2/auto_masklets"
REVIEW = "@sam2-plugins/sam2/review_masklets"


def take_back(sample: Any, number: int, field: str = "prompts") -> Any:
    """Remove the one label of a frame; returns it."""
    (label,) = sample.frames[number][field].detections
    sample.frames[number][field] = None
    sample.save()
    return label


def draw(sample: Any, number: int, label: Any, field: str = "prompts") -> None:
    sample.frames[number][field] = fo.Detections(detections=[label])
    sample.save()


def indices(sample: Any, field: str = "masks") -> set[int | None]:
    dataset = sample.dataset._root_dataset
    dataset.reload()
    return {
        lb.index for frame in dataset[sample.id].frames.values() for lb in _labels(frame, field)
    }


def _labels(frame: Any, field: str) -> list[Any]:
    value = frame[field] if frame.has_field(field) else None
    return value.detections if value else []


@pytest.fixture
def pair(video_dataset, propagate) -> Any:
    """The second video, whose objects 1 and 2 have a prompt each, on frames 5 and 9."""
    propagate(video_dataset)
    return video_dataset.skip(1).first()


def test_masks_go_with_the_last_prompt_of_their_track_and_no_others(propagate, pair):
    run = masks_of(pair, 1)[1].sam2_run
    take_back(pair, 9)
    result = propagate(pair.dataset)
    assert (result["done"], result["skipped"]) == (1, 2)
    assert "the masks of disc 2 were removed" in result["notes"]
    assert {label.sam2_run for label in masks_of(pair, 1).values()} == {run}
    assert indices(pair) == {1}
    sample = pair.dataset[pair.id]
    assert [track.index for track in sample.masks_quality.tracks] == [1]
    assert propagate(pair.dataset)["skipped"] == 3


def test_a_prompt_that_is_drawn_again_without_an_index_leaves_no_second_masks(propagate, pair):
    box = take_back(pair, 9).bounding_box
    draw(pair, 9, fo.Detection(label="disc", bounding_box=box))
    propagate(pair.dataset)
    first = indices(pair)
    draw(pair, 9, fo.Detection(label="disc", bounding_box=box))
    propagate(pair.dataset)
    assert len(first) == len(indices(pair)) == 2


def test_a_track_with_another_index_is_not_there_twice(propagate, pair):
    label = take_back(pair, 9)
    label.index = 7
    draw(pair, 9, label)
    propagate(pair.dataset)
    assert indices(pair) == {1, 7}


def test_the_last_prompt_of_all_can_be_taken_back(propagate, video_dataset):
    only = video_dataset.limit(1)
    propagate(only)
    take_back(only.first(), 1)
    assert propagate(only)["done"] == 1
    assert indices(video_dataset.first()) == set()
    with pytest.raises(Exception, match="there is no prompt"):
        propagate(only)


def test_notes_on_many_videos_are_still_one_line(propagate, video_dataset, clips):
    fourth = fo.Sample(filepath=str(clips[0]))
    fourth.frames[1] = fo.Frame(prompts=video_dataset.first().frames[1].prompts.copy())
    video_dataset.add_sample(fourth)
    propagate(video_dataset)
    for sample in video_dataset:
        for number in [number for number, frame in sample.frames.items() if frame.prompts]:
            take_back(sample, number)
    notes = propagate(video_dataset)["notes"]
    assert notes.count("were removed") == 3
    assert notes.endswith("; and 1 more")


def test_what_other_prompt_fields_made_and_what_was_accepted_stays(propagate, pair):
    label = take_back(pair, 9)
    draw(pair, 9, label, "others")
    propagate(pair.dataset, prompt_field="prompts, others")
    assert indices(pair) == {1, 2}
    # Not read, so not known to be gone.
    propagate(pair.dataset)
    assert indices(pair) == {1, 2}
    view = pair.dataset.select(pair.id)
    params = {"verdict": "accept", "tracks": "2"}
    foo.execute_operator(REVIEW, dataset=pair.dataset, view=view, params=params)
    take_back(pair.dataset[pair.id], 9, "others")
    assert propagate(pair.dataset, prompt_field="prompts, others")["skipped"] == 3
    assert list(masks_of(pair, 2)) == ALL


def test_what_a_person_made_stays_and_clips_take_only_their_own(propagate, pair):
    kept = masks_of(pair, 2)[3]
    frame = pair.dataset[pair.id].frames[3]
    for label in frame.masks.detections:
        label.keyframe = label.id == kept.id or label.keyframe
    frame.save()
    clips = pair.dataset.select(pair.id).to_clips([[(8, 12)]])
    propagate(clips)
    take_back(pair.dataset[pair.id], 9)
    propagate(clips)
    assert list(masks_of(pair, 2)) == ALL[:7]
    # A keyframe in the field of masks is a prompt.
    propagate(pair.dataset)
    assert list(masks_of(pair, 2)) == ALL
    assert masks_of(pair, 2)[3].id == kept.id


def test_what_was_found_without_prompts_stays_when_its_correction_is_taken_back(
    propagate, video_dataset, checkpoint
):
    only = video_dataset.limit(1)
    looked = {"points_per_side": 2, "min_predicted_iou": 0, "min_stability": 0, "every": 12}
    params = {"model": str(checkpoint), "image_size": 64, "device": "cpu", **looked}
    foo.execute_operator(AUTO, dataset=video_dataset, view=only, params=params)
    video_dataset.reload()
    sample = video_dataset.first()
    index = sample.frames[4].auto_masks.detections[0].index
    before = list(masks_of(sample, index, "auto_masks"))
    for is_keyframe in (True, False):
        sample = video_dataset[sample.id]
        label = sample.frames[4].auto_masks.detections[0]
        label.keyframe = is_keyframe
        sample.save()
        fields = {"prompt_field": "auto_masks", "output_field": "auto_masks"}
        if is_keyframe:
            propagate(only, **fields)
        else:
            with pytest.raises(Exception, match="there is no prompt"):
                propagate(only, **fields)
    assert set(masks_of(sample, index, "auto_masks")) >= set(before[:1])
    assert index in indices(sample, "auto_masks")


def test_files_of_masks_go_too(propagate, video_dataset, tmp_path):
    sample = video_dataset.skip(1).first()
    given = {"mask_storage": "path", "mask_dir": str(tmp_path)}
    propagate(video_dataset, **given)
    take_back(sample, 9)
    propagate(video_dataset, **given)
    left = {Path(label.mask_path) for label in masks_of(sample, 1).values()}
    folder = next(iter(left)).parents[2]
    assert set(folder.rglob("*.png")) == left
