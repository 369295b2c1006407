import pytest
from tiny import frame_result

from sam2_plugins.core.frame_results import FramePrompts
from sam2_plugins.core.masklets import Masklet
from sam2_plugins.core.review import box_iou, doubt, doubts, most_doubtful_frame
from sam2_plugins.core.stored_masks import StoredMask

BOX = (10, 10, 20, 20)


def result(iou=0.9, score=10.0, box=BOX, step=1):
    mask = StoredMask(b"", (0, 0))
    return frame_result(mask=mask, box=box, iou=iou, score=score, step=step)


def masklet(changes=(), *, prompted=(0,), confirmed=(), num_frames=6):
    results = {frame: result() for frame in range(num_frames)} | dict(changes)
    prompts = {frame: FramePrompts() for frame in prompted}
    return Masklet(prompts=prompts, results=results, confirmed=frozenset(confirmed))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (BOX, BOX, 1),
        (BOX, (20, 10, 30, 20), 0),
        (BOX, (15, 10, 25, 20), 1 / 3),
        (BOX, (0, 0, 0, 0), 0),
        ((0, 0, 0, 0), (0, 0, 0, 0), 1),
        (BOX, (30, 30, 40, 40), 0),
    ],
)
def test_overlap_of_boxes(first, second, expected):
    assert box_iou(first, second) == box_iou(second, first) == pytest.approx(expected)


def test_a_sure_mask_that_moves_little_leaves_hardly_a_doubt():
    assert doubt(result(iou=1.0), result()) == 0


@pytest.mark.parametrize(
    "worse",
    [
        {"iou": 0.5},
        {"score": 0.5},
        {"score": -0.5, "box": (0, 0, 0, 0)},
        {"box": (40, 40, 50, 50)},
    ],
    ids=["low IoU", "hardly visible", "hardly absent", "jumps"],
)
def test_what_makes_a_mask_doubtful(worse):
    assert doubt(result(**worse), result()) > doubt(result(), result())


def test_a_clear_absence_is_no_doubt_whatever_its_predicted_iou():
    absent = result(iou=0.1, score=-9, box=(0, 0, 0, 0))
    assert doubt(absent, absent) == 0


def test_prompted_and_confirmed_frames_are_in_no_doubt():
    found = doubts(masklet(prompted=(0, 3), confirmed=(4,)))
    assert sorted(found) == [1, 2, 5]


def test_a_jump_counts_against_the_frame_before_in_walking_order():
    moved = result(box=(40, 40, 50, 50), step=-1)
    found = doubts(masklet({2: moved, 3: result(step=-1)}, prompted=(5,)))
    assert found[2] > found[3]


def test_the_most_doubtful_frame_of_all_masklets():
    sure, shaky = masklet(), masklet({2: result(iou=0.3), 4: result(iou=0.2)})
    assert most_doubtful_frame([sure, shaky]) == 4
    assert most_doubtful_frame([masklet({3: result(iou=0.1)}), shaky]) == 3


def test_the_earliest_of_equals():
    assert most_doubtful_frame([masklet()]) == 1


def test_nothing_tracked():
    assert most_doubtful_frame([]) is None
    assert most_doubtful_frame([Masklet()]) is None
    assert most_doubtful_frame([masklet(prompted=range(6))]) is None
