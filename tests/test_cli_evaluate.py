import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from command_line import Ran

Run = Callable[..., Ran]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A folder with one annotated volume, and one with one labelled image."""
    labels = np.zeros((4, 40, 40), np.uint8)
    labels[:, 10:25, 10:25] = 1
    images = np.where(labels, 200, 30).astype(np.uint8)
    folder = tmp_path / "data" / "cube"
    folder.mkdir(parents=True)
    tifffile.imwrite(
        folder / "volume.tif", images, photometric="minisblack", metadata={"axes": "ZYX"}
    )
    tifffile.imwrite(
        folder / "labels.tif", labels, photometric="minisblack", metadata={"axes": "ZYX"}
    )
    for name, array in (("images", images), ("labels", labels)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.fromarray(array[0]).save(tmp_path / "pictures" / name / "cube.png")
    return tmp_path


@pytest.fixture
def evaluate(run: Run, checkpoint: Path) -> Run:
    def evaluate(protocol: str, data: Path, *arguments: object) -> Ran:
        options = ("--checkpoint", checkpoint, "--image-size", 64)
        return run("evaluate", protocol, data, *options, *arguments)

    return evaluate


def test_vos_prints_a_table_and_keeps_the_scores(evaluate: Run, volume: Path) -> None:
    ran = evaluate("vos", volume / "data", "--prompt", "box", "-o", volume / "scores")
    assert ran.status == 0, ran.err
    assert ran.out.startswith("| method | ")
    # What does not move is found again by copying.
    assert "| copy | 1.000" in ran.out
    kept = json.loads((volume / "scores" / "evaluation.json").read_text())
    assert {row["method"] for row in kept["rows"]} == {"sam2", "copy"}


def test_image_protocol_as_json(evaluate: Run, volume: Path) -> None:
    ran = evaluate("image", volume / "pictures", "--prompts", "box,1-click", "--json")
    assert ran.summary["protocol"] == "image"
    assert set(ran.summary["summary"]) == {"box", "1-click"}


def test_bad_data_and_options(evaluate: Run, run: Run, volume: Path) -> None:
    assert "there is no folder" in run("evaluate", "vos", volume / "no").error
    assert "unknown prompt 'x'" in evaluate("vos", volume / "data", "--prompt", "x").error
    assert "unknown baseline" in evaluate("vos", volume / "data", "--baselines", "x").error
    (volume / "empty").mkdir()
    assert str(volume / "empty") in evaluate("vos", volume / "empty").error
    assert "there is no folder" in run("train", "nano", volume / "no", "-o", volume / "out").error
    missing = volume / "no.pt"
    assert "there is no file" in run("train", "export", missing, "-o", volume / "out").error
