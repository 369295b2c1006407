from importlib.resources import files

import numpy as np
import pytest
from npe2 import PluginManifest

from sam2_plugins.napari_plugin.sample_data import dividing_cells, dividing_cells_layers
from sam2_plugins.napari_plugin.sample_data import nuclei_stack_layers as nuclei


@pytest.fixture
def manifest():
    path = files("sam2_plugins.napari_plugin") / "napari.yaml"
    return PluginManifest.from_file(str(path))


def test_the_manifest_is_found_by_its_entry_point_and_its_names_exist():
    manifest = PluginManifest.from_distribution("sam2-plugins")
    assert manifest.name == "sam2-plugins"
    manifest.validate_imports()


def test_the_widget_is_in_the_menus(manifest):
    assert [w.display_name for w in manifest.contributions.widgets] == ["SAM 2"]
    assert {"napari/layers/segment", "napari/layers/track"} <= set(manifest.contributions.menus)


@pytest.mark.parametrize("make", [nuclei, dividing_cells_layers])
def test_samples_are_stacks_that_are_generated_alike_each_time(make):
    ((data, facts, kind),) = make()
    assert kind == "image"
    assert data.ndim == 3
    assert data.dtype == np.uint16
    assert len(facts["axis_labels"]) == 3
    assert np.array_equal(data, make()[0][0])


@pytest.mark.parametrize(("key", "name"), [("nuclei_stack", "nuclei"), ("dividing_cells", "cells")])
def test_napari_opens_the_samples(make_napari_viewer, key, name):
    viewer = make_napari_viewer()
    (layer,) = viewer.open_sample("sam2-plugins", key)
    assert (layer.name, layer.ndim) == (name, 3)


def test_cells_divide():
    from scipy.ndimage import gaussian_filter, label

    smooth = gaussian_filter(dividing_cells().astype(float), (0, 2, 2))
    first, last = (label(f > 0.5 * smooth.max())[1] for f in (smooth[0], smooth[-1]))
    assert (first, last) == (6, 8)
