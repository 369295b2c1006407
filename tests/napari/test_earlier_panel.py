"""Earlier work is offered where it is seen, all of it, and stays within reach."""

import numpy as np
import pytest
from qtpy.QtWidgets import QStyle, QStyleOptionComboBox

from sam2_plugins.napari_plugin.earlier_panel import ELSEWHERE, FOUND
from sam2_plugins.napari_plugin.forms import fill_combo
from sam2_plugins.napari_plugin.widget import WIDTH

POINTS, MASKS = "SAM 2 points", "SAM 2 masks"


@pytest.fixture
def window(open_widget, settle, images):
    """Open the images; further windows on them, each closed before the next."""
    viewer, widget = open_widget()

    def window(*clicks):
        while len(viewer.layers):
            viewer.layers.clear()
        viewer.add_image(images)
        settle(widget)
        for click in clicks:
            viewer.layers[POINTS].add(click)
            settle(widget)
        return viewer, widget.earlier

    return window


def titles(panel):
    return [panel.sessions.itemText(i) for i in range(panel.sessions.count())]


def drawn(viewer):
    return np.asarray(viewer.layers[MASKS].data).copy()


def test_nothing_is_offered_of_an_image_that_is_new(window):
    _, panel = window([3, 20, 29])
    assert not panel.restore.isVisibleTo(panel)
    assert panel.notice.isHidden()


def test_all_earlier_work_is_within_reach_after_the_first_edit_too(window, settle, qtbot):
    viewer, panel = window([3, 20, 29])
    first = drawn(viewer)
    viewer, panel = window()
    assert panel.restore.isVisibleTo(panel)
    assert panel.notice.text() == FOUND
    viewer.layers[POINTS].add([6, 20, 38])
    qtbot.waitUntil(lambda: drawn(viewer).any(), timeout=60_000)
    assert panel.notice.isHidden()
    assert panel.restore.isVisibleTo(panel)
    second = drawn(viewer)
    viewer, panel = window()
    assert len(titles(panel)) == 2
    assert all(title.endswith(" · 1 object") for title in titles(panel))
    for number, wanted in ((1, first), (0, second), (0, first)):
        # What was on show can be restored in its turn, and is the latest of the others.
        panel.sessions.setCurrentIndex(number)
        panel.restore.click()
        qtbot.waitUntil(lambda wanted=wanted: np.array_equal(drawn(viewer), wanted))
        assert len(viewer.layers[POINTS].data) == 1


def test_work_that_is_on_show_is_kept_when_other_work_is_restored(begin_saved, tmp_path):
    from test_controller import click

    controller, _, _ = begin_saved()
    click(controller, (25, 20, 1))
    controller.close(10)
    controller, masks, messages = begin_saved()
    (other,) = tmp_path.iterdir()
    controller.set_name(1, "first")
    controller.wait()
    controller.close(10)
    again, masks, messages = begin_saved(restores=False)
    click(again, (40, 10, 1), frame=5, object_id=2)
    again.propagate()
    again.wait()
    again.restore(other)
    again.wait()
    assert messages == []
    assert again.document.objects[1].name == "first"
    assert not (masks.shown == 2).any()
    (kept,) = again.document.earlier.sessions
    assert kept.folder != other
    again.restore()
    again.wait()
    assert (masks.shown == 2).any(axis=(1, 2)).all()


def test_unsaved_work_is_not_given_up_for_earlier_work(begin_saved, tmp_path, monkeypatch):
    from test_controller import click

    controller, _, _ = begin_saved()
    click(controller, (25, 20, 1))
    controller.close(10)
    again, _, messages = begin_saved(restores=False)
    monkeypatch.setattr(again._engine.saver, "_new_folder", lambda: None)
    click(again, (40, 10, 1), frame=5)
    said = dict(again.document.prompts)
    again.restore(again.document.earlier.sessions[0].folder)
    again.wait()
    assert messages == ["the work on show is not saved, and would be lost: export it first"]
    assert again.document.prompts == said


def test_it_is_said_that_the_image_is_worked_on_elsewhere(window, begin_saved):
    from test_controller import click

    controller, _, _ = begin_saved()
    click(controller, (25, 20, 1))
    _, panel = window()
    assert panel.notice.text() == ELSEWHERE
    assert not panel.restore.isVisibleTo(panel)


def test_date_and_number_are_read_at_the_least_width_of_the_dock(open_widget, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    panel = widget.earlier
    title = "2026-12-24 23:58 · 128 objects"
    fill_combo(panel.sessions, [(title, 1)], 1)
    for row in panel._rows:
        row.show()
    panel.resize(WIDTH - 30, 90)  # with margins and the bar for scrolling
    panel.layout().activate()
    for row in panel._rows:
        row.layout().activate()
    option = QStyleOptionComboBox()
    panel.sessions.initStyleOption(option)
    part = QStyle.SubControl.SC_ComboBoxEditField
    kind = QStyle.ComplexControl.CC_ComboBox
    room = panel.sessions.style().subControlRect(kind, option, part, panel.sessions).width()
    assert room >= panel.sessions.fontMetrics().horizontalAdvance(title)
