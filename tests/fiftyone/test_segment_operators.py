"""Masks without propagation: prompted frames and images, and everything in a video."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fiftyone.operators as foo
import numpy as np
import pytest
from PIL import Image
from video_files import moving_discs, relative_box

import fiftyone as fo
from sam2_plugins.core import VideoTracker, load_model
from sam2_plugins.fiftyone_plugin.geometry import detection_mask, to_box
from sam2_plugins.fiftyone_plugin.operators.auto_masklets import read_options
from sam2_plugins.fiftyone_plugin.records import Records

SIZE = (64, 96)


@pytest.fixture
def run(checkpoint: Path) -> Any:
    """Run an operator quickly, with random weights that see every object."""
    quick = {"model": str(checkpoint), "image_size": 64, "device": "cpu"}

    def run(name: str, dataset: Any, **params: Any) -> dict[str, Any]:
        uri = f"@sam2-plugins/sam2/{name}"
        root, view = dataset._root_dataset, dataset.view()
        given = {**quick, **params}
        return foo.execute_operator(uri, dataset=root, view=view, params=given).result

    return run


def test_prompted_frames_alone_get_the_core_s_masks(
    run: Any, video_dataset: Any, checkpoint: Path
) -> None:
    assert run("segment_frames", video_dataset) == {"num_samples": 3, "num_masks": 4}
    sample = video_dataset.skip(1).first()
    found = {number: frame.masks for number, frame in sample.frames.items() if frame.masks}
    assert sorted(found) == [5, 9]
    (label,) = found[9].detections
    assert (label.index, label.label, label.keyframe) == (2, "disc", False)

    tracker = VideoTracker(
        load_model(checkpoint=checkpoint, image_size=64, device="cpu"), sample.filepath
    )
    box = to_box(sample.frames[9].prompts.detections[0].bounding_box, SIZE)
    expected = tracker.set_box(8, 1, box)
    np.testing.assert_array_equal(detection_mask(label, SIZE), expected.masks[0])
    assert label.confidence == pytest.approx(float(expected.predicted_iou[0]), abs=1e-5)


def test_images_of_different_sizes_are_segmented(run: Any, dataset: Any, tmp_path: Path) -> None:
    for name, size in (("a", (64, 96)), ("b", (80, 60))):
        frames, labels = moving_discs(1, size=size)
        Image.fromarray(frames[0]).save(tmp_path / f"{name}.png")
        sample = fo.Sample(filepath=str(tmp_path / f"{name}.png"))
        box = relative_box(labels[0] == 1)
        sample["prompts"] = fo.Detections(detections=[fo.Detection(label="a", bounding_box=box)])
        dataset.add_sample(sample)
    # The user's own label in the field for the masks stays.
    sample = dataset.first()
    own = fo.Detection(label="mine", bounding_box=[0, 0, 0.1, 0.1], mask=np.ones((6, 9), bool))
    sample["masks"] = fo.Detections(detections=[own])
    sample.save()
    assert run("segment_frames", dataset) == {"num_samples": 2, "num_masks": 2}
    first, second = dataset
    assert [label.label for label in first.masks.detections] == ["mine", "a"]
    assert detection_mask(second.masks.detections[0], (80, 60)).any()
    # Again: nothing doubled.
    run("segment_frames", dataset)
    dataset.reload()
    assert [len(sample.masks.detections) for sample in dataset] == [2, 1]


def test_a_prompt_off_the_video_is_named(run: Any, video_dataset: Any) -> None:
    sample = video_dataset.first()
    box = fo.Detection(label="disc", index=1, bounding_box=[0.1, 0.1, 0.3, 0.3])
    sample.frames[40] = fo.Frame(prompts=fo.Detections(detections=[box]))
    sample.save()
    with pytest.raises(Exception, match=r"clip0.mp4.*prompt is on frame 40, but there are 12"):
        run("segment_frames", video_dataset.select(sample.id))
    with pytest.raises(Exception, match="no frame field 'clicks'"):
        run("segment_frames", video_dataset, prompt_field="clicks")


AUTO = {"points_per_side": 3, "min_predicted_iou": 0, "min_stability": 0, "every": 6}


def test_everything_is_found_once_and_followed(run: Any, video_dataset: Any) -> None:
    dataset = video_dataset.limit(1).clone()
    result = run("auto_masklets", dataset, **AUTO)
    assert (result["num_videos"], result["num_skipped"]) == (1, 0)
    assert result["num_tracks"] >= 1
    (record,) = Records(dataset).find_all("auto_masks")
    assert record.state == "done"
    frames = dataset.first().frames
    assert len(frames) == 12
    ids = [[label.index for label in frame.auto_masks.detections] for frame in frames.values()]
    assert all(len(set(row)) == len(row) for row in ids)
    assert {index for row in ids for index in row} == set(range(1, result["num_tracks"] + 1))
    assert any(len(row) for row in ids[1:])
    # What is done is left; done again, it is replaced and not doubled.
    assert run("auto_masklets", dataset, **AUTO)["num_skipped"] == 1
    again = run("auto_masklets", dataset, **AUTO, overwrite=True)
    assert again["num_tracks"] == result["num_tracks"]
    dataset.reload()
    assert ids == [
        [label.index for label in frame.auto_masks.detections]
        for frame in dataset.first().frames.values()
    ]
    dataset.delete()


def test_a_keyframe_among_automatic_masks_is_propagated(run: Any, video_dataset: Any) -> None:
    video_dataset.delete_frame_fields(["prompts", "truth"])
    dataset = video_dataset.limit(1).clone()
    run("auto_masklets", dataset, **AUTO)
    sample = dataset.first()
    corrected = sample.frames[4].auto_masks.detections[0]
    corrected.keyframe = True
    sample.save()
    fields = {"prompt_field": "auto_masks", "output_field": "auto_masks"}
    assert run("propagate_masks", dataset, **fields)["done"] == 1
    dataset.reload()
    made = {
        label.sam2_run
        for number, frame in dataset.first().frames.items()
        for label in frame.auto_masks.detections
        if label.index == corrected.index and number != 4
    }
    assert len(made) == 1
    assert not made.pop().startswith("auto-")
    dataset.delete()


def test_thresholds_left_empty_are_the_models_own() -> None:
    params = {"min_predicted_iou": None, "min_stability": "", "min_area": 3}
    options = read_options(SimpleNamespace(params=params))
    assert (options.min_predicted_iou, options.min_stability, options.min_area) == (None, None, 3)
    options = read_options(SimpleNamespace(params={"min_predicted_iou": 0}))
    assert options.min_predicted_iou == 0  # which is not empty


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"key_frames": "one"}, "key_frames must be numbers such as 1, 40, not 'one'"),
        ({"key_frames": "99"}, "there is no frame 99; frames are 1 to 12"),
        ({"points_per_side": 0}, "points_per_side must be a number from 1 to 128"),
        ({"min_stability": 2.0}, "min_stability must be a number from 0 to 1"),
        ({"model": "nono"}, "nono"),
    ],
)
def test_bad_choices_are_one_line(
    run: Any, video_dataset: Any, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        run("auto_masklets", video_dataset, **params)
