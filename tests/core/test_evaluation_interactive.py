"""The simulated annotator: with trackers whose answers are known, and with a real network."""

from functools import partial

import numpy as np
import pytest
from tiny import make_tiny

from sam2_plugins.core.evaluation import VosSequence, evaluate_interactive
from sam2_plugins.core.evaluation.interactive import AnnotationTime
from sam2_plugins.core.masks import FrameMasks
from sam2_plugins.core.tracker import VideoTracker

SIZE, NUM_FRAMES = (64, 64), 12


def labels():
    """(T, H, W): object 3, from frame 2 on."""
    stack = np.zeros((NUM_FRAMES, *SIZE), np.uint8)
    stack[2:, 20:40, 20:40] = 3
    return stack


def sequence(stack=None):
    stack = labels() if stack is None else stack
    return VosSequence.from_arrays("clip", np.full(stack.shape, 50, np.uint8), stack)


class Student:
    """Masks are off by known amounts until the frame is clicked at, and so are the next two."""

    def __init__(self, offsets, suggestions=()):
        self.offsets = dict(offsets)  # frame -> columns off
        self.suggestions = list(suggestions)
        self.clicked, self.tracked, self.confirmed, self.removed = [], [], [], []
        self.known = {}

    def __call__(self, frames):
        return self

    def _mask(self, frame):
        return np.roll(labels()[frame] == 3, self.offsets.get(frame, 0), axis=1)

    def masks(self, frame):
        mask = self.known.get(frame, np.zeros(SIZE, bool))
        scores = np.ones(1, np.float32)
        return FrameMasks(frame, np.array([3]), mask[None], scores, scores)

    def add_points(self, frame, object_id, points, point_labels):
        assert object_id == 3
        self.clicked.append((frame, points[0], point_labels[0]))
        if sum(f == frame for f, _, _ in self.clicked) == 2:  # the second click mends it
            for mended in range(frame, frame + 3):
                self.offsets[mended] = 0
        self.known[frame] = self._mask(frame)
        return self.masks(frame)

    def propagate(self, *, start, direction, object_ids):
        assert object_ids == [3]
        self.tracked.append((start, direction))
        for frame in range(start, NUM_FRAMES):
            self.known[frame] = self._mask(frame)
            yield self.masks(frame)

    def confirm(self, object_id, frame):
        self.confirmed.append(frame)

    def suggest_frame(self, object_id):
        return self.suggestions.pop(0) if self.suggestions else None

    def remove_object(self, object_id):
        self.removed.append(object_id)


OFFSETS = {2: 4, 6: 10, 8: 5, 10: 16, 11: 2}


def iou(columns):
    return (20 - columns) / (20 + columns)


def run(student, protocol, **options):
    result = evaluate_interactive(student, [sequence()], protocols=[protocol], **options)
    (row,) = result.rows
    assert row.method == protocol
    return row.metrics


def test_offline_takes_the_worst_frame_and_tracks_all_again():
    student = Student(OFFSETS)
    metrics = run(student, "offline", num_frames=5)
    # frames 10 to 12 are mended with 10, so after 6 only 8 (mended by 6) is left: nothing
    assert list(dict.fromkeys(frame for frame, _, _ in student.clicked)) == [2, 10, 6]
    assert student.tracked == [(2, "both")] * 3
    assert student.removed == [3]
    assert metrics["frames"] == 3
    assert metrics["clicks"] == 6  # the second click is enough, so there is no third
    assert metrics["j_and_f@3"] == metrics["j_and_f@5"] == 1
    assert metrics["j_and_f@1"] < metrics["j_and_f@2"] < 1
    means = [metrics[f"j_and_f@{number}"] for number in range(1, 6)]
    assert metrics["j_and_f"] == pytest.approx(np.mean(means))


def test_online_watches_once():
    student = Student(OFFSETS | {3: 9})
    # 3 is mended with 2; 6 and 10 are below 0.75, 11 and 8 are not
    assert iou(2) > 0.75 > iou(4) > iou(10)
    metrics = run(student, "online", num_frames=8)
    assert list(dict.fromkeys(frame for frame, _, _ in student.clicked)) == [2, 6, 10]
    assert student.tracked == [(2, "forward"), (6, "forward"), (10, "forward")]
    assert metrics["frames"] == 3
    assert metrics["j_and_f@8"] == metrics["j_and_f@3"]


def test_the_threshold_of_online():
    student = Student({6: 10, 9: 3})
    run(student, "online", threshold=0.9)
    assert list(dict.fromkeys(frame for frame, _, _ in student.clicked)) == [2, 6, 9]


def test_suggested_asks_the_tracker_and_confirms_what_is_right():
    student = Student(OFFSETS, suggestions=[10, 5, 2])
    metrics = run(student, "suggested", num_frames=6)
    # 5 is right already; 2 was visited, so the nearest frame that was not takes its place
    assert [frame for frame, _, _ in student.clicked] == [2, 2, 10, 10]
    assert student.confirmed == [5, 3]
    assert metrics["frames"] == 4
    assert metrics["clicks"] == 4
    assert set(student.tracked) == {(2, "both")}


def test_clicks_are_at_the_centre_of_the_error():
    student = Student({2: 6})
    run(student, "offline", num_frames=1)
    # the first at the centre of the object, the second at that of the surplus: as much is missing
    assert student.clicked == [(2, (29, 29), 1), (2, (42, 22), 0)]


def test_time_model():
    time = AnnotationTime()
    assert time.seconds(watched_frames=300, num_frames=1, num_clicks=3) == 30 + 1 + 4.5
    metrics = run(Student(OFFSETS), "offline", num_frames=2)
    # 10 frames from the object's first on, watched after each round
    assert metrics["seconds@1"] == pytest.approx(30 * 10 / 300 + 1 + 3)
    assert metrics["seconds@2"] == pytest.approx(2 * (30 * 10 / 300 + 1 + 3))
    metrics = run(Student(OFFSETS), "online", num_frames=2)
    assert metrics["seconds@2"] == pytest.approx(30 * 10 / 300 + 2 * (1 + 3))
    metrics = run(Student(OFFSETS, [10]), "suggested", num_frames=2)
    assert metrics["seconds@2"] == pytest.approx(2 * (1 + 3))


class Stubborn(Student):
    """Sees the object on frames without it, whatever is clicked there."""

    def masks(self, frame):
        if frame not in (8, 9) or frame in self.confirmed:
            return super().masks(frame)
        self.known[frame] = labels()[2] == 3
        return super().masks(frame)

    def set_mask(self, frame, object_id, mask):
        assert not mask.any()
        self.confirmed.append(frame)
        self.known[frame] = mask
        self.offsets[frame] = 0


def test_absence_may_be_said_at_the_cost_of_a_click():
    stack = labels()
    stack[8:10] = 0
    found = {}
    for absent in ("clicks", "mask"):
        student = Stubborn({})
        student._mask = lambda frame: stack[frame] == 3
        result = evaluate_interactive(
            student, [sequence(stack)], protocols=["offline"], num_frames=3, absent=absent
        )
        assert result.options["absent"] == absent
        found[absent] = result.rows[0].metrics
        assert student.confirmed == ([8, 9] if absent == "mask" else [])
    assert found["mask"]["j_and_f@3"] == 1
    assert found["clicks"]["j_and_f@3"] == pytest.approx(8 / 10)
    assert found["mask"]["clicks"] == 1 + 1 + 1
    assert found["clicks"]["clicks"] == 1 + 3 + 3


def test_objects_share_a_tracker_as_if_each_had_its_own():
    rng = np.random.default_rng(0)
    stack = np.zeros((5, *SIZE), np.uint8)
    stack[:, 5:25, 5:30], stack[1:, 35:60, 30:60] = 1, 2
    frames = rng.integers(0, 255, (5, *SIZE, 3), np.uint8)
    frames[stack == 1] //= 4
    clip = VosSequence.from_arrays("clip", frames, stack)
    model = make_tiny()
    both = evaluate_interactive(model, [clip], num_frames=2)
    assert [(row.object_id, row.method) for row in both.rows] == [
        (object_id, name) for object_id in (1, 2) for name in ("offline", "online", "suggested")
    ]
    assert both.options["model"] == "tiny"
    for object_id in (1, 2):
        alone = VosSequence.from_arrays("clip", frames, np.where(stack == object_id, stack, 0))
        tracker = partial(VideoTracker, model)
        for name in ("offline", "suggested"):
            single = evaluate_interactive(tracker, [alone], num_frames=2, protocols=[name])
            (row,) = (r for r in both.rows if (r.object_id, r.method) == (object_id, name))
            assert row.metrics == single.rows[0].metrics


def test_the_picture_has_curves(tmp_path):
    from PIL import Image

    result = evaluate_interactive(Student(OFFSETS), [sequence()], protocols=["offline"])
    with Image.open(result.save(tmp_path) / "evaluation.png") as picture:
        colours = {tuple(c) for _, c in picture.convert("RGB").getcolors(10_000)}
        assert picture.height > picture.width
    assert (0x00, 0x72, 0xB2) in colours
    assert "j_and_f@8" in (tmp_path / "evaluation.csv").read_text().splitlines()[0]
    text = (tmp_path / "evaluation.md").read_text()
    assert "| frames with clicks | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 |" in text
    assert "| offline: seconds | 5 | 10 |" in text
    assert "@" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocols": ["later"]}, "unknown protocol 'later'; known are offline, online"),
        ({"protocols": []}, "there are no protocols"),
        ({"num_frames": 0}, "clicks and frames must be 1 or more, not 3 and 0"),
        ({"absent": "shout"}, "unknown absent 'shout'; known are clicks, mask"),
        ({"threshold": 75}, "the threshold is an IoU, 0 to 1, not 75"),
    ],
)
def test_unknown_options(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate_interactive(Student({}), [sequence()], **options)


def test_starts_alone_are_not_enough():
    stack = labels()
    stack[3:] = 0
    whole = sequence(stack)
    public = VosSequence("clip", whole.source, (2,), whole.read_truth)
    with pytest.raises(ValueError, match="clip: the truth only says where objects start"):
        evaluate_interactive(Student({}), [public])
