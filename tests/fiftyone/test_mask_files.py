"""Masks in files: no file goes that a label refers to, and no two labels have the same."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fiftyone.operators.executor import ExecutionError
from propagation import masks_of
from video_files import moving_discs, relative_box

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.mask_files import write_mask_file
from sam2_plugins.fiftyone_plugin.records import Records

SIZE = (64, 96)
ALL = list(range(1, 13))


@pytest.fixture
def one_video(video_dataset: Any) -> Iterator[Any]:
    """A dataset of the first video alone, and all its clones deleted afterwards."""
    dataset = video_dataset[:1].clone()
    yield dataset
    for name in fo.list_datasets():
        if name.startswith(dataset.name):
            fo.delete_dataset(name)


@pytest.fixture
def propagate_to_files(propagate: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def run(view: Any, **params: Any) -> dict[str, int]:
        made: dict[str, int] = propagate(
            view, mask_storage="path", mask_dir=str(tmp_path), **params
        )
        view._root_dataset.reload()
        return made

    return run


def paths_of(dataset: Any, field: str = "masks") -> list[Path]:
    found = dataset.values(f"frames.{field}.detections.mask_path", unwind=True)
    return [Path(path) for path in found]


def correct(dataset: Any, number: int = 6) -> None:
    """Say something new of the object."""
    sample, box = dataset.first(), relative_box(moving_discs(12)[1][number - 1] == 1)
    label = fo.Detection(label="disc", index=1, bounding_box=box)
    sample.frames[number]["prompts"] = fo.Detections(detections=[label])
    sample.save()


@pytest.mark.parametrize("rerun", ["clone", "original", "copies"])
def test_a_run_keeps_the_files_of_clones(
    one_video: Any, propagate_to_files: Callable[..., Any], rerun: str
) -> None:
    propagate_to_files(one_video)
    if rerun == "copies":  # samples with ids of their own
        other = fo.Dataset(f"{one_video.name}-copy")
        other.add_samples(list(one_video))
    else:
        other = one_video.clone(f"{one_video.name}-clone")
        assert other.first().id == one_video.first().id
    before = paths_of(one_video)
    assert len(before) == len(ALL)
    again = other if rerun == "clone" else one_video
    propagate_to_files(again, overwrite=True)
    for dataset in (one_video, other):
        assert len(paths_of(dataset)) == len(ALL)
        assert all(path.is_file() for path in paths_of(dataset))
    assert set(paths_of(one_video)).isdisjoint(paths_of(other))


def test_a_run_keeps_the_files_of_a_field_that_was_copied(
    one_video: Any, propagate_to_files: Callable[..., Any], tmp_path: Path
) -> None:
    propagate_to_files(one_video)
    one_video.clone_frame_field("masks", "masks_v1")
    one_video.reload()
    correct(one_video)
    assert propagate_to_files(one_video)["done"] == 1
    kept, made = paths_of(one_video, "masks_v1"), paths_of(one_video)
    assert set(kept).isdisjoint(made)
    assert all(path.is_file() for path in [*kept, *made])
    # When nothing refers to them any more, the next run removes them. What a person painted stays.
    one_video.delete_frame_field("masks_v1")
    painted = made[2]
    write_mask_file(np.ones((4, 5), bool), str(painted))
    assert propagate_to_files(one_video, overwrite=True)["done"] == 1
    assert {*tmp_path.rglob("*.png")} == {*paths_of(one_video)}
    assert set(made).intersection(paths_of(one_video)) == {painted}


def test_a_folder_may_be_called_otherwise_the_next_time(
    one_video: Any, propagate: Callable[..., Any], tmp_path: Path
) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    sample = one_video.first()
    other = fo.Detection(label="disc", index=2, bounding_box=[0.6, 0.6, 0.3, 0.3])
    sample.frames[1]["prompts"].detections.append(other)
    sample.save()
    propagate(one_video, mask_storage="path", mask_dir=str(link))
    correct(one_video)
    propagate(one_video, mask_storage="path", mask_dir=str(real))
    one_video.reload()
    found = paths_of(one_video)
    assert {path.is_relative_to(link) for path in found} == {True, False}
    assert all(path.is_file() for path in found)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_tracked(
    one_video: Any, propagate: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "masks"):
        with pytest.raises(ExecutionError, match=f"mask_dir: cannot write into {place}: "):
            propagate(one_video, mask_storage="path", mask_dir=str(place))
    assert Records(one_video).find_all() == []


def test_objects_with_one_index_have_files_of_their_own(
    clips: list[Path], dataset: Any, propagate_to_files: Callable[..., Any], propagate: Any
) -> None:
    """As FiftyOne's `index_to_instance` makes them, which counts for every class by itself."""
    truth, sample = moving_discs(12, num_objects=2)[1], fo.Sample(filepath=str(clips[1]))
    prompts = [
        fo.Detection(
            label=label,
            index=1,
            instance=fo.Instance(),
            bounding_box=relative_box(truth[0] == object_id),
        )
        for object_id, label in ((1, "vehicle"), (2, "sign"))
    ]
    sample.frames[1] = fo.Frame(prompts=fo.Detections(detections=prompts))
    dataset.add_sample(sample)
    propagate_to_files(dataset)
    propagate(dataset, output_field="stored")
    dataset.reload()
    frames = dataset.first().frames
    paths = paths_of(dataset)
    assert len(set(paths)) == len(paths) == 24
    for number in ALL:
        in_files = {label.label: label for label in frames[number]["masks"].detections}
        stored = {label.label: label for label in frames[number]["stored"].detections}
        assert set(in_files) == {"vehicle", "sign"}
        for label, detection in in_files.items():
            found = detection_mask(detection, SIZE)
            np.testing.assert_array_equal(found, detection_mask(stored[label], SIZE))


def test_files_of_versions_before_are_read_and_left(
    one_video: Any, propagate_to_files: Callable[..., Any], tmp_path: Path
) -> None:
    """They lie in a folder that other datasets of the same samples may have written to, too."""
    propagate_to_files(one_video)
    sample = one_video.first()
    old = tmp_path / "masks" / sample.id / "0123456789abcdef" / "1"
    old.mkdir(parents=True)
    for number, frame in sample.frames.items():
        (label,) = frame["masks"].detections
        path = old / f"{number:06d}.png"
        write_mask_file(label.get_mask(), str(path))
        label.mask_path = str(path)
    sample.save()
    expected = [detection_mask(label, SIZE) for label in masks_of(sample, 1).values()]
    assert propagate_to_files(one_video)["skipped"] == 1
    assert propagate_to_files(one_video, overwrite=True)["done"] == 1
    assert len([*old.glob("*.png")]) == len(ALL)
    made = [detection_mask(label, SIZE) for label in masks_of(sample, 1).values()]
    np.testing.assert_array_equal(made, expected)
    assert not any(old in path.parents for path in paths_of(one_video))
