"""Whatever was done in whatever order, what is known follows from the prompts alone."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import assert_same, counted, everything, make_tiny, row

from sam2_plugins.core.tracker import VideoTracker
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(7)
MODEL, NEAR = make_tiny(), make_tiny()
NEAR.config = replace(NEAR.config, closeup_size=64)
WINDOW_SIDE = 16
OBJECTS = (1, 2)


class Story:
    """Random edits and runs; remembers the previews that must not be lost."""

    def __init__(self, seed, path):
        self.random = np.random.default_rng(seed)
        self.path = path
        # Frames seen whole, from near, through windows, and whole as the published tracker does.
        self.model = NEAR if seed % 4 == 1 else MODEL
        self.tracker = VideoTracker(
            *(self.model, CLIP.frames),
            exact=seed % 4 == 3,
            max_conditioning_frames=(2, None)[seed % 2],
            window_side=WINDOW_SIDE if seed % 4 in (1, 2) else None,
        )
        self.direction = ("both", "both", "forward", "backward")[seed // 4 % 4]
        self.prompt()

    def act(self):
        actions = [
            *(self.prompt, self.prompt, self.prompt, self.run, self.run, self.clear),
            *(self.tracker.undo, self.tracker.redo, self.confirm, self.unconfirm, self.reopen),
        ]
        actions[self.random.integers(len(actions))]()

    def prompt(self):
        object_id = int(self.random.choice(OBJECTS))
        frame = int(self.random.integers(7))
        if frame in self.tracker.confirmed.get(object_id, []):
            return
        x, y = self.random.uniform((0, 0), (56, 40))
        kind = self.random.integers(4)
        if kind == 0:
            self.tracker.set_box(frame, object_id, [x * 0.8, y * 0.8, x * 0.8 + 9, y * 0.8 + 9])
        elif kind == 1:
            self.tracker.set_mask(frame, object_id, CLIP.mask(frame, object_id))
        else:
            self.tracker.add_points(frame, object_id, [[x, y]], [int(self.random.integers(2))])

    def run(self):
        if not self.tracker.object_ids:
            return
        start = int(self.random.choice([0, 0, 0, 2]))
        run = self.tracker.propagate(start=start, direction=self.direction)
        for _ in range(int(self.random.choice([1, 4, 99]))):
            if next(run, None) is None:
                break

    def clear(self):
        prompted = [
            (frame, object_id)
            for object_id, by_frame in self.tracker.prompts.items()
            for frame in by_frame
            if frame not in self.tracker.confirmed[object_id]
        ]
        if len(prompted) > 1:
            self.tracker.clear_prompts(*prompted[self.random.integers(len(prompted))])

    def confirm(self):
        known = [
            (i, frame) for i in self.tracker.object_ids for frame in self.tracker.known_frames(i)
        ]
        if known:
            self.tracker.confirm(*known[self.random.integers(len(known))])

    def unconfirm(self):
        locked = [(i, frame) for i, frames in self.tracker.confirmed.items() for frame in frames]
        if locked:
            self.tracker.unconfirm(*locked[self.random.integers(len(locked))])

    def reopen(self):
        self.tracker.save(self.path)
        self.tracker = VideoTracker.load(self.path, self.model, CLIP.frames)


def tracked_anew(story):
    """A tracker with the same prompts and locks, and nothing tracked yet."""
    tracker = VideoTracker(story.model, CLIP.frames, window_side=story.tracker.window_side)
    tracker._sight.restore(story.tracker._sight.describe(story.tracker._store))
    tracker.exact, tracker._rules = story.tracker.exact, story.tracker._rules
    tracker._features._resizer = story.tracker._features._resizer
    for object_id, masklet in story.tracker._store.masklets.items():
        kept = {frame: masklet.results[frame] for frame in masklet.conditioning_frames}
        tracker._store.masklets[object_id] = replace(masklet, results=kept)
    list(tracker.propagate(direction=story.direction))
    return tracker


@pytest.mark.parametrize("seed", range(20))
def test_what_is_known_follows_from_the_prompts(seed, tmp_path):
    story = Story(seed, tmp_path / "story.session")
    for _ in range(12):
        story.act()
    if not story.tracker.object_ids:
        story.prompt()
    tracker = story.tracker
    said = {
        (object_id, frame): row(tracker.masks(frame), object_id)
        for object_id, masklet in tracker._store.masklets.items()
        for frame in masklet.conditioning_frames
    }
    list(tracker.propagate(direction=story.direction))
    for (object_id, frame), preview in said.items():
        assert_same(row(tracker.masks(frame), object_id), preview)
    with counted(story.model) as calls:
        assert list(tracker.propagate(direction=story.direction)) == []
    assert not calls
    anew = everything(tracked_anew(story))
    known = everything(tracker)
    if story.direction == "both":
        assert known == anew
    # One direction alone leaves what earlier prompts made known on the other side.
    assert {key: known[key] for key in anew} == anew
