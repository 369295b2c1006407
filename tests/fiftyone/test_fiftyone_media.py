"""Clips, frames, groups of images; rotated, variable-rate and cut files: every number is right."""

import fiftyone.operators as foo
import numpy as np
import pytest
from fiftyone.operators.executor import ExecutionError
from PIL import Image
from propagation import assert_same_masks, boxed, masked, masks_of, tracked
from video_files import cut_video, make_video, moving_discs

import fiftyone as fo
from sam2_plugins.core import open_frames
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.sources import list_units, source_samples, view_of


def numbered(num_frames):
    """Frames (T, 64, 96, 3) whose number can be read back from 8 squares, black or white."""
    frames = np.full((num_frames, 64, 96, 3), 90, np.uint8)
    for number, frame in enumerate(frames, 1):
        for bit in range(8):
            frame[8:24, 8 + 10 * bit : 16 + 10 * bit] = 255 * (number >> bit & 1)
    return frames


def number_of(frame):
    return sum((frame[16, 12 + 10 * bit].mean() > 128) << bit for bit in range(8))


@pytest.mark.parametrize("kind", ["constant", "variable", "b-frames"])
def test_frame_numbers_are_those_of_the_file_and_of_fiftyone(tmp_path, dataset, kind):
    frames = numbered(40)
    given = {
        "constant": {"fps": 30},
        "variable": {"timestamps_ms": [n * (n + 3) * 10 for n in range(40)]},
        "b-frames": {"options": ["-preset", "medium", "-bf", "3", "-g", "12"]},
    }[kind]
    path = make_video(tmp_path / "a.mp4", frames, **given)
    source = open_frames(path)
    assert [number_of(source.read(n)) for n in range(source.num_frames)] == list(range(1, 41))
    dataset.add_sample(fo.Sample(filepath=str(path)))
    dataset.ensure_frames()
    assert list(dataset.first().frames) == list(range(1, source.num_frames + 1))


def test_masks_of_a_variable_rate_video_are_on_their_frames(propagate, tmp_path, dataset):
    frames, truth = moving_discs(12)
    times = [0, 40, 400, 440, 900, 920, 940, 1500, 1520, 2400, 2410, 3000]
    path = make_video(tmp_path / "a.mp4", frames, timestamps_ms=times)
    sample = fo.Sample(filepath=str(path))
    sample.frames[9] = fo.Frame(prompts=boxed(truth[8], 1))
    dataset.add_sample(sample)
    notes = propagate(dataset, model="nano")["notes"]
    assert "its frame rate varies" in notes
    expected = tracked(path, {1: {9: sample.frames[9]["prompts"].detections[0]}})[1]
    assert len({mask.tobytes() for mask in expected.values()}) > 3
    assert_same_masks(masks_of(sample, 1), expected)


def test_a_cut_file_has_the_frames_that_decode(propagate, tmp_path, dataset):
    full = make_video(tmp_path / "full.mp4", numbered(60), fps=10, options=["-g", "15"])
    path = cut_video(tmp_path / "cut.mp4", full, start_s=1.7)
    source = open_frames(path)
    first = number_of(source.read(0))
    read = [number_of(source.read(n)) for n in range(source.num_frames)]
    assert read == list(range(first, 61))
    sample = fo.Sample(filepath=str(path))
    box = fo.Detection(bounding_box=[0.4, 0.4, 0.3, 0.3], index=1)
    sample.frames[60] = fo.Frame(prompts=fo.Detections(detections=[box]))
    dataset.add_sample(sample)
    with pytest.raises(ExecutionError, match=f"only {len(read)} frames can be decoded"):
        propagate(dataset)
    sample.frames[5] = sample.frames[60]
    del sample.frames[60]
    sample.save()
    assert "notes" not in propagate(dataset)


def test_a_file_that_breaks_off_is_tracked_as_far_as_it_goes(propagate, tmp_path, dataset):
    frames, truth = moving_discs(24)
    # The index of the file in front, so that what is left of it can be played.
    options = ["-g", "6", "-movflags", "+faststart"]
    path = make_video(tmp_path / "a.mp4", frames, options=options)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.6)])
    length = open_frames(path).num_frames
    assert 3 < length < 24
    sample = fo.Sample(filepath=str(path))
    sample.frames[3] = fo.Frame(prompts=boxed(truth[2], 1))
    dataset.add_sample(sample)
    notes = propagate(dataset)["notes"]
    assert f"only {length} of 24 frames can be decoded" in notes
    made = masks_of(sample, 1)
    assert list(made) == list(range(1, length + 1))


def test_a_rotated_video_is_tracked_as_it_is_shown(propagate, tmp_path, dataset):
    frames, truth = moving_discs(8)
    path = make_video(tmp_path / "a.mp4", frames, rotate=90)
    source = open_frames(path)
    assert source.frame_size == (96, 64)
    turns = [np.rot90(truth, k, axes=(1, 2)) for k in (1, 3)]
    shown = [np.abs(source.read(3) - np.rot90(frames[3], k).astype(int)).mean() for k in (1, 3)]
    upright = turns[int(np.argmin(shown))]
    sample = fo.Sample(filepath=str(path))
    sample.frames[3] = fo.Frame(prompts=masked(upright[2], 1))
    dataset.add_sample(sample)
    dataset.compute_metadata()
    propagate(dataset)
    made = masks_of(sample, 1)
    assert list(made) == list(range(1, 9))
    np.testing.assert_array_equal(detection_mask(made[3], (96, 64)), upright[2] == 1)


def test_clips_compute_their_frames_and_use_their_prompts(propagate, video_dataset):
    second = video_dataset[1:2]
    sample = second.first()
    clips = second.to_clips([[(2, 6), (8, 10)]])
    assert [unit.frame_numbers for unit in list_units(clips)] == [
        tuple(range(2, 7)),
        tuple(range(8, 11)),
    ]
    assert propagate(clips)["done"] == 2
    assert list(masks_of(sample, 1)) == [2, 3, 4, 5, 6]
    assert list(masks_of(sample, 2)) == [8, 9, 10]
    assert propagate(clips)["skipped"] == 2
    clips.reload()
    assert clips.count("frames.masks.detections") == 8


def test_frames_of_videos_compute_what_the_view_holds(propagate, video_dataset):
    second = video_dataset[1:2]
    frames = second.to_frames(sample_frames="dynamic")
    view = frames.match(fo.ViewField("frame_number") >= 4)
    assert propagate(view)["done"] == 1
    assert list(masks_of(second.first(), 1)) == list(range(4, 13))
    view.reload()
    found = [
        len(frame.masks.detections)
        for number, frame in second.first().frames.items()
        if number >= 4
    ]
    assert len(found) == 9
    assert view.count("masks.detections") == sum(found) >= 9


def test_frames_that_are_grouped_again_are_all_meant(propagate, video_dataset):
    view = video_dataset.to_frames(sample_frames="dynamic")
    grouped = view.group_by("sample_id", order_by="frame_number")
    units = list_units(grouped)
    assert units == list_units(view)
    assert [unit.frame_numbers for unit in units] == [tuple(range(1, 13))] * 3
    assert list_units(view_of(grouped, units[:1])) == units[:1]
    last = view.values("id")[-1]
    assert source_samples(grouped, [last]) == [video_dataset.last().id]
    assert propagate(grouped)["done"] == 3
    assert list(masks_of(video_dataset.last(), 1)) == list(range(1, 13))
    assert propagate(grouped)["skipped"] == 3
    backwards = view.group_by("sample_id", order_by="frame_number", reverse=True)
    assert list_units(backwards) == units


def test_clips_that_are_grouped_are_all_meant(video_dataset):
    clips = video_dataset[:2].to_clips([[(2, 6), (8, 10)], [(1, 3)]])
    grouped = clips.group_by("sample_id")
    assert list_units(grouped) == list_units(clips)
    assert len(list_units(clips)) == 3


@pytest.fixture
def image_groups(tmp_path, dataset):
    """Two shuffled sequences of 6 images, a box on the third of each."""
    samples = []
    for scene in ("a", "b"):
        frames, truth = moving_discs(6)
        for number in (4, 1, 6, 3, 2, 5):
            path = tmp_path / f"{scene}{number}.png"
            Image.fromarray(frames[number - 1]).save(path)
            sample = fo.Sample(filepath=str(path), scene=scene, number=number)
            if number == 3:
                sample["prompts"] = masked(truth[2], 1)
            samples.append(sample)
    dataset.add_samples(samples)
    return dataset


def test_ordered_groups_of_images_are_tracked_in_their_order(propagate, image_groups):
    view = image_groups.group_by("scene", order_by="number")
    assert propagate(view)["done"] == 2
    truth = moving_discs(6)[1]
    for scene in ("a", "b"):
        rows = image_groups.match(fo.ViewField("scene") == scene).sort_by("number")
        made = {n: sample["masks"].detections[0] for n, sample in enumerate(rows, 1)}
        assert list(made) == [1, 2, 3, 4, 5, 6]
        np.testing.assert_array_equal(detection_mask(made[3], (64, 96)), truth[2] == 1)
        assert len({label.instance.id for label in made.values()}) == 1
    assert propagate(view)["skipped"] == 2


def test_images_without_order_are_refused(propagate, image_groups):
    with pytest.raises(ExecutionError, match="order_by"):
        propagate(image_groups)
    with pytest.raises(ExecutionError, match="have no order"):
        propagate(image_groups.group_by("scene"))


def test_a_slice_of_grouped_videos_is_tracked(clips, dataset, checkpoint):
    dataset.add_group_field("group", default="left")
    truth = moving_discs(12)[1]
    for name, path in (("left", clips[0]), ("right", clips[2])):
        group = fo.Group()
        sample = fo.Sample(filepath=str(path), group=group.element(name))
        sample.frames[1] = fo.Frame(prompts=boxed(truth[0], 1))
        dataset.add_sample(sample)
    result = foo.execute_operator(
        "@sam2-plugins/sam2/propagate_masks",
        dataset=dataset,
        group_slice="right",
        params={"image_size": 64, "device": "cpu", "model": str(checkpoint)},
    ).result
    assert result["done"] == 1
    states = dataset.select_group_slices(["left", "right"]).values(["filepath", "masks_state"])
    assert dict(zip(*states, strict=True)) == {str(clips[0]): None, str(clips[2]): "done"}


def test_a_box_prompt_says_what_is_wrong_with_it(propagate, video_dataset):
    sample = video_dataset.first()
    sample.frames[1]["prompts"].detections[0].bounding_box = [0.2, 0.2, 0, 0.1]
    sample.save()
    with pytest.raises(ExecutionError, match=r"clip0\.mp4 .*, frame 1: box .* is empty"):
        propagate(video_dataset[:1])
