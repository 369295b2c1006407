"""Models: what is listed, loaded and unloaded; and what is not imported before it is needed."""

import subprocess
import sys

import pytest

from sam2_plugins.napari_plugin.controller import Controller
from sam2_plugins.napari_plugin.frames import make_stack
from sam2_plugins.napari_plugin.layers import choose_plane
from sam2_plugins.napari_plugin.models import ModelChoice, describe_models
from sam2_plugins.napari_plugin.prompts import Click, PromptKey, SlicePrompts

pytestmark = pytest.mark.timeout(900)
TO_OPEN = """
import sys
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
app = QApplication([])
from sam2_plugins.napari_plugin.widget import Sam2Widget
import numpy as np
viewer = ViewerModel()
viewer.add_image(np.zeros((3, 32, 32), np.uint8))
widget = Sam2Widget(viewer)
app.processEvents()
assert "SAM 2 points" in viewer.layers
print([n for n in ("torch", "torchvision", "sam2_plugins.core.model") if n in sys.modules])
widget.controller.close(5)
"""


def test_opening_the_widget_imports_nothing_heavy():
    ran = subprocess.run(
        [sys.executable, "-c", TO_OPEN], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip() == "[]"


def test_every_model_is_described_and_a_users_own_is_among_them(monkeypatch, tmp_path, nano):
    from sam2_plugins.core.checkpoints import save_checkpoint

    monkeypatch.setenv("SAM2_PLUGINS_MODELS", str(tmp_path))
    save_checkpoint(nano, tmp_path / "nuclei.safetensors")
    facts = {f.name: f for f in describe_models()}
    assert facts["nano"].is_here
    assert "Apache-2.0" in facts["nano"].text
    assert not facts["sam2.1-large"].is_here
    assert facts["nuclei"].is_here
    assert len(facts) == 10


def test_a_model_is_loaded_at_the_first_prompt_and_unloaded_when_asked(images):
    controller = Controller()
    controller.models.choice = ModelChoice(device="cpu", dtype="float32", image_size=64)
    controller.open(make_stack([images]))
    controller.set_view(choose_plane(images.shape, (1, 2), point=(0, 0, 0)))
    controller.wait()
    assert not controller.models.is_loaded
    assert controller.models.memory_bytes() is None
    key = PromptKey(controller.plane, 3, 1)
    controller.set_prompts([(key, SlicePrompts((Click(29, 20, 1),)))])
    controller.wait()
    assert controller.models.device == "cpu float32"
    used = controller.models.memory_bytes()
    assert used is not None
    assert used > 1e6
    controller.unload_model()
    controller.wait()
    assert not controller.models.is_loaded
    controller.propagate()
    controller.wait()
    assert len(controller.document.scores[controller.plane, 1]) == 8
    controller.close(20)


def test_after_unloading_nothing_holds_the_network(images):
    import gc
    import weakref

    controller = Controller()
    controller.models.choice = ModelChoice(device="cpu", image_size=64)
    controller.open(make_stack([images]))
    controller.set_view(choose_plane(images.shape, (1, 2), point=(0, 0, 0)))
    key = PromptKey(controller.plane, 3, 1)
    controller.set_prompts([(key, SlicePrompts((Click(29, 20, 1),)))])
    controller.wait()
    found = []
    controller.masks_changed.connect(lambda _, labels: found.append(labels.labels))
    held = weakref.ref(controller.models.get())
    controller.unload_model()
    controller.wait()
    gc.collect()
    assert held() is None
    controller.propagate()
    controller.wait()
    assert found
    controller.close(20)
