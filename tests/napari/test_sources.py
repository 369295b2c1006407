"""What the layers of a viewer were read from is never written over."""

import numpy as np
import pytest
import tifffile


@pytest.fixture
def export(begin_session):
    """Open files as the window does, click, and export; returns what was said to be wrong."""
    viewer, session = begin_session()
    said = []
    session.controller.failed.connect(said.append)

    def export(path, *opened, stack=False):
        if opened:
            viewer.open([str(file) for file in opened], plugin="napari", stack=stack)
            viewer.layers["SAM 2 points"].add([1, 16, 20])
        said.clear()
        for written in (session.controller.export, session.controller.export_all):
            written(str(path))
            session.controller.wait()
        return list(said)

    export.viewer = viewer
    return export


def write(path, shape=(4, 32, 40)):
    pixels = np.random.default_rng(0).integers(0, 250, shape).astype(np.uint8)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    return path


def test_the_files_of_other_layers_are_left(export, tmp_path):
    other = write(tmp_path / "other.tif")
    labels = write(tmp_path / "labels.tif")
    export(tmp_path / "first.tif", other, write(tmp_path / "image.tif"))
    export.viewer.open(str(labels), plugin="napari", layer_type="labels")
    before = [path.read_bytes() for path in (other, labels)]
    for path in (other, labels):
        said = export(path)
        assert len(said) == 2
        assert all("is what is read; choose another output" in text for text in said)
    assert [path.read_bytes() for path in (other, labels)] == before
    assert export(tmp_path / "first.tif") == []


def test_the_files_of_a_stack_are_left(export, tmp_path):
    """napari remembers the first of them alone."""
    files = [write(tmp_path / f"z{z}.tif", (32, 40)) for z in range(4)]
    before = files[2].read_bytes()
    said = export(files[2], *files, stack=True)
    assert len(said) == 2
    assert all("is what is read; choose another output" in text for text in said)
    assert files[2].read_bytes() == before
    # Masks of all of them beside them are no single plane, and can be written again.
    assert export(tmp_path / "masks.tif") == []
    assert export(tmp_path / "masks.tif") == []


def test_a_folder_with_files_that_were_read_is_not_replaced(export, tmp_path):
    export(tmp_path / "masks_RES", write(tmp_path / "image.tif"))
    first = tmp_path / "masks_RES" / "mask000.tif"
    assert first.exists()
    export.viewer.open(str(first), plugin="napari", layer_type="labels")
    assert all("is what is read" in text for text in export(tmp_path / "masks_RES"))
    assert len(export(tmp_path / "masks_RES")) == 2
