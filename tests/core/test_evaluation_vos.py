"""The protocol of video object segmentation, with trackers whose score is known beforehand."""

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage

from sam2_plugins.core.evaluation import VosSequence, evaluate_vos
from sam2_plugins.core.evaluation.baselines import copy_masks, warp_masks
from sam2_plugins.core.evaluation.starts import PromptedMask
from sam2_plugins.core.frames import open_frames
from sam2_plugins.core.masks import FrameMasks, box_to_mask

SIZE = (96, 128)
NUM_FRAMES = 8


def moving(speed=3, *, later=True):
    """(T, H, W) labels: object 2 moves right, object 5 stands, from frame 3 on if `later`."""
    labels = np.zeros((NUM_FRAMES, *SIZE), np.uint8)
    for t in range(NUM_FRAMES):
        labels[t, 20:50, 20 + speed * t : 50 + speed * t] = 2
        if not later or t >= 3:
            labels[t, 60:80, 60:80] = 5
    return labels


def textured(labels):
    """Pictures in which each object carries its own pattern along."""
    rng = np.random.default_rng(0)
    ground = ndimage.gaussian_filter(rng.normal(size=SIZE), 2)
    patterns = {i: ndimage.gaussian_filter(rng.normal(size=SIZE), 2) for i in (2, 5)}
    frames = np.empty(labels.shape, np.float32)
    for t, image in enumerate(labels):
        frames[t] = ground
        for object_id, pattern in patterns.items():
            where = np.argwhere(image == object_id)
            if len(where):
                corner = where.min(axis=0)
                frames[t][image == object_id] = pattern[tuple((where - corner).T)]
    return frames


class Oracle:
    """Answers with the truth, shifted by some pixels; notes what it was told."""

    def __init__(self, labels, shift=0):
        self.labels, self.shift = labels, shift
        self.prompts, self.direction = [], None

    def __call__(self, frames):
        assert frames.num_frames == len(self.labels)
        return self

    def _answer(self, frame_index):
        labels = np.roll(self.labels[frame_index], self.shift, axis=1)
        return FrameMasks.from_labels(frame_index, labels)

    def add_points(self, frame_index, object_id, points, point_labels):
        self.prompts.append(("points", frame_index, object_id, points[0], point_labels[0]))
        return self._answer(frame_index)

    def set_box(self, frame_index, object_id, box):
        self.prompts.append(("box", frame_index, object_id, tuple(box)))

    def set_mask(self, frame_index, object_id, mask):
        self.prompts.append(("mask", frame_index, object_id, mask))

    def propagate(self, *, direction):
        self.direction = direction
        for frame_index in reversed(range(len(self.labels))):
            yield self._answer(frame_index)


def sequence(labels, **options):
    return VosSequence.from_arrays("clip", textured(labels), labels, **options)


def rows_of(result, method="sam2"):
    return {row.object_id: row.metrics for row in result.rows if row.method == method}


def test_the_truth_scores_one():
    labels = moving()
    tracker = Oracle(labels)
    result = evaluate_vos(tracker, [sequence(labels)], baselines=())
    assert result.mean("sam2") == 1
    rows = rows_of(result)
    # frames 1 to 6 of object 2: neither the first nor the last; object 5 starts at 3
    assert rows[2]["num_frames"] == 6
    assert rows[5]["num_frames"] == 4
    assert tracker.direction == "forward"
    assert [(kind, t, i) for kind, t, i, _ in tracker.prompts] == [("mask", 0, 2), ("mask", 3, 5)]
    np.testing.assert_array_equal(tracker.prompts[1][3], labels[3] == 5)
    assert result.model == ""
    assert result.headline == "j_and_f"
    # where only tracking counts, the prompted frame of object 5 does not
    result = evaluate_vos(Oracle(labels), [sequence(labels)], baselines=(), scoring="held-out")
    assert rows_of(result)[5]["num_frames"] == 3
    assert result.mean("sam2") == 1


def test_a_known_error_gives_the_known_score():
    labels = moving()
    result = evaluate_vos(Oracle(labels, shift=10), [sequence(labels)], baselines=())
    assert rows_of(result)[2]["j"] == pytest.approx(20 / 40)
    assert rows_of(result)[5]["iou"] == pytest.approx(10 / 30)
    assert rows_of(result)[5]["dice"] == pytest.approx(0.5)


def test_no_mask_at_all_is_no_success_in_a_volume():
    labels = moving()
    labels[:, 60:80] = 0
    labels[[0, 1, 2, 5, 6, 7]] = 0
    nothing = Oracle(np.zeros_like(labels))
    result = evaluate_vos(nothing, [sequence(labels, is_volume=True)], baselines=())
    assert result.mean("sam2", "j_and_f") == pytest.approx(6 / 7)
    assert result.mean("sam2") == 0


def test_a_missing_mask_is_an_empty_one():
    labels = moving()
    without = labels.copy()
    without[4:][without[4:] == 2] = 0
    result = evaluate_vos(Oracle(without), [sequence(labels)], baselines=())
    assert rows_of(result)[2]["j"] == pytest.approx(3 / 6)


def test_volumes_start_at_the_largest_slice_and_go_both_ways():
    labels = moving(speed=0, later=False)
    labels[4, 55:90, 60:80] = 5
    tracker = Oracle(labels)
    result = evaluate_vos(tracker, [sequence(labels, is_volume=True)], baselines=())
    assert tracker.direction == "both"
    assert result.headline == "visible_j_and_f"
    assert [(t, i) for _, t, i, _ in tracker.prompts] == [(0, 2), (4, 5)]
    assert rows_of(result)[5]["num_frames"] == NUM_FRAMES - 1
    tracker = Oracle(labels)
    evaluate_vos(tracker, [sequence(labels, is_volume=True)], prompt_frame="first", baselines=())
    assert tracker.direction == "forward"


def test_boxes_and_clicks():
    labels = moving()
    tracker = Oracle(labels)
    evaluate_vos(tracker, [sequence(labels)], prompt="box", baselines=())
    assert tracker.prompts[0] == ("box", 0, 2, (20, 20, 50, 50))
    np.testing.assert_array_equal(box_to_mask(tracker.prompts[0][3], SIZE), labels[0] == 2)
    tracker = Oracle(labels)
    evaluate_vos(tracker, [sequence(labels)], prompt="3-click", baselines=())
    # the preview is the truth, so no second click is needed
    assert tracker.prompts[0][:3] == ("points", 0, 2)
    assert len(tracker.prompts) == 2
    tracker = Oracle(labels, shift=12)
    evaluate_vos(tracker, [sequence(labels)], prompt="3-click", baselines=())
    assert len(tracker.prompts) == 6
    assert [prompt[4] for prompt in tracker.prompts[:3]] == [1, 0, 0]


def test_sparse_annotation_is_scored_where_it_is():
    labels = moving()
    whole = sequence(labels)
    sparse = VosSequence("clip", whole.source, (0, 3, 6), whole.read_truth)
    result = evaluate_vos(Oracle(labels), [sparse], baselines=())
    assert rows_of(result)[2]["num_frames"] == 1  # only frame 3


def test_objects_on_one_frame_only_have_nothing_to_score():
    labels = moving(later=False)
    labels[1:] = 0
    last = labels[::-1].copy()
    result = evaluate_vos(Oracle(last), [sequence(last)], baselines=())
    assert np.isnan(result.mean("sam2"))
    assert rows_of(result)[2]["num_frames"] == 0


def test_baselines_are_in_the_same_table():
    pytest.importorskip("cv2")
    labels = moving()
    result = evaluate_vos(Oracle(labels), [sequence(labels)])
    assert result.methods == ["sam2", "copy", "flow"]
    assert rows_of(result, "copy")[5]["j"] == 1  # it stands still
    assert rows_of(result, "copy")[2]["j"] < 0.6
    assert rows_of(result, "flow")[2]["j"] > 0.8
    assert set(result.seconds) == set(result.methods)


def test_copy_goes_forward_or_both_ways():
    mask = moving()[0] == 2
    frames = open_frames(np.zeros((4, *SIZE), np.uint8))
    prompt = [PromptedMask(2, 2, mask)]
    assert [f.frame_index for f in copy_masks(frames, prompt)] == [2, 3]
    both = list(copy_masks(frames, prompt, backward=True))
    assert [f.frame_index for f in both] == [0, 1, 2, 3]
    assert all((f.masks[0] == mask).all() for f in both)


def test_flow_follows_both_ways_and_on_small_pictures():
    pytest.importorskip("cv2")
    labels = moving()
    frames = open_frames(textured(labels))
    prompt = [PromptedMask(2, 4, labels[4] == 2)]
    found = list(warp_masks(frames, prompt, backward=True))
    assert [f.frame_index for f in found] == [4, 5, 6, 7, 4, 3, 2, 1, 0]
    for f in found:
        truth = labels[f.frame_index] == 2
        assert (f.masks[0] & truth).sum() / (f.masks[0] | truth).sum() > 0.75
    tiny = open_frames(textured(labels)[:, :24, 20:52])
    assert len(list(warp_masks(tiny, [PromptedMask(2, 0, labels[0, :24, 20:52] == 2)]))) == 8


def test_progress_and_several_sequences():
    labels = moving()
    calls = []
    result = evaluate_vos(
        Oracle(labels),
        [sequence(labels)] * 3,
        baselines=(),
        progress=lambda *arguments: calls.append(arguments),
    )
    assert calls == [(0, 3, "clip"), (1, 3, "clip#2"), (2, 3, "clip#3")]
    assert result.options["sequences"] == 3


def test_a_path_is_enough(tmp_path):
    labels = moving()
    tifffile.imwrite(tmp_path / "volume.tif", textured(labels), photometric="minisblack")
    tifffile.imwrite(tmp_path / "labels.tif", labels, photometric="minisblack")
    assert evaluate_vos(Oracle(labels), tmp_path, baselines=()).mean("sam2") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "scribble"}, "unknown prompt 'scribble'; known are mask, box, 1-click"),
        ({"prompt_frame": "last"}, "unknown prompt_frame 'last'"),
        ({"scoring": "kind"}, "unknown scoring 'kind'; known are auto, published, held-out"),
        ({"max_objects": 0}, "at most 1 or more, not 0"),
        ({"baselines": ["magic"]}, "unknown baseline 'magic'; known are copy, flow"),
    ],
)
def test_unknown_options(options, message):
    labels = moving()
    with pytest.raises(ValueError, match=message):
        evaluate_vos(Oracle(labels), [sequence(labels)], **options)


def test_frames_and_truth_that_do_not_fit():
    labels = moving()
    with pytest.raises(ValueError, match=r"clip: masks have size \(96, 100\), frames \(96, 128\)"):
        evaluate_vos(
            Oracle(labels),
            [VosSequence.from_arrays("clip", textured(labels), labels[..., :100])],
            baselines=(),
        )
    with pytest.raises(ValueError, match="clip: frame 7 is annotated, but there are 5 frames"):
        evaluate_vos(
            Oracle(labels),
            [VosSequence.from_arrays("clip", textured(labels)[:5], labels)],
            baselines=(),
        )
    with pytest.raises(ValueError, match="there is no object to evaluate: the truth is empty"):
        evaluate_vos(Oracle(0 * labels), [sequence(0 * labels)], baselines=())
    with pytest.raises(ValueError, match="there are no sequences"):
        evaluate_vos(Oracle(labels), [])


def test_at_most_so_many_objects():
    labels = moving()
    result = evaluate_vos(Oracle(labels), [sequence(labels)], baselines=(), max_objects=1)
    assert list(rows_of(result)) == [2]


def test_annotation_of_starts_only_is_not_scored():
    labels = moving()
    labels[1:][labels[1:] == 2] = 0
    labels[4:] = 0
    whole = sequence(labels)
    public = VosSequence("clip", whole.source, (0, 3), whole.read_truth)
    tracker = Oracle(labels)
    result = evaluate_vos(tracker, [public], baselines=())
    assert [(t, i) for _, t, i, _ in tracker.prompts] == [(0, 2), (3, 5)]
    assert np.isnan(result.mean("sam2"))


def test_objects_say_what_they_are():
    labels = moving()
    labels[5][labels[5] == 2] = 0
    result = evaluate_vos(Oracle(labels), [sequence(labels)], baselines=())
    assert [row.attributes for row in result.rows] == [
        {"kind": "video", "size": "small", "length": "short", "absence": "sometimes absent"},
        {"kind": "video", "size": "small", "length": "short", "absence": "always there"},
    ]


def test_with_a_real_network():
    from sam2_plugins.core.config import MODELS
    from sam2_plugins.core.model.sam2 import SAM2

    torch.manual_seed(0)
    model = SAM2(MODELS["nano"], image_size=64).eval()
    labels = moving()[:4]
    result = evaluate_vos(
        model, [sequence(labels)], prompt="3-click", tracker_options={"memory_frames": 2}
    )
    assert result.methods == ["sam2", "copy", "flow"]
    assert len(result.model) >= 12
    assert result.options["memory_frames"] == 2
    assert 0 <= result.mean("sam2") <= 1


# Keyframes


@pytest.mark.parametrize(
    ("keyframes", "expected"), [(2, [2, 5]), (3, [2, 4, 5]), (4, [2, 3, 4, 5]), (9, [2, 3, 4, 5])]
)
def test_keyframes_are_spread_over_the_frames_that_show_the_object(keyframes, expected):
    labels = moving(later=False)
    labels[:2][labels[:2] == 2] = 0
    labels[6:][labels[6:] == 2] = 0
    oracle = Oracle(labels)
    result = evaluate_vos(
        oracle, [sequence(labels)], prompt="box", keyframes=keyframes, baselines=()
    )
    assert [frame for _, frame, object_id, _ in oracle.prompts if object_id == 2] == expected
    assert oracle.direction == "both"
    row = next(row for row in result.rows if row.object_id == 2)
    # All frames but the prompted ones, and of videos but the last.
    assert row.metrics["num_frames"] == NUM_FRAMES - 1 - len(expected)
    assert row.metrics["j_and_f"] == 1


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"keyframes": 0}, "keyframes must be 1 or more, not 0"),
        ({"baselines": ("copy",)}, "baselines start from one frame; several keyframes take none"),
        ({"prompt_frame": "first"}, "prompt_frame 'first' is for one prompted frame"),
        ({"scoring": "published"}, "scoring 'published' is for one prompted frame"),
    ],
)
def test_what_does_not_go_with_keyframes_is_refused(choices, message):
    labels = moving()
    with pytest.raises(ValueError, match=message):
        evaluate_vos(
            Oracle(labels), [sequence(labels)], **{"keyframes": 2, "baselines": (), **choices}
        )
