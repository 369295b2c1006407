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
    """A folder with two annotated volumes, and one with one labelled image."""
    labels = np.zeros((4, 40, 40), np.uint8)
    labels[:, 10:25, 10:25] = 1
    images = np.where(labels, 200, 30).astype(np.uint8)
    for name in ("cube", "dice"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for file, stack in (("volume.tif", images), ("labels.tif", labels)):
            tifffile.imwrite(
                folder / file, stack, photometric="minisblack", metadata={"axes": "ZYX"}
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
    lines = ran.err.splitlines()
    assert lines[0] == "sam2-plugins: 1 of 2: cube"
    assert lines[1].startswith("sam2-plugins: 2 of 2: dice, ")
    assert lines[1].endswith(" left")
    # What does not move is found again by copying.
    assert "| copy | 1.000" in ran.out
    kept = json.loads((volume / "scores" / "evaluation.json").read_text())
    assert {row["method"] for row in kept["rows"]} == {"sam2", "copy"}
    assert kept["options"]["image_size"] == 64
    assert len(kept["model"]) == len(kept["data"]) == 16
    with Image.open(volume / "scores" / "evaluation.png") as picture:
        assert picture.width > 300


def test_groups_masks_and_switches(evaluate: Run, volume: Path) -> None:
    table = volume / "table.csv"
    table.write_text("sequence,stain\ncube,red\ndice,blue\n")
    ran = evaluate(
        *("vos", volume / "data", "--baselines", "none", "--by", "size", "--attributes", table),
        *("--save-masks", volume / "masks", "--max-frames", 3, "--max-objects", 1),
        *("--memory-frames", 1, "--memory-stride", 2, "--fill-hole-area", 0, "--no-pointers"),
        *("--memory-selection", 0.5),
        "--json",
    )
    summary = ran.summary
    assert set(summary["groups"]["stain"]["sam2"]) == {"red", "blue"}
    assert set(summary["groups"]["size"]["sam2"]) == {"small"}
    options = summary["options"]
    assert (options["memory_frames"], options["memory_stride"]) == (1, 2)
    assert options["memory_selection"] == 0.5
    assert (options["fill_hole_area"], options["object_pointers"]) == (0, False)
    assert len(list((volume / "masks" / "dice").iterdir())) == 3


def test_image_protocol_as_json(evaluate: Run, volume: Path) -> None:
    ran = evaluate("image", volume / "pictures", "--prompts", "box,1-click", "--json")
    assert ran.summary["protocol"] == "image"
    assert set(ran.summary["summary"]) == {"box", "1-click"}


def test_interactive_keeps_curves(evaluate: Run, volume: Path) -> None:
    names = volume / "names.txt"
    names.write_text("dice\n")
    ran = evaluate(
        *("interactive", volume / "data", "--names", names, "--rounds", 2),
        *("--protocols", "online,suggested", "-o", volume / "scores"),
    )
    assert ran.status == 0, ran.err
    assert "| suggested | " in ran.out
    head = (volume / "scores" / "evaluation.csv").read_text().splitlines()[0]
    assert "j_and_f@1,seconds@1,j_and_f@2,seconds@2" in head
    with Image.open(volume / "scores" / "evaluation.png") as picture:
        assert picture.height > picture.width


def test_ablations_are_one_command(evaluate: Run, volume: Path) -> None:
    page = volume / "page.md"
    page.write_text("a\n<!-- ablations -->\nold\n<!-- end of ablations -->\nz\n")
    ran = evaluate(
        *("ablations", volume / "data", "--max-sequences", 1, "--variants", "no object pointers"),
        *("-o", volume / "scores", "--page", page),
    )
    assert ran.status == 0, ran.err
    lines = ran.out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| default", "| no object pointers"]
    assert (volume / "scores" / "ablations.md").read_text() == ran.out
    text = page.read_text()
    assert text.startswith("a\n<!-- ablations -->\n| variant")
    assert ran.out in text
    assert "old" not in text
    assert text.endswith("<!-- end of ablations -->\nz\n")
    page.write_text("nothing\n")
    wrong = evaluate("ablations", volume / "data", "--page", page)
    assert "needs the lines <!-- ablations -->" in wrong.error
    assert "unknown variant 'x'" in evaluate("ablations", volume / "data", "--variants", "x").error


def test_bad_data_and_options(evaluate: Run, run: Run, volume: Path) -> None:
    data = volume / "data"
    assert "there is no folder" in run("evaluate", "vos", volume / "no").error
    assert "unknown prompt 'x'" in evaluate("vos", data, "--prompt", "x").error
    assert "unknown baseline" in evaluate("vos", data, "--baselines", "x").error
    assert "there is no such attribute" in evaluate("vos", data, "--by", "x").late_error
    assert "--resume needs -o DIR" in evaluate("vos", data, "--resume").error
    assert "memory_frames must be" in evaluate("vos", data, "--memory-frames", 9).late_error
    assert "unknown protocol" in evaluate("interactive", data, "--protocols", "x").error
    for option in ("--names", "--attributes", "--seen"):
        assert "no.txt: No such file" in evaluate("vos", data, option, volume / "no.txt").error
    (volume / "empty").mkdir()
    assert str(volume / "empty") in evaluate("vos", volume / "empty").error


def test_everything_is_held_against_labels(run: Run, volume: Path) -> None:
    """With the bundled model, whose own options are kept where none are given."""
    options = ("--points-per-side", 4, "--min-predicted-iou", 0, "--min-stability", 0)
    pictures, out = volume / "pictures", volume / "scores"
    ran = run(
        *("evaluate", "everything", pictures, "--image-size", 64), *options, "--json", "-o", out
    )
    assert ran.status == 0, ran.err
    assert ran.summary["protocol"] == "everything"
    assert ran.summary["options"]["points_per_side"] == 4
    assert ran.summary["options"]["max_known_share"] == 0.3
    kept = json.loads((volume / "scores" / "evaluation.json").read_text())
    (row,) = kept["rows"]
    assert row["labelled"] == 1
    assert row["found"] > 0
    assert 0 <= row["ap"] <= row["f1_50"] <= 1
