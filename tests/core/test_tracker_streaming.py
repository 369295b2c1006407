"""Streaming gives what offline tracking gives, equal to the bit."""

import numpy as np
import pytest
from tiny import assert_same, counted, everything, frames_of, make_tiny, row

from sam2_plugins.core.tracker import VideoTracker
from synthetic import two_discs_crossing

# Beyond 16 frames the published rule, too, does not depend on the length.
CLIP = two_discs_crossing(20)
LAST = len(CLIP.frames) - 1
MODEL = make_tiny()
LIMITS = (0, 255)
exact_too = pytest.mark.parametrize("exact", [False, True], ids=["default", "exact"])


def offline(exact=False):
    return VideoTracker(MODEL, CLIP.frames, limits=LIMITS, exact=exact)


def streaming(exact=False, **options):
    return VideoTracker(MODEL, limits=LIMITS, exact=exact, **options)


def push(tracker, frames):
    return [tracker.push(CLIP.frames[index]) for index in frames]


@exact_too
def test_a_stream_equals_the_whole(exact):
    stream, whole = streaming(exact), offline(exact)
    stream.push(CLIP.frames[0])
    first = stream.set_box(0, 1, CLIP.box(0, 1))
    assert_same(whole.set_box(0, 1, CLIP.box(0, 1)), first)
    pushed = [first, *push(stream, range(1, LAST + 1))]
    run = list(whole.propagate(direction="forward"))
    assert len(run) == len(pushed)
    for expected, found in zip(run, pushed, strict=True):
        assert_same(found, expected)
    assert everything(stream) == everything(whole)
    # It is the same work, too.
    assert frames_of(stream.propagate(direction="forward")) == [0]


@exact_too
def test_an_object_may_come_in_the_middle_of_a_stream(exact):
    stream, whole = streaming(exact), offline(exact)
    push(stream, [0])
    stream.add_points(0, 1, [CLIP.center(0, 1)], [1])
    push(stream, range(1, 8))
    stream.set_mask(7, 2, CLIP.mask(7, 2))
    push(stream, range(8, LAST + 1))
    whole.set_mask(7, 2, CLIP.mask(7, 2))
    whole.add_points(0, 1, [CLIP.center(0, 1)], [1])
    list(whole.propagate(direction="forward"))
    assert everything(stream) == everything(whole)
    assert stream.known_frames(2) == list(range(7, LAST + 1))


@exact_too
@pytest.mark.parametrize("frame", [9, 6, 0], ids=["on the last", "on a kept", "on the first"])
def test_a_correction_reaches_the_frames_after_it(exact, frame):
    stream, whole = streaming(exact), offline(exact)
    push(stream, [0])
    stream.set_box(0, 1, CLIP.box(0, 1))
    push(stream, range(1, 10))
    old = stream.masks(9)
    preview = stream.add_points(frame, 1, [[40, 30]], [1])
    push(stream, range(10, LAST + 1))

    whole.set_box(0, 1, CLIP.box(0, 1))
    list(whole.propagate(direction="forward", stop=10))
    assert_same(whole.add_points(frame, 1, [[40, 30]], [1]), preview)
    list(whole.propagate(direction="forward", start=frame))
    assert everything(stream) == everything(whole)
    assert_same(stream.masks(frame), preview)
    assert (stream.masks(9).masks != old.masks).any()


def test_a_correction_taken_back_is_as_if_it_had_not_been():
    stream, plain = streaming(), streaming()
    for tracker in (stream, plain):
        push(tracker, [0])
        tracker.set_box(0, 1, CLIP.box(0, 1))
        push(tracker, range(1, 6))
    stream.add_points(5, 1, [[40, 30]], [1])
    push(stream, range(6, 9))
    stream.clear_prompts(5, 1)
    push(stream, range(9, 12))
    push(plain, range(6, 12))
    assert everything(stream) == everything(plain)


def test_pushing_costs_one_frame():
    stream = streaming()
    push(stream, [0])
    stream.set_box(0, 1, CLIP.box(0, 1))
    push(stream, range(1, 5))
    stream.add_points(4, 1, [[40, 30]], [1])
    for index in range(5, 9):
        with counted(MODEL) as calls:
            push(stream, [index])
        assert calls["encode_image"] == 1
        assert calls["with_memory"] == 1


def test_a_long_stream_keeps_its_prompts_in_mind():
    short, long = streaming(cache_frames=2), streaming(cache_frames=64)
    for tracker in (short, long):
        push(tracker, [0])
        tracker.set_box(0, 1, CLIP.box(0, 1))
        tracker.set_box(0, 2, CLIP.box(0, 2))
        for index in range(1, 40):
            tracker.push(CLIP.frames[index % 20])
            if index == 15:
                tracker.add_points(15, 1, [[40, 30]], [1])
            if index == 25:
                tracker.remove_object(2)
            if index == 26:
                tracker.undo()
            if index == 30:
                tracker.clear_prompts(15, 1)
            if index == 35:
                list(tracker.propagate(object_ids=[1], direction="forward", start=34))
    assert len(short._frames._frames) < 12
    # What followed from the correction and is no longer kept could not be tracked again.
    for frame_index in (20, 29, 39):
        assert_same(row(short.masks(frame_index), 2), row(long.masks(frame_index), 2))
    assert short.known_frames(1) == list(range(40))


def test_a_stream_can_be_propagated_back_as_far_as_it_is_kept():
    stream = streaming(cache_frames=6)
    push(stream, range(12))
    stream.set_box(9, 1, CLIP.box(9, 1))
    assert frames_of(stream.propagate()) == [9, 10, 11, 8, 7, 6]
    push(stream, range(12, 14))
    assert stream.known_frames(1) == list(range(6, 14))


def test_frames_that_are_gone_take_no_prompts():
    stream = streaming(cache_frames=4)
    push(stream, range(10))
    with pytest.raises(ValueError, match=r"frame 5 .* no longer kept: 6 to 9 are .*cache_frames"):
        stream.set_box(5, 1, CLIP.box(5, 1))
    assert stream.object_ids == []
    stream.set_box(6, 1, CLIP.box(6, 1))


def test_every_kept_frame_can_be_corrected():
    stream = streaming(cache_frames=4)
    push(stream, [0])
    stream.set_box(0, 1, CLIP.box(0, 1))
    push(stream, range(1, LAST))
    stream.add_points(LAST - 4, 1, [[40, 30]], [1])
    push(stream, [LAST])
    assert stream.known_frames(1) == list(range(LAST + 1))


def test_pixels_are_scaled_by_the_first_frame_whenever_the_first_prompt_comes():
    frames = CLIP.frames.astype(np.uint16) * 11
    late, early = VideoTracker(MODEL, cache_frames=3), VideoTracker(MODEL, cache_frames=30)
    for frame in frames:
        early.push(frame)
        late.push(frame)
    assert late.pixel_policy == early.pixel_policy
    assert late.pixel_policy.name == "percentiles"
    assert_same(late.set_box(LAST, 1, [3, 3, 30, 30]), early.set_box(LAST, 1, [3, 3, 30, 30]))


def test_rgb_frames_are_streamed_as_they_are():
    frames = np.stack([CLIP.frames, CLIP.frames // 2, 255 - CLIP.frames], axis=-1)[:4]
    stream = VideoTracker(MODEL)
    for frame in frames:
        stream.push(frame)
    assert stream.pixel_policy.name == "rgb"
    np.testing.assert_array_equal(stream.read_rgb(2), frames[2])


def test_a_stream_does_not_hold_on_to_the_callers_array():
    stream, frame = streaming(), CLIP.frames[0].copy()
    stream.push(frame)
    frame[:] = 0
    assert stream.read_rgb(0).any()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((40, 55), np.uint8), r"frame 1 is uint8 of shape \(40, 55\), but .* \(40, 56\)"),
        (np.zeros((40, 56, 3), np.uint8), r"shape \(40, 56, 3\), but the frames before it"),
        (np.zeros((40, 56), np.float32), r"is float32 .* are uint8"),
        (np.zeros(5, np.uint8), r"a frame is \(H, W\) or \(H, W, C\) numbers, not uint8 of shape"),
        (np.zeros((40, 56), complex), "not complex128"),
        (np.zeros((0, 56), np.uint8), r"of shape \(0, 56\)"),
    ],
)
def test_a_frame_unlike_the_others_is_refused_and_forgotten(frame, message):
    stream = streaming()
    push(stream, [0])
    stream.set_box(0, 1, CLIP.box(0, 1))
    with pytest.raises(ValueError, match=message):
        stream.push(frame)
    assert stream.num_frames == 1
    assert push(stream, [1])[0].frame_index == 1


def test_before_the_first_frame_there_is_nothing_to_prompt():
    stream = VideoTracker(MODEL)
    assert stream.num_frames == 0
    with pytest.raises(ValueError, match="no frame has been given yet"):
        stream.add_points(0, 1, [[1, 1]], [1])
    with pytest.raises(ValueError, match="no frame has been given yet"):
        stream.masks(0)
    with pytest.raises(KeyError, match=r"no object 1; objects are \[\]"):
        stream.remove_object(1)


def test_pushing_before_the_first_prompt_finds_nothing():
    stream = streaming()
    result = push(stream, [0])[0]
    assert result.masks.shape == (0, 40, 56)


def test_a_tracker_with_frames_takes_no_more():
    with pytest.raises(RuntimeError, match=r"push is for VideoTracker\(model, None\)"):
        offline().push(CLIP.frames[0])


def test_a_stream_has_no_cache_on_disk(tmp_path):
    with pytest.raises(ValueError, match="cache_dir needs frames"):
        VideoTracker(MODEL, cache_dir=tmp_path)
