"""Whole videos, scored by us and by the published vos-benchmark on the PNGs that we save."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from sam2_plugins.core.evaluation import evaluate_vos, load_sequences
from sam2_plugins.core.formats.davis import read_png, write_png
from sam2_plugins.core.masks import FrameMasks

pytest.importorskip("cv2", reason="vos-benchmark needs OpenCV: pip install opencv-python-headless")
published = pytest.importorskip(
    "vos_benchmark.benchmark", reason="pip install --no-deps vos-benchmark"
)

SIZE, NUM_FRAMES = (90, 120), 9
IDS = (1, 2, 5)


def truth() -> NDArray[np.uint8]:
    """(T, H, W): 1 all the time, 2 from frame 3 on and away on 5, 5 from frame 1 to 4."""
    rng = np.random.default_rng(3)
    ragged = ndimage.gaussian_filter(rng.normal(size=(NUM_FRAMES, *SIZE)), (1, 3, 3)) > 0
    labels = np.zeros((NUM_FRAMES, *SIZE), np.uint8)
    labels[:, 10:60, 10:60] = 1
    labels[3:, 40:80, 40:90] = 2
    labels[5][labels[5] == 2] = 0
    labels[1:5, 5:30, 80:115] = 5
    return np.where(ragged, labels, 0).astype(np.uint8)


class Wobbly:
    """Finds roughly the truth; masks overlap, one object is lost, another seen too early."""

    def __init__(self, labels: NDArray[np.uint8]) -> None:
        self.labels = labels

    def __call__(self, frames: Any) -> "Wobbly":
        return self

    def set_mask(self, frame_index: int, object_id: int, mask: Any) -> None:
        assert mask.any()

    def propagate(self, *, direction: str) -> Iterator[FrameMasks]:
        for frame_index, labels in enumerate(self.labels):
            shift = (frame_index, -2 * frame_index)
            masks = np.stack([np.roll(labels == i, shift, axis=(0, 1)) for i in IDS])
            masks[0] = ndimage.binary_dilation(masks[0], iterations=4)
            if frame_index == 4:
                masks[2] = False
            if frame_index == 2:
                masks[1, 50:70, 50:70] = True
            scores = np.ones(3, np.float32)
            yield FrameMasks(frame_index, np.array(IDS), masks, scores, scores)


def write_frames(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(folder / f"{name}.jpg")


@pytest.mark.parametrize(
    "names", [[f"{t:05d}" for t in range(9)], [f"{8 * t:08d}" for t in range(9)]]
)
def test_label_images_as_davis_mose_and_lvos_have_them(names: list[str], tmp_path: Path) -> None:
    labels = truth()
    write_frames(tmp_path / "JPEGImages" / "clip", names)
    annotations = tmp_path / "Annotations" / "clip"
    annotations.mkdir(parents=True)
    for name, image in zip(names, labels, strict=True):
        write_png(annotations / f"{name}.png", image)
    saved = tmp_path / "saved"
    result = evaluate_vos(Wobbly(labels), tmp_path, baselines=(), save_masks=saved)
    _, j, f = published.VideoEvaluator(str(annotations.parent), str(saved))("clip")
    ours = {row.object_id: row.metrics for row in result.rows}
    assert set(ours) == set(j) == set(IDS)
    for object_id in IDS:
        assert ours[object_id]["j"] == pytest.approx(j[object_id] / 100, abs=1e-6)
        assert ours[object_id]["f"] == pytest.approx(f[object_id] / 100, abs=1e-6)
    assert 0.1 < result.mean("sam2") < 0.9
    picture = Image.open(saved / "clip" / f"{names[0]}.png")
    assert (picture.mode, picture.size) == ("P", (120, 90))
    assert picture.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


def test_a_folder_per_object_as_sav_has_it(tmp_path: Path) -> None:
    evaluator = pytest.importorskip("vos_benchmark.evaluator")
    labels = truth()
    names = [f"{t:05d}" for t in range(4 * NUM_FRAMES)]
    write_frames(tmp_path / "JPEGImages_24fps" / "clip", names)
    for object_id, own in ((1, range(9)), (2, range(3, 9)), (5, range(1, 8))):
        folder = tmp_path / "Annotations_6fps" / "clip" / f"{object_id - 1:03d}"
        folder.mkdir(parents=True)
        for t in own:
            write_png(folder / f"{4 * t:05d}.png", (labels[t] == object_id).astype(np.uint8))
    (sequence,) = load_sequences(tmp_path)
    assert sequence.annotated_frames == tuple(range(0, 36, 4))
    saved = tmp_path / "saved"
    tracker = Wobbly(np.repeat(labels, 4, axis=0))
    result = evaluate_vos(tracker, tmp_path, baselines=(), save_masks=saved)
    for row in result.rows:
        name = f"{row.object_id - 1:03d}"
        folder = tmp_path / "Annotations_6fps" / "clip" / name
        # each object by itself, its own first and last annotated frames left out
        theirs = evaluator.Evaluator()
        for file in sorted(folder.iterdir())[1:-1]:
            found = read_png(saved / "clip" / name / file.name)
            theirs.feed_frame(found > 0, read_png(file) > 0)
        j, f = theirs.conclude()
        assert row.metrics["j"] == pytest.approx(j[True] / 100, abs=1e-6)
        assert row.metrics["f"] == pytest.approx(f[True] / 100, abs=1e-6)
    # 24 frames per second are tracked, 6 are saved
    assert len(list((saved / "clip" / "000").iterdir())) == 9
