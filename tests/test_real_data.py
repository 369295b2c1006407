"""The script that brings public sequences into layouts that are read, on small repositories."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from sam2_plugins.core.evaluation import load_sequences

SCRIPT = Path(__file__).parents[1] / "scripts" / "real_data.py"


def disk(size: int, middle: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return np.hypot(rows - middle[0], columns - middle[1]) < radius


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.astype(np.uint8)).save(path)


@pytest.fixture
def write(tmp_path: Path):
    """Commit what is in `tmp_path/repository`, and let the script write it out."""

    def write(name: str) -> Path:
        repository, out = tmp_path / "repository", tmp_path / "out"
        git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "init", "-q", repository], check=True)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "data"], check=True)
        command = [sys.executable, str(SCRIPT), name, str(out), "--from", repository.as_uri()]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        again = subprocess.run(command, capture_output=True, text=True)
        assert again.returncode == 2
        assert "exists; choose a new folder" in again.stderr
        return out

    return write


def test_films(tmp_path: Path, write) -> None:
    root = tmp_path / "repository" / "DAVIS"
    for index in range(3):
        mask = disk(40, (20, 15 + index), 6)
        save(root / "JPEGImages" / "480p" / "cat" / f"{index:05d}.jpg", mask * 200)
        save(root / "Annotations" / "480p" / "cat" / f"{index:05d}.png", mask * 255)
    (cat,) = load_sequences(write("davis"))
    assert cat.name == "cat"
    assert cat.annotated_frames == (0, 1, 2)
    assert np.array_equal(cat.read_truth(1).masks[0], disk(40, (20, 16), 6))


def test_sections(tmp_path: Path, write) -> None:
    root = tmp_path / "repository" / "stack1"
    for index in range(9):
        mito, short = disk(80, (20, 20), 12), disk(80, (60, 60), 12) & (index < 3)
        neuron = disk(80, (50, 25 + index // 3), 14)
        save(root / "raw" / f"{index:02d}.png", np.full((80, 80), 100) + 50 * mito)
        # Sections are written in two ways.
        save(root / "mitochondria" / f"{index:02d}.png", (mito | short) * (255 if index % 2 else 1))
        save(root / "labels" / f"{index:02d}.png", neuron * 191)
    out = write("micrographs")
    labels = tifffile.imread(out / "mitochondria" / "labels.tif")
    assert np.array_equal(labels, np.stack([disk(80, (20, 20), 12)] * 9))
    neurons = tifffile.imread(out / "neurites" / "labels.tif")
    assert neurons.max() == 1
    assert neurons.any(axis=(1, 2)).all()
    assert {s.name for s in load_sequences(out)} == {"mitochondria", "neurites"}


def test_cells(tmp_path: Path, write) -> None:
    root = tmp_path / "repository" / "docs" / "examples"
    # Ids change from frame to frame; one cell comes late, and one goes early.
    frames = np.zeros((6, 60, 60), np.uint16)
    for index, frame in enumerate(frames):
        frame[disk(60, (15 + index, 15), 8)] = 1 + index
        if index < 3:
            frame[disk(60, (45, 45), 8)] = 40 - index
        if index > 0:
            frame[disk(60, (45, 15), 8)] = 50 + index
    (root / "cell_segmentation_data").mkdir(parents=True)
    np.savez(root / "cell_segmentation_data" / "data_small.npz", images=frames * 9, labels=frames)
    (root / "napari_interactive_fix_data").mkdir()
    for kind in ("images", "label"):
        path = root / "napari_interactive_fix_data" / f"example_{kind}.tif"
        tifffile.imwrite(path, frames, photometric="minisblack")
    brick, fix = load_sequences(write("cells"))
    for index in (0, 5):
        truth = brick.read_truth(index)
        assert len(truth.masks) == 1
        assert np.array_equal(truth.masks[0], disk(60, (15 + index, 15), 8))
    assert fix.annotated_frames == tuple(range(6))
