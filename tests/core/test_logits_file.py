import subprocess
import sys

import pytest
import torch

from sam2_plugins.core.logits_file import LogitsFile

SAVED_AT_THE_END = """
import weakref
import torch
from sam2_plugins.core.logits_file import LogitsFile

class Window:
    pass

window = Window()
weakref.finalize(window, lambda: print(stored.read().sum().item()))
file = LogitsFile(torch.float32)
stored = file.append(torch.ones(1, 1, 4, 4))
"""


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_is_read_is_what_was_rounded(dtype):
    file = LogitsFile(dtype)
    some = [torch.randn(1, 1, side, side) for side in (4, 8, 4)]
    stored = [file.append(each) for each in some]
    for each, place in zip(some, stored, strict=True):
        assert place.read().equal(file.round(each))
        assert place.dtype == dtype


def test_places_that_nobody_refers_to_are_written_again():
    file = LogitsFile(torch.float32)
    for number in range(5):
        kept = file.append(torch.full((1, 1, 4, 4), float(number)))
    assert file.size_bytes == 2 * 16 * 4
    assert (kept.read() == 4).all()


def test_what_is_saved_when_python_ends_can_still_be_read():
    command = [sys.executable, "-c", SAVED_AT_THE_END]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "16.0\n", "")
