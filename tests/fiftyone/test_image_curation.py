"""An image dataset in daily use: boxes drawn again, patches, views of frames, measuring."""

from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import numpy as np
import pytest
from PIL import Image
from propagation import masked
from video_files import moving_discs, relative_box

import fiftyone as fo

REVIEW = "review_masklets"


@pytest.fixture
def run(checkpoint: Path) -> Any:
    """Run an operator quickly, with random weights that see every object."""
    quick = {"model": str(checkpoint), "image_size": 64, "device": "cpu"}

    def run(name: str, view: Any, **params: Any) -> dict[str, Any]:
        uri, root = f"@sam2-plugins/sam2/{name}", view._root_dataset
        given = {"view": view} if view is not root else {}
        return foo.execute_operator(uri, dataset=root, params={**quick, **params}, **given).result

    return run


def box(labels: Any, index: int) -> Any:
    """A box without an index, as it is drawn in the App."""
    return fo.Detection(label="disc", bounding_box=relative_box(labels == index))


@pytest.fixture
def images(dataset: Any, tmp_path: Path) -> Any:
    """Two images with two discs each, boxes in `prompts` and the truth in `truth`."""
    frames, labels = moving_discs(2, num_objects=2)
    for number, (frame, mask) in enumerate(zip(frames, labels, strict=True)):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
        sample = fo.Sample(filepath=str(tmp_path / f"{number}.png"))
        sample["prompts"] = fo.Detections(detections=[box(mask, 1), box(mask, 2)])
        truth = [masked(mask, index).detections[0] for index in (1, 2)]
        sample["truth"] = fo.Detections(detections=truth)
        dataset.add_sample(sample)
    return dataset


def ids(sample: Any, field: str = "masks") -> list[str]:
    sample.reload()
    return [label.instance.id for label in sample[field].detections]


def test_a_box_that_is_drawn_again_has_one_mask(run: Any, images: Any) -> None:
    run("segment_frames", images)
    images.reload()
    first, second = images
    run(REVIEW, images.select(second.id), verdict="accept")
    before, others = ids(first), ids(second)
    first.prompts.detections[0] = box(moving_discs(2, num_objects=2)[1][0], 1)
    edited = np.ones((5, 5), bool)
    first.masks.detections[1].mask = edited
    first.save()
    run("segment_frames", images)
    after = ids(first)
    # What a person changed is theirs, and what came out the same is still accepted.
    by_id = {label.instance.id: label for label in first.masks.detections}
    np.testing.assert_array_equal(by_id[before[1]].mask, edited)
    assert ids(second) == others
    assert [label.tags for label in second.masks.detections] == [["sam2:accepted"]] * 2
    assert run("suggest_frames", images.select(second.id))["suggestions"] == []
    assert len(set(before) & set(after)) == 1
    assert [label.index for label in first.masks.detections] in ([1, 2], [2, 1])
    assert ids(second) == others
    first["prompts"] = None
    first.save()
    run("segment_frames", images)
    assert ids(first) == [before[1]]


def test_masks_of_other_prompts_and_what_was_accepted_or_made_by_people_stays(
    run: Any, images: Any
) -> None:
    run("segment_frames", images)
    images.reload()
    sample = images.first()
    run("segment_frames", images, prompt_field="truth")
    assert len(ids(sample)) == 4
    accepted, made = ids(sample)[:2]
    run(REVIEW, images.select(sample.id), verdict="accept", tracks=accepted)
    sample.reload()
    sample.masks.detections[1].keyframe = True
    sample["prompts"] = None
    sample.save()
    run("segment_frames", images)
    assert set(ids(sample)) >= {accepted, made}
    assert len(ids(sample)) == 4


def test_patches_are_segmented_as_the_images_they_are_of(run: Any, images: Any) -> None:
    patches = images.to_patches("prompts")
    result = run("segment_frames", patches)
    assert (len(patches), result) == (4, {"num_samples": 2, "num_masks": 4})
    images.reload()
    assert images.count("masks.detections") == 4
    assert run("suggest_frames", patches)["num_videos"] == 2


def test_masks_of_images_are_measured_where_they_were_prompted(run: Any, images: Any) -> None:
    run("segment_frames", images, prompt_field="truth")
    images.reload()
    for sample in images:
        given = {label.index: label.instance.id for label in sample.truth.detections}
        assert set(ids(sample)) == set(given.values())
    result = run("evaluate_masklets", images, truth_field="truth", prompt_field="truth")
    assert result["j"] == pytest.approx(1)
    assert [video["num_tracks"] for video in result["videos"]] == [2, 2]


def test_a_view_of_frames_goes_on_with_the_masks_that_it_got(
    run: Any, video_dataset: Any, tmp_path: Path
) -> None:
    frames = video_dataset.to_frames(sample_frames=True, output_dir=str(tmp_path))
    run("propagate_masks", frames)
    assert run("suggest_frames", frames)["num_videos"] == 3
    assert run(REVIEW, frames)["num_tracks"] == 4
