"""Scores and boxes to judgements: named cases, and what holds for any track."""

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_plugins.fiftyone_plugin.quality import (
    JUMP,
    LOST,
    LOW_IOU,
    TWIN,
    TrackFrame,
    assess_track,
    assess_video,
    box_iou,
    suggest_frames,
)

SIZE = 0.2


def steady(num_frames: int, *, step: float = 0.01, iou: float = 0.95) -> list[TrackFrame]:
    """An object that moves by `step` of the frame's width, well seen."""
    return [
        TrackFrame(index, (step * index, 0.4, SIZE, SIZE), iou, 8.0) for index in range(num_frames)
    ]


def without(frames: Iterable[TrackFrame], *indices: int) -> list[TrackFrame]:
    return [frame for frame in frames if frame.frame_index not in indices]


def changed(frames: list[TrackFrame], index: int, **values: object) -> list[TrackFrame]:
    old = frames[index]
    fields = {
        "box": old.box,
        "predicted_iou": old.predicted_iou,
        "object_score_logit": old.object_score_logit,
    }
    new = TrackFrame(index, **{**fields, **values})  # type: ignore[arg-type]
    return [*frames[:index], new, *frames[index + 1 :]]


def test_a_good_track_has_no_flags() -> None:
    quality = assess_track("1", steady(30), range(30))
    assert quality.flags == ()
    assert quality.num_frames == 30
    assert quality.mean_predicted_iou == pytest.approx(0.95)
    assert (quality.absences, quality.jumps) == ((), ())


def test_the_lowest_frame_is_named_and_flagged() -> None:
    quality = assess_track("1", changed(steady(10), 7, predicted_iou=0.3), range(10))
    assert (quality.lowest_frame, quality.lowest_predicted_iou) == (7, 0.3)
    assert quality.flags == (LOW_IOU,)
    assert max(quality.doubts, key=quality.doubts.__getitem__) == 7


def test_an_absence_that_ends_is_counted_and_one_that_does_not_is_lost() -> None:
    gap = assess_track("1", without(steady(12), 4, 5, 6), range(12))
    assert gap.absences == ((4, 6),)
    assert gap.flags == ()
    lost = assess_track("1", without(steady(12), 9, 10, 11), range(12))
    assert lost.absences == ((9, 11),)
    assert lost.flags == (LOST,)


@pytest.mark.parametrize("nothing", [{"box": (0, 0, 0, 0)}, {"object_score_logit": -3.0}])
def test_an_empty_label_is_an_absence(nothing: dict[str, object]) -> None:
    quality = assess_track("1", changed(steady(6), 2, **nothing), range(6))
    assert quality.absences == ((2, 2),)
    assert quality.num_frames == 5


def test_frames_that_were_not_looked_at_are_no_absences() -> None:
    every_third = [frame for frame in steady(12) if frame.frame_index % 3 == 0]
    assert assess_track("1", every_third, range(0, 12, 3)).absences == ()


def test_one_leap_is_a_jump_but_speed_is_not() -> None:
    leap = changed(steady(12), 6, box=(0.7, 0.1, SIZE, SIZE))
    quality = assess_track("1", leap, range(12))
    assert 6 in quality.jumps
    assert JUMP in quality.flags
    fast = assess_track("1", steady(12, step=0.3), range(12))
    assert fast.jumps == ()


def test_what_a_person_gave_is_not_doubted() -> None:
    given_frame = TrackFrame(3, (0.03, 0.4, SIZE, SIZE), 0.1, 0.0, is_given=True)
    frames = [*without(steady(6), 3), given_frame]
    assert 3 not in assess_track("1", frames, range(6)).doubts


def test_labels_without_scores_have_nan_means_and_no_lowest_frame() -> None:
    frames = [TrackFrame(index, (0.1, 0.1, 0.2, 0.2)) for index in range(4)]
    quality = assess_video({"1": frames})
    assert math.isnan(quality.mean_predicted_iou)
    assert quality.lowest is None
    assert quality.flags == ()


def test_a_video_brings_its_tracks_together() -> None:
    bad = changed(steady(10), 7, predicted_iou=0.3)
    quality = assess_video({"1": steady(10), "2": without(bad, 8, 9)})
    assert quality.lowest is not None
    assert (quality.lowest.track, quality.lowest.lowest_frame) == ("2", 7)
    assert quality.flags == (LOW_IOU, LOST)
    assert (quality.num_absences, quality.num_jumps) == (1, 0)
    mean = (0.95 + (0.95 * 7 + 0.3) / 8) / 2
    assert quality.mean_predicted_iou == pytest.approx(mean)


def scored(frames: list[TrackFrame], logit: float, **values: object) -> list[TrackFrame]:
    return [replace(frame, object_score_logit=logit, **values) for frame in frames]  # type: ignore[arg-type]


def test_of_two_tracks_on_one_thing_the_less_sure_is_a_twin() -> None:
    weaker = changed(scored(steady(8), 3.0), 2, box=(0.5, 0.1, SIZE, SIZE))
    quality = assess_video({"1": weaker, "2": steady(8)})
    assert quality.tracks[0].twins == (0, 1, 3, 4, 5, 6, 7)
    assert TWIN in quality.tracks[0].flags
    assert quality.tracks[1].twins == ()
    assert quality.num_twins == 7
    assert TWIN in quality.flags
    (worst,) = suggest_frames(assess_video({"1": scored(steady(8), 3.0), "2": steady(8)}), 1)
    assert (worst.track, worst.reason) == ("1", "on what another track is on")


def test_what_a_person_gave_is_no_twin() -> None:
    given = scored(steady(4), -math.inf, is_given=True)
    given = [replace(frame, object_score_logit=math.nan) for frame in given]
    quality = assess_video({"1": given, "2": steady(4)})
    assert [track.twins for track in quality.tracks] == [(), (0, 1, 2, 3)]


def test_what_a_person_showed_inside_of_another_is_no_twin_of_it() -> None:
    cell = scored(steady(4, step=0), 3.0)
    nucleus = scored(steady(4, step=0), 1.0, box=(0.01, 0.41, 0.18, 0.17))
    beside = [replace(frame, box=(0.1, 0.41, 0.18, 0.17)) for frame in nucleus]
    for shown, expected in ((nucleus, ()), (beside, (1, 2, 3))):
        inner = [replace(shown[0], is_given=True), *nucleus[1:]]
        assert assess_video({"1": cell, "2": inner}).tracks[0].twins[-3:] == (1, 2, 3)
        outer = [replace(cell[0], is_given=True), *cell[1:]]
        assert assess_video({"1": outer, "2": inner}).tracks[1].twins == expected


def test_a_track_is_a_twin_of_what_is_nearer_to_a_frame_that_was_given() -> None:
    early, late = scored(steady(6), 2.0), scored(steady(6), 1.0)
    early[0], late[5] = replace(early[0], is_given=True), replace(late[5], is_given=True)
    quality = assess_video({"1": early, "2": late})
    # Four times as far on the fifth frame, and not twice on the one before.
    assert [track.twins for track in quality.tracks] == [(4, 5), (0, 1, 2, 3)]
    early[3] = replace(early[3], is_given=True)
    quality = assess_video({"1": early, "2": late})
    # As far on the fifth frame: there the surer has it.
    assert [track.twins for track in quality.tracks] == [(5,), (0, 1, 2, 3, 4)]
    unknown = scored(early[1:3], math.nan)
    assert assess_video({"1": unknown, "2": late}).num_twins == 0


def test_tracks_beside_each_other_or_without_scores_are_no_twins() -> None:
    beside = [replace(f, box=(f.box[0] + SIZE / 3, *f.box[1:])) for f in scored(steady(4), 1.0)]
    assert assess_video({"1": beside, "2": steady(4)}).num_twins == 0
    unscored = scored(steady(4), math.nan)
    assert assess_video({"1": unscored, "2": unscored}).num_twins == 0
    assert assess_video({"1": steady(4), "2": steady(4)}).num_twins == 0


def test_suggestions_come_worst_first_and_apart() -> None:
    frames = steady(40)
    for index, iou in ((10, 0.2), (11, 0.25), (30, 0.4)):
        frames = changed(frames, index, predicted_iou=iou)
    found = suggest_frames(assess_video({"1": frames}), 2)
    assert [suggestion.frame_index for suggestion in found] == [10, 30]
    assert found[0].doubt > found[1].doubt
    assert "0.20" in found[0].reason


def test_frames_of_a_short_video_are_not_crowded() -> None:
    """All are bad alike; the two tracks may share frames, but are not named on neighbours."""
    bad = [steady(12, iou=0.5 + 0.01 * index)[index] for index in range(12)]
    other = [steady(12, iou=0.6 - 0.01 * index)[index] for index in range(12)]
    found = suggest_frames(assess_video({"1": bad, "2": other}), 6)
    assert len(found) == 6
    for track in ("1", "2"):
        numbers = sorted(entry.frame_index for entry in found if entry.track == track)
        assert all(after - before >= 3 for before, after in pairwise(numbers))
    frames = sorted({entry.frame_index for entry in found})
    assert all(after - before >= 2 for before, after in pairwise(frames))


def test_two_faults_of_a_long_video_are_both_named() -> None:
    frames = changed(changed(steady(2000), 900, predicted_iou=0.2), 960, predicted_iou=0.3)
    found = suggest_frames(assess_video({"1": frames}), 2)
    assert [entry.frame_index for entry in found] == [900, 960]


def test_an_absence_is_suggested_once() -> None:
    found = suggest_frames(assess_video({"1": without(steady(12), 4, 5, 6), "2": steady(12)}), 1)
    assert [(entry.track, entry.frame_index) for entry in found] == [("1", 4)]
    assert found[0].reason == "absent on 3 frames"


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more, not 0"):
        suggest_frames(assess_video({}), 0)


def test_no_tracks_is_no_error() -> None:
    assert suggest_frames(assess_video({}), 5) == []
    assert assess_video({}).greatest_doubt == 0


UNIT = st.floats(0, 1)
SIDES = st.just(0.0) | st.floats(1e-3, 1)
BOXES = st.tuples(UNIT, UNIT, SIDES, SIDES)


@given(BOXES, BOXES)
def test_box_iou_is_symmetric_and_in_range(first: tuple, second: tuple) -> None:
    assert box_iou(first, second) == pytest.approx(box_iou(second, first))
    assert 0 <= box_iou(first, second) <= 1 + 1e-9
    assert box_iou(first, first) == pytest.approx(1)


@given(st.dictionaries(st.integers(0, 6), st.tuples(BOXES, st.floats(-3, 9, width=16)), min_size=2))
def test_twins_follow_their_definition(rows: dict[int, tuple]) -> None:
    frames = {str(key): TrackFrame(0, box, 0.5, logit) for key, (box, logit) in rows.items()}
    quality = assess_video({key: [frame] for key, frame in frames.items()}, [0])
    for track in quality.tracks:
        frame = frames[track.track]
        expected = any(
            other.is_visible
            and other.object_score_logit > frame.object_score_logit
            and box_iou(frame.box, other.box) >= 0.6
            for other in frames.values()
        )
        assert bool(track.twins) == (expected and frame.is_visible)


@given(st.dictionaries(st.integers(0, 30), st.tuples(BOXES, UNIT, st.floats(-9, 9))))
def test_seen_and_absent_frames_are_all_frames(rows: dict[int, tuple]) -> None:
    frames = [TrackFrame(index, *row) for index, row in rows.items()]
    quality = assess_track("1", frames, range(31))
    absent = sum(last - first + 1 for first, last in quality.absences)
    assert absent + quality.num_frames == 31
    suggestions = suggest_frames(assess_video({"1": frames}, range(31)), 5)
    assert len(suggestions) <= 5
    assert [entry.doubt for entry in suggestions] == sorted(
        (entry.doubt for entry in suggestions), reverse=True
    )
