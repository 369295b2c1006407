"""Training on a dataset of FiftyOne: named, or exported first by the operator."""

import json
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import numpy as np
import pytest
from PIL import Image
from tracked import write_masks
from video_files import moving_discs, relative_box

import fiftyone as fo
from sam2_plugins.cli import main
from sam2_plugins.core.training.own_data import load_own_data

SIZE = (64, 96)


def run(name: str, dataset: Any, **params: Any) -> dict[str, Any]:
    view = params.pop("view", None)
    uri = f"@sam2-plugins/sam2/{name}"
    return foo.execute_operator(uri, dataset=dataset, view=view, params=params).result


def finetune(source: str, out: Path, checkpoint: Path, *options: str) -> int:
    arguments = ["--data", source, "--out", f"{out}/", "--model", str(checkpoint), *options]
    small = ["--steps", "1", "--processes", "1", "--image-size", "64"]
    return main(["train", "finetune", *arguments, *small])


@pytest.fixture
def tracked(video_dataset: Any) -> Any:
    for sample, count in zip(video_dataset, (1, 2, 1), strict=True):
        write_masks(sample, moving_discs(12, num_objects=count)[1])
    return video_dataset


@pytest.mark.parametrize("name", ["sa-v", "davis", "youtube-vos"])
def test_what_the_operator_exports_is_learnt_from(tracked: Any, tmp_path: Path, name: str) -> None:
    target = tmp_path / "out"
    run("export_masklets", tracked, export_dir=str(target), format=name)
    stacks = load_own_data(target).stacks
    assert [stack.labels.shape for stack in stacks] == [(12, *SIZE)] * 3
    for stack, count in zip(stacks, (1, 2, 1), strict=True):
        frames, labels = moving_discs(12, num_objects=count)
        np.testing.assert_array_equal(stack.labels, labels)
        # the pictures are the video's own, through H.264
        assert np.abs(stack.frames.astype(int) - frames).mean() < 6


def test_a_dataset_of_videos_by_its_name(
    tracked: Any, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = tracked.values("id")
    run("review_masklets", tracked, view=tracked.select(second), verdict="reject", tracks="1")
    # labels on three frames only: nothing is said of the others
    sample = tracked[third]
    for number in set(range(1, 13)) - {2, 6, 11}:
        sample.frames[number]["masks"] = None
    sample.save()
    code = finetune(f"fiftyone:{tracked.name}", tmp_path / "run", checkpoint)
    assert code in (0, 1)  # better or not: one step decides nothing
    said = capsys.readouterr().err
    assert "wrote the masks of 3 videos and images" in said
    assert "learning from 2 stacks of 15 frames; 1 stack of 12 frames kept apart" in said
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["comparisons"]
    data = load_own_data(tmp_path / "run/data")
    assert [set(np.unique(stack.labels)) for stack in data.stacks] == [{0, 1}, {0, 2}, {0, 1}]
    np.testing.assert_array_equal(data.stacks[2].labels, moving_discs(12)[1][[1, 5, 10]])
    # going on uses what the run began with, whatever became of the dataset
    name = f"fiftyone:{tracked.name}"
    tracked.delete_samples(first)
    assert finetune(name, tmp_path / "run", checkpoint, "--resume") in (0, 1)
    assert len(load_own_data(tmp_path / "run/data").stacks) == 3


def make_images(dataset: Any, folder: Path, count: int) -> None:
    samples = []
    for index in range(count):
        frames, labels = moving_discs(count, num_objects=2)
        path = folder / f"picture{index}.png"
        Image.fromarray(frames[index]).save(path)
        found = []
        for object_id in (1, 2):
            mask = labels[index] == object_id
            rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
            cropped = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            box = relative_box(mask, 0)
            found.append(fo.Detection(label="disc", bounding_box=box, mask=cropped))
        truth = fo.Detections(detections=found)
        samples.append(fo.Sample(filepath=str(path), truth=truth, film="one", number=index))
    dataset.add_samples(samples)
    dataset.compute_metadata()


def test_images_and_ordered_groups_of_images(
    dataset: Any, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_images(dataset, tmp_path, 8)
    name = f"fiftyone:{dataset.name}"
    finetune(name, tmp_path / "images", checkpoint, "--field", "truth")
    assert "learning from 6 images; 2 images kept apart" in capsys.readouterr().err
    images = load_own_data(tmp_path / "images/data").images
    assert [len(image.instances) for image in images] == [2] * 8
    dataset.save_view("film", dataset.group_by("film", order_by="number"))
    finetune(name, tmp_path / "film", checkpoint, "--field", "truth", "--view", "film")
    assert "learning from 1 stack of 6 frames" in capsys.readouterr().err
    (stack,) = load_own_data(tmp_path / "film/data").stacks
    np.testing.assert_array_equal(stack.labels > 0, moving_discs(8, num_objects=2)[1] > 0)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("fiftyone:none", (), "FiftyOne has no dataset 'none'"),
        ("fiftyone:{}", ("--field", "nothing"), "'nothing' is no field of detections"),
        ("fiftyone:{}", ("--view", "nothing"), "has no saved view 'nothing'"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    video_dataset: Any,
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    options: tuple[str, ...],
    words: str,
) -> None:
    place = source.format(video_dataset.name)
    assert finetune(place, tmp_path / "run", checkpoint, *options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line
