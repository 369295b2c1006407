"""Volumes in time: the Cell Tracking Challenge's 3D layout, followed and scored."""

import io
import pickle
from contextlib import redirect_stdout
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny import make_tiny

from sam2_plugins.core.evaluation import evaluate_interactive, evaluate_vos, load_sequences
from sam2_plugins.core.masks import FrameMasks

NUM_TIMES, DEPTH, SIZE = 4, 5, (24, 32)


def truth():
    """(T, Z, H, W): one cell that stays, one that grows, one that comes at time point 2."""
    labels = np.zeros((NUM_TIMES, DEPTH, *SIZE), np.uint16)
    labels[:, 1:4, 2:8, 2:8] = 3
    labels[:, 2, 2:9, 2:8] = 3  # slice 2 shows most of it
    for t in range(NUM_TIMES):
        labels[t, 0:2, 12:20, 12 : 16 + t] = 5
    labels[2:, 3:5, 14:20, 24:30] = 9
    return labels


def write_volumes(folder, name, volumes):
    folder.mkdir(parents=True)
    for t, volume in enumerate(volumes):
        tifffile.imwrite(folder / f"{name}{t:03d}.tif", volume, photometric="minisblack")


def tracks(labels):
    """The challenge's table: label, first, last time point, parent."""
    lines = []
    for label in np.unique(labels[labels > 0]):
        times = np.flatnonzero((labels == label).any(axis=(1, 2, 3)))
        assert len(times) == times[-1] - times[0] + 1
        lines.append(f"{label} {times[0]} {times[-1]} 0\n")
    return "".join(lines)


@pytest.fixture
def folder(tmp_path):
    labels = truth()
    pixels = np.random.default_rng(0).integers(0, 200, labels.shape, np.uint16)
    write_volumes(tmp_path / "cells/01", "t", pixels + 400 * (labels > 0))
    write_volumes(tmp_path / "cells/01_GT/TRA", "man_track", labels)
    (tmp_path / "cells/01_GT/TRA/man_track.txt").write_text(tracks(labels))
    return tmp_path / "cells"


class Shrinks:
    """Gives back the masks it was told, on every frame, one column smaller where it carries them.

    What it is asked is noted: (number of frames, prompted frame, object, kind of prompt).
    """

    asked: ClassVar[list] = []

    def __init__(self, frames):
        self.num_frames, self.told = frames.num_frames, {}

    def set_mask(self, frame_index, object_id, mask):
        self.asked.append((self.num_frames, frame_index, object_id, "mask"))
        self.told[object_id] = (frame_index, mask)

    def set_box(self, frame_index, object_id, box):
        self.asked.append((self.num_frames, frame_index, object_id, "box"))
        mask = np.zeros(SIZE, bool)
        x0, y0, x1, y1 = np.asarray(box, int)
        mask[y0:y1, x0:x1] = True
        self.told[object_id] = (frame_index, mask)

    def propagate(self, *, direction):
        for frame in range(self.num_frames):
            shown = np.zeros(SIZE, np.int64)
            for object_id, (start, mask) in self.told.items():
                if direction == "both" or frame >= start:
                    eroded = mask & np.roll(mask, 1, axis=1) if frame != start else mask
                    shown[eroded] = object_id
            yield FrameMasks.from_labels(frame, shown)


def test_the_layout_is_read_slice_by_slice(folder):
    (sequence,) = load_sequences(folder)
    assert (sequence.name, sequence.depth, sequence.is_volume) == ("01", DEPTH, True)
    frames = sequence.open()
    assert (frames.num_frames, frames.frame_size) == (NUM_TIMES * DEPTH, SIZE)
    stored = tifffile.imread(folder / "01/t002.tif")
    np.testing.assert_array_equal(frames.read(2 * DEPTH + 3), stored[3])
    np.testing.assert_array_equal(sequence.read_truth(13).to_labels(), truth()[2, 3])
    with pytest.raises(ValueError, match="no frame 20; frames are 0 to 19"):
        frames.read(20)
    assert sequence.frame_names[13] == "t002_z003"
    spans = {span.object_id: span for span in sequence.spans()}
    assert spans[3].largest_frame == 2
    assert spans[5].largest_frame == 0  # of its first time point, though it grows
    assert spans[9].largest_frame == 2 * DEPTH + 3
    assert all(span.num_absent == 0 for span in spans.values())
    told = sequence.attributes(spans[3], 20)
    assert (told["kind"], told["length"]) == ("volume in time", "short")
    assert pickle.loads(pickle.dumps(sequence)).signature() == sequence.signature()
    short = sequence.first(3)
    assert short.annotated_frames == tuple(range(3 * DEPTH))
    assert short.open().num_frames == 3 * DEPTH


def test_objects_are_followed_through_depth_then_time(folder):
    Shrinks.asked = asked = []
    result = evaluate_vos(Shrinks, folder, prompt="box", baselines=["copy"])
    in_depth = [entry for entry in asked if entry[3] == "box"]
    assert in_depth == [(DEPTH, 2, 3, "box"), (DEPTH, 0, 5, "box"), (DEPTH, 3, 9, "box")]
    in_time = [entry for entry in asked if entry[3] == "mask"]
    # slice after slice, each object from its first time point on
    assert in_time == [
        (NUM_TIMES, start, object_id, "mask")
        for _ in range(DEPTH)
        for object_id, start in ((3, 0), (5, 0), (9, 2))
    ]
    assert result.headline == "visible_j_and_f"
    rows = {(row.method, row.object_id): row.metrics for row in result.rows}
    # of object 9 all slices of its two time points are scored, but the one that is prompted
    assert rows["sam2", 9]["num_frames"] == 2 * DEPTH - 1
    assert rows["sam2", 3]["num_frames"] == NUM_TIMES * DEPTH - 1
    # found: 6 x 6 on slice 3 once, then 5 columns; 5 on slice 4 once, then 4; 5 and 4 elsewhere
    inside = (5 + 5 + 4) * 6
    outside = 3 * (5 + 4) * 6
    assert rows["sam2", 9]["iou"] == pytest.approx(inside / (3 * 36 + outside))


def test_seg_and_det_are_those_of_the_published_package(folder, tmp_path):
    evaluate = pytest.importorskip("ctc_metrics.scripts.evaluate")
    Shrinks.asked = []
    result = evaluate_vos(Shrinks, folder, cell_tracking=True, save_masks=tmp_path / "masks")
    (ours,) = (r.metrics for r in result.rows if r.object_id == 0 and r.method == "sam2")
    found = np.stack(
        [
            [np.asarray(Image.open(tmp_path / f"masks/01/t{t:03d}_z{z:03d}.png")) for z in range(5)]
            for t in range(NUM_TIMES)
        ]
    ).astype(np.uint16)
    assert set(np.unique(found)) == {0, 3, 5, 9}
    write_volumes(folder / "01_RES", "mask", found)
    (folder / "01_RES/res_track.txt").write_text(tracks(found))
    write_volumes(folder / "01_GT/SEG", "man_seg", truth())
    with redirect_stdout(io.StringIO()):
        published = evaluate.evaluate_sequence(
            str(folder / "01_RES"), str(folder / "01_GT"), ["SEG", "DET"], threads=1
        )
    assert 0 < published["SEG"] < 1
    assert ours == {
        "seg": pytest.approx(published["SEG"], abs=1e-9),
        "det": pytest.approx(published["DET"], abs=1e-9),
    }


@pytest.mark.parametrize("closeup_size", [None, 64], ids=["whole", "closeups"])
def test_the_tracker_itself_and_the_baselines_take_them(folder, closeup_size):
    model = make_tiny()
    model.config = replace(model.config, closeup_size=closeup_size)
    labels = truth()
    second = folder / "02"
    write_volumes(second, "t", np.where(labels, 500, 100).astype(np.uint16))
    write_volumes(folder / "02_GT/TRA", "man_track", labels)
    result = evaluate_vos(model, folder, baselines=["copy", "flow"], max_objects=1)
    assert {(r.sequence, r.method) for r in result.rows} == {
        (name, method) for name in ("01", "02") for method in ("sam2", "copy", "flow")
    }
    assert all(0 <= r.metrics["iou"] <= 1 for r in result.rows)
    copied = [r for r in result.rows if r.method == "copy"]
    # the largest slice copied to all slices and times: 42 of 36 on two of five slices, 42 on two
    assert copied[0].metrics["iou"] == pytest.approx((2 * 4 * 36 + 3 * 42) / (19 * 42))


def test_what_does_not_fit_is_said(folder):
    with pytest.raises(ValueError, match="01 is a volume in time: objects start on their largest"):
        evaluate_vos(Shrinks, folder, prompt_frame="first")
    with pytest.raises(ValueError, match="01 is a volume in time: these are prompted on one slice"):
        evaluate_vos(Shrinks, folder, keyframes=2, baselines=())
    with pytest.raises(ValueError, match="01 is a volume in time: only `evaluate vos` takes it"):
        evaluate_interactive(make_tiny(), folder)
    write_volumes(folder / "new", "t", [np.zeros((6, *SIZE), np.uint16)])
    (folder / "new/t000.tif").replace(folder / "01/t003.tif")
    with pytest.raises(ValueError, match=r"4 volumes, .* 4 of tracks, with 2 different sizes"):
        load_sequences(folder)
    (folder / "01_GT/TRA/man_track003.tif").unlink()
    with pytest.raises(ValueError, match=r"4 volumes, .* 3 of tracks"):
        load_sequences(folder)
