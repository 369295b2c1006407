"""What comes out: masks without holes, scores in range, for frames of every kind."""

import numpy as np
import pytest
import torch
from tiny import absent_on, counted, make_tiny
from torch.nn import functional

from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.masks import fill_holes
from sam2_plugins.core.tracker import VideoTracker
from synthetic import nuclei_stack, two_discs_crossing

CLIP = two_discs_crossing(6)
MODEL = make_tiny()


def in_every_way(tracker):
    """Results of prompts of every kind, of tracking, and of an absent object."""
    height, width = tracker.frame_size
    mask = np.zeros((height, width), bool)
    yield tracker.add_points(0, 1, [[width * 0.3, height * 0.4]], [1])
    yield tracker.set_mask(0, 2, mask)
    mask[: height // 2 + 1] = True
    yield tracker.set_mask(0, 3, mask)
    yield tracker.set_box(0, 4, [0, 0, width, height])
    with absent_on(tracker, (2,)):
        yield from tracker.propagate()
    yield tracker.add_points(2, 1, [[width * 0.3, height * 0.4], [0, 0]], [1, 0])


@pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])
def test_scores_are_finite_and_in_range(exact):
    tracker = VideoTracker(MODEL, CLIP.frames, exact=exact)
    for result in in_every_way(tracker):
        count = len(result.object_ids)
        assert result.masks.shape == (count, 40, 56)
        assert result.masks.dtype == bool
        assert result.predicted_iou.shape == result.object_score_logits.shape == (count,)
        assert result.predicted_iou.dtype == result.object_score_logits.dtype == np.float32
        assert np.isfinite(result.object_score_logits).all()
        assert ((result.predicted_iou >= 0) & (result.predicted_iou <= 1)).all()


def test_an_absent_object_has_an_empty_mask_and_a_negative_score():
    tracker = VideoTracker(MODEL, CLIP.frames)
    list(in_every_way(tracker))
    absent = tracker.masks(2)
    assert (absent.object_score_logits[2:] < 0).all()
    assert not absent.masks[2:].any()
    assert (tracker.masks(3).object_score_logits > 0).all()


def holed_decode(model, holes):
    """A decoder that finds one square with holes, each (row, column, height, width) cells."""
    decode = type(model).decode

    def call(*args, **kwargs):
        decoding = decode(model, *args, **kwargs)
        logits = torch.full_like(decoding.low_res_logits, -8)
        logits[..., 2:14, 2:14] = 8
        for row, column, height, width in holes:
            logits[..., row : row + height, column : column + width] = -8
        return decoding._replace(low_res_logits=logits)

    return call


@pytest.mark.parametrize(
    ("hole", "area", "is_filled"),
    [
        ((5, 5, 2, 4), 8, True),
        ((5, 5, 3, 3), 8, False),
        ((5, 5, 3, 3), 9, True),
        ((5, 5, 1, 1), 0, False),
    ],
)
@pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])
def test_small_holes_are_filled_wherever_masks_come_from(monkeypatch, hole, area, is_filled, exact):
    tracker = VideoTracker(MODEL, np.zeros((4, 64, 64), np.uint8), fill_hole_area=area, exact=exact)
    monkeypatch.setattr(MODEL, "decode", holed_decode(MODEL, [hole]))
    results = [tracker.add_points(1, 1, [[30, 30]], [1]), *tracker.propagate()]
    results.append(tracker.add_points(3, 1, [[30, 30]], [1]))
    row, column, height, width = (4 * side for side in hole)
    middle = row + height // 2, column + width // 2
    assert len(results) == 6
    for result in results:
        assert result.masks[0, 20, 40]
        assert bool(result.masks[0][middle]) is is_filled


def test_masks_are_the_logits_at_the_frames_size():
    tracker = VideoTracker(MODEL, CLIP.frames)
    tracker.set_box(0, 1, CLIP.box(0, 1))
    for result in tracker.propagate():
        logits = tracker._store.masklets[1].results[result.frame_index].logits.read()
        expected = functional.interpolate(
            fill_holes(logits, 8), size=(40, 56), mode="bilinear", align_corners=False
        )
        np.testing.assert_array_equal(result.masks[0], expected[0, 0].numpy() > 0)


@pytest.mark.parametrize("size", [(20, 60), (60, 20)], ids=["wide", "high"])
def test_x_and_y_are_not_swapped(size):
    height, width = size
    tracker = VideoTracker(MODEL, np.zeros((2, height, width), np.uint8))
    seen = []
    decode = MODEL.decode

    def call(*args, **kwargs):
        seen.append((kwargs["points"][0].numpy(), kwargs["point_labels"].tolist()))
        return decode(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODEL, "decode", call)
        tracker.set_box(0, 1, [0, 5, width, 10])
        tracker.add_points(0, 1, [[width * 0.75, height * 0.25]], [0])
    scale = 64 / height
    corners = [[0, 5 * scale], [64, 10 * scale]]
    (box, box_labels), (both, labels) = seen
    np.testing.assert_allclose(box, corners, rtol=1e-6)
    np.testing.assert_allclose(both, [*corners, [48, 16]], rtol=1e-6)
    assert (box_labels, labels) == ([[2, 3]], [[2, 3, 0]])
    mask = np.zeros(size, bool)
    mask[:3] = True
    assert (tracker.set_mask(1, 2, mask).masks == mask).all()
    assert tracker._store.masklets[2].results[1].box == (0, 0, width, 3)


FRAMES = {
    "uint8": (CLIP.frames, "percentiles"),
    "uint16": (nuclei_stack((3, 40, 56), num_nuclei=3).frames, "percentiles"),
    "int32": (CLIP.frames.astype(np.int32) - 100, "percentiles"),
    "float32": (CLIP.frames / np.float32(1000), "percentiles"),
    "float64": (CLIP.frames.astype(float) * 1e9, "percentiles"),
    "boolean": (CLIP.labels > 0, "boolean"),
    "constant": (np.full((3, 40, 56), 7, np.uint8), "percentiles"),
    "one pixel": (np.array([[[3]], [[200]]], np.uint8), "percentiles"),
    "tiny": (CLIP.frames[:, 10:15, 10:17], "percentiles"),
    "one frame": (CLIP.frames[:1], "percentiles"),
    "large": (np.kron(CLIP.frames[:2], np.ones((1, 6, 6), np.uint8)), "percentiles"),
    "RGB": (open_frames(np.stack([CLIP.frames] * 3, axis=-1), rgb=True), "rgb"),
}


@pytest.mark.parametrize(("frames", "policy"), FRAMES.values(), ids=FRAMES.keys())
def test_frames_of_every_kind_are_tracked(frames, policy):
    tracker = VideoTracker(MODEL, frames)
    assert tracker.pixel_policy.name == policy
    height, width = tracker.frame_size
    tracker.add_points(0, 1, [[width / 2, height / 2]], [1])
    tracker.set_box(tracker.num_frames - 1, 2, [0, 0, width, height])
    list(tracker.propagate())
    assert tracker.known_frames(1) == tracker.known_frames(2) == list(range(tracker.num_frames))
    for frame in range(tracker.num_frames):
        result = tracker.masks(frame)
        assert result.masks.shape == (2, height, width)
        assert np.isfinite(result.predicted_iou).all()


def test_three_channels_are_colours_where_they_are_bytes_or_the_caller_says_so():
    colours = np.stack([CLIP.frames, CLIP.frames // 2, CLIP.frames // 3], axis=-1)
    assert VideoTracker(MODEL, colours).pixel_policy.name == "rgb"
    assert not VideoTracker(MODEL, colours, rgb=False).pixel_policy.is_rgb
    assert not VideoTracker(MODEL, colours * 1.0).pixel_policy.is_rgb
    assert VideoTracker(MODEL, colours * 1.0, rgb=True).pixel_policy.is_rgb


def test_frames_scaled_alike_give_equal_masks():
    masks = []
    for frames in (CLIP.frames, CLIP.frames.astype(np.uint16) * 64, CLIP.frames / np.float32(256)):
        tracker = VideoTracker(MODEL, frames)
        tracker.set_box(0, 1, CLIP.box(0, 1))
        masks.append(np.concatenate([result.masks for result in tracker.propagate()]))
    # Rounding apart.
    assert (masks[0] != masks[1]).mean() < 0.01
    assert (masks[0] != masks[2]).mean() < 0.01


def test_a_path_is_opened(tmp_path):
    np.save(tmp_path / "stack.npy", CLIP.frames)
    tracker = VideoTracker(MODEL, tmp_path / "stack.npy")
    assert (tracker.num_frames, tracker.frame_size) == (6, (40, 56))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_tracks(dtype):
    model = make_tiny().cast(dtype)
    tracker = VideoTracker(model, CLIP.frames)
    for result in in_every_way(tracker):
        assert np.isfinite(result.predicted_iou).all()
        assert result.predicted_iou.dtype == np.float32


def test_labels_of_a_frame():
    tracker = VideoTracker(MODEL, CLIP.frames)
    tracker.set_mask(0, 4, CLIP.mask(0, 1))
    tracker.set_mask(0, 9, CLIP.mask(0, 2))
    labels = tracker.masks(0).to_labels()
    np.testing.assert_array_equal(labels == 4, CLIP.mask(0, 1))
    np.testing.assert_array_equal(labels == 9, CLIP.mask(0, 2))


def test_masks_of_a_frame_that_nothing_is_known_of():
    tracker = VideoTracker(MODEL, CLIP.frames)
    assert tracker.masks(3).masks.shape == (0, 40, 56)
    with counted(MODEL) as calls:
        tracker.masks(3)
    assert not calls


def test_the_defaults_memory_is_bounded_by_the_nearest_prompts():
    tracker = VideoTracker(MODEL, np.repeat(CLIP.frames, 4, axis=0))
    for frame in range(0, 24, 3):
        tracker.set_mask(frame, 1, CLIP.mask(frame // 4, 1))
    with counted(MODEL) as calls, pytest.MonkeyPatch.context() as patch:
        seen = []
        with_memory = MODEL.with_memory
        patch.setattr(
            MODEL,
            "with_memory",
            lambda *args, **kwargs: seen.append(kwargs) or with_memory(*args, **kwargs),
        )
        list(tracker.propagate(start=10, stop=12))
    # Two frames, both ways.
    assert calls["with_memory"] == len(seen) == 4
    for kwargs in seen:
        assert sum(memory.age == 0 for memory in kwargs["maps"]) == 4
