"""Windows that follow objects in large planes: geometry, and a tracker that looks through them."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import make_tiny

from sam2_plugins.core import PlacedMasks, VideoTracker, Window, WindowTracker
from sam2_plugins.core.masks import FrameMasks, mask_to_box
from sam2_plugins.core.placed_masks import PlacedMask, PlacedRow
from sam2_plugins.core.windows import (
    fitting_side,
    is_cut,
    next_window,
    window_around,
)

PLANE = (300, 400)
SIDE = 64


class Disk:
    """(6, 300, 400) uint8: a disk that moves 20 pixels a frame; counts the pixels that are read."""

    num_frames, frame_size, is_rgb, signature = 6, PLANE, False, "disk"

    def __init__(self):
        self.windows = []
        self.num_whole = 0

    def centre(self, frame_index):
        return 60 + 20 * frame_index, 50 + 20 * frame_index

    def read_window(self, frame_index, window):
        self.windows.append(window)
        rows, columns = np.mgrid[window.y0 : window.y1, window.x0 : window.x1]
        x, y = self.centre(frame_index)
        noise = (rows * 31 + columns * 17 + frame_index * 7) % 13
        return (noise + 200 * (np.hypot(rows - y, columns - x) < 9)).astype(np.uint8)

    def read(self, frame_index):
        self.num_whole += 1
        return self.read_window(frame_index, Window(0, 0, *PLANE[::-1]))

    def close(self):
        pass


@pytest.fixture(scope="module", params=[None, 64], ids=["windows", "closeups"])
def model(request):
    tiny = make_tiny()
    tiny.config = replace(tiny.config, closeup_size=request.param)
    return tiny


def make(model, **options):
    return WindowTracker(model, Disk(), side=SIDE, limits=(0, 220), **options)


def everything(tracker):
    found = {}
    for frame_index in tracker.known_frames():
        masks = tracker.masks(frame_index)
        for row, object_id in enumerate(masks.object_ids):
            scores = masks.predicted_iou[row], masks.object_score_logits[row]
            found[frame_index, int(object_id)] = (masks.masks[row], *scores)
    return found


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key, (mask, *scores) in first.items():
        assert np.array_equal(mask, second[key][0])
        assert np.allclose(scores, second[key][1:], atol=1e-4)


def test_windows_stay_on_the_plane_and_hold_what_they_are_around():
    for box in ((0, 0, 10, 10), (390, 290, 400, 300), (200, 150, 230, 160)):
        window = window_around(box, SIDE, PLANE)
        assert window.size == (SIDE, SIDE)
        assert Window(0, 0, 400, 300).holds(window)
        assert window.holds(box)
    assert window_around((200, 150, 230, 160), 352, PLANE) == Window(44, 0, 396, 300)
    assert window_around((0, 0, 9, 9), 1000, PLANE) == Window(0, 0, 400, 300)


def test_what_stands_still_does_not_move_its_window():
    first = window_around((200, 150, 210, 160), SIDE, PLANE)
    assert window_around((201, 150, 210, 160), SIDE, PLANE) == first
    moved = window_around((208, 150, 218, 160), SIDE, PLANE)
    assert moved.x0 - first.x0 == 8


def test_a_window_is_as_large_as_its_object_needs():
    assert fitting_side((0, 0, 30, 20), SIDE, PLANE) == SIDE
    assert fitting_side((0, 0, 60, 20), SIDE, PLANE) == 2 * SIDE
    assert fitting_side((0, 0, 400, 300), SIDE, PLANE) == 8 * SIDE
    # Between the shares the size through which it was seen is kept.
    assert fitting_side((0, 0, 30, 30), SIDE, PLANE, seen=2 * SIDE) == 2 * SIDE
    assert fitting_side((0, 0, 20, 20), SIDE, PLANE, seen=2 * SIDE) == SIDE
    assert fitting_side((0, 0, 20, 20), SIDE, PLANE, seen=400) == 100
    window = window_around((200, 150, 230, 160), SIDE, PLANE)
    assert next_window(window, (0, 0, 0, 0), SIDE, PLANE) == window


def test_a_mask_is_cut_where_it_goes_on_beyond_the_window_not_at_the_planes_edge():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:30, 40:] = True
    assert is_cut(mask, Window(0, 0, 64, 64), PLANE)
    assert not is_cut(mask, Window(336, 0, 400, 64), PLANE)
    mask[:, -1] = False
    assert not is_cut(mask, Window(0, 0, 64, 64), PLANE)


def test_placed_masks_are_those_of_the_plane():
    random = np.random.default_rng(0)
    rows, whole = [], []
    for object_id, (x, y) in ((3, (10, 20)), (7, (30, 25)), (70000, (350, 250))):
        crop = random.random((SIDE, SIDE)) > 0.5
        window = Window(x, y, x + SIDE, y + SIDE)
        box = Window(*(int(v) for v in mask_to_box(crop[None])[0]))
        placed = PlacedMask.place(crop, window, box, (400, 500))
        rows.append(PlacedRow(object_id, 0.5, 3.0, 0, 0, placed.window, placed.crop))
        mask = np.zeros((400, 500), bool)
        mask[window.slices] = crop
        assert np.array_equal(placed.unpack(), mask)
        whole.append(mask)
    masks = PlacedMasks(2, (400, 500), rows)
    same = FrameMasks(
        2, masks.object_ids, np.array(whole), masks.predicted_iou, masks.object_score_logits
    )
    assert np.array_equal(masks.masks, same.masks)
    assert np.array_equal(masks.to_labels(), same.to_labels())
    assert masks.areas.tolist() == [int(m.sum()) for m in whole]
    assert np.array_equal(masks.to_labels(masks.window), same.to_labels()[masks.window.slices])
    later = masks.on_frame(9)
    assert (later.frame_index, masks.frame_index) == (9, 2)
    assert np.array_equal(later.masks, masks.masks)
    assert np.array_equal(later.predicted_iou, masks.predicted_iou)
    assert np.array_equal(later.object_score_logits, masks.object_score_logits)
    assert PlacedMasks(0, PLANE, []).window is None
    assert not PlacedMasks(0, PLANE, []).to_labels().any()


def test_only_windows_are_read_and_masks_are_where_they_were_seen(model):
    tracker = make(model)
    tracker.add_points(0, 1, [[60, 50]], [1])
    seen = {m.frame_index: m for m in tracker.propagate()}
    assert sorted(seen) == list(range(6))
    assert tracker._frames.num_whole <= 1  # to count the channels
    for frame_index, masks in seen.items():
        window = tracker.window(frame_index, 1)
        outside = masks.masks[0].copy()
        outside[window.slices] = False
        assert not outside.any()


def test_a_small_plane_is_seen_as_a_whole_and_gives_what_the_whole_gives(model):
    images = np.random.default_rng(0).integers(0, 255, (4, 60, 60)).astype(np.uint8)
    results = []
    for tracker in (WindowTracker(model, images), VideoTracker(model, images)):
        tracker.add_points(1, 1, [[30, 20]], [1])
        list(tracker.propagate())
        results.append(everything(tracker))
    assert_same(*results)


def test_given_masks_are_kept_to_the_pixel_and_too_large_ones_widen_the_window(model):
    tracker = make(model)
    for frame_index, side in ((0, 20), (3, 200)):
        mask = np.zeros(PLANE, bool)
        mask[40 : 40 + side, 100 : 100 + side] = True
        assert np.array_equal(tracker.set_mask(frame_index, 1, mask).masks[0], mask)
        assert tracker.window(frame_index, 1).holds((100, 40, 100 + side, 40 + side))
    assert tracker.window(0, 1).side < tracker.window(3, 1).side
    empty = np.zeros(PLANE, bool)
    assert not tracker.set_mask(5, 1, empty).masks.any()
    assert {masks.frame_index for masks in tracker.propagate()} == set(range(6))


def test_clicks_inside_a_window_keep_it_and_others_move_it(model):
    tracker = make(model)
    mask = np.zeros(PLANE, bool)
    mask[80:100, 90:110] = True
    tracker.set_mask(2, 1, mask)
    window = tracker.window(2, 1)
    # A click on the background that is not in the window says nothing there.
    assert np.array_equal(tracker.add_points(2, 1, [[5, 290]], [0]).masks[0], mask)
    assert tracker.window(2, 1) == window
    tracker.add_points(2, 1, [[98, 88]], [1])
    assert tracker.window(2, 1).holds(window)
    tracker.add_points(4, 2, [[300, 200]], [1])
    tracker.add_points(4, 2, [[20, 20]], [1])
    assert tracker.window(4, 2).holds((20, 20, 300, 200))


def test_undo_brings_masks_and_windows_back(model):
    tracker = make(model)
    tracker.add_points(0, 1, [[60, 50]], [1])
    list(tracker.propagate())
    before = everything(tracker)
    windows = [tracker.window(f, 1) for f in range(6)]
    tracker.add_points(4, 1, [[300, 200]], [1])
    list(tracker.propagate())
    after = everything(tracker)
    assert any(not np.array_equal(before[k][0], after[k][0]) for k in before)
    tracker.undo()
    assert [tracker.window(f, 1) for f in range(6)] == windows
    assert_same(everything(tracker), before)
    assert list(tracker.propagate()) == []
    tracker.redo()
    assert_same(everything(tracker), after)


def test_what_was_interrupted_or_saved_goes_on_as_if_it_had_not_been(model, tmp_path):
    whole = make(model)
    whole.add_points(1, 1, [[80, 70]], [1])
    list(whole.propagate())
    tracker = make(model)
    tracker.add_points(1, 1, [[80, 70]], [1])
    run = tracker.propagate()
    next(run), next(run)
    run.close()
    tracker.save(tmp_path / "a.session")
    again = WindowTracker.load(tmp_path / "a.session", model, Disk())
    assert_same(everything(again), everything(tracker))
    assert 0 < len(list(again.propagate())) < 6
    assert_same(everything(again), everything(whole))
    plain = VideoTracker.load(tmp_path / "a.session", model, Disk())
    assert_same(everything(plain), everything(tracker))
    list(plain.propagate())
    assert_same(everything(plain), everything(whole))
    with pytest.raises(ValueError, match="in windows"):
        VideoTracker.load(tmp_path / "a.session", model, Disk(), window_side=None)


def test_objects_do_not_depend_on_each_other(model):
    alone = make(model)
    alone.add_points(0, 1, [[60, 50]], [1])
    list(alone.propagate())
    together = make(model, cache_frames=1)
    together.add_points(3, 5, [[200, 200]], [1])
    together.add_points(0, 1, [[60, 50]], [1])
    list(together.propagate())
    found = everything(together)
    assert_same({k: v for k, v in found.items() if k[1] == 1}, everything(alone))


@pytest.mark.parametrize("before", ["box", "clicks", "nothing near"])
def test_a_click_on_a_given_mask_does_not_depend_on_what_was_seen_before(model, before):
    given = np.zeros(PLANE, bool)
    given[100:118, 90:108] = True
    other, alone = make(model), make(model)
    if before == "box":
        other.set_box(4, 2, (130, 120, 150, 140))
    elif before == "clicks":
        other.add_points(4, 2, [(140, 130)], [1])
        other.add_points(4, 2, [(135, 130)], [1])
    for tracker in (other, alone):
        tracker.set_mask(2, 1, given)
        tracker.add_points(2, 1, [(112.5, 108.5)], [1])
    found = [tracker.masks(2) for tracker in (other, alone)]
    rows = [masks.object_ids.tolist().index(1) for masks in found]
    first, second = (masks.masks[row] for masks, row in zip(found, rows, strict=True))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, given)


def test_a_source_without_windows_is_read_whole(model):
    frames = np.stack([Disk().read(f) for f in range(6)])
    trackers = [WindowTracker(model, frames, side=SIDE, limits=(0, 220)), make(model)]
    for tracker in trackers:
        tracker.add_points(0, 1, [[60, 50]], [1])
        list(tracker.propagate())
    assert_same(everything(trackers[0]), everything(trackers[1]))


def test_a_stream_gives_what_the_whole_gives(model):
    frames = [Disk().read(f) for f in range(6)]
    stream = WindowTracker(model, side=SIDE, limits=(0, 220), cache_frames=2)
    for frame_index, frame in enumerate(frames):
        stream.push(frame)
        if frame_index in (0, 2):
            stream.set_box(frame_index, 1 + frame_index, [50, 40, 90, 80])
    tracker = make(model)
    tracker.set_box(0, 1, [50, 40, 90, 80])
    tracker.set_box(2, 3, [50, 40, 90, 80])
    list(tracker.propagate(direction="forward"))
    assert_same(everything(stream), everything(tracker))


def test_features_of_windows_are_found_on_disk_again(model, tmp_path):
    found = []
    for _ in range(2):
        tracker = make(model, cache_dir=tmp_path)
        tracker.add_points(0, 1, [[60, 50]], [1])
        list(tracker.propagate())
        found.append((everything(tracker), tracker._features.num_encoded))
    assert_same(found[0][0], found[1][0])
    assert found[0][1] > 0 == found[1][1]


def test_models_that_look_from_near_look_through_windows_by_themselves():
    frames = np.stack([Disk().read(f) for f in range(2)])
    tiny = make_tiny()
    assert VideoTracker(tiny, frames).window_side is None
    assert WindowTracker(tiny, frames).window_side == 64
    tiny.config = replace(tiny.config, closeup_size=64)
    assert VideoTracker(tiny, frames).window_side == WindowTracker(tiny, frames).window_side == 128
    assert VideoTracker(tiny, frames, exact=True).window_side is None
    assert VideoTracker(tiny, frames, window_side=None).window_side is None
    with pytest.raises(ValueError, match="window_side must be 1 pixel or more, not 0"):
        VideoTracker(tiny, frames, window_side=0)


def test_features_of_few_windows_stay_in_memory(model):
    tracker = make(model, cache_frames=3)
    tracker.add_points(0, 1, [[60, 50]], [1])
    list(tracker.propagate())
    assert len(tracker._features) == 3
    tracker.encode(5)
    encoded = tracker._features.num_encoded
    window = tracker.window(5, 1)
    middle = [(window.x0 + window.x1) / 2, (window.y0 + window.y1) / 2]
    tracker.add_points(5, 1, [middle], [0])
    assert tracker._features.num_encoded == encoded


def test_small_planes_are_followed_whole_so_that_objects_share_what_is_encoded():
    tiny = make_tiny()
    tiny.config = replace(tiny.config, closeup_size=32)
    images = np.random.default_rng(0).integers(0, 255, (5, 60, 60)).astype(np.uint8)
    encoded = []
    # Closeups are encoded at half the input size: windows of 30 pixels would show no more.
    for window_side, num_objects in ((30, 1), (30, 3), (29, 3)):
        tracker = VideoTracker(tiny, images, window_side=window_side)
        mask = np.zeros((60, 60), bool)
        for object_id in range(1, num_objects + 1):
            mask[10 * object_id : 10 * object_id + 8, 5:15] = True
            tracker.set_mask(0, object_id, mask)
            mask[:] = False
        list(tracker.propagate())
        encoded.append(tracker._features.num_encoded)
    assert encoded[0] == encoded[1] == 5
    assert encoded[2] > 5
