import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_plugins.core.propagation import (
    Walk,
    check_direction,
    check_span,
    link,
    plan_walks,
    walking_order,
)

NUM_FRAMES = 30
prompted = st.sets(st.integers(0, NUM_FRAMES - 1), min_size=1, max_size=8).map(sorted)
directions = st.sampled_from(["both", "forward", "backward"])


def plan(conditioning, direction, exact=False):
    return plan_walks(1, conditioning, num_frames=NUM_FRAMES, direction=direction, exact=exact)


@settings(deadline=None)
@given(prompted, directions, st.booleans())
def test_a_frame_is_tracked_once_and_between_prompts_both_ways(conditioning, direction, exact):
    walks = plan(conditioning, direction, exact)
    tracked = Counter((frame, walk.step) for walk in walks for frame in walk.frames)
    assert all(count == 1 for (frame, _), count in tracked.items() if frame not in conditioning)
    for frame in set(range(NUM_FRAMES)) - set(conditioning):
        steps = {step for of, step in tracked if of == frame}
        is_between = conditioning[0] < frame < conditioning[-1]
        if direction == "both":
            assert len(steps) == 1 + (is_between and not exact)
        else:
            assert len(steps) <= 1


@settings(deadline=None)
@given(prompted, st.booleans())
def test_both_directions_together_reach_every_frame(conditioning, exact):
    reached = {frame for walk in plan(conditioning, "both", exact) for frame in walk.frames}
    assert reached == set(range(NUM_FRAMES))


@settings(deadline=None)
@given(prompted)
def test_every_frame_is_reached_from_the_prompts_on_either_side(conditioning):
    for walk in plan(conditioning, "both"):
        for frame in walk.frames[1:]:
            before = [other for other in conditioning if (frame - other) * walk.step > 0]
            assert walk.frames[0] == min(before, key=lambda other: abs(frame - other))
        is_outward = walk.frames[0] == conditioning[-1 if walk.step > 0 else 0]
        assert walk.meets is not is_outward


@settings(deadline=None)
@given(prompted, directions, st.booleans())
def test_walks_start_at_prompts_and_go_outward_frame_by_frame(conditioning, direction, exact):
    for walk in plan(conditioning, direction, exact):
        frames = list(walk.frames)
        assert frames[0] in conditioning
        assert all(b - a == walk.step for a, b in itertools.pairwise(frames))
        assert list(walk.window) == sorted(frames)


@settings(deadline=None)
@given(prompted, st.booleans())
def test_one_direction_goes_through_later_prompts_to_the_end(conditioning, exact):
    (forward,) = plan(conditioning, "forward", exact)
    assert list(forward.frames) == list(range(conditioning[0], NUM_FRAMES))
    (backward,) = plan(conditioning, "backward", exact)
    first = conditioning[0] if exact else conditioning[-1]
    assert list(backward.frames) == list(range(first, -1, -1))


def test_no_prompts_no_walks():
    assert plan([], "both") == []


@settings(deadline=None)
@given(st.lists(prompted, min_size=1, max_size=4), st.sampled_from([1, -1]))
def test_walks_of_all_objects_pass_a_frame_together(objects, step):
    walks = [
        walk
        for object_id, conditioning in enumerate(objects, start=1)
        for walk in plan_walks(
            object_id, conditioning, num_frames=NUM_FRAMES, direction="both", exact=False
        )
    ]
    order = list(walking_order(walks, step))
    frames = [frame for frame, _ in order]
    assert frames == sorted(set(frames), reverse=step < 0)
    passed = Counter((frame, walk) for frame, passing in order for walk in passing)
    assert passed == Counter(
        (frame, walk) for walk in walks if walk.step == step for frame in walk.frames
    )


def test_nobody_walks():
    assert list(walking_order([Walk(1, 1, range(3))], -1)) == []


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (None, None, range(10)),
        (3, None, range(3, 10)),
        (None, 4, range(4)),
        (3, 4, range(3, 4)),
    ],
)
def test_spans(start, stop, expected):
    assert check_span(start, stop, 10) == expected


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (10, None, "no frame 10: frames are 0 to 9"),
        (-1, None, "no frame -1"),
        (4, 4, r"stop must be 5 to 10 \(the frame after the last\), not 4"),
        (4, 2, "stop must be 5 to 10"),
        (None, 11, "stop must be 1 to 10"),
        (None, 2.5, "stop must be 1 to 10"),
    ],
)
def test_spans_of_nothing(start, stop, message):
    with pytest.raises(ValueError, match=message):
        check_span(start, stop, 10)


def test_directions():
    check_direction("both")
    with pytest.raises(ValueError, match="direction must be both, forward, backward, not 'left'"):
        check_direction("left")


def test_names_tell_histories_apart():
    first = link("", "a")
    assert link("", "a") == first
    names = {first, link("", "b"), link(first, "a"), link("", "a", "a"), link("", 1, "a")}
    assert len(names) == 5
