"""What goes to napari and what comes back, without a window: every kind of change, written once."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from propagation import QUICK, boxed, masks_of, propagate
from video_files import moving_discs

import fiftyone as fo
from fiftyone import ViewField as F
from sam2_plugins.core import FrameMasks, HandedPrompt, read_handover, write_handover
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.labels import is_prompt
from sam2_plugins.fiftyone_plugin.napari_process import find_unit
from sam2_plugins.fiftyone_plugin.napari_return import receive
from sam2_plugins.fiftyone_plugin.napari_session import GIVEN, RETURNED, read_origin, write_session
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.records import BusyError, Records
from sam2_plugins.fiftyone_plugin.sources import images_in_order

SIZE = (64, 96)
SQUARE = np.zeros(SIZE, bool)
SQUARE[10:20, 30:50] = True


@pytest.fixture
def second(video_dataset):
    """The second video, tracked, and the folder of its session."""
    propagate(video_dataset[1:2])
    sample_id = video_dataset.values("id")[1]
    folder = write_session(video_dataset, find_unit(video_dataset, sample_id), Options(**QUICK))
    yield video_dataset, sample_id, folder
    shutil.rmtree(folder, ignore_errors=True)


def answer(folder, said, *, cleared=(), names=None):
    """What napari writes: masks {(frame index, object id): mask}, each said anew."""
    given, _ = read_handover(folder / GIVEN)
    back = replace(
        given,
        names={**given.names, **(names or {})},
        prompts={key: HandedPrompt(mask=mask) for key, mask in said.items()},
        cleared=frozenset(cleared),
    )
    one = np.ones(1, np.float32)
    masks = [
        FrameMasks(frame, np.array([object_id]), mask[None], one, 8 * one)
        for (frame, object_id), mask in said.items()
    ]
    write_handover(folder / RETURNED, back, masks)


def prompts_of(dataset, sample_id, field="prompts"):
    """(frame number, index) -> label of every prompt in a field."""
    return {
        (number, label.index): label
        for number, frame in dataset[sample_id].frames.items()
        for label in (frame[field].detections if frame[field] else ())
        if is_prompt(label)
    }


def test_what_is_handed_over_is_what_the_dataset_has(second):
    dataset, sample_id, folder = second
    given, masks = read_handover(folder / GIVEN)
    assert given.names == {1: "disc", 2: "disc"}
    assert (given.num_frames, given.frame_size, given.image_size) == (12, SIZE, QUICK["image_size"])
    assert set(given.prompts) == {(4, 1), (8, 2)}
    label = dataset[sample_id].frames[5]["prompts"].detections[0]
    x, y, width, height = label.bounding_box
    expected = (96 * x, 64 * y, 96 * (x + width), 64 * (y + height))
    assert given.prompts[4, 1].box == pytest.approx(expected, abs=1e-4)
    for frame in masks:
        for object_id, mask in zip(frame.object_ids.tolist(), frame.masks, strict=True):
            stored = masks_of(dataset[sample_id], object_id)[frame.frame_index + 1]
            np.testing.assert_array_equal(detection_mask(stored, SIZE), mask)
    origin = read_origin(folder)
    assert (origin.dataset, origin.unit.sample_ids) == (dataset.name, (sample_id,))


def test_an_object_that_was_removed_takes_its_prompts_and_masks_with_it(second):
    dataset, sample_id, folder = second
    before = masks_of(dataset[sample_id], 1)
    answer(folder, {}, cleared=[(8, 2)])
    assert receive(folder).num_tracks == 1
    assert set(prompts_of(dataset, sample_id)) == {(5, 1)}
    assert masks_of(dataset[sample_id], 2) == {}
    assert list(masks_of(dataset[sample_id], 1)) == list(before)
    assert propagate(dataset[1:2])["skipped"] == 1


def test_a_new_object_is_one_track_however_often_it_comes(second):
    dataset, sample_id, folder = second
    for shift in (0, 3):
        said = {(3, 7): SQUARE, (6, 7): np.roll(SQUARE, shift, 1)}
        answer(folder, said, names={7: "stone"})
        receive(folder)
    new = {number: label for (number, i), label in prompts_of(dataset, sample_id).items() if i == 7}
    assert sorted(new) == [4, 7]
    assert {label.label for label in new.values()} == {"stone"}
    assert len({label.instance.id for label in new.values()}) == 1
    np.testing.assert_array_equal(detection_mask(new[7], SIZE), np.roll(SQUARE, 3, 1))
    runs = {label.sam2_run for label in masks_of(dataset[sample_id], 1).values()}
    assert propagate(dataset[1:2])["done"] == 1
    assert {label.sam2_run for label in masks_of(dataset[sample_id], 1).values()} == runs
    made = masks_of(dataset[sample_id], 7)
    np.testing.assert_array_equal(detection_mask(made[4], SIZE), SQUARE)


def test_what_comes_while_the_video_is_propagated_waits(second):
    dataset, sample_id, folder = second
    answer(folder, {(1, 1): SQUARE})
    claim = Records(dataset).claim(sample_id, "masks", sample_id=sample_id)
    with pytest.raises(BusyError):
        receive(folder)
    claim.stop()
    claim.close()
    assert receive(folder).num_prompts == 1
    assert (2, 1) in prompts_of(dataset, sample_id)


def test_clicks_are_replaced_and_corrections_go_where_masks_can_be(video_dataset):
    """A click without index or instance; no prompt field holds Detections."""
    sample = video_dataset.first()
    clicks = fo.Keypoint(label="disc", points=[(0.5, 0.5)])
    sample.frames[3]["clicks"] = fo.Keypoints(keypoints=[clicks])
    sample.save()
    options = Options(prompt_field="clicks", **QUICK)
    propagate(video_dataset[:1], prompt_field="clicks")
    folder = write_session(video_dataset, find_unit(video_dataset, sample.id), options)
    given, _ = read_handover(folder / GIVEN)
    ((key, said),) = given.prompts.items()
    assert key == (2, 1)
    assert said.points == ((48.0, 32.0),)
    answer(folder, {(2, 1): SQUARE})
    receive(folder)
    video_dataset.reload()
    sample = video_dataset.first()
    assert sample.frames[3]["clicks"].keypoints == []
    (label,) = [label for label in sample.frames[3]["masks"].detections if label.keyframe]
    np.testing.assert_array_equal(detection_mask(label, SIZE), SQUARE)
    assert propagate(video_dataset[:1], prompt_field="clicks")["done"] == 1
    assert masks_of(sample, 1)[3].id == label.id
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["clips", "frames"])
def test_a_clip_or_a_frame_opens_its_video_and_what_comes_back_is_of_it(video_dataset, kind):
    second = video_dataset[1:2]
    sample = second.first()
    if kind == "clips":
        view = second.to_clips([[(2, 6), (8, 10)]])
        shown, correction = view.values("id")[1], 8
    else:
        view = second.to_frames(sample_frames="dynamic").match(F("frame_number") >= 4)
        shown, correction = view.values("id")[2], 6
    propagate(view)
    unit = find_unit(view, shown)
    assert (unit.unit_id, unit.sample_ids, unit.frame_numbers) == (sample.id, (sample.id,), None)
    folder = write_session(video_dataset, unit, Options(**QUICK))
    given, masks = read_handover(folder / GIVEN)
    assert given.num_frames == 12
    assert set(given.prompts) == {(4, 1), (8, 2)}
    seen = {(frame.frame_index + 1, i) for frame in masks for i in frame.object_ids.tolist()}
    assert seen == {(n, i) for i in (1, 2) for n in masks_of(sample, i)}
    answer(folder, {(correction, 2): SQUARE})
    assert receive(folder).num_tracks == 1
    (label,) = prompts_with(video_dataset, sample.id, correction + 1, 2)
    np.testing.assert_array_equal(detection_mask(label, SIZE), SQUARE)
    runs = {label.sam2_run for label in masks_of(sample, 1).values()}
    view.reload()
    assert propagate(view)["done"] == 1
    assert {label.sam2_run for label in masks_of(sample, 1).values()} == runs
    made = masks_of(sample, 2)[correction + 1]
    np.testing.assert_array_equal(detection_mask(made, SIZE), SQUARE)
    shutil.rmtree(folder)


def prompts_with(dataset, sample_id, number, index):
    found = prompts_of(dataset, sample_id)
    return [label for key, label in found.items() if key == (number, index)]


def test_ordered_images_go_and_come_back(dataset, tmp_path):
    frames, truth = moving_discs(5)
    samples = []
    for number in (3, 1, 5, 2, 4):
        path = tmp_path / f"{number}.png"
        Image.fromarray(frames[number - 1]).save(path)
        sample = fo.Sample(filepath=str(path), scene="a", number=number)
        if number == 2:
            sample["prompts"] = boxed(truth[1], 1)
        samples.append(sample)
    dataset.add_samples(samples)
    view = dataset.group_by("scene", order_by="number")
    propagate(view)
    unit = find_unit(view, samples[0].id)
    assert images_in_order(dataset, unit.sample_ids) == unit
    folder = write_session(dataset, unit, Options(**QUICK))
    given, _ = read_handover(folder / GIVEN)
    assert [path[-5] for path in given.media] == list("12345")
    assert set(given.prompts) == {(1, 1)}
    answer(folder, {(3, 1): SQUARE})
    receive(folder)
    (label,) = dataset.match({"number": 4}).first()["prompts"].detections
    np.testing.assert_array_equal(detection_mask(label, SIZE), SQUARE)
    assert propagate(view)["done"] == 1
    shutil.rmtree(folder)
