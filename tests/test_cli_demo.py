from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from command_line import Ran

Run = Callable[..., Ran]


def test_the_demo_tracks_and_can_be_repeated_from_its_files(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "new" / "demo"
    ran = run("demo", "--out", out, "--json")
    assert ran.status == 0, ran.err
    assert len(ran.summary["iou"]) == 5
    # What the weights of today reach, less a margin.
    assert ran.summary["mean_iou"] >= 0.8
    names = ["labels.tif", "overlay.png", "prompts.json", "stack.tif"]
    assert sorted(path.name for path in out.iterdir()) == names
    with Image.open(out / "overlay.png") as picture:
        assert picture.width > 600

    again = out / "again.tif"
    part = ("--start", 8, "--stop", 13)
    ran = run("track", out / "stack.tif", "--prompts", out / "prompts.json", "-o", again, *part)
    assert ran.status == 0
    found, labels = tifffile.imread(again)[8:13], tifffile.imread(out / "labels.tif")[8:13]
    assert labels.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(found, labels)


def test_the_demo_refuses_a_file_as_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in run("demo", "--out", tmp_path / "file").error
