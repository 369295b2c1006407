"""Who is who: a track stays one, whatever its labels tell of it, and by whatever it is made."""

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.utils.labels as foul
import numpy as np
import pytest
from PIL import Image
from propagation import boxed, masks_of
from video_files import moving_discs, relative_box

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.records import Records

AUTO = {"points_per_side": 2, "min_predicted_iou": 0, "min_stability": 0, "every": 12}


@pytest.fixture
def run(checkpoint: Path) -> Any:
    quick = {"model": str(checkpoint), "image_size": 64, "device": "cpu"}

    def run(name: str, view: Any, **params: Any) -> dict[str, Any]:
        uri = f"@sam2-plugins/sam2/{name}"
        root, given = view._root_dataset, {**quick, **params}
        found = foo.execute_operator(uri, dataset=root, view=view.view(), params=given).result
        root.reload()
        return found

    return run


def num_labels(dataset: Any, field: str = "masks") -> list[int]:
    found = dataset.first().frames.items()
    return [len(frame[field].detections) for _, frame in sorted(found) if frame[field]]


def test_a_track_that_gets_an_instance_is_the_same_track(run: Any, video_dataset: Any) -> None:
    view = video_dataset[:2]
    run("propagate_masks", view)
    first, second = (sample.id for sample in view)
    foul.index_to_instance(video_dataset, "frames.prompts")
    video_dataset.reload()
    assert run("propagate_masks", view)["done"] == 2
    for sample_id, indices in ((first, (1,)), (second, (1, 2))):
        (record,) = (r for r in Records(video_dataset).find_all("masks") if r.unit_id == sample_id)
        for index in indices:
            made = masks_of(video_dataset[sample_id], index)  # one on each frame
            assert len(made) == 12
            (instance,) = {str(label.instance.id) for label in made.values()}
            assert [t.instance_id for t in record.tracks if t.index == index] == [instance]
        assert len(record.tracks) == len(indices)
    assert run("propagate_masks", view)["skipped"] == 2


def test_two_instances_of_one_index_are_two_tracks(run: Any, video_dataset: Any) -> None:
    sample, labels = video_dataset.skip(1).first(), moving_discs(12, num_objects=2)[1]
    boxes = [relative_box(labels[0] == index) for index in (1, 2)]
    for number in (5, 9):
        sample.frames[number]["prompts"] = None
    sample.frames[1]["prompts"] = fo.Detections(
        detections=[
            fo.Detection(label=name, index=1, bounding_box=box, instance=fo.Instance())
            for name, box in zip(("vehicle", "sign"), boxes, strict=True)
        ]
    )
    sample.save()
    run("propagate_masks", video_dataset[1:2])
    for frame in video_dataset[sample.id].frames.values():
        assert sorted(label.label for label in frame.masks.detections) == ["sign", "vehicle"]


def test_one_index_with_two_classes_on_a_frame_is_refused(run: Any, video_dataset: Any) -> None:
    sample = video_dataset.first()
    other = fo.Detection(label="sign", index=1, bounding_box=[0.5, 0.5, 0.2, 0.2])
    sample.frames[1]["prompts"].detections.append(other)
    sample.save()
    message = r"clip0\.mp4 .*, frame 1: index 1 is that of 'disc' and 'sign'; give each object"
    for name in ("propagate_masks", "segment_frames"):
        with pytest.raises(Exception, match=message):
            run(name, video_dataset[:1])
    # Clicks of another class add to the box, as before.
    sample.frames[1]["prompts"].detections.pop()
    click = fo.Keypoint(label="click", index=1, points=[(0.3, 0.5)])
    sample.frames[1]["clicks"] = fo.Keypoints(keypoints=[click])
    sample.save()
    assert run("propagate_masks", video_dataset[:1], prompt_field="prompts, clicks")["done"] == 1


@pytest.fixture
def scene(tmp_path: Path, dataset: Any) -> Any:
    """An ordered group of six images with a box on the third."""
    frames, labels = moving_discs(6)
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
        sample = fo.Sample(filepath=str(tmp_path / f"{number}.png"), scene="a", number=number)
        sample["prompts"] = boxed(labels[2], 1) if number == 3 else None
        dataset.add_sample(sample)
    return dataset.group_by("scene", order_by="number")


ORDERS = [("segment_frames", "propagate_masks"), ("propagate_masks", "segment_frames")]


@pytest.mark.parametrize("names", ORDERS)
def test_images_segmented_and_tracked_are_of_one_track(
    run: Any, scene: Any, names: tuple[str, str]
) -> None:
    for name in names:
        run(name, scene)
    assert [len(sample.masks.detections) for sample in scene._root_dataset] == [1] * 6


@pytest.mark.parametrize("names", ORDERS)
def test_clips_segmented_and_tracked_are_of_one_track(
    run: Any, video_dataset: Any, names: tuple[str, str]
) -> None:
    clips = video_dataset[:1].to_clips([[(1, 6)]])
    for name in names:
        run(name, clips)
    assert num_labels(video_dataset) == [1] * 6


def test_what_is_found_anew_is_not_the_track_that_was_corrected(
    run: Any, video_dataset: Any
) -> None:
    view = video_dataset[:1]
    run("auto_masklets", view, **AUTO)
    sample = video_dataset.first()
    corrected = sample.frames[1].auto_masks.detections[0]
    sample.frames[1]["prompts"] = fo.Detections(
        detections=[
            fo.Detection(
                label="object",
                index=corrected.index,
                instance=corrected.instance,
                bounding_box=corrected.bounding_box,
            )
        ]
    )
    sample.save()
    run("propagate_masks", view, output_field="auto_masks")
    run("auto_masklets", view, **AUTO, overwrite=True)
    for frame in video_dataset.first().frames.values():
        labels = frame.auto_masks.detections
        instances = [str(label.instance.id) for label in labels]
        assert len(set(instances)) == len(instances)
        assert len({label.index for label in labels}) == len(labels)
        (kept,) = (lb for lb in labels if str(lb.instance.id) == str(corrected.instance.id))
        assert not kept.sam2_run.startswith("auto-")
    assert np.all(np.array(num_labels(video_dataset, "auto_masks")) >= 1)
