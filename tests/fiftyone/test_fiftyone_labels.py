"""Labels to prompts and masks to labels: nothing may be lost on the way, nor moved by a pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fiftyone as fo
from sam2_plugins.core import VideoTracker  # noqa: F401 - torch, before hypothesis times anything
from sam2_plugins.fiftyone_plugin import geometry, labels
from sam2_plugins.fiftyone_plugin.mask_files import write_mask_file
from sam2_plugins.fiftyone_plugin.merging import merge_frame

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
WHO = labels.Identity("0123456789abcdef01234567", 3, "cat")
quick = settings(deadline=None, max_examples=60)


def masks():
    return SIZES.flatmap(lambda size: hnp.arrays(np.bool_, size))


@quick
@given(masks())
def test_a_mask_survives_as_a_detection_to_the_pixel(mask):
    detection = labels.make_mask_detection(mask, WHO)
    if not mask.any():
        assert detection is None
        return
    assert detection.mask.any(axis=1)[[0, -1]].all()
    assert detection.mask.any(axis=0)[[0, -1]].all()
    np.testing.assert_array_equal(geometry.detection_mask(detection, mask.shape), mask)
    np.testing.assert_array_equal(labels.read_prompt(detection, mask.shape).mask, mask)


@quick
@given(masks(), st.integers(1000, 4000), st.integers(1000, 4000))
def test_a_mask_survives_at_any_place_of_a_large_frame(mask, rows, columns):
    full = np.zeros((rows, columns), np.bool_)
    full[rows - 41 : rows - 41 + len(mask), columns - 41 : columns - 41 + mask.shape[1]] = mask
    detection = labels.make_mask_detection(full, WHO)
    if detection is not None:
        np.testing.assert_array_equal(geometry.detection_mask(detection, full.shape), full)


@quick
@given(SIZES, st.data())
def test_a_box_survives(size, data):
    rows, columns = size
    x0, y0 = data.draw(st.floats(0, columns - 0.5)), data.draw(st.floats(0, rows - 0.5))
    box = x0, y0, data.draw(st.floats(x0 + 0.1, columns + 1)), data.draw(st.floats(y0 + 0.1, rows))
    detection = labels.make_box_detection(box, size, WHO)
    prompt = labels.read_prompt(detection, size)
    assert prompt.mask is None
    np.testing.assert_allclose(prompt.box, box, atol=1e-5)


@quick
@given(SIZES, st.data())
def test_clicks_survive(size, data):
    rows, columns = size
    one = st.tuples(st.floats(0, columns), st.floats(0, rows), st.integers(0, 1))
    clicks = data.draw(st.lists(one, min_size=1, max_size=5))
    points, signs = [click[:2] for click in clicks], tuple(click[2] for click in clicks)
    prompt = labels.read_prompt(labels.make_keypoint(points, signs, size, WHO), size)
    np.testing.assert_allclose(prompt.points, points, atol=1e-5)
    assert prompt.point_labels == signs


def test_points_are_positive_by_default_and_missing_ones_are_left_out():
    keypoint = fo.Keypoint(points=[(0.5, 0.5), (float("nan"), float("nan")), (0.25, 1)])
    points, signs = labels.read_points(keypoint, (10, 20))
    assert points == ((10, 5), (5, 10))
    assert signs == (1, 1)


@pytest.mark.parametrize("signs", [[1], [1, 2]])
def test_point_labels_that_do_not_fit_are_refused(signs):
    keypoint = fo.Keypoint(points=[(0.5, 0.5), (0.1, 0.1)], point_labels=signs)
    with pytest.raises(ValueError, match="point_labels"):
        labels.read_points(keypoint, (10, 20))


NAN = float("nan")
CORNERS = [(1.25, 1.25), (1.5, 1.25), (1.5, 1.5)]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (fo.Detection(), r"a bounding_box is \[x, y, width, height\] .*, not \[\]"),
        (fo.Detection(bounding_box=[0, 0, 1]), r"not \[0.0, 0.0, 1.0\]"),
        (fo.Detection(bounding_box=[0, NAN, 1, 1]), "not "),
        (fo.Detection(mask=np.ones((2, 2), bool)), "a bounding_box is"),
        (fo.Detection(mask=np.ones((2, 2), bool), bounding_box=[2, 2, 1, 1]), "has no pixel in"),
        (fo.Polyline(points=[CORNERS], closed=True), "an outline has no pixel of the frame in it"),
        (fo.Polyline(points=[[(0, 0), (1, 1)]], closed=True), "an outline has no pixel"),
        (fo.Keypoint(points=[(0.5, 0.5)] * 2, point_labels=1), "2 points but 1 point_labels"),
        (fo.Detection(bounding_box=[3, 2, 12, 6]), "are pixels, divide x by 20 and y by 10"),
        (fo.Keypoint(points=[(12, 3)]), r"a point is \(x, y\) as shares .*not \[12.0, 3.0\]"),
    ],
)
def test_what_is_no_prompt_is_one_line_and_no_absence(label, message):
    assert labels.digest(label)
    with pytest.raises(ValueError, match=message):
        labels.read_prompt(label, (10, 20))
    absent = fo.Detection(bounding_box=[0, 0, 0.1, 0.1], mask=np.zeros((1, 1), bool))
    assert not labels.read_prompt(absent, (10, 20)).mask.any()


def test_a_mask_of_another_resolution_is_stretched_over_its_box():
    detection = fo.Detection(bounding_box=[0.25, 0, 0.5, 1], mask=np.array([[1, 0]], np.uint8))
    expected = np.zeros((4, 8), bool)
    expected[:, 2:4] = True
    np.testing.assert_array_equal(geometry.detection_mask(detection, (4, 8)), expected)


def test_a_mask_whose_box_leaves_the_frame_is_cut_there():
    detection = fo.Detection(bounding_box=[-0.25, 0.5, 0.5, 1], mask=np.ones((4, 4), bool))
    expected = np.zeros((4, 8), bool)
    expected[2:, :2] = True
    np.testing.assert_array_equal(geometry.detection_mask(detection, (4, 8)), expected)


@quick
@given(SIZES, st.data())
def test_a_rectangle_drawn_as_polygon_is_that_rectangle(size, data):
    rows, columns = size
    x0, y0 = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, columns)), data.draw(st.integers(y0 + 1, rows))
    ring = [(x / columns, y / rows) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    mask = labels.read_prompt(fo.Polyline(points=[ring], closed=True), size).mask
    expected = np.zeros(size, bool)
    expected[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(mask, expected)


def test_a_ring_inside_a_polygon_is_a_hole_and_an_open_line_is_clicks():
    outer = [(0, 0), (1, 0), (1, 1), (0, 1)]
    inner = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
    mask = geometry.polygon_mask([outer, inner], (8, 8))
    assert mask.sum() == 64 - 16
    assert not mask[2:6, 2:6].any()
    line = labels.read_prompt(fo.Polyline(points=[[(0, 0), (0.5, 0.25)]]), (8, 8))
    assert line.points == ((0, 0), (4, 2))
    assert line.point_labels == (1, 1)


def test_whose_a_label_is():
    drawn, keyframe = fo.Detection(), fo.Detection(keyframe=True)
    interpolated = fo.Detection(keyframe=False)
    made = fo.Detection(keyframe=False, sam2_run="r")
    corrected = fo.Detection(keyframe=True, sam2_run="r")
    cases = [drawn, keyframe, interpolated, made, corrected]
    assert [labels.is_prompt(label) for label in cases] == [True, True, False, False, True]
    assert [labels.is_generated(label) for label in cases] == [False, False, True, True, False]


def test_a_generated_label_says_all_that_the_contract_names():
    mask = np.zeros((10, 20), bool)
    mask[2:5, 4:10] = True
    made = labels.make_generated_detection(
        mask, WHO, predicted_iou=0.75, object_score_logit=0.0, run_id="r1"
    )
    assert made.bounding_box == [0.2, 0.2, 0.3, 0.3]
    assert (made.index, made.instance.id, made.label) == (3, WHO.instance_id, "cat")
    assert (made.confidence, made.object_score, made.keyframe) == (0.75, 0.5, False)
    assert made.sam2_run == "r1"


def test_a_mask_that_a_person_changed_is_not_replaced():
    def made(shift=0, run_id="r"):
        mask = np.zeros((10, 20), bool)
        mask[2:5, 4 + shift : 10] = True
        return labels.make_generated_detection(
            mask, WHO, predicted_iou=0.75, object_score_logit=0.0, run_id=run_id
        )

    old, same, other = made(), made(run_id="s"), made(shift=1, run_id="s")
    assert merge_frame([old], [(WHO, other)]) == [other]
    assert merge_frame([old], [(WHO, same)]) == [same]
    assert merge_frame([old], [(WHO, same)], keeps_same=True) == [old]
    assert merge_frame([old], [(WHO, other)], keeps_same=True) == [other]
    old.label, old.confidence = "dog", None
    assert merge_frame([old], [(WHO, other)]) == [other]
    old.mask[0, 0] = False
    for new in (same, None):
        assert merge_frame([old], [(WHO, new)]) == [old]
    moved = made()
    moved.bounding_box = [0.1, 0.1, 0.3, 0.3]
    assert merge_frame([moved], [(WHO, other)]) == [moved]


def test_tags_that_a_person_gave_stay_and_those_about_the_old_mask_go():
    def made(shift, tags=()):
        mask = np.zeros((10, 20), bool)
        mask[2:5, 4 + shift : 10] = True
        label = labels.make_generated_detection(
            mask, WHO, predicted_iou=0.75, object_score_logit=0.0, run_id="r"
        )
        label.tags = list(tags)
        return label

    (merged,) = merge_frame([made(0, ["blurred", "sam2:accepted"])], [(WHO, made(1))])
    assert merged.tags == ["blurred"]
    (merged,) = merge_frame([], [(WHO, made(1))])
    assert merged.tags == []


def test_prompts_on_one_frame_join():
    clicks = labels.Prompt(((1.0, 2.0),), (1,))
    box = labels.Prompt(box=(0, 0, 4, 4))
    both = clicks.joined(box).joined(labels.Prompt(((3.0, 3.0),), (0,)))
    assert (both.points, both.point_labels, both.box) == (((1, 2), (3, 3)), (1, 0), (0, 0, 4, 4))
    mask = labels.Prompt(mask=np.ones((4, 4), bool))
    for joined in (both.joined(mask), mask.joined(both)):
        assert joined.mask is mask.mask
        assert (joined.points, joined.point_labels, joined.box) == (both.points, (1, 0), None)
        # Of the clicks on a mask only that one says something which it does not say.
        left = joined.without_met_clicks()
        assert (left.points, left.point_labels) == (((3, 3),), (0,))
        assert left.mask is mask.mask


def test_the_digest_changes_with_what_a_person_changes_and_with_nothing_else():
    def box(**changes):
        return fo.Detection(**{"label": "a", "bounding_box": [0.1, 0.2, 0.3, 0.4], **changes})

    same = [box(), box(), box(confidence=0.5), box(tags=["seen"])]
    assert len({labels.digest(label) for label in same}) == 1
    mask = np.ones((3, 3), bool)
    hole = mask.copy()
    hole[1, 1] = False
    points = fo.Keypoint(points=[(0.1, 0.2)])
    ring = [(0, 0), (1, 0), (1, 1)]
    different = [
        *(box(), box(label="b"), box(index=1), box(bounding_box=[0.1, 0.2, 0.3, 0.41])),
        *(box(mask=mask), box(mask=hole), points, fo.Keypoint(points=[(0.1, 0.3)])),
        fo.Keypoint(points=[(0.1, 0.2)], point_labels=[0]),
        *(fo.Polyline(points=[ring]), fo.Polyline(points=[ring], closed=True)),
    ]
    assert len({labels.digest(label) for label in different}) == len(different)


def test_labels_of_any_prompt_field_are_listed_and_others_refused():
    one = fo.Detection()
    assert labels.list_labels(None) == []
    assert labels.list_labels(fo.Detections(detections=[one])) == [one]
    assert len(labels.list_labels(fo.Keypoints(keypoints=[fo.Keypoint()]))) == 1
    assert len(labels.list_labels(fo.Polylines(polylines=[fo.Polyline()]))) == 1
    with pytest.raises(ValueError, match="not Classification"):
        labels.list_labels(fo.Classification(label="cat"))


def test_a_mask_file_is_read_back_by_fiftyone(tmp_path):
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:6] = True
    path = tmp_path / "mask.png"
    write_mask_file(mask, str(path))
    detection = fo.Detection(bounding_box=[0, 0, 1, 1], mask_path=str(path))
    np.testing.assert_array_equal(geometry.detection_mask(detection, (5, 7)), mask)
