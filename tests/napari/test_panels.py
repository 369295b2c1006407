"""How the panels look: what buttons tell, and that nothing is cut off."""

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractButton, QDoubleSpinBox, QScrollArea, QWidget
from superqt import QCollapsible

from sam2_plugins.napari_plugin.document import ObjectFacts, PlaneObject
from sam2_plugins.napari_plugin.forms import say
from sam2_plugins.napari_plugin.frame_labels import Score

POINTS = "SAM 2 points"


def test_a_button_tells_what_is_missing_and_then_what_it_does(open_widget, settle, images):
    viewer, widget = open_widget()
    panel = widget.propagate
    viewer.add_image(images)
    for made in (panel.backward, panel.both, panel.forward):
        assert made.toolTip() == "Click on an object first"
    viewer.layers[POINTS].add([3, 20, 29])
    settle(widget)
    assert panel.both.isEnabled()
    assert panel.both.toolTip() == "From every prompt"
    assert panel.forward.toolTip() == "Towards the last slice"
    widget.controller.undo()
    settle(widget)
    assert panel.both.toolTip() == "Click on an object first"
    viewer.add_image(np.ascontiguousarray(images[0]), name="flat")
    widget.session.choose([viewer.layers["flat"]])
    assert panel.both.toolTip() == "One slice only"


def cut_off(area: QScrollArea) -> list[str]:
    """Parts that are seen and go beyond the right edge, or are too narrow for their words."""
    found = []
    edge = area.viewport().width()
    for part in area.widget().findChildren(QWidget):
        if not (part.isVisible() and part.width()):
            continue
        right = part.mapTo(area.widget(), part.rect().topRight()).x()
        if right >= edge:
            found.append(f"{type(part).__name__} ends at {right} of {edge}")
        room = (part.lineEdit() if isinstance(part, QDoubleSpinBox) else part).contentsRect()
        is_worded = isinstance(part, QAbstractButton | QDoubleSpinBox)
        if is_worded and room.width() < part.fontMetrics().horizontalAdvance(part.text()):
            found.append(f"{part.text()!r} has {room.width()} pixels")
    return found


def test_the_dock_is_as_wide_as_its_widest_row(open_widget, make_napari_viewer, images, qtbot):
    viewer, widget = open_widget(make_napari_viewer(show=True))
    viewer.window.resize(900, 700)
    viewer.add_image(images)
    area = widget.findChild(QScrollArea)
    qtbot.wait(50)
    assert not cut_off(area)
    for part in widget.findChildren(QCollapsible):
        part.expand(animate=False)
    widget.output.show_batch.click()
    qtbot.wait(50)
    assert not cut_off(area)
    assert area.horizontalScrollBar().maximum() == 0


def test_a_run_that_comes_to_nothing_says_why(open_widget, settle, images):
    viewer, widget = open_widget()
    viewer.add_image(np.stack([images, images]), axis_labels=("t", "z", "y", "x"))
    panel = widget.propagate
    viewer.layers["SAM 2 points"].add([0, 3, 20, 29])
    settle(widget)
    panel.run("both")
    settle(widget)
    assert panel.notice.text() == ""
    panel.run("both")
    settle(widget)
    assert "every slice is as your prompts have it" in panel.notice.text()
    viewer.layers["SAM 2 points"].add([0, 3, 30, 40])
    settle(widget)
    assert panel.notice.text() == ""
    # Another time point has prompts, this one has none.
    panel.run("both")
    settle(widget)
    viewer.dims.set_point(0, 1)
    panel.run("both")
    settle(widget)
    assert "click on an object first" in panel.notice.text()


def contrast(first, second):
    """Of two colours, as WCAG 2 has it; words need 4.5."""

    def luminance(colour):
        linear = [
            v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
            for v in (colour.redF(), colour.greenF(), colour.blueF())
        ]
        return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_words_can_be_read_in_both_themes(open_widget, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    say(widget.image.notice, "something is wrong")
    for theme in ("light", "dark"):
        viewer.theme = theme
        for flips in range(2):
            for shown in (widget.image.notice, widget.prompt.polarity):
                shown.ensurePolished()
                picture = shown.grab().toImage()
                behind = picture.pixelColor(2, picture.height() // 2)
                words = shown.palette().color(shown.foregroundRole())
                assert contrast(behind, words) > 4.5, (theme, flips, shown.text())
            widget.controller.flip_polarity()


def test_a_long_path_in_a_message_wraps_and_does_not_widen_the_dock(open_widget, images, qtbot):
    viewer, widget = open_widget()
    viewer.add_image(images)
    area = widget.findChild(QScrollArea)
    qtbot.waitUntil(lambda: area.width() > 0)
    before = area.minimumWidth()
    notice, status = widget.model.notice, widget.model.status
    told = f"cannot write /{'folder' * 30}/{'deeper/' * 30}{'m' * 300}.tif"
    widget.controller.failed.emit(told)
    status.setText(told)
    area.widget().layout().activate()
    assert area.minimumWidth() == before
    for words in (notice, status):
        assert words.text() == words.toolTip() == told
        room = words.contentsRect()
        # Broken, no word is wider than there is room.
        assert words.heightForWidth(room.width()) > 5 * words.fontMetrics().height()


def test_of_many_objects_the_table_is_measured_once(open_widget, images):
    viewer, widget = open_widget()
    viewer.add_image(images)
    controller, table = widget.controller, widget.objects.table
    document = controller.document
    document.objects |= {number: ObjectFacts() for number in range(1, 201)}
    controller.objects_changed.emit()
    told = []
    table.model().dataChanged.connect(lambda *where: told.append(where))
    for number, facts in document.objects.items():
        facts.name = f"cell {number}"
        document.take_scores(controller.plane, 0, {n: Score(0.5, 1, 9) for n in range(1, 201)})
    controller.objects_changed.emit()
    assert told == []
    texts = [table.item(150, column).text() for column in range(5)]
    assert texts == ["151", "cell 151", "1", "0.50", ""]
    narrow = table.columnWidth(2)
    document.scores[PlaneObject(controller.plane, 3)] |= {n: Score(0.5, 1, 9) for n in range(9999)}
    controller.scores_changed.emit()
    assert table.columnWidth(2) >= narrow
    assert table.item(2, 2).text() == "9999"


def test_colours_of_objects_are_asked_for_once(open_widget, images, monkeypatch):
    viewer, widget = open_widget()
    viewer.add_image(images)
    colours, layer = widget.session.active.masks.colours, viewer.layers["SAM 2 masks"]
    first = colours.of(3)
    monkeypatch.setattr(type(layer.colormap), "map", lambda *_: pytest.fail("asked again"))
    assert colours.of(3) is first
    monkeypatch.undo()
    layer.colormap = {0: (0, 0, 0, 0), 3: (1, 0, 0, 1), None: (0, 0, 1, 1)}
    assert colours.of(3).tolist() == [1, 0, 0, 1]
    layer.new_colormap(seed=4)
    layer.show_selected_label = True
    layer.selected_label = 2
    assert colours.of(3).tolist() == [1, 1, 1, 1]
    layer.show_selected_label = False
    assert colours.of(3).tolist() != [1, 1, 1, 1]
