"""Autosave: what was said and every finished slice outlive the process."""

import itertools
import json
import os
import signal
import subprocess
import sys
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tifffile
from packaging.version import Version
from test_controller import Masks, click, key

from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.journal import PROMPTS, SLICES, Journal
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.prompt_json import describe_prompts, make_prompts
from sam2_plugins.napari_plugin.prompts import Drawing, MaskPixels, PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.saving import Places
from sam2_plugins.napari_plugin.settings import BESIDE, OWN_FOLDER


@pytest.fixture
def begin(model, images, tmp_path):
    """Open the images with autosave, as a new process would."""
    made = []

    def begin(pixels=images):
        controller = Controller(model)
        controller.autosave_folder = tmp_path
        masks = Masks(controller)
        offers = []
        controller.restorable.connect(offers.append)
        controller.open(make_stack([pixels]))
        controller.set_view(choose_plane(pixels.shape, (1, 2), point=(0, 0, 0)))
        controller.wait()
        made.append(controller)
        return controller, masks, offers

    yield begin
    for controller in made:
        controller.close(10)


def test_everything_is_restored_and_goes_on_without_computing_anew(begin):
    controller, masks, offers = begin()
    assert offers == []
    click(controller, (25, 20, 1), (60, 40, 0))
    lasso = Drawing("polygon", ((2.0, 3.0), (20.0, 3.0), (20.0, 30.0)))
    mask = MaskPixels.pack(np.eye(48, 64, dtype=bool))
    controller.set_prompts([(key(controller, 1, 2), SlicePrompts(drawings=(lasso,)))])
    controller.set_prompts([(key(controller, 6, 2), SlicePrompts(mask=mask))])
    controller.propagate()
    controller.wait()
    # Random weights find both on one thing, and the second was told nearer by.
    controller.wait()
    assert 1 not in masks.shown[5]
    controller.confirm(5, object_id=1)
    controller.wait()
    assert 1 in masks.shown[5]
    # The others follow a locked slice, so they are computed once more.
    controller.propagate()
    controller.set_name(2, "glia")
    controller.commit()
    controller.wait()
    controller._worker.submit(controller._engine.save)
    controller.wait()
    shown, document = masks.shown.copy(), controller.document
    controller.close(10)

    again, masks, offers = begin()
    assert len(offers) == 1
    again.restore()
    again.wait()
    assert np.array_equal(masks.shown, shown)
    assert again.document.prompts == document.prompts
    assert again.document.objects[2].name == "glia"
    assert again.document.objects[1].is_committed
    assert again.document.is_confirmed(again.plane, 1, 5)
    masks.order.clear()
    ended = []
    again.run_ended.connect(ended.append)
    again.propagate(object_ids=[1, 2])
    again.wait()
    assert ended[0].num_frames == 0
    assert np.array_equal(masks.shown, shown)


def test_earlier_work_that_is_not_restored_is_kept_beside(begin, tmp_path):
    controller, _, _ = begin()
    click(controller, (25, 20, 1))
    controller.close(10)
    again, _, offers = begin()
    assert offers
    click(again, (5, 5, 1))
    again.wait()
    assert len(list(tmp_path.iterdir())) == 2


def test_another_image_has_nothing_to_restore(begin, images):
    controller, _, _ = begin()
    click(controller, (25, 20, 1))
    controller.close(10)
    _, _, offers = begin(images[:, ::-1])
    assert offers == []


@pytest.fixture
def journal(begin, tmp_path):
    """The folder of a run that is over, and what it has shown."""
    controller, masks, _ = begin()
    click(controller, (25, 20, 1))
    controller.propagate()
    controller.wait()
    controller.close(10)
    return next(tmp_path.iterdir()), masks


def open_again(folder):
    return Journal(folder, folder.name)


def read_again(folder):
    return open_again(folder).read()


def test_wherever_a_record_was_cut_all_before_it_are_read(journal):
    journal, masks = journal
    path = journal / SLICES
    whole = path.read_bytes()
    assert len(read_again(journal).slices) == 8
    counts = []
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        saved = read_again(journal)
        counts.append(len(saved.slices))
        for (_, frame), found in saved.slices.items():
            assert np.array_equal(found.mask(1), masks.shown[frame] == 1)
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] in (7, 8)


def test_a_name_alone_is_saved_at_once(begin, tmp_path):
    controller, _, _ = begin()
    controller.set_name(1, "glia")
    controller.wait()
    # Not at the end alone: nothing is closed when napari is killed.
    (folder,) = tmp_path.iterdir()
    assert open_again(folder).read().objects[1].name == "glia"
    controller.close(10)
    again, _, offers = begin()
    assert len(offers) == 1
    again.restore()
    again.wait()
    assert again.document.objects[1].name == "glia"
    changed = []
    again.prompts_changed.connect(lambda: changed.append(1))
    again.set_name(1, "glia")
    assert not changed


def test_what_follows_a_record_that_was_cut_short_is_read_too(journal):
    journal, _ = journal
    path = journal / SLICES
    records = list(read_again(journal).slices.values())
    path.write_bytes(path.read_bytes()[:-7])
    again = open_again(journal)
    assert len(again.read().slices) < len(records)
    for found in records:
        again.add(found)
    assert len(read_again(journal).slices) == len(records)


def test_what_is_no_autosave_is_said_and_left_alone(journal):
    journal, _ = journal
    path = journal / PROMPTS
    good = path.read_text()
    for text in ("{", "[]", '{"format": "other"}', good.replace('"version": 1', '"version": 9')):
        path.write_text(text)
        again = open_again(journal)
        assert not again.num_objects
        with pytest.raises(ValueError):  # noqa: PT011
            again.read()
        assert path.read_text() == text


def own_environment():
    """A window's own: the tests' modules, and OpenGL, without which napari 0.8 opens no image."""
    is_old = Version(version("napari")) < Version("0.9")
    platform = {"QT_QPA_PLATFORM": "xcb"} if is_old and os.environ.get("DISPLAY") else {}
    return {**os.environ, **platform, "PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize(("moment", "place"), [(2, BESIDE), (14, OWN_FOLDER)])
def test_a_window_that_is_killed_loses_no_finished_slice(
    open_widget, settle, images, tmp_path, moment, place
):
    """Killed in its first run, or in its second, after a correction, a lock and a name."""
    script = Path(__file__).with_name("window_to_be_killed.py")
    path = tmp_path / "images.tif"
    tifffile.imwrite(path, images)
    command = [sys.executable, script, path, tmp_path / "own", place]
    environment = own_environment()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        told = [int(line.split()[1]) for line in itertools.islice(child.stdout, moment)]
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert len(told) == moment

    assert (tmp_path / "images.tif.sam2").exists() == (place == BESIDE)
    viewer, widget = open_widget()
    widget.controller.places = Places(tmp_path / "own", is_beside=place == BESIDE)
    viewer.open(path, name="by another name")
    settle(widget)
    restore = widget.earlier.restore
    assert restore.isVisibleTo(widget)
    restore.click()
    settle(widget)
    drawn = np.asarray(viewer.layers["SAM 2 masks"].data).copy()
    assert set(told) <= set(np.flatnonzero(drawn.any(axis=(1, 2))))
    widget.controller.export_all(str(tmp_path / "masks.tif"))
    settle(widget)
    assert np.array_equal(tifffile.imread(tmp_path / "masks.tif"), drawn)
    assert len(viewer.layers["SAM 2 points"].data) >= 1
    if moment > 10:
        assert widget.objects.table.item(0, 1).text() == "disk"
        assert widget.propagate.strip.facts.confirmed == {5}
    widget.controller.propagate()
    settle(widget)
    after = np.asarray(viewer.layers["SAM 2 masks"].data)
    assert after.any(axis=(1, 2)).all()
    kept = [5] if moment > 10 else told
    assert np.array_equal(after[kept], drawn[kept])


def test_a_small_mask_takes_little_and_those_of_earlier_versions_are_read():
    mask = np.zeros((4096, 4096), bool)
    mask[1000:1010, 2000:2016] = True
    said = SlicePrompts(mask=MaskPixels.pack(mask))
    assert len(said.mask.bits) == 10 * 16 // 8
    place = PromptKey(choose_plane((2, 4096, 4096), (1, 2), point=(0, 0, 0)), 1, 3)
    entry = json.loads(json.dumps(describe_prompts(place, said)))
    assert make_prompts(entry) == (place, said)
    nothing = SlicePrompts(mask=MaskPixels.pack(np.zeros((9, 9), bool)))
    assert make_prompts(json.loads(json.dumps(describe_prompts(place, nothing))))[1] == nothing
    entry["mask"] = [mask.shape, zlib.compress(np.packbits(mask).tobytes()).hex()]
    assert make_prompts(entry) == (place, said)
