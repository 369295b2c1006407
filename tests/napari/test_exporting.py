"""Which format a path means, when a person chooses one in a dialog."""

import pytest
import tifffile
from qtpy.QtWidgets import QFileDialog, QMessageBox

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


@pytest.fixture
def export_as(open_widget, settle, images, monkeypatch):
    """Click on an object, and export under a name that is typed into the dialog."""
    viewer, widget = open_widget()
    viewer.add_image(images)
    viewer.layers["SAM 2 points"].add([2, 20, 26])
    settle(widget)

    def export_as(path, answer=None):
        asked = []

        def question(_parent, _title, text, *_):
            asked.append(text)
            return answer

        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), TIFF.filter))
        monkeypatch.setattr(QMessageBox, "question", question)
        widget.output.export.click()
        settle(widget)
        return asked

    return export_as


@pytest.mark.parametrize("typed", ["thesis_labels", "thesis_labels.zarr"])
def test_a_file_whose_name_was_completed_is_replaced_only_when_asked(export_as, tmp_path, typed):
    kept = tmp_path / "thesis_labels.tif"
    kept.write_bytes(b"precious")
    (asked,) = export_as(tmp_path / typed, QMessageBox.StandardButton.No)
    assert "thesis_labels.tif already exists" in asked
    assert kept.read_bytes() == b"precious"
    export_as(tmp_path / typed, QMessageBox.StandardButton.Yes)
    assert tifffile.imread(kept).any()


def test_the_dialog_has_asked_about_a_whole_name_already(export_as, tmp_path):
    kept = tmp_path / "masks.tif"
    kept.write_bytes(b"old")
    assert export_as(kept) == []
    assert tifffile.imread(kept).any()
    (tmp_path / "precious.txt").write_text("precious")
    assert export_as(tmp_path / "precious.txt") == []
    assert (tmp_path / "precious.txt").read_text() == "precious"
