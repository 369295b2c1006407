"""A folder of stacks, from labels: as functions, and as the process that the panel starts."""

import json

import numpy as np
import pytest
import tifffile

from sam2_plugins.core import load_masks, open_frames
from sam2_plugins.core.frames.images import PICTURE_SUFFIXES, TIFF_SUFFIXES
from sam2_plugins.core.frames.video import VIDEO_SUFFIXES
from sam2_plugins.napari_plugin import batch
from sam2_plugins.napari_plugin.batch import find_pairs, prompts_of, run_batch
from sam2_plugins.napari_plugin.models import ModelChoice

TIMEOUT_MS = 180_000


@pytest.fixture
def folders(images, tmp_path):
    """Stacks a (labels of one slice), b (of all slices), c (none) and d (no image)."""
    made = [tmp_path / name for name in ("images", "labels", "masks")]
    for folder in made[:2]:
        folder.mkdir()
    labels = np.zeros((8, 48, 64), np.uint16)
    labels[2, 12:28, 18:34] = 3
    labels[5, 12:28, 27:43] = 3
    labels[5, 40:46, 2:10] = 7
    for name in ("a.ome.tif", "b.tif", "c.tif"):
        tifffile.imwrite(made[0] / name, images, metadata={"axes": "ZYX"})
    (made[0] / "d.tif").write_text("no image")
    tifffile.imwrite(made[1] / "a.tif", labels[5])
    tifffile.imwrite(made[1] / "b.tif", labels)
    tifffile.imwrite(made[1] / "d.tif", labels)
    return made


def no_model():
    """What is skipped needs none, which would take seconds to load."""
    pytest.fail("the model is loaded")


def said(labels, num_frames=8, prompt_slice="labelled"):
    found = prompts_of(open_frames(labels), num_frames, prompt_slice)
    return [(frame, object_id, int(mask.sum())) for frame, object_id, mask in found]


def test_stacks_and_labels_are_paired_by_name(folders):
    pairs = find_pairs(*folders, ".zarr")
    assert [pair.images.name for pair in pairs] == ["a.ome.tif", "b.tif", "c.tif", "d.tif"]
    labels = [pair.labels and pair.labels.name for pair in pairs]
    assert labels == ["a.tif", "b.tif", None, "d.tif"]
    assert pairs[0].output == folders[2] / "a.zarr"
    with pytest.raises(ValueError, match="not a folder"):
        find_pairs(folders[0] / "b.tif", *folders[1:])


def test_one_folder_is_not_taken_for_two_things(folders):
    images, labels, masks = folders
    for chosen in ((images, labels, images), (images, labels, labels / "." / "../labels"),
                   (images, images, masks)):  # fmt: skip
        with pytest.raises(ValueError, match="choose a folder for each"):
            find_pairs(*chosen, ".json")


def test_what_cannot_be_a_stack_is_left_out(folders):
    (folders[0] / "notes.txt").write_text("not a stack")
    (folders[0] / "E.TIF").write_bytes(b"")
    (folders[0] / "f.odd").write_bytes(b"")
    (folders[0] / "g").mkdir()
    tifffile.imwrite(folders[1] / "f.tif", np.zeros((2, 8, 8), np.uint8))
    names = [pair.images.name for pair in find_pairs(*folders)]
    # What has labels is said to fail rather than left out.
    assert names == ["E.TIF", "a.ome.tif", "b.tif", "c.tif", "d.tif", "f.odd", "g"]


def test_whatever_can_be_opened_may_be_a_stack():
    known = {*TIFF_SUFFIXES, *PICTURE_SUFFIXES, *VIDEO_SUFFIXES, ".npy", ".zarr"}
    assert set(batch.STACK_ENDINGS) == known


def test_labels_say_on_which_slices_objects_are(folders):
    b, a = folders[1] / "b.tif", folders[1] / "a.tif"
    assert said(b) == [(2, 3, 256), (5, 3, 256), (5, 7, 48)]
    assert said(b, prompt_slice="largest") == [(2, 3, 256), (5, 7, 48)]
    assert said(b, prompt_slice="2") == [(2, 3, 256)]
    assert said(b, prompt_slice="first") == []
    assert said(a) == [(4, 3, 256), (4, 7, 48)]
    assert said(a, prompt_slice="last") == [(7, 3, 256), (7, 7, 48)]
    with pytest.raises(ValueError, match="8 slices of labels for 5"):
        said(b, num_frames=5)
    with pytest.raises(ValueError, match="no slice 99"):
        said(a, prompt_slice="99")


def test_every_stack_that_can_be_is_propagated_and_a_second_batch_skips_it(folders, model):
    pairs = find_pairs(*folders)
    events = list(run_batch(pairs, lambda: model))
    last = {event.name: (event.state, event.text) for event in events}
    assert last["a.ome.tif"][0] == last["b.tif"][0] == "done"
    assert last["c.tif"] == ("skipped", "no labels are called c")
    assert last["d.tif"][0] == "failed"
    assert sorted(path.name for path in folders[2].iterdir()) == ["a.tif", "b.tif"]
    masks = load_masks(folders[2] / "b.tif")
    assert len(masks) == 8
    truth = tifffile.imread(folders[1] / "b.tif")
    for frame, object_id in ((2, 3), (5, 3), (5, 7)):
        of = masks[frame].object_ids.tolist().index(object_id)
        assert np.array_equal(masks[frame].masks[of], truth[frame] == object_id)
    # Random weights find both on one thing: then a label image shows the surer.
    assert all({3, 7} & set(frame.object_ids.tolist()) for frame in masks)
    again = list(run_batch(pairs[:2], no_model))
    assert [event.state for event in again] == ["skipped", "skipped"]


def test_labels_of_another_size_are_refused_and_nothing_is_written(folders, model):
    tifffile.imwrite(folders[1] / "a.tif", np.ones((9, 9), np.uint8))
    events = list(run_batch(find_pairs(*folders)[:1], lambda: model))
    assert events[-1].state == "failed"
    assert "(9, 9)" in events[-1].text
    assert not folders[2].exists()


def test_bad_folders_are_one_line(capsys, tmp_path):
    assert batch.main([str(tmp_path / "no"), str(tmp_path), str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "is not a folder" in json.loads(line)["text"]


def fill(panel, folders):
    for line, folder in zip(panel.folders.values(), folders, strict=True):
        line.setText(str(folder))


def test_the_panel_starts_a_process_and_tells_what_came_of_it(open_widget, folders, qtbot):
    _, widget = open_widget()
    widget.controller.models.choice = ModelChoice(image_size=128)
    panel = widget.output.batch
    widget.output.show_batch.click()
    panel.start.click()
    assert "choose a folder" in panel.report.text()
    fill(panel, folders)
    panel.start.click()
    assert not panel.start.isEnabled()
    assert panel.process.arguments()[-2:] == ["--image-size", "128"]
    qtbot.waitUntil(lambda: panel.process is None, timeout=TIMEOUT_MS)
    lines = panel.report.text().splitlines()
    assert lines[0] == "2 done, 1 skipped, 1 failed"
    assert lines[1].startswith("d.tif: ")
    assert lines[2:] == ["skipped c.tif: no labels are called c"]
    for name in ("c1.tif", "c2.tif", "c3.tif"):
        tifffile.imwrite(folders[0] / name, np.zeros((2, 8, 8), np.uint8))
    (folders[0] / "d.tif").unlink()
    panel.start.click()
    qtbot.waitUntil(lambda: panel.process is None, timeout=TIMEOUT_MS)
    lines = panel.report.text().splitlines()
    assert lines[0] == "6 skipped"
    assert [line.rpartition(" ")[2] for line in lines[1:]] == ["already", "already", "c", "skipped"]
    assert lines[4] == "and 3 more skipped"
    assert len(load_masks(folders[2] / "a.tif")) == 8


def test_a_batch_is_stopped_and_leaves_nothing_half_done(open_widget, folders, qtbot):
    _, widget = open_widget()
    panel = widget.output.batch
    fill(panel, folders)
    panel.start.click()
    panel.stop.click()
    qtbot.waitUntil(lambda: panel.process is None, timeout=TIMEOUT_MS)
    assert "stopped" in panel.report.text()
    assert panel.start.isEnabled()
    assert not folders[2].exists()
