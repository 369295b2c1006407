"""Large planes, with the bundled model: a small nucleus moves far across 4096 x 4096 pixels."""

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest

from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import LargePlanes, make_stack
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.prompts import Click, Drawing, PromptKey, SlicePrompts

pytestmark = pytest.mark.timeout(900)
SIDE, NUM_FRAMES, CHUNK = 4096, 10, 512
RADIUS = 15


def centre(frame, object_id=1):
    """(y, x) of an object: 1 goes right and down, 2 left."""
    if object_id == 1:
        return 1010.3 + 15 * frame, 1490.6 + 19 * frame
    return 2500.0 + 4 * frame, 3200.0 - 16 * frame


class Nuclei:
    """Counts the chunks that are computed; the stack is never made as a whole."""

    def __init__(self):
        self.num_chunks = 0
        random = np.random.default_rng(3)
        bystanders = random.uniform(0, SIDE, (300, 2))
        paths = np.array([centre(f, i) for f in range(NUM_FRAMES) for i in (1, 2)])
        far = np.hypot(*(bystanders[:, None] - paths[None]).transpose(2, 0, 1)).min(axis=1) > 60
        self.bystanders = bystanders[far]
        # Of one piece of noise each chunk has another part.
        self.noise = random.integers(0, 120, (2 * CHUNK, 2 * CHUNK), np.uint16)
        shape = (NUM_FRAMES, SIDE, SIDE)
        self.array = da.map_blocks(
            self.chunk,
            chunks=da.core.normalize_chunks((1, CHUNK, CHUNK), shape),
            dtype=np.uint16,
            meta=np.zeros((0, 0, 0), np.uint16),
        )

    def chunk(self, block_info=None):
        self.num_chunks += 1
        (frame, _), (y, _), (x, _) = block_info[None]["array-location"]
        dy, dx = np.random.default_rng((frame, y, x)).integers(0, CHUNK, 2)
        noise = self.noise[dy : dy + CHUNK, dx : dx + CHUNK]
        pixels = np.full((CHUNK, CHUNK), 300, np.uint16)
        disks = np.array(
            [(*c, 13, 2000) for c in self.bystanders]
            + [(*centre(frame, i), RADIUS, 3200) for i in (1, 2)]
        )
        disks[:, :2] -= y, x
        is_near = np.abs(disks[:, :2] - CHUNK / 2).max(axis=1) < CHUNK / 2 + 20
        for cy, cx, radius, value in disks[is_near]:
            y0, x0 = (max(int(c) - RADIUS - 1, 0) for c in (cy, cx))
            part = pixels[y0 : max(int(cy) + RADIUS + 2, 0), x0 : max(int(cx) + RADIUS + 2, 0)]
            rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
            part[(rows + y0 - cy) ** 2 + (columns + x0 - cx) ** 2 < radius**2] = value
        return (pixels + noise)[None]


def iou(found, frame, object_id=1):
    """Of an object's mask and the truth; the plane is not made for it."""
    y, x = centre(frame, object_id)
    y0, x0 = int(y) - RADIUS - 1, int(x) - RADIUS - 1
    rows, columns = np.ogrid[y0 : y0 + 2 * RADIUS + 4, x0 : x0 + 2 * RADIUS + 4]
    truth = np.hypot(rows - y, columns - x) < RADIUS
    area = found.scores[object_id].area
    mask = found.mask(object_id)[y0 : y0 + len(truth), x0 : x0 + len(truth)]
    both = np.count_nonzero(mask & truth)
    return both / (area + np.count_nonzero(truth) - both)


@pytest.fixture
def nuclei():
    return Nuclei()


@pytest.fixture
def begin(nano, nuclei, tmp_path):
    """A controller of the stack; `found` keeps the latest labels of each frame."""
    opened = []

    def begin(large_planes=None):
        made = Controller(nano)
        opened.append(made)
        made.autosave_folder = tmp_path
        stack = make_stack([nuclei.array], limits=(300, 3300))
        if large_planes is not None:
            made.large_planes = large_planes
        made.open(stack)
        made.set_view(choose_plane(nuclei.array.shape, (1, 2), point=(0, 0, 0)), 0)
        made.found, made.said = {}, []
        made.masks_changed.connect(lambda _, f: made.found.__setitem__(f.frame_index, f))
        made.failed.connect(made.said.append)
        return made

    yield begin
    for made in opened:
        made.close(20)


def click(controller, frame, object_id=1, *more):
    y, x = centre(frame, object_id)
    clicks = (Click(x, y, 1), *more)
    key = PromptKey(controller.plane, frame, object_id)
    controller.set_prompts([(key, SlicePrompts(clicks))])
    controller.wait()


def test_a_small_nucleus_in_a_large_plane_is_followed_far_at_full_resolution(begin, nuclei):
    controller = begin()
    click(controller, 4)
    nuclei.num_chunks = 0
    controller.propagate()
    controller.wait(600)
    assert not controller.said
    found = [iou(controller.found[f], f) for f in range(NUM_FRAMES)]
    assert np.mean(found) > 0.65
    assert min(found) > 0.4
    # A window of 256 lies on 4 chunks of 512 at most: of 64 in a plane.
    assert nuclei.num_chunks <= 4 * 3 * NUM_FRAMES
    moved = np.abs(np.subtract(centre(NUM_FRAMES - 1), centre(0)))
    assert moved.max() > 160

    whole = begin(LargePlanes(is_on=False))
    click(whole, 4)
    whole.propagate("forward", 4, 6)
    whole.wait(600)
    assert np.mean(found) > np.mean([iou(whole.found[f], f) for f in (4, 5)]) + 0.4


def test_many_objects_corrections_undo_and_locks_work_through_windows(begin):
    controller = begin()
    y, x = centre(1, 2)
    corners = ((x - 17, y - 17), (x + 17, y - 17), (x + 17, y + 17), (x - 17, y + 17))
    box = SlicePrompts(drawings=(Drawing("rectangle", corners),))
    click(controller, 0)
    controller.set_prompts([(PromptKey(controller.plane, 1, 2), box)])
    controller.propagate("forward", 0, 4)
    controller.wait(600)
    seen = {f: set(v.scores) for f, v in controller.found.items()}
    assert seen == {0: {1}, 1: {1, 2}, 2: {1, 2}, 3: {1, 2}}
    for object_id in (1, 2):
        assert iou(controller.found[3], 3, object_id) > 0.4
    before = dict(controller.found)
    controller.confirm(2)
    y, x = centre(3)
    click(controller, 3, 1, Click(x + 25, y, 0))
    controller.propagate("both", 0, 4)
    controller.wait(600)
    assert np.array_equal(controller.found[2].mask(1), before[2].mask(1))
    for frame in (2, 3):
        assert np.array_equal(controller.found[frame].mask(2), before[frame].mask(2))
    for _ in range(3):
        assert controller.undo()
    controller.wait(600)
    for frame, was in before.items():
        labels = controller.found[frame]
        assert labels.window == was.window
        assert np.array_equal(labels.labels, was.labels)
    assert not controller.said


def test_what_was_seen_through_windows_is_saved_and_goes_on(begin):
    controller = begin()
    click(controller, 0)
    controller.propagate("forward", 0, 3)
    controller.wait(600)
    controller._worker.submit(controller._engine.save)
    controller._autosave(controller.document)
    controller.wait(600)
    was = dict(controller.found)
    controller.close(20)

    again = begin()
    again.restore()
    again.wait(600)
    assert all(np.array_equal(again.found[f].labels, v.labels) for f, v in was.items())
    again.found.clear()
    again.propagate("forward", 0, 4)
    again.wait(600)
    assert sorted(again.found) == [3]
    assert iou(again.found[3], 3) > 0.4
    assert not again.said


def test_windows_can_be_switched_off_and_need_a_plane_that_is_large(begin, nuclei):
    assert LargePlanes().has((4096, 4096), 1024)
    assert not LargePlanes().has((1024, 1024), 1024)
    assert LargePlanes().has((1024, 1024), 256)
    assert not LargePlanes(is_on=False).has((9000, 9000), 256)
    assert not LargePlanes(sides=8).has((2000, 2000), 256)
    controller = begin()
    click(controller, 0)
    assert "WindowTracker" in type(controller._engine.session(controller.plane).tracker).__name__
    controller.set_large_planes(replace(controller.large_planes, is_on=False))
    controller.wait(600)
    assert "VideoTracker" in type(controller._engine.session(controller.plane).tracker).__name__
    assert len(controller.document.prompts) == 1
