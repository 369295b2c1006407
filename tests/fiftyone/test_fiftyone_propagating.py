"""The operator on real videos in a real database: what is made, kept and redone."""

import re
from pathlib import Path

import fiftyone.operators as foo
import numpy as np
import pytest
from fiftyone.operators.executor import ExecutionError
from propagation import URI, assert_same_masks, masks_of, tracked
from video_files import moving_discs, relative_box

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.records import Records

ALL = list(range(1, 13))


def counts(**given):
    return {**dict.fromkeys(("done", "skipped", "busy", "failed", "queued"), 0), **given}


def test_every_object_is_tracked_as_the_core_does_from_any_frame(propagate, video_dataset):
    assert propagate(video_dataset, model="nano") == counts(done=3)
    for sample, indices in zip(video_dataset, ([1], [1, 2], [1]), strict=True):
        assert sample["masks_state"] == "done"
        prompts = {
            label.index: {number: label}
            for number, frame in sample.frames.items()
            for label in (frame["prompts"].detections if frame["prompts"] else ())
        }
        expected = tracked(sample.filepath, prompts)
        for index in indices:
            made = masks_of(sample, index)
            assert len({mask.tobytes() for mask in expected[index].values()}) > 1
            assert_same_masks(made, expected[index])
            labels = list(made.values())
            assert {label.keyframe for label in labels} == {False}
            assert {label.label for label in labels} == {"disc"}
            assert len({label.instance.id for label in labels}) == 1
            assert len({label.sam2_run for label in labels}) == 1
            assert all(0 <= label.confidence <= 1 for label in labels)
            assert all(0.5 < label.object_score <= 1 for label in labels)
    # What the App needs to filter by, and nothing changed is redone.
    schema = video_dataset.get_frame_field_schema(flat=True)
    for name in ("keyframe", "object_score", "sam2_run", "instance", "index"):
        assert f"masks.detections.{name}" in schema
    assert propagate(video_dataset, model="nano") == counts(skipped=3)
    records = Records(video_dataset).find_all("masks")
    assert [(record.state, record.is_alive) for record in records] == [("done", False)] * 3
    num_labels = sum(track.num_labels for record in records for track in record.tracks)
    assert num_labels == video_dataset.count("frames.masks.detections")


def test_only_changed_tracks_of_changed_videos_are_redone(propagate, video_dataset):
    propagate(video_dataset)
    first, second, third = video_dataset
    runs = {
        (sample.id, index): masks_of(sample, index)[3].sam2_run
        for sample, index in ((first, 1), (second, 1), (second, 2), (third, 1))
    }
    label = second.frames[9]["prompts"].detections[0]
    label.bounding_box = [value + 0.01 for value in label.bounding_box]
    second.save()
    assert propagate(video_dataset) == counts(done=1, skipped=2)
    changed = {
        key
        for key, run in runs.items()
        if {lb.sam2_run for lb in masks_of(video_dataset[key[0]], key[1]).values()} != {run}
    }
    assert changed == {(second.id, 2)}
    assert list(masks_of(second, 1)) == list(masks_of(second, 2)) == ALL
    assert propagate(video_dataset) == counts(skipped=3)
    assert propagate(video_dataset, overwrite=True) == counts(done=3)


def test_a_corrected_mask_stays_and_is_followed(propagate, video_dataset):
    view = video_dataset[:1]
    propagate(view, model="nano")
    sample = video_dataset.first()
    before = masks_of(sample, 1)
    corrected = sample.frames[1]["prompts"].detections[0].copy()
    mask = np.zeros((64, 96), bool)
    mask[50:62, 2:20] = True
    corrected.bounding_box, corrected.mask = relative_box(mask, 0), mask[50:62, 2:20]
    corrected.keyframe = True
    own = fo.Detection(label="mine", index=77, bounding_box=[0, 0, 0.1, 0.1])
    sample.frames[3]["masks"].detections.append(own)
    others = [label for label in sample.frames[8]["masks"].detections if label.index != 1]
    sample.frames[8]["masks"] = fo.Detections(detections=[*others, corrected])
    sample.save()
    assert propagate(view, model="nano") == counts(done=1)
    after = masks_of(sample, 1)
    assert after[8].id == corrected.id
    assert after[8].keyframe is True
    prompts = {1: {1: sample.frames[1]["prompts"].detections[0], 8: corrected}}
    assert_same_masks(after, tracked(sample.filepath, prompts)[1])
    np.testing.assert_array_equal(detection_mask(after[8], (64, 96)), mask)
    assert {after[n].sam2_run for n in after if n != 8} != {before[1].sam2_run}
    assert masks_of(sample, 77)[3].id == own.id


def test_all_kinds_of_prompts_in_several_fields_are_one_track_each(propagate, video_dataset):
    sample = video_dataset.first()
    truth = moving_discs(12)[1]
    rows, columns = np.nonzero(truth[5] == 1)
    center = (columns.mean() + 0.5) / 96, (rows.mean() + 0.5) / 64
    x, y, width, height = relative_box(truth[9] == 1)
    ring = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    instance = fo.Instance()
    sample.frames[1]["prompts"].detections[0].instance = instance
    clicks = fo.Keypoint(index=1, points=[center, (0.02, 0.98)], point_labels=[1, 0])
    sample.frames[6]["clicks"] = fo.Keypoints(keypoints=[clicks])
    drawn = fo.Polyline(instance=instance, points=[ring], closed=True, filled=True)
    alone = fo.Polyline(label="other", points=[ring], closed=True)
    sample.frames[10]["outlines"] = fo.Polylines(polylines=[drawn, alone])
    sample.save()
    view = video_dataset[:1]
    fields = "prompts, frames.clicks,outlines"
    assert propagate(view, prompt_field=fields) == counts(done=1)
    made = masks_of(sample, 1)
    assert list(made) == ALL
    assert {label.instance.id for label in made.values()} == {instance.id}
    assert {label.label for label in masks_of(sample, 2).values()} == {"other"}
    # The polygon is a mask, kept to the pixel.
    assert detection_mask(made[10], (64, 96)).sum() == pytest.approx(width * height * 6144, rel=0.1)


def test_masks_may_be_files(propagate, video_dataset, tmp_path):
    view = video_dataset[:1]
    given = {"mask_storage": "path", "mask_dir": str(tmp_path)}
    propagate(view, **given)
    sample = video_dataset.first()
    in_files = masks_of(sample, 1)
    paths = [Path(label.mask_path) for label in in_files.values()]
    assert all(label.mask is None for label in in_files.values())
    assert sorted(paths) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    propagate(view, output_field="stored")
    stored = masks_of(sample, 1, "stored")
    for number, label in in_files.items():
        np.testing.assert_array_equal(
            detection_mask(label, (64, 96)), detection_mask(stored[number], (64, 96))
        )
    propagate(view, **given, overwrite=True)
    again = {label.mask_path for label in masks_of(sample, 1).values()}
    assert not again & {str(path) for path in paths}
    assert again == {str(path) for path in tmp_path.rglob("*.png")}


def test_quality_is_known_when_a_video_is_done(propagate, video_dataset):
    view = video_dataset[1:2]
    propagate(view, stop=11)
    video_dataset.reload()
    sample = view.first()
    quality, confidences = sample["masks_quality"], {}
    for index in (1, 2):
        confidences[index] = {n: lb.confidence for n, lb in masks_of(sample, index).items()}
    means = [np.mean(list(found.values())) for found in confidences.values()]
    assert quality.mean_predicted_iou == pytest.approx(np.mean(means))
    lowest = min((value, n) for found in confidences.values() for n, value in found.items())
    assert (quality.lowest_predicted_iou, quality.lowest_frame) == pytest.approx(lowest)
    assert quality.num_tracks == 2
    # Frame 12 was not to be computed: nothing is lost there.
    assert "sam2:lost" not in sample.tags
    assert ("sam2:low_iou" in sample.tags) == (lowest[0] < 0.6)
    assert 1 <= len(sample["masks_suggestions"]) <= 5
    flagged = [sample.id] if sample.tags else []
    assert video_dataset.load_saved_view("review").values("id") == flagged
    assert video_dataset.first()["masks_quality"] is None


def test_range_stride_and_direction(propagate, video_dataset):
    second = video_dataset[1:2]
    sample = second.first()
    propagate(second, output_field="ranged", start=4, stop=10, stride=3)
    assert list(masks_of(sample, 1, "ranged")) == [4, 7, 10]
    propagate(second, output_field="ahead", direction="forward")
    assert list(masks_of(sample, 1, "ahead")) == list(range(5, 13))
    assert list(masks_of(sample, 2, "ahead")) == list(range(9, 13))
    propagate(second, output_field="back", direction="backward")
    assert list(masks_of(sample, 1, "back")) == list(range(1, 6))
    # A second range adds to the first.
    propagate(second, output_field="ranged", start=1, stop=2)
    assert list(masks_of(sample, 1, "ranged")) == [1, 2, 4, 7, 10]


def test_scope_is_the_dataset_a_view_or_a_selection(propagate, video_dataset):
    ids = video_dataset.values("id")
    assert propagate(video_dataset, selected=[ids[2]]) == counts(done=1)
    assert propagate(video_dataset.select(ids[1])) == counts(done=1)
    assert propagate(video_dataset) == counts(done=1, skipped=2)


def test_a_prompt_on_a_missing_frame_is_an_error_that_says_so(propagate, video_dataset):
    first = video_dataset.first()
    first.frames[50] = fo.Frame(prompts=first.frames[1]["prompts"].copy())
    first.save()
    with pytest.raises(ExecutionError) as caught:
        propagate(video_dataset)
    message = str(caught.value)
    expected = f"1 of 3 videos failed: {first.filepath} (sample {first.id}): the prompt of "
    expected += "object 1 is on frame 50, but only 12 frames can be decoded (1 to 12)"
    assert expected in message
    assert video_dataset.values("masks_state") == ["failed", "done", "done"]
    assert masks_of(first, 1) == {}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prompt_field": "nothing"}, "has no frame field 'nothing'; it has prompts, truth"),
        ({"direction": "up"}, "direction must be both, forward, backward, not 'up'"),
        ({"model": "huge"}, "huge"),
        ({"start": 5, "stop": 2}, "stop (2) must not be before start (5)"),
        ({"stride": 0}, "stride must be a whole number of 1 or more, not 0"),
        ({"output_field": "a b"}, "'a b' is no name of a label field"),
        ({"engine": "magic"}, "engine"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_is_done(
    propagate, video_dataset, params, message
):
    with pytest.raises(ExecutionError, match=re.escape(message)):
        propagate(video_dataset, **params)
    records = Records(video_dataset).find_all()
    assert not [record for record in records if record.tracks or record.is_alive]


def test_no_prompt_at_all_is_said_and_not_passed_over(propagate, video_dataset):
    for sample in video_dataset:
        for frame in sample.frames.values():
            if frame["prompts"]:
                made = fo.Detection(bounding_box=[0.1, 0.1, 0.4, 0.4], index=1, sam2_run="r")
                frame["prompts"] = fo.Detections(detections=[made])
        sample.save()
    with pytest.raises(ExecutionError, match="there is no prompt: 'prompts' holds no label"):
        propagate(video_dataset)
    # A keyframe among the masks is one.
    sample = video_dataset.first()
    box = fo.Detection(bounding_box=[0.1, 0.1, 0.4, 0.4], index=1, keyframe=True)
    sample.frames[4]["masks"] = fo.Detections(detections=[box])
    sample.save()
    notes = "2 of 3 videos have no prompt in 'prompts': clip1.mp4; clip2.mp4"
    assert propagate(video_dataset) == counts(done=1, skipped=2, notes=notes)


def test_what_the_app_interpolates_between_keyframes_gives_way_to_masks(propagate, video_dataset):
    sample = video_dataset.first()
    boxes = {number: relative_box(moving_discs(12)[1][number - 1] == 1) for number in (1, 2, 3)}
    for number, box in boxes.items():
        label = fo.Detection(index=1, bounding_box=box, keyframe=number == 1)
        sample.frames[number]["prompts"] = fo.Detections(detections=[label])
    sample.save()
    propagate(video_dataset[:1], output_field="prompts")
    made = masks_of(sample, 1, "prompts")
    assert list(made) == ALL
    assert made[1].mask is None
    assert all(made[number].mask is not None for number in ALL[1:])


def test_a_field_of_another_kind_is_not_written_to(propagate, video_dataset):
    sample = video_dataset.first()
    sample.frames[1]["kinds"] = fo.Classification(label="a")
    sample.save()
    with pytest.raises(ExecutionError, match="output field 'kinds' holds Classification"):
        propagate(video_dataset, output_field="kinds")
    with pytest.raises(ExecutionError, match="not Classification"):
        propagate(video_dataset, prompt_field="kinds")
    # FiftyOne would not read such a label again, if the attribute were declared.
    other = fo.Detection(bounding_box=[0, 0, 1, 1], keyframe="yes")
    sample.frames[1]["others"] = fo.Detections(detections=[other])
    sample.save()
    with pytest.raises(ExecutionError, match="'others' holds labels whose keyframe is no Boolean"):
        propagate(video_dataset, output_field="others")
    video_dataset.reload()
    assert video_dataset.first().frames[1]["others"].detections[0].keyframe == "yes"


@pytest.mark.parametrize(("value", "found"), [("Bavaria", "'Bavaria'"), (3, "IntField")])
def test_a_field_of_a_person_that_has_the_name_of_the_states_stays(
    propagate, video_dataset, value, found
):
    sample = video_dataset.first()
    sample["masks_state"] = value
    sample.save()
    with pytest.raises(ExecutionError, match=f"is kept in 'masks_state', which holds {found}"):
        propagate(video_dataset)
    video_dataset.reload()
    assert video_dataset.values("masks_state") == [value, None, None]
    assert not video_dataset.has_frame_field("masks")
    propagate(video_dataset[:1], output_field="others")


def test_a_missing_file_is_named_and_the_operator_can_be_called(propagate, video_dataset, tmp_path):
    sample = video_dataset.first()
    sample.filepath = str(tmp_path / "gone.mp4")
    sample.save()
    operator = foo.get_operator(URI)
    with pytest.raises(ValueError, match=r"gone\.mp4: no such file"):
        operator(video_dataset[:1], image_size=64)
    assert operator(video_dataset[1:2], image_size=64) == counts(done=1)
