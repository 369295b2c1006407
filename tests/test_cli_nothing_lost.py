"""What is read is not written over, and of folders only our own are replaced."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from command_line import Ran

Track = Callable[..., Ran]
Run = Callable[..., Ran]


@pytest.fixture
def unharmed(tmp_path: Path) -> Callable[[Ran], str]:
    """Be refused; everything is as it was before the test ran the command. Returns the message."""
    before: dict[Path, bytes] = {}

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def unharmed(command: Callable[[], Ran]) -> str:
        before.clear()
        before.update(contents())
        message = command().error
        assert contents() == before
        return message

    return unharmed


@pytest.fixture
def pictures(stack: Path) -> Path:
    """The stack as a folder of images."""
    folder = stack.with_name("frames")
    folder.mkdir()
    for index, plane in enumerate(tifffile.imread(stack)):
        Image.fromarray((plane >> 8).astype(np.uint8)).save(folder / f"{index:05d}.png")
    return folder


@pytest.mark.parametrize("way", ["itself", "link", "other spelling"])
def test_the_stack_is_not_written_over(track: Track, stack: Path, unharmed, way: str) -> None:
    output = {
        "itself": stack,
        "link": stack.with_name("link.tif"),
        "other spelling": stack.parent / ".." / stack.parent.name / stack.name,
    }[way]
    if way == "link":
        output.symlink_to(stack)
    assert unharmed(lambda: track(output)) == f"{output} is what is read; choose another output"


def test_the_prompts_are_not_written_over(track: Track, stack: Path, unharmed) -> None:
    prompts = stack.with_name("prompts.json")
    assert unharmed(lambda: track(prompts)).endswith("is what is read; choose another output")


def test_masks_among_the_prompts_are_not_written_over(track: Track, stack: Path, unharmed) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 10:20] = 1
    folder = stack.with_name("masks")
    folder.mkdir()
    Image.fromarray(mask).save(folder / "first.png")
    prompts = stack.with_name("by_mask.json")
    entry = {"frame": 0, "object": 1, "mask": "masks/first.png"}
    prompts.write_text(json.dumps({"version": 1, "prompts": [entry]}))
    drawn = folder / "first.png"
    ran = unharmed(lambda: track(stack.with_name("o.tif"), "--overlay", drawn, prompts=prompts))
    assert ran == f"{drawn} is what is read; choose another output"


def test_frames_are_not_joined_by_masks(track: Track, pictures: Path, unharmed) -> None:
    output = pictures / "masks.tif"
    message = unharmed(lambda: track(output, source=pictures))
    assert message == f"{output} lies in {pictures}, which is read; choose another output"
    sheet = pictures / "sheet.png"
    elsewhere = pictures.with_name("o.tif")
    message = unharmed(lambda: track(elsewhere, "--overlay", sheet, source=pictures))
    assert message == f"{sheet} lies in {pictures}, which is read; choose another output"
    # What is no image may lie there.
    assert track(pictures / "masks.json", source=pictures).status == 0


def test_an_overlay_takes_the_place_of_no_folder_but_an_earlier_one(
    track: Track, stack: Path, pictures: Path, unharmed
) -> None:
    output, drawn = stack.with_name("out.tif"), stack.with_name("drawn")
    message = unharmed(lambda: track(output, "--overlay", pictures))
    assert message.endswith("holds something else; choose another output")
    message = unharmed(lambda: track(output, "--overlay", pictures, source=pictures))
    assert message == f"{pictures} is what is read; choose another output"
    drawn.mkdir()
    assert track(output, "--overlay", drawn).status == 0
    (drawn / "00001.png").unlink()
    assert track(output, "--overlay", drawn).status == 0
    assert len(list(drawn.iterdir())) == 6
    (drawn / "notes.txt").write_text("mine")
    assert "holds something else" in unharmed(lambda: track(output, "--overlay", drawn))
    file = stack.with_name("README")
    file.write_text("mine")
    assert "is a file" in unharmed(lambda: track(output, "--overlay", file))


def test_an_overlay_is_not_the_masks(track: Track, stack: Path, unharmed) -> None:
    output = stack.with_name("both")
    assert "choose another output" in unharmed(lambda: track(output, "--overlay", output))


@pytest.mark.parametrize("command", ["segment", "auto"])
def test_a_picture_is_not_written_over(
    run: Run, checkpoint: Path, tmp_path: Path, unharmed, command: str
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(photo)
    how = ("--box", "1,1,9,9") if command == "segment" else ()
    options = ("--checkpoint", checkpoint, "--image-size", 64, *how)
    for written in (("-o", photo), ("-o", tmp_path / "o.png", "--overlay", photo)):
        message = unharmed(lambda written=written: run(command, photo, *options, *written))
        assert message == f"{photo} is what is read; choose another output"


def test_the_demo_keeps_what_is_not_its_own(run: Run, tmp_path: Path, unharmed) -> None:
    mine = tmp_path / "stack.tif"
    tifffile.imwrite(mine, np.zeros((20, 20), np.uint8))
    message = unharmed(lambda: run("demo", "--out", tmp_path))
    assert message == f"{mine} exists and is not that of an earlier demo; choose another --out"


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    """A video with masks, as DAVIS has it."""
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / "data" / kind / "one").mkdir(parents=True)
        for index in range(4):
            image = np.zeros((40, 40), np.uint8)
            image[10:25, 10 + index : 25 + index] = 1
            path = tmp_path / "data" / kind / "one" / f"{index:05d}"
            if kind == "JPEGImages":
                Image.fromarray(image * 200).save(path.with_suffix(".jpg"))
            else:
                Image.fromarray(image).save(path.with_suffix(".png"))
    return tmp_path / "data"


def test_the_truth_is_not_written_over(
    run: Run, checkpoint: Path, sequences: Path, unharmed
) -> None:
    def evaluate(folder: Path) -> Ran:
        options = ("--checkpoint", checkpoint, "--image-size", 64, "--baselines", "none")
        return run("evaluate", "vos", sequences, *options, "--save-masks", folder)

    for folder in (sequences, sequences / "Annotations"):
        message = unharmed(lambda folder=folder: evaluate(folder))
        assert message == f"{folder} lies in {sequences}, which is read; choose another output"
    saved = sequences.with_name("saved")
    for _ in range(2):
        assert evaluate(saved).status == 0
    assert len(list((saved / "one").iterdir())) == 4
    shutil.copy(sequences / "JPEGImages" / "one" / "00000.jpg", saved / "one")
    assert "holds something else" in unharmed(lambda: evaluate(saved))
