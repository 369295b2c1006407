"""Which recent frames are remembered, when doubtful ones are left out."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import absent_on, counted, everything, frames_of, make_tiny

from sam2_plugins.core.memory import MemoryRule, recent_frames
from sam2_plugins.core.rules import Rules
from sam2_plugins.core.tracker import VideoTracker

MODEL = make_tiny()


def rules(selection, *, memory_frames=3, stride=1, max_pointers=16):
    return Rules(MemoryRule(4, memory_frames, stride, max_pointers), 8, False, selection)


def frames_like(ious, scores=None):
    """What is remembered of frames 0, 1, …; None for nothing."""
    scores = [1.0] * len(ious) if scores is None else scores
    return {
        frame: SimpleNamespace(predicted_iou=iou, object_score_logit=score)
        for frame, (iou, score) in enumerate(zip(ious, scores, strict=True))
        if iou is not None
    }.get


def remembered(given_rules, now, step, find, prompted=()):
    return given_rules.remembered(now, step, find=find, prompted=prompted)


@settings(deadline=None)
@given(st.integers(0, 60), st.sampled_from([1, -1]), st.integers(0, 6), st.integers(1, 5))
def test_without_a_selection_nothing_changes(now, step, count, stride):
    own = rules(None, memory_frames=count, stride=stride)
    expected = recent_frames(now, step, own.memory)
    assert remembered(own, now, step, {}.get) == expected


@settings(deadline=None)
@given(st.integers(0, 60), st.sampled_from([1, -1]), st.integers(0, 6), st.integers(1, 5))
def test_where_all_are_good_a_selection_changes_nothing(now, step, count, stride):
    own = rules(0.5, memory_frames=count, stride=stride)
    good = SimpleNamespace(predicted_iou=0.5, object_score_logit=0.1)
    assert remembered(own, now, step, lambda frame: good) == recent_frames(now, step, own.memory)


def test_good_frames_take_the_places_of_doubtful_ones():
    ious = [0.9, 0.9, 0.2, 0.9, 0.9, 0.3, None, 0.1]
    # the frame just before counts whatever its quality
    assert remembered(rules(0.5), 8, 1, frames_like(ious)) == [(3, 3), (4, 2), (7, 1)]
    assert remembered(rules(0.95), 8, 1, frames_like(ious)) == [(7, 1)]
    assert remembered(rules(0.5, memory_frames=0), 8, 1, frames_like(ious)) == []


def test_a_frame_without_the_object_is_not_good():
    find = frames_like([0.9] * 5, scores=[1, 1, -1, 0, 1])
    assert remembered(rules(0.0), 5, 1, find) == [(0, 3), (1, 2), (4, 1)]


def test_a_prompted_frame_is_good():
    find = frames_like([0.1] * 5)
    assert remembered(rules(0.5), 5, 1, find, prompted=[2]) == [(2, 2), (4, 1)]


def test_backward_it_looks_at_later_frames():
    find = frames_like([0.9, 0.1, 0.1, 0.1, 0.9, 0.9])
    assert remembered(rules(0.5), 0, -1, find) == [(5, 3), (4, 2), (1, 1)]


@pytest.mark.parametrize(("stride", "furthest"), [(1, 25), (3, 27)])
def test_it_looks_as_far_back_as_pointers_reach(stride, furthest):
    seen = []
    find = frames_like([0.1] * 40)
    remembered(rules(0.5, stride=stride), 40, 1, lambda frame: seen.append(frame) or find(frame))
    assert min(seen) == furthest
    assert 40 - furthest <= 15
    assert all(frame % stride == 0 for frame in seen)


@pytest.mark.parametrize("selection", [-0.1, 1.5])
def test_a_threshold_is_an_iou(selection):
    with pytest.raises(ValueError, match=r"memory_selection is a predicted IoU, 0 to 1, or None"):
        rules(selection)


# In the tracker


def video(num_frames=14):
    noise = np.random.default_rng(3).integers(0, 60, (num_frames, 24, 32), np.uint8)
    for t in range(num_frames):
        noise[t, 6:16, 2 + t : 12 + t] += 150
    return noise


def start(selection):
    return VideoTracker(MODEL, video(), memory_selection=selection)


def test_absent_frames_are_not_remembered():
    recalled = []

    def tracked(selection):
        tracker = start(selection)
        tracker.set_box(0, 1, [2, 6, 12, 16])
        keep = tracker._segmenter.maps.get
        tracker._segmenter.maps.get = lambda object_id, frame, result, *, hard: (
            recalled.append(frame),
            keep(object_id, frame, result, hard=hard),
        )[1]
        with absent_on(tracker, [4, 5, 6]):
            for found in tracker.propagate():
                if found.frame_index == 8:
                    recalled.clear()
        return everything(tracker)

    default = tracked(None)
    selected = tracked(0.0)
    assert default.keys() == selected.keys()
    same = [frame for _, frame in default if default[1, frame] == selected[1, frame]]
    assert same == [0, 1, 2, 3, 4, 5]  # 6 is the first that would remember an absent frame but one
    assert {4, 5, 6}.isdisjoint(recalled)


def test_streaming_equals_offline_with_a_selection():
    options = {"memory_selection": 0.5, "limits": (0, 255), "cache_frames": 2}
    offline = VideoTracker(MODEL, video(20), **options)
    online = VideoTracker(MODEL, None, **options)
    first, *rest = video(20)
    online.push(first)
    for tracker in (offline, online):
        tracker.set_box(0, 1, [2, 6, 12, 16])
    with absent_on(offline, range(5, 16, 2)):
        list(offline.propagate(direction="forward"))
    with absent_on(online, range(5, 16, 2)):
        for frame in rest:
            online.push(frame)
    assert everything(online) == everything(offline)


def test_only_stale_work_is_redone_and_saved_sessions_go_on(tmp_path):
    tracker = start(0.5)
    tracker.set_box(0, 1, [2, 6, 12, 16])
    list(tracker.propagate(stop=8))
    tracker.save(tmp_path / "s.sam2")
    loaded = VideoTracker.load(tmp_path / "s.sam2", MODEL, video())
    assert loaded._rules == tracker._rules
    assert loaded._rules.memory_selection == 0.5
    for other in (tracker, loaded):
        list(other.propagate())
    assert everything(loaded) == everything(tracker)
    with counted(MODEL) as calls:
        assert frames_of(tracker.propagate()) == []
    assert not calls
    tracker.add_points(7, 1, [(10, 10)], [1])
    again = start(0.5)
    again.set_box(0, 1, [2, 6, 12, 16])
    list(again.propagate())
    again.add_points(7, 1, [(10, 10)], [1])
    for other in (tracker, again):
        list(other.propagate())
    assert everything(tracker) == everything(again)


def test_rules_say_their_options():
    own = rules(0.25)
    assert own.options["memory_selection"] == 0.25
    assert replace(own, memory_selection=None).options["memory_selection"] is None
