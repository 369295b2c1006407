"""Whole clips through `VideoTracker(exact=True)` and the published sam2 package's predictor.

The predictor is told to keep corrected frames as conditioning frames, as it was trained; without
that it loses corrections. Both read the same JPEG files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from references import (
    HEIGHT,
    NUM_FRAMES,
    WIDTH,
    Pair,
    assert_agrees,
    make_pair,
    read,
)
from scipy import ndimage
from torch import Tensor

from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.tracker import VideoTracker

# Minutes where other work keeps the processor busy.
pytestmark = pytest.mark.timeout(1200)
CLICKED, BOXED, MASKED = 1, 2, 3
CLICKS, CLICK_LABELS = [[60, 70], [150, 30]], [1, 0]
BOX = [90, 40, 170, 120]


@pytest.fixture(scope="module")
def mask() -> NDArray[np.bool_]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (y - 110) ** 2 + (x - 40) ** 2 < 20**2


def tracker_for(model: torch.nn.Module, folder: Path, **options: Any) -> VideoTracker:
    return VideoTracker(model, open_frames(read(folder), rgb=True), exact=True, **options)


Masks = dict[int, NDArray[np.bool_]]


@dataclass
class Official:
    """The published predictor on one clip."""

    predictor: Any
    state: dict[str, Any]

    def click(self, frame: int, object_id: int, **prompt: Any) -> NDArray[np.bool_]:
        _, ids, logits = self.predictor.add_new_points_or_box(
            self.state, frame, object_id, clear_old_points=False, **prompt
        )
        return (logits[ids.index(object_id), 0] > 0).numpy()

    def propagate(self, **options: Any) -> Masks:
        return {
            frame: (logits[:, 0] > 0).numpy()
            for frame, _, logits in self.predictor.propagate_in_video(self.state, **options)
        }

    def low_res_logits(self, object_id: int, frame: int) -> Tensor:
        outputs = self.state["output_dict_per_obj"][self.state["obj_id_to_idx"][object_id]]
        for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
            if frame in outputs[kind]:
                return outputs[kind][frame]["pred_masks"]
        raise KeyError(frame)


def start_official(predictor: Any, folder: Path) -> Official:
    return Official(predictor, predictor.init_state(str(folder)))


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return (a & b).sum() / (a | b).sum()


def assert_same_masks(ours: NDArray[np.bool_], expected: NDArray[np.bool_]) -> None:
    assert 0.01 < expected.mean() < 0.99, "the mask must be neither empty nor full"
    assert iou(ours, expected) >= 0.995


def assert_same_frame(ours: FrameMasks, expected: NDArray[np.bool_]) -> None:
    assert len(ours.masks) == len(expected)
    assert (ours.object_score_logits > 0).all(), "the objects must be there"
    for one, other in zip(ours.masks, expected, strict=True):
        assert_same_masks(one, other)


def assert_same_logits(
    tracker: VideoTracker, official: Official, ids: Iterable[int], frames: Iterable[int]
) -> None:
    for object_id in ids:
        for frame in frames:
            logits = tracker._store.masklets[object_id].results[frame].logits.read()
            assert_agrees(logits, official.low_res_logits(object_id, frame), 1e-3)


def preview(frame: FrameMasks, object_id: int) -> NDArray[np.bool_]:
    return frame.masks[frame.object_ids.tolist().index(object_id)]


def compare_three_objects(pair: Pair, folder: Path, mask: NDArray[np.bool_]) -> None:
    """Clicks, a box and a mask on the first frame: what is shown at once, and on every frame."""
    predictor = pair.official
    official = start_official(predictor, folder)
    tracker = tracker_for(pair.ours, folder, fill_hole_area=0)
    expected = official.click(0, CLICKED, points=CLICKS, labels=CLICK_LABELS)
    ours = tracker.add_points(0, CLICKED, CLICKS, CLICK_LABELS)
    assert_same_masks(preview(ours, CLICKED), expected)
    _, _, logits = predictor.add_new_points_or_box(official.state, 0, BOXED, box=BOX)
    assert_same_masks(preview(tracker.set_box(0, BOXED, BOX), BOXED), (logits[1, 0] > 0).numpy())
    predictor.add_new_mask(official.state, 0, MASKED, mask)
    tracker.set_mask(0, MASKED, mask)

    everything = range(tracker.num_frames)
    expected_masks = official.propagate()
    visited = [frame.frame_index for frame in tracker.propagate()]
    assert visited == list(everything)
    for frame in everything:
        assert_same_frame(tracker.masks(frame), expected_masks[frame])
    assert_same_logits(tracker, official, (CLICKED, BOXED, MASKED), everything)


@pytest.mark.parametrize("pair", ["sam2-tiny", "sam2.1-tiny"], indirect=True)
def test_three_objects_on_twelve_frames(pair: Pair, folder: Path, mask: NDArray[np.bool_]) -> None:
    compare_three_objects(pair, folder, mask)


# At a smaller size: at 256 pixels their encoder, which `test_stages` compares there, would take
# two thirds of the time.
@pytest.mark.parametrize("name", ["sam2-base-plus", "sam2.1-base-plus"])
def test_three_objects_on_twelve_frames_with_larger_networks(
    name: str, folder: Path, mask: NDArray[np.bool_]
) -> None:
    compare_three_objects(make_pair(name, 128), folder, mask)


# The versions differ in their network, which the twelve frames above compare for both.
@pytest.mark.parametrize("pair", ["sam2.1-tiny"], indirect=True)
def test_a_click_more_and_a_correction_later(pair: Pair, folder: Path) -> None:
    official = start_official(pair.official, folder)
    tracker = tracker_for(pair.ours, folder, fill_hole_area=0)
    official.click(0, CLICKED, points=CLICKS, labels=CLICK_LABELS)
    tracker.add_points(0, CLICKED, CLICKS, CLICK_LABELS)
    expected = official.click(0, CLICKED, points=[[70, 60]], labels=[1])
    ours = tracker.add_points(0, CLICKED, [[70, 60]], [1])
    assert_same_masks(preview(ours, CLICKED), expected)
    official.propagate()
    for _ in tracker.propagate():
        pass

    expected = official.click(6, CLICKED, points=[[100, 100]], labels=[0])
    ours = tracker.add_points(6, CLICKED, [[100, 100]], [0])
    assert_same_masks(preview(ours, CLICKED), expected)
    expected_masks = official.propagate()
    for _ in tracker.propagate():
        pass
    for frame in range(NUM_FRAMES):
        assert_same_frame(tracker.masks(frame), expected_masks[frame])
    assert_same_logits(tracker, official, [CLICKED], range(NUM_FRAMES))


@pytest.mark.parametrize("pair", ["sam2-tiny"], indirect=True)
def test_prompts_in_the_middle_and_both_directions(
    pair: Pair, folder: Path, mask: NDArray[np.bool_]
) -> None:
    predictor = pair.official
    tracker = tracker_for(pair.ours, folder, fill_hole_area=0)
    tracker.set_box(5, BOXED, BOX)
    tracker.set_mask(9, BOXED, mask)
    for _ in tracker.propagate(direction="both"):
        pass
    for options in ({}, {"reverse": True}):
        # One state for each way: a state that has gone forward would go back with other memories.
        official = start_official(predictor, folder)
        predictor.add_new_points_or_box(official.state, 5, BOXED, box=BOX)
        predictor.add_new_mask(official.state, 9, BOXED, mask)
        for frame, expected in official.propagate(start_frame_idx=5, **options).items():
            assert_same_frame(tracker.masks(frame), expected)
            assert_same_logits(tracker, official, [BOXED], [frame])


@pytest.mark.parametrize("pair", ["sam2.1-tiny"], indirect=True)
def test_small_holes_are_filled_alike(
    pair: Pair, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def components(background: Tensor) -> tuple[Tensor, Tensor]:
        """What sam2's CUDA extension computes: labels of regions and their areas."""
        labels = np.stack([ndimage.label(m, np.ones((3, 3)))[0] for m in background[:, 0].numpy()])
        areas = np.stack([np.bincount(m.ravel())[m] for m in labels])
        return torch.from_numpy(labels)[:, None], torch.from_numpy(areas)[:, None]

    monkeypatch.setattr("sam2.utils.misc.get_connected_components", components)
    monkeypatch.setattr(pair.official, "fill_hole_area", 8)
    official = start_official(pair.official, folder)
    tracker = tracker_for(pair.ours, folder)
    official.click(0, CLICKED, points=CLICKS, labels=CLICK_LABELS)
    tracker.add_points(0, CLICKED, CLICKS, CLICK_LABELS)
    expected_masks = official.propagate(max_frame_num_to_track=4)
    for _ in tracker.propagate(stop=5):
        pass
    for frame in range(5):
        assert_same_frame(tracker.masks(frame), expected_masks[frame])
    filled = official.low_res_logits(CLICKED, 3) == 0.1
    assert filled.any(), "there must be holes, or nothing was compared"


@pytest.mark.parametrize(
    "num_frames",
    [
        pytest.param(1, marks=pytest.mark.slow),
        pytest.param(NUM_FRAMES, marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
    ],
)
def test_at_the_size_of_the_published_models(
    folder: Path, tmp_path: Path, mask: NDArray[np.bool_], num_frames: int
) -> None:
    for path in sorted(folder.glob("*.jpg"))[:num_frames]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    compare_three_objects(make_pair("sam2.1-tiny", 1024), tmp_path, mask)
