"""State is bounded: nothing but packed masks and scores grows with the number of frames."""

import gc
import mmap
import sys
import weakref
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import torch
from tiny import counted, make_tiny

from sam2_plugins.core.stored_masks import StoredMask
from sam2_plugins.core.tracker import VideoTracker

MODEL = make_tiny()
SIZE = (24, 32)


def resident_bytes():
    """Memory of this process; 0 where that cannot be read."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * mmap.PAGESIZE if statm.exists() else 0


def state_bytes(tracker):
    """Everything that hangs from a tracker but its model and its packed masks."""
    seen, total = {id(MODEL)}, 0
    waiting = [tracker]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, (type, ModuleType, FunctionType, StoredMask)):
            continue
        seen.add(id(found))
        total += sys.getsizeof(found)
        if isinstance(found, torch.Tensor):
            total += found.untyped_storage().nbytes()
        waiting += gc.get_referents(found)
    return total


class Endless:
    """Frames made when they are read; counts reads and frames that somebody still holds."""

    is_rgb = False
    signature = "endless"

    def __init__(self, num_frames, size=SIZE):
        self.num_frames = num_frames
        self.frame_size = size
        self.reads = []
        self.alive = weakref.WeakSet()
        self.most_alive = 0

    def read(self, frame_index):
        self.reads.append(frame_index)
        rows, columns = np.mgrid[: self.frame_size[0], : self.frame_size[1]]
        x = 10 + 8 * np.sin(frame_index / 5)
        frame = ((rows - 12) ** 2 + (columns - x) ** 2 < 60).astype(np.uint8) * 150
        frame = (frame + (rows * 7 + columns * 13 + frame_index) % 29).view(Pixels)
        self.alive.add(frame)
        self.most_alive = max(self.most_alive, len(self.alive))
        return frame.astype(np.uint8)

    def close(self):
        pass


class Pixels(np.ndarray):
    """An array that can be in a `WeakSet`."""

    __hash__ = object.__hash__


def test_600_frames_need_hardly_more_memory_than_60():
    tracker = VideoTracker(MODEL, Endless(600, size=(96, 128)), cache_frames=4)
    tracker.set_box(0, 1, [4, 4, 60, 60])
    state, resident = {}, {}
    for done, _ in enumerate(tracker.propagate(), start=1):
        if done in (60, 600):
            state[done], resident[done] = state_bytes(tracker), resident_bytes()
    assert len(tracker.known_frames()) == 600
    # Scores, names and the pointer of a result. Its frame has 12 kB, its features 9 kB, its
    # logits and its map half a kB each.
    assert (state[600] - state[60]) / 540 < 1000
    # Besides those, packed masks of 1.5 kB each; and the allocator's own ways.
    assert resident[600] - resident[60] < 540 * (1000 + 1536) + 2 * 2**20


def test_masks_take_a_small_part_of_their_frames():
    mask = np.zeros((480, 640), bool)
    mask[100:300, 200:500] = True
    stored = StoredMask.pack(mask)
    np.testing.assert_array_equal(stored.unpack(), mask)
    assert len(stored.data) < mask.size / 500
    odd = np.random.default_rng(0).random((7, 5)) > 0.5
    np.testing.assert_array_equal(StoredMask.pack(odd).unpack(), odd)


def test_features_and_memories_are_bounded():
    frames = Endless(60)
    tracker = VideoTracker(MODEL, frames, cache_frames=3)
    tracker.set_box(0, 1, [4, 4, 20, 20])
    tracker.set_box(30, 2, [4, 4, 20, 20])
    rule = tracker._rules.memory
    most = rule.memory_frames + rule.max_conditioning_frames + 5
    for _ in tracker.propagate():
        assert len(tracker._features) <= 3
        assert len(tracker._segmenter.maps) <= 2 * most


def test_memories_are_bounded_when_only_clicking():
    frames = Endless(60)
    tracker = VideoTracker(MODEL, frames, cache_frames=3)
    tracker.set_box(0, 1, [4, 4, 20, 20])
    list(tracker.propagate())
    for frame in range(5, 60, 5):
        tracker.add_points(frame, 1, [[20, 12]], [1])
        assert len(tracker._segmenter.maps) <= 16


def test_frames_are_read_when_needed_and_not_held():
    frames = Endless(40)
    tracker = VideoTracker(MODEL, frames, limits=(0, 255), cache_frames=2)
    assert set(frames.reads) <= {0}
    tracker.set_box(0, 1, [4, 4, 20, 20])
    assert set(frames.reads) == {0}
    frames.reads.clear()
    run = tracker.propagate()
    for _ in range(10):
        next(run)
    assert max(frames.reads) == 9
    list(run)
    gc.collect()
    assert len(frames.alive) <= 1
    assert frames.most_alive <= 2
    # Few are read again for their memories: each is encoded soon after it was read.
    assert len(frames.reads) <= 2 * frames.num_frames


def test_logits_of_replaced_results_leave_their_place_to_others():
    tracker = VideoTracker(MODEL, Endless(12), undo_levels=1)
    tracker.set_box(0, 1, [4, 4, 20, 20])
    list(tracker.propagate())
    sizes = []
    for click in range(5):
        tracker.add_points(6, 1, [[3 * click + 2, 12]], [click % 2])
        list(tracker.propagate())
        sizes.append(tracker._segmenter.logits_file.size_bytes)
    assert sizes[-1] <= 1.1 * sizes[1]


def test_a_dropped_memory_is_encoded_again_equal_to_the_bit():
    plain = VideoTracker(MODEL, Endless(20))
    forgetful = VideoTracker(MODEL, Endless(20), cache_frames=1)
    for tracker in (plain, forgetful):
        tracker.set_box(0, 1, [4, 4, 20, 20])
    list(plain.propagate())
    for _ in forgetful.propagate():
        forgetful._segmenter.maps.forget(1)
    for frame in range(20):
        np.testing.assert_array_equal(plain.masks(frame).masks, forgetful.masks(frame).masks)
        np.testing.assert_array_equal(
            plain.masks(frame).predicted_iou, forgetful.masks(frame).predicted_iou
        )


def test_going_back_costs_as_many_memories_as_a_frame_attends_to():
    tracker = VideoTracker(MODEL, Endless(40), cache_frames=2)
    tracker.set_box(0, 1, [4, 4, 20, 20])
    list(tracker.propagate())
    with counted(MODEL) as calls:
        tracker.add_points(20, 1, [[20, 12]], [1])
    assert calls["encode_memory"] <= tracker._rules.memory.memory_frames + 1
    assert calls["encode_image"] <= tracker._rules.memory.memory_frames + 2
