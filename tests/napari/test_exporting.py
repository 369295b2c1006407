"""Which format a path means, when a person chooses one in a dialog."""

import pytest

from sam2_plugins.core.formats import FORMATS as WRITTEN
from sam2_plugins.core.formats.registry import format_of
from sam2_plugins.napari_plugin.exporting import FORMATS, TIFF, chosen_path, file_filter


def test_every_format_is_offered_but_the_one_that_no_ending_means():
    offered = {format_of(f"masks{entry.ending}").name for entry in FORMATS}
    assert offered == set(WRITTEN) - {"youtube-vos"}
    assert file_filter().count(";;") == len(FORMATS) - 1


@pytest.mark.parametrize("typed", ["cells", "cells.tif", "cells.zarr", "my.cells", "01_RES"])
@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.title)
def test_the_chosen_format_is_what_is_written(entry, typed):
    path = chosen_path(f"/some/place/{typed}", entry.filter)
    assert format_of(path) == format_of(f"masks{entry.ending}")
    assert chosen_path(path, entry.filter) == path


def test_endings_that_mean_the_same_are_left():
    assert chosen_path("a/cells.tiff", TIFF.filter) == "a/cells.tiff"
    assert chosen_path("a/cells.coco.json", FORMATS[3].filter) == "a/cells.json"
    assert chosen_path("a/anything", "All files (*)") == "a/anything"
