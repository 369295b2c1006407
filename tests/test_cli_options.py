"""Options that several commands share: what they take, and what they say where they cannot."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile

from command_line import Ran

Run = Callable[..., Ran]


def test_coordinates_left_of_the_frame(run: Run, stack: Path, checkpoint: Path) -> None:
    def segment(*arguments: object) -> Ran:
        options = ("--frame", 0, "-o", stack.with_name("o.png"), "--checkpoint", checkpoint)
        return run("segment", stack, *options, "--image-size", 64, *arguments)

    assert segment("--point", "-5,3").error.startswith("point (-5, 3) is outside the frame")
    assert segment("--point", "-.5,3,1").error.startswith("point (-0.5, 3) is outside the frame")
    assert segment("--box", "-9,3,-2,9").error.startswith("box (-9, 3, -2, 9) is outside the frame")
    assert segment("--point", "-o").error.startswith("argument --point: expected one argument")
    assert segment("--box", "-9,3,20,30").status == 0


def test_an_axis_to_choose_is_named_as_the_option_takes_it(track: Run, stack: Path) -> None:
    path = stack.with_name("both.tif")
    stacks = np.zeros((2, 3, 48, 64), np.uint8)
    tifffile.imwrite(path, stacks, photometric="minisblack", metadata={"axes": "TZYX"})

    def refused(*arguments: object) -> str:
        return track(stack.with_name("o.tif"), *arguments, source=path).error

    assert refused().endswith("stay at one index of z, such as at z=0")
    assert refused("--at", "q=0").endswith("name the axes, such as axes zyx")
    assert refused("--at", "z=3").endswith("z=3 is outside; z is 0 to 2")
