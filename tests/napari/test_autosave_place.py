"""Where work is saved: beside the image, in the user's folder, or nowhere, and what is said."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from superqt import QCollapsible
from test_controller import Masks, click

from sam2_plugins.napari_plugin import autosave_panel
from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.journal import PROMPTS, SLICES
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.saving import Places
from sam2_plugins.napari_plugin.settings import BESIDE, OWN_FOLDER

MASKS = "SAM 2 masks"


@pytest.fixture
def image(tmp_path, images):
    """A TIFF file in a folder of its own."""
    path = tmp_path / "data" / "stack.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, images)
    return path


@pytest.fixture
def own(tmp_path):
    """The user's folder; it is not there yet."""
    return tmp_path / "own" / "autosave"


@pytest.fixture
def begin(model, image, own):
    """Open the image file as a new window would."""
    made = []

    def begin(path=image, *, is_beside=True):
        controller = Controller(model)
        controller.places = Places(own, is_beside=is_beside)
        controller.said = said = []
        controller.offers = offers = []
        controller.masks = Masks(controller)
        controller.failed.connect(said.append)
        controller.restorable.connect(offers.append)
        pixels = tifffile.imread(path)
        controller.open(make_stack([pixels], path=str(path), name=path.stem))
        controller.set_view(choose_plane(pixels.shape, (1, 2), point=(0, 0, 0)))
        controller.wait()
        made.append(controller)
        return controller

    yield begin
    for controller in made:
        controller.close(10)


def sessions(root):
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def test_an_image_that_is_only_seen_leaves_nothing(begin, image, own):
    controller = begin()
    assert controller.autosave_folder == image.with_name("stack.tif.sam2")
    controller.close(10)
    assert sessions(image.parent) == ["stack.tif"]
    assert not own.exists()


def test_work_is_saved_beside_the_image_and_goes_with_it(begin, image, own, tmp_path):
    controller = begin()
    click(controller, (25, 20, 1))
    shown = controller.masks.shown.copy()
    controller.close(10)
    assert sessions(image.parent) == ["stack.tif", "stack.tif.sam2"]
    assert not own.exists()

    elsewhere = tmp_path / "moved"
    image.parent.rename(elsewhere)
    again = begin(elsewhere / image.name)
    assert len(again.offers) == 1
    again.restore()
    again.wait()
    assert np.array_equal(again.masks.shown, shown)
    assert not again.said
    assert len(sessions(elsewhere / "stack.tif.sam2")) == 1


def test_work_is_found_whichever_place_was_chosen_since(begin):
    controller = begin(is_beside=False)
    click(controller, (25, 20, 1))
    controller.close(10)
    again = begin(is_beside=True)
    assert len(again.offers) == 1
    again.restore()
    again.wait()
    assert len(again.document.prompts) == 1


def test_without_a_file_work_is_saved_in_the_users_folder(begin, images, own):
    controller = begin()
    for path in (None, "https://example.org/stack.zarr"):
        controller.open(make_stack([images + 1], path=path))
        controller.wait()
        assert controller.autosave_folder == own
    assert not controller.said


def is_read_only_for_us():
    """Whether a folder without the right to write is read-only: not so for a superuser."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        return not os.access(folder, os.W_OK)


needs_rights = pytest.mark.skipif(not is_read_only_for_us(), reason="this user can write anywhere")


@pytest.fixture(params=["in the way", pytest.param("read-only", marks=needs_rights)])
def forbidden(request, image):
    """The image, where nothing can be made beside it."""
    if request.param == "in the way":
        image.with_name("stack.tif.sam2").write_text("a file of somebody's")
    else:
        image.parent.chmod(0o555)
    yield image
    image.parent.chmod(0o755)


def test_where_nothing_can_be_saved_beside_the_users_folder_is_used_and_said_once(
    begin, forbidden, own
):
    controller = begin()
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    assert len(controller.said) == 1
    assert "cannot be saved beside the image" in controller.said[0]
    assert str(own) in controller.said[0]
    assert "\n" not in controller.said[0]
    assert controller.autosave_folder == own
    shown = controller.masks.shown.copy()
    controller.close(10)
    again = begin()
    again.restore()
    again.wait()
    assert np.array_equal(again.masks.shown, shown)


def test_where_nothing_can_be_saved_at_all_work_goes_on(begin, forbidden, own):
    own.parent.write_text("a file of somebody's")
    controller = begin()
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    assert [m.startswith("work is not saved") for m in controller.said] == [True]
    assert "Preferences" in controller.said[0]
    assert controller.autosave_folder is None
    assert all(controller.masks.areas)


def test_what_lies_in_a_read_only_folder_is_restored_from_a_copy(begin, image, own):
    controller = begin()
    click(controller, (25, 20, 1))
    controller.close(10)
    (session,) = image.with_name("stack.tif.sam2").iterdir()
    # Not to be locked is what read-only means here, for a superuser as well.
    (session / ".lock").unlink()
    (session / ".lock").mkdir()
    before = (session / PROMPTS).read_bytes()
    again = begin(is_beside=False)
    assert len(again.offers) == 1
    again.restore()
    again.wait()
    click(again, (25, 20, 1), (60, 40, 0))
    assert (session / PROMPTS).read_bytes() == before
    assert len(sessions(own)) == 1


def test_two_windows_on_one_image_keep_their_work_apart(begin, image):
    first, second = begin(), begin()
    click(first, (25, 20, 1))
    click(second, (50, 40, 1))
    click(first, (25, 20, 1), (60, 40, 0))
    assert len(sessions(image.with_name("stack.tif.sam2"))) == 2
    # What another window works on is not offered.
    assert not begin().offers
    second.close(10)
    third = begin()
    assert len(third.offers) == 1
    third.restore()
    third.wait()
    assert [len(said.clicks) for said in third.document.prompts.values()] == [1]
    assert [c.x for said in third.document.prompts.values() for c in said.clicks] == [50]


def test_what_is_still_to_be_saved_of_a_closed_image_makes_no_folder(begin, image):
    controller = begin()
    click(controller, (25, 20, 1))
    engine = controller._engine
    controller.close_document(controller.document)
    controller.wait()
    engine.save()
    (session,) = image.with_name("stack.tif.sam2").iterdir()
    assert (session / PROMPTS).exists()


def test_what_was_saved_goes_along_when_the_place_is_changed(begin, image, own):
    controller = begin(is_beside=False)
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    assert len(sessions(own)) == 1
    controller.save_in(Places(own, is_beside=True))
    controller.wait()
    assert sessions(own) == []
    beside = image.with_name("stack.tif.sam2")
    assert controller.autosave_folder == beside
    click(controller, (25, 20, 1), (60, 40, 0))
    shown = controller.masks.shown.copy()
    controller.close(10)
    again = begin()
    again.restore()
    again.wait()
    assert np.array_equal(again.masks.shown, shown)
    assert [len(said.clicks) for said in again.document.prompts.values()] == [2]
    assert not again.said


def test_a_folder_that_vanishes_is_said_once_and_work_goes_on(begin, image):
    controller = begin()
    click(controller, (25, 20, 1))
    shutil.rmtree(image.with_name("stack.tif.sam2"))
    controller.propagate()
    controller.wait()
    assert len(controller.said) == 1
    assert controller.said[0].startswith("work is not saved (No such file or directory: ")
    assert all(controller.masks.areas)


def test_a_slice_that_is_shown_again_is_not_saved_again(begin, image):
    controller = begin()
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    (log,) = image.with_name("stack.tif.sam2").glob(f"*/{SLICES}")
    size = log.stat().st_size
    controller.redraw(controller.document)
    controller.wait()
    assert log.stat().st_size == size


def test_in_a_window_the_place_is_chosen_and_shown(open_widget, settle, image, own, monkeypatch):
    kept = {}
    monkeypatch.setattr(autosave_panel, "write_setting", kept.__setitem__)
    viewer, widget = open_widget()
    widget.controller.places = Places(own)
    viewer.open(image)
    settle(widget)
    panel = widget.autosave
    assert panel.place.currentText() == OWN_FOLDER
    assert Path(panel.folder.text()) == own
    viewer.layers["SAM 2 points"].add([3, 20, 29])
    settle(widget)
    panel.place.setCurrentText(BESIDE)
    panel.place.activated.emit(panel.place.currentIndex())
    settle(widget)
    assert kept == {"autosave_place": BESIDE}
    beside = image.with_name("stack.tif.sam2")
    assert Path(panel.folder.text()) == beside
    assert len(sessions(beside)) == 1
    viewer.layers.remove("stack")

    viewer.open(image, name="the same by another name")
    settle(widget)
    assert widget.earlier.restore.isVisibleTo(widget)
    widget.earlier.restore.click()
    settle(widget)
    assert len(viewer.layers["SAM 2 points"].data) == 1
    assert viewer.layers[MASKS].data[3].any()


def test_in_a_window_a_folder_that_cannot_be_written_is_said(open_widget, settle, forbidden, own):
    viewer, widget = open_widget()
    widget.controller.places = Places(own, is_beside=True)
    viewer.open(forbidden)
    viewer.layers["SAM 2 points"].add([3, 20, 29])
    settle(widget)
    # The answers to the click that follow do not wipe it away.
    assert viewer.layers[MASKS].data[3].any()
    assert "cannot be saved beside the image" in widget.autosave.notice.text()
    assert not widget.autosave.notice.isHidden()
    assert all(part.isExpanded() for part in widget.findChildren(QCollapsible)
               if part.isAncestorOf(widget.autosave))  # fmt: skip
    assert Path(widget.autosave.folder.text()) == own
