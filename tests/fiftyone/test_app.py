"""The App in a browser: a run from its button, the masks on the screen, and the panel."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from app_browser import AppPage, open_app, why_no_browser
from numpy.typing import NDArray
from propagation import masks_of
from tracked import write_masks
from video_files import moving_discs, relative_box

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.geometry import detection_mask
from sam2_plugins.fiftyone_plugin.records import Records
from sam2_plugins.fiftyone_plugin.store import declare_output

SIZE = (64, 96)
FORMS = {
    "Propagate": "SAM 2: propagate masks",
    "Find everything": "SAM 2: automatic masklets",
    "Suggest frames": "SAM 2: suggest frames to correct",
    "Evaluate": "SAM 2: evaluate masklets",
    "Export": "SAM 2: export masklets",
    "Open in napari": "SAM 2: open in napari",
}
"""What each button of the panel opens."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(why_no_browser() is not None, reason=str(why_no_browser())),
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with open_app(tmp_path_factory.mktemp("app") / "server.log") as opened:
        yield opened


def to_frame(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a canvas (H, W, 3) shows of a frame, one pixel for each of the frame's.

    The App fits the frame into the middle of the canvas.
    """
    height, width = picture.shape[:2]
    scale = min(height / SIZE[0], width / SIZE[1])
    rows = (height - SIZE[0] * scale) / 2 + (np.arange(SIZE[0]) + 0.5) * scale
    columns = (width - SIZE[1] * scale) / 2 + (np.arange(SIZE[1]) + 0.5) * scale
    return picture[rows.astype(int)[:, None], columns.astype(int)]


def drawn(app: AppPage, field: str) -> NDArray[np.bool_]:
    """(H, W), pixels of the frame that look otherwise when a field is shown."""
    app.show_field(field, is_shown=False)
    hidden = to_frame(app.still_picture(app.canvas))
    app.show_field(field, is_shown=True)
    shown = to_frame(app.still_picture(app.canvas))
    return np.abs(shown.astype(int) - hidden).max(axis=-1) > 24


def test_masks_are_made_from_the_button_and_seen(app: AppPage, video_dataset: Any) -> None:
    app.open_dataset(video_dataset.name)
    app.press_operator("propagate_masks")
    app.form.get_by_role("button", name="prompts", exact=True).wait_for()
    assert app.field("Masks").input_value() == "masks"
    app.form.get_by_text("More settings", exact=True).click()
    app.field("Size of the network's input").fill("256")  # of the usual size takes much longer
    app.execute()
    app.form.get_by_text("100%").wait_for()
    app.page.locator('[data-cy="checkbox-frames.masks"]').wait_for()
    app.close_form()
    video_dataset.reload()
    assert video_dataset.count("frames.masks.detections") > 40

    app.open_sample(0)
    for field in ("frames.truth", "frames.prompts"):
        app.show_field(field, is_shown=False)
    (label,) = video_dataset.first().frames[1].masks.detections
    stored = detection_mask(label, SIZE)
    seen = drawn(app, "frames.masks")
    # The mask's box and name are drawn, too.
    assert seen[stored].mean() > 0.9
    assert (seen & stored).sum() / (seen | stored).sum() > 0.6
    assert app.errors == []


def drawn_labels(dataset: Any) -> dict[int, Any]:
    """The labels of `prompts` by frame number, one per frame, of the first video."""
    dataset.reload()
    frames = dataset.first().frames
    found = {number: frames[number]["prompts"] for number in range(1, 13)}
    return {number: value.detections[0] for number, value in found.items() if value}


def test_a_box_drawn_in_the_annotate_tab_is_followed(app: AppPage, video_dataset: Any) -> None:
    """The App marks what was drawn as a keyframe and repeats it on the frames after it."""
    video_dataset.delete_frame_field("prompts")
    detections = {"embedded_doc_type": fo.Detections}
    video_dataset.add_frame_field("prompts", fo.EmbeddedDocumentField, **detections)
    asked = {"type": "detections", "component": "radio", "classes": ["disc"], "attributes": []}
    video_dataset.update_label_schema("frames.prompts", asked)
    video_dataset.activate_label_schemas("frames.prompts")
    app.open_dataset(video_dataset.name)
    app.open_sample(0)
    truth = moving_discs(12)[1]
    box = relative_box(truth[0] == 1)
    app.draw_box(box, size=SIZE)
    until = time.monotonic() + 120
    while len(labels := drawn_labels(video_dataset)) < 12:
        assert time.monotonic() < until, labels
        app.page.wait_for_timeout(500)
    assert [number for number, label in labels.items() if label.keyframe] == [1]
    np.testing.assert_allclose(labels[1].bounding_box, box, atol=0.03)

    app.open_dataset(video_dataset.name)
    app.press_operator("propagate_masks")
    app.form.get_by_role("button", name="prompts", exact=True).wait_for()
    app.execute()
    app.form.get_by_text("100%").wait_for()
    app.close_form()
    masks = masks_of(video_dataset.first(), 1)
    # How far it is followed depends on the model, which is not what is tested here.
    for number, image in list(enumerate(truth, 1))[:3]:
        found, there = detection_mask(masks[number], SIZE), image == 1
        assert (found & there).sum() > 0.5 * (found | there).sum()
    assert app.errors == []


def test_the_panel_shows_runs_scores_and_forms(
    app: AppPage, video_dataset: Any, propagate: Any
) -> None:
    # Where the browser's event loop runs, operators do not wait for their end.
    with ThreadPoolExecutor(1) as apart:
        apart.submit(propagate, video_dataset).result()
    app.open_dataset(video_dataset.name)
    app.open_sample(1)
    app.open_panel_beside()
    panel = app.panel
    panel.get_by_text("over 3 videos: 3 done").wait_for()
    panel.get_by_text("clip1.mp4").wait_for()
    panel.get_by_text("Worth a look", exact=True).wait_for()
    lines = panel.locator(".scatterlayer path.js-line")
    lines.nth(1).wait_for(state="attached")
    names = panel.locator(".legendtext").all_text_contents()
    assert names == ["disc 1", "disc 2", "worth a look"]
    for button, title in FORMS.items():
        panel.get_by_role("button", name=button, exact=True).click()
        app.form.get_by_text(title, exact=True).first.wait_for()
        app.cancel()

    panel.get_by_role("button", name="Review", exact=True).click()
    app.form.get_by_text("All tracks of clip1.mp4").wait_for()
    app.execute()
    app.form.get_by_text("Verdict kept").wait_for()
    app.form.get_by_role("button", name="Close").click()
    panel.get_by_text("disc 1: accept, disc 2: accept").wait_for()
    panel.get_by_text("Nothing stands out.").wait_for()
    video_dataset.reload()
    reviews = video_dataset.values("masks_review")
    assert [len(kept or []) for kept in reviews] == [0, 2, 0]

    app.page.locator('[data-cy="nav-right-button"]').click()
    panel.get_by_text("clip2.mp4").wait_for()
    assert panel.locator(".legendtext").all_text_contents()[:1] == ["disc 1"]
    assert app.errors == []


def test_masks_go_out_to_a_folder_and_come_back(
    app: AppPage, video_dataset: Any, tmp_path: Path
) -> None:
    for sample, count in zip(video_dataset, (1, 2, 1), strict=True):
        write_masks(sample, moving_discs(12, num_objects=count)[1])
    folder = tmp_path / "out"
    app.open_dataset(video_dataset.name)
    app.choose_operator("SAM 2: export masklets")
    app.form.get_by_text("export_dir must name the folder to write").wait_for()
    app.field("Folder").fill(str(folder))
    app.form.get_by_text("export_dir must name the folder to write").wait_for(state="hidden")
    app.execute()
    app.form.get_by_text("Exported", exact=True).wait_for()
    app.close_form()
    assert (folder / "clip1.json").is_file()

    app.choose_operator("SAM 2: import masklets")
    app.field("Folder").fill(str(folder))
    app.field("Field").fill("back")
    app.form.get_by_text("import_dir must name the folder to read").wait_for(state="hidden")
    app.execute()
    app.form.get_by_text("Imported", exact=True).wait_for()
    app.close_form()
    app.page.locator('[data-cy="checkbox-frames.back"]').wait_for()
    video_dataset.reload()
    assert video_dataset.count("frames.back.detections") == 48
    assert app.errors == []


def test_the_panel_follows_a_run_that_begins_elsewhere(app: AppPage, video_dataset: Any) -> None:
    sample, truth = video_dataset.first(), moving_discs(12)[1]
    write_masks(sample, truth, field="earlier")
    app.open_dataset(video_dataset.name)
    app.open_sample(0)
    app.open_panel()
    panel = app.panel
    panel.get_by_text("No run yet.").wait_for()
    lines = panel.locator(".scatterlayer path.js-line")
    lines.first.wait_for(state="attached")
    declare_output(video_dataset, "masks", is_video=True)
    claim = Records(video_dataset).claim(sample.id, "masks", sample_id=sample.id)
    try:
        claim.begin("run1", "digest", 12)
        claim.advance(3)
        panel.get_by_text("step 3 of 12").wait_for()
        panel.get_by_text("clip0.mp4: no masks yet").wait_for()
        lines.first.wait_for(state="detached")
        # Where a run merely goes on nothing is laid out anew: what is open stays open.
        panel.get_by_role("combobox").click()
        claim.advance(6)
        panel.get_by_text("step 6 of 12").wait_for()
        panel.get_by_text(" s left").wait_for()
        app.page.get_by_role("option", name="masks", exact=True).wait_for()
        app.page.get_by_role("option", name="masks", exact=True).click()
        write_masks(sample, truth)
        claim.finish([])
    finally:
        claim.close()
    panel.get_by_text("over 1 videos: 1 done").wait_for()
    panel.get_by_text("Worth a look", exact=True).wait_for()
    lines.first.wait_for(state="attached")
    assert app.errors == []
