"""A sample opens in napari with its prompts and masks, and what is corrected there comes back."""

import argparse
import os
import subprocess
import sys

import fiftyone.operators as foo
import numpy as np
import pytest
from fiftyone.operators.executor import ExecutionError
from propagation import QUICK, masks_of, propagate

from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.labels import is_prompt
from sam2_plugins.fiftyone_plugin.napari_process import find_unit, open_in_napari
from sam2_plugins.fiftyone_plugin.napari_return import receive
from sam2_plugins.fiftyone_plugin.napari_session import UNSENT, session_folder, write_session
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.records import Records

pytest.importorskip("napari")
pytest.importorskip("pytestqt")

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

SIZE = (64, 96)
MASKS, POINTS, BOXES = "SAM 2 masks", "SAM 2 points", "SAM 2 boxes"
TIMEOUT_S = 240


@pytest.fixture
def tracked_video(video_dataset):
    """The second of the videos: objects 1 and 2, prompted on frames 5 and 9, with masks."""
    propagate(video_dataset[1:2])
    sample = video_dataset[1:2].first()
    return video_dataset, sample.id, Options(**QUICK)


@pytest.fixture
def open_window(make_napari_viewer, monkeypatch, tmp_path, qtbot):
    """`sam2-plugins napari --session FOLDER`, but for waiting until it is closed."""
    import napari
    from sam2_plugins.commands import napari as command
    from sam2_plugins.napari_plugin import keys, viewer_session
    from sam2_plugins.napari_plugin.settings import Keys, Settings

    monkeypatch.setattr(napari, "Viewer", make_napari_viewer)
    monkeypatch.setattr(viewer_session, "read_settings", Settings)
    monkeypatch.setattr(keys, "read_keys", Keys)
    opened = []

    def open_window(folder):
        parser = argparse.ArgumentParser()
        command.add_parser(parser.add_subparsers())
        viewer = command.open_window(parser.parse_args(["napari", "--session", str(folder)]))
        docks = dict(viewer.window.dock_widgets)
        (widget,) = (dock for name, dock in docks.items() if name.startswith("SAM 2"))
        opened.append(widget.controller)
        widget.controller.wait(TIMEOUT_S)
        return viewer, widget.controller, docks["Send back"]

    yield open_window
    for controller in opened:
        controller.close(20)


def labels_of(dataset, sample_id):
    """(T, H, W) of the output field's masks: the object's index, the smaller on top."""
    sample, found = dataset[sample_id], np.zeros((12, *SIZE), int)
    for number, frame in sample.frames.items():
        labels = frame["masks"].detections if frame["masks"] else []
        masks = [(detection_mask(label, SIZE), label.index) for label in labels]
        for mask, index in sorted(masks, key=lambda entry: -entry[0].sum()):
            found[number - 1][mask] = index
    return found


def prompts_of(dataset, sample_id, index, field="prompts"):
    frames = dataset[sample_id].frames
    return {
        number: label
        for number, frame in sorted(frames.items())
        for label in (frame[field].detections if frame.has_field(field) and frame[field] else ())
        if label.index == index and is_prompt(label)
    }


def drawn(viewer):
    return np.asarray(viewer.layers[MASKS].data)


def click(viewer, controller, frame_index, object_id, *, at, polarity="positive"):
    controller.select_object(object_id)
    if controller.document.polarity != polarity:
        controller.flip_polarity()
    viewer.layers[POINTS].add([frame_index, *at])
    controller.wait(TIMEOUT_S)


def send_back(panel, controller):
    panel.send.click()
    controller.wait(TIMEOUT_S)


def test_a_click_on_a_mask_comes_back_as_a_prompt_and_redoes_that_track_alone(
    tracked_video, open_window
):
    dataset, sample_id, options = tracked_video
    before = labels_of(dataset, sample_id)
    runs = {i: {m.sam2_run for m in masks_of(dataset[sample_id], i).values()} for i in (1, 2)}
    folder = write_session(dataset, find_unit(dataset, sample_id), options)
    viewer, controller, panel = open_window(folder)
    assert controller.models.choice.image_size == options.image_size
    assert np.array_equal(drawn(viewer), before)
    boxes = viewer.layers[BOXES]
    assert sorted(zip(boxes.features["object"], [b[0, 0] for b in boxes.data], strict=True)) == [
        (1, 4),
        (2, 8),
    ]
    assert not panel.send.isEnabled()
    assert not (folder / UNSENT).exists()

    click(viewer, controller, 7, 1, at=np.argwhere(before[7] == 1)[0])
    layer = viewer.layers[MASKS]
    viewer.dims.set_point(0, 10)
    pixels = np.nonzero(before[10] == 1)
    layer.data_setitem((np.full_like(pixels[0], 10), *pixels), 0)
    controller.wait(TIMEOUT_S)
    seen = drawn(viewer)
    assert np.array_equal(seen == 2, before == 2)
    changed = np.flatnonzero((seen != before).any(axis=(1, 2)))
    assert set(changed) <= {7, 10}
    assert (seen[7] == 1).any()
    assert not (seen[10] == 1).any()
    assert (folder / UNSENT).exists()
    assert "1 objects changed on 2 frames" in panel.text.text()
    assert receive(folder) is None
    send_back(panel, controller)
    assert not (folder / UNSENT).exists()

    received = receive(folder)
    assert (received.num_prompts, received.num_tracks) == (2, 1)
    assert receive(folder) is None
    dataset.reload()
    prompts = prompts_of(dataset, sample_id, 1)
    assert list(prompts) == [5, 8, 11]
    assert prompts[8].keyframe is True
    assert prompts[8].instance.id == masks_of(dataset[sample_id], 1)[7].instance.id
    # Where both objects are, the label image shows the other one.
    is_shown = seen[7] != 2
    np.testing.assert_array_equal(detection_mask(prompts[8], SIZE) & is_shown, seen[7] == 1)
    assert not detection_mask(prompts[11], SIZE).any()
    np.testing.assert_array_equal(labels_of(dataset, sample_id), seen)
    assert list(prompts_of(dataset, sample_id, 2)) == [9]

    counts = propagate(dataset[1:2])
    assert counts["done"] == 1
    (record,) = Records(dataset).find_all("masks")
    assert len(record.tracks) == 2
    made = masks_of(dataset[sample_id], 1)
    assert runs[1].isdisjoint({label.sam2_run for label in made.values()})
    assert {label.sam2_run for label in masks_of(dataset[sample_id], 2).values()} == runs[2]
    np.testing.assert_array_equal(detection_mask(made[8], SIZE) & is_shown, seen[7] == 1)
    assert 11 not in made


DRIVER = """
import sys
from pathlib import Path
from qtpy.QtWidgets import QApplication
import napari
from sam2_plugins.cli import build_parser
from sam2_plugins.commands.napari import open_window

arguments = build_parser().parse_args(["napari", "--session", sys.argv[1]])
viewer = open_window(arguments)
docks = dict(viewer.window.dock_widgets)
(widget,) = (dock for name, dock in docks.items() if name.startswith("SAM 2"))
controller = widget.controller
controller.wait(240)
viewer.layers["SAM 2 points"].add([3, 20, 20])
controller.new_object()
viewer.layers["SAM 2 points"].add([3, 40, 60])
controller.wait(240)
if sys.argv[2:] != ["keep"]:
    docks["Send back"].send.click()
    controller.wait(240)
controller.close(20)
viewer.close()
"""


def test_a_napari_of_its_own_sends_back_and_ends(tracked_video, tmp_path, monkeypatch):
    """What is not sent is kept, found again by the next one, and sent by it."""
    dataset, sample_id, options = tracked_video
    unit, said = find_unit(dataset, sample_id), []
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    command = [sys.executable, str(driver)]
    (tmp_path / "keeping.py").write_text(f"import sys\nsys.argv += ['keep']\n{DRIVER}")
    keeping = [sys.executable, str(tmp_path / "keeping.py")]
    assert open_in_napari(dataset, unit, options, say=said.append, command=keeping) == 0
    folder = session_folder(dataset, unit, "masks")
    assert (folder / UNSENT).exists()
    assert "are kept" in said[-1]
    assert open_in_napari(dataset, unit, options, say=said.append, command=command) == 1
    assert "came back" in said[-1]
    assert not folder.exists()
    dataset.reload()
    assert list(prompts_of(dataset, sample_id, 1)) == [4, 5]
    assert list(prompts_of(dataset, sample_id, 3)) == [4]


def test_without_a_display_there_is_one_line(video_dataset, monkeypatch, run):
    dataset, sample_id = video_dataset, video_dataset.first().id
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    ran = run("fiftyone", "open", dataset.name, sample_id)
    assert ran.status == 2
    assert ran.err.count("\n") == 1
    assert "there is no display" in ran.err
    with pytest.raises(ExecutionError, match=f"sam2-plugins fiftyone open {dataset.name}"):
        foo.execute_operator(
            "@sam2-plugins/sam2/open_in_napari", dataset=dataset, params={"sample_id": sample_id}
        )


def test_a_napari_that_cannot_open_says_why(video_dataset):
    """There are no masks yet: it opens with the prompts alone."""
    unit = find_unit(video_dataset, video_dataset.first().id)
    failing = [sys.executable, "-c", "import sys; sys.exit('error: no window today')"]
    with pytest.raises(OSError, match="no window today"):
        open_in_napari(video_dataset, unit, Options(**QUICK), say=lambda _: None, command=failing)


def test_the_operator_starts_a_process_that_opens_the_sample(video_dataset, monkeypatch):
    dataset, sample_id = video_dataset, video_dataset.first().id
    given = {"dataset": dataset, "params": QUICK}
    operator = "@sam2-plugins/sam2/open_in_napari"
    with pytest.raises(ExecutionError, match="none is selected"):
        foo.execute_operator(operator, **given)
    from sam2_plugins.fiftyone_plugin import napari_process

    started = []

    class Started(subprocess.Popen):
        def __init__(self, command, **options):
            started.append((command, options["env"]))
            super().__init__([sys.executable, "-c", ""], **options)

    monkeypatch.setattr(napari_process.subprocess, "Popen", Started)
    result = foo.execute_operator(operator, selected=[sample_id], **given).result
    assert result["sample_id"] == sample_id
    ((command, environment),) = started
    assert command[3:6] == ["fiftyone", "open", dataset.name]
    assert command[6] == sample_id
    assert f"--image-size={QUICK['image_size']}" in command
    assert environment["FIFTYONE_DATABASE_NAME"] == os.environ["FIFTYONE_DATABASE_NAME"]

    clips = dataset[1:2].to_clips([[(2, 6)]])
    given.update(view=clips, current_sample=clips.first().id)
    result = foo.execute_operator(operator, **given).result
    assert result["sample_id"] == dataset[1:2].first().id
    assert started[-1][0][6] == result["sample_id"]
