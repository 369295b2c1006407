"""What is held out is written so that the evaluation reads it, and is not trained on."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam2_plugins.core.evaluation import load_sequences
from sam2_plugins.core.training import held_out
from sam2_plugins.core.training.held_out import write_held_out
from sam2_plugins.core.training.sources import load_training_data


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Twelve small nuclei images, of which the first and the eleventh are held out."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (tmp_path / "dsb2018" / part).mkdir(parents=True)
    rows, columns = np.mgrid[:96, :96]
    for index in range(12):
        labels = np.zeros((96, 96), np.uint8)
        for number, (y, x) in enumerate(((25, 25), (60, 30), (40, 70)), start=1):
            labels[(rows - y) ** 2 + (columns - x) ** 2 < 12**2] = number
        image = (labels > 0) * 120 + rng.integers(0, 60, labels.shape) + index
        name = f"{index:04d}.png"
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / "dsb2018" / "images" / name)
        Image.fromarray(labels).save(tmp_path / "dsb2018" / "labels" / name)
    return tmp_path


def test_held_out_images_are_those_that_training_leaves_out(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "CLIP_KINDS", ("blobs",))
    monkeypatch.setattr(held_out, "CLIPS_PER_KIND", 2)
    out = write_held_out(data_root, tmp_path / "out")
    names = sorted(path.name for path in (out / "nuclei" / "images").iterdir())
    assert names == ["0000.png", "0010.png"]
    assert names == sorted(path.name for path in (out / "nuclei" / "labels").iterdir())
    assert len(load_training_data(data_root).images["dsb2018"]) == 10
    assert len(load_training_data(data_root, held_out=True).images["dsb2018"]) == 2


def test_held_out_clips_are_sequences_for_the_evaluation(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "CLIP_KINDS", ("blobs", "nuclei"))
    monkeypatch.setattr(held_out, "CLIPS_PER_KIND", 1)
    out = write_held_out(data_root, tmp_path / "out")
    sequences = load_sequences(out / "clips")
    assert sorted(sequence.name for sequence in sequences) == ["blobs-0", "nuclei-0"]
    again = write_held_out(data_root, tmp_path / "again")
    for path in sorted((out / "clips").rglob("*.png")):
        twin = again / path.relative_to(out)
        assert path.read_bytes() == twin.read_bytes()
