"""The tutorial's dataset: made from nothing, with prompts of every kind and the truth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fiftyone as fo
from sam2_plugins.core import open_frames
from sam2_plugins.fiftyone_plugin import tutorial
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.labels import list_labels, read_prompt


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tutorial")
    dataset = tutorial.make_dataset(folder, "tutorial-test")
    yield dataset
    dataset.delete()


@pytest.fixture(scope="module")
def scenes() -> list[tutorial.Scene]:
    return tutorial.make_scenes()


def test_scenes_are_always_the_same(scenes: list[tutorial.Scene]) -> None:
    for scene, again in zip(scenes, tutorial.make_scenes(), strict=True):
        np.testing.assert_array_equal(scene.frames, again.frames)
    # One thing is away for a while, as the tutorial tells.
    visible = [(image == 1).any() for image in scenes[1].truth]
    assert visible[0]
    assert visible[-1]
    assert not all(visible)


def test_videos_and_truth_fit(made: Any, scenes: list[tutorial.Scene]) -> None:
    assert [Path(path).name for path in made.values("filepath")] == [
        "crossing.mp4",
        "leaving.mp4",
        "crowd.mp4",
    ]
    for sample, scene in zip(made, scenes, strict=True):
        frames = open_frames(sample.filepath)
        assert (frames.num_frames, frames.frame_size) == (tutorial.NUM_FRAMES, tutorial.SIZE)
        difference = np.abs(frames.read(7).astype(int) - scene.frames[7])
        assert difference.mean() < 6
        frames.close()
        for label in sample.frames[8].ground_truth.detections:
            mask = detection_mask(label, tutorial.SIZE)
            np.testing.assert_array_equal(mask, scene.truth[7] == label.index)


def test_prompts_are_on_their_objects(made: Any, scenes: list[tutorial.Scene]) -> None:
    kinds = []
    for sample, scene in zip(made, scenes, strict=True):
        for number, frame in sample.frames.items():
            for field in ("prompts", "clicks", "outlines"):
                for label in list_labels(frame[field] if frame.has_field(field) else None):
                    kinds.append(field)
                    truth = scene.truth[number - 1] == label.index
                    prompt = read_prompt(label, tutorial.SIZE)
                    assert label.keyframe is True
                    if prompt.mask is not None:
                        common = (prompt.mask & truth).sum() / (prompt.mask | truth).sum()
                        assert common > 0.75
                    elif prompt.box is not None:
                        x0, y0, x1, y1 = (int(edge) for edge in prompt.box)
                        assert truth[y0:y1, x0:x1].sum() == truth.sum()
                    else:
                        inside = [truth[int(y), int(x)] for x, y in prompt.points]
                        assert inside == [bool(value) for value in prompt.point_labels]
    assert sorted(set(kinds)) == ["clicks", "outlines", "prompts"]
    assert len(kinds) == 7


def test_a_dataset_is_not_replaced_by_accident(made: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is a dataset 'tutorial-test' already"):
        tutorial.make_dataset(tmp_path, made.name)
    with pytest.raises(SystemExit, match="2"):
        tutorial.main(["--folder", str(tmp_path), "--name", made.name])
    assert fo.dataset_exists(made.name)
    assert list(tmp_path.iterdir()) == []
