import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_plugins.core.memory import (
    MemoryRule,
    past_conditioning,
    pointer_frames,
    recent_frames,
    select_conditioning,
)

frames = st.integers(0, 60)
some_frames = st.sets(frames, max_size=12)
steps = st.sampled_from([1, -1])


def rule(memory_frames=6, memory_stride=1):
    return MemoryRule(4, memory_frames, memory_stride, 16)


# Conditioning frames


@settings(deadline=None)
@given(frames, some_frames, st.one_of(st.none(), st.integers(1, 8)))
def test_selected_frames_are_conditioning_frames_ascending_within_the_limit(now, others, limit):
    selected = select_conditioning(now, others, limit)
    assert selected == sorted(set(selected))
    assert set(selected) <= others - {now}
    count = len(others - {now})
    assert len(selected) == (count if limit is None else min(limit, count))


@settings(deadline=None)
@given(frames, some_frames, st.integers(2, 8))
def test_the_nearest_on_either_side_are_selected(now, others, limit):
    selected = select_conditioning(now, others, limit)
    before = [frame for frame in others if frame < now]
    after = [frame for frame in others if frame > now]
    assert not before or max(before) in selected
    assert not after or min(after) in selected


@settings(deadline=None)
@given(frames, some_frames, st.integers(1, 8))
def test_what_is_left_out_is_no_nearer_than_what_is_taken(now, others, limit):
    selected = select_conditioning(now, others, limit)
    left = others - {now} - set(selected)
    nearest = {
        max((frame for frame in others if frame < now), default=None),
        min((frame for frame in others if frame > now), default=None),
    }
    taken = [abs(frame - now) for frame in selected if frame not in nearest]
    assert not left or not taken or max(taken) <= min(abs(frame - now) for frame in left)


@settings(deadline=None)
@given(frames, some_frames, st.integers(1, 8))
def test_the_order_of_conditioning_frames_does_not_matter(now, others, limit):
    backward = sorted(others, reverse=True)
    assert select_conditioning(now, backward, limit) == select_conditioning(now, others, limit)


@pytest.mark.parametrize(
    ("now", "others", "limit", "expected"),
    [
        (5, [0, 1, 2, 9], 2, [2, 9]),
        (5, [0, 1, 2, 9], 1, [2]),
        (5, [0, 1, 2, 30], 3, [1, 2, 30]),
        (5, [4, 6], 1, [4]),
        (5, [5], 4, []),
        (9, [0, 1, 2, 3, 4], 4, [1, 2, 3, 4]),
        (5, [1, 9, 4], None, [1, 4, 9]),
    ],
)
def test_which_conditioning_frames(now, others, limit, expected):
    assert select_conditioning(now, others, limit) == expected


# Recent frames


@settings(deadline=None)
@given(frames, steps, st.integers(0, 6), st.integers(1, 5))
def test_recent_frames_lie_behind_each_once_the_oldest_first(now, step, count, stride):
    recent = recent_frames(now, step, rule(count, stride))
    assert len(recent) == count
    distances = [(now - frame) * step for frame, _ in recent]
    assert distances == sorted(distances, reverse=True)
    assert len(set(distances)) == count
    assert all(distance >= 1 for distance in distances)
    assert [age for _, age in recent] == list(range(count, 0, -1))
    if count:
        assert recent[-1] == (now - step, 1)


@settings(deadline=None)
@given(frames, steps, st.integers(1, 6))
def test_without_a_stride_the_age_is_the_distance(now, step, count):
    for frame, age in recent_frames(now, step, rule(count)):
        assert (now - frame) * step == age


@settings(deadline=None)
@given(frames, steps, st.integers(2, 5))
def test_a_stride_keeps_to_its_multiples(now, step, stride):
    frames_but_last = [frame for frame, _ in recent_frames(now, step, rule(6, stride))[:-1]]
    assert all(frame % stride == 0 for frame in frames_but_last)
    gaps = {(b - a) * step for a, b in itertools.pairwise(frames_but_last)}
    assert gaps == {stride}


@pytest.mark.parametrize(
    ("now", "step", "stride", "expected"),
    [
        (10, 1, 1, [(7, 3), (8, 2), (9, 1)]),
        (10, -1, 1, [(13, 3), (12, 2), (11, 1)]),
        (11, 1, 4, [(4, 3), (8, 2), (10, 1)]),
        (11, -1, 4, [(20, 3), (16, 2), (12, 1)]),
    ],
)
def test_which_recent_frames(now, step, stride, expected):
    assert recent_frames(now, step, rule(3, stride)) == expected


@settings(deadline=None)
@given(frames, steps, st.integers(1, 16))
def test_pointers_reach_back_frame_by_frame(now, step, count):
    found = pointer_frames(now, step, count)
    assert [(now - frame) * step for frame in found] == list(range(1, count))


@settings(deadline=None)
@given(frames, steps, some_frames)
def test_only_conditioning_frames_already_passed_give_pointers(now, step, others):
    passed = past_conditioning(now, step, sorted(others))
    assert set(passed) == {frame for frame in others if (now - frame) * step >= 0}
    assert passed == sorted(passed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 6, 1, 16), "max_conditioning_frames must be 1 or more, or None, not 0"),
        ((4, -1, 1, 16), "memory_frames must be 0 or more, not -1"),
        ((4, 6, 0, 16), "memory_stride must be 1 or more, not 0"),
    ],
)
def test_impossible_rules(arguments, message):
    with pytest.raises(ValueError, match=message):
        MemoryRule(*arguments)
