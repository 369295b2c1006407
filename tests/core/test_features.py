import os

import numpy as np
import pytest
import torch
from tiny import counted, make_tiny

from sam2_plugins.core import features
from sam2_plugins.core.features import FeatureStore
from sam2_plugins.core.tracker import VideoTracker
from synthetic import two_discs_crossing

CLIP = two_discs_crossing(5)
RGB = np.stack([CLIP.frames] * 3, axis=-1)
MODEL = make_tiny()


def new_store(model=MODEL, **options):
    return FeatureStore(model, RGB.__getitem__, **options)


def assert_equal(first, second):
    for level in ("stride_16", "stride_8", "stride_4"):
        assert torch.equal(getattr(first, level), getattr(second, level))


def test_a_frame_is_encoded_once():
    store = new_store()
    with counted(MODEL) as calls:
        first = store.get(1)
        assert store.get(1) is first
        assert 1 in store
        assert 2 not in store
    assert calls["encode_image"] == store.num_encoded == 1


def test_features_are_those_of_the_network():
    assert store_levels(new_store().get(2)) == [(1, 32, 4, 4), (1, 8, 8, 8), (1, 4, 16, 16)]


def store_levels(features):
    return [tuple(t.shape) for t in (features.stride_16, features.stride_8, features.stride_4)]


def test_the_frame_not_used_for_longest_goes_first():
    store = new_store(capacity=2)
    store.get(0), store.get(1), store.get(0), store.get(2)
    assert (0 in store, 1 in store, 2 in store) == (True, False, True)
    assert len(store) == 2


def test_a_frame_encoded_again_is_equal_to_the_bit():
    store = new_store(capacity=1)
    first = store.get(0)
    store.get(1)
    assert_equal(store.get(0), first)
    assert store.num_encoded == 3


def test_no_gradients_are_kept_whoever_asks():
    assert torch.is_grad_enabled()
    assert new_store().get(0).stride_16.grad_fn is None
    tracker = VideoTracker(MODEL, CLIP.frames)
    tracker.encode(0)
    assert not tracker._features.get(0).stride_16.requires_grad


def test_what_objects_share_of_a_frame_is_made_once():
    store = new_store()
    with torch.inference_mode():
        first = store.prepared(0)
        assert store.prepared(0) is first
        assert not torch.equal(store.prepared(1), first)
        assert torch.equal(store.prepared(0), first)


def test_no_capacity():
    with pytest.raises(ValueError, match="must hold 1 frame or more, not 0"):
        new_store(capacity=0)


# On disk


def test_later_sessions_find_encoded_frames(tmp_path):
    first = new_store(directory=tmp_path, key="cells").get(0)
    later = new_store(directory=tmp_path, key="cells")
    with counted(MODEL) as calls:
        assert_equal(later.get(0), first)
    assert not calls


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept(tmp_path, dtype):
    model = make_tiny().cast(dtype)
    first = new_store(model, directory=tmp_path).get(0)
    assert first.stride_4.dtype == dtype
    assert_equal(new_store(model, directory=tmp_path).get(0), first)


@pytest.mark.parametrize(
    "other",
    [
        {"key": "other"},
        {"resizer": "pillow"},
        {"model": make_tiny(image_size=32)},
        {"model": make_tiny().cast(torch.bfloat16)},
    ],
    ids=["key", "resizer", "input size", "dtype"],
)
def test_features_of_anything_else_are_not_found(tmp_path, other):
    new_store(directory=tmp_path, key="cells").get(0)
    later = new_store(**{"key": "cells", "directory": tmp_path, **other})
    later.get(0)
    assert later.num_encoded == 1


def test_other_data_or_weights_are_not_mistaken(tmp_path):
    for model, frames in (
        (MODEL, CLIP.frames),
        (MODEL, 255 - CLIP.frames),
        (make_tiny(1), CLIP.frames),
    ):
        tracker = VideoTracker(model, frames, cache_dir=tmp_path)
        tracker.set_box(0, 1, CLIP.box(0, 1))
        list(tracker.propagate())
        assert tracker._features.num_encoded == 5
    tracker = VideoTracker(MODEL, CLIP.frames.copy(), cache_dir=tmp_path)
    tracker.encode(0)
    assert tracker._features.num_encoded == 0


@pytest.mark.parametrize("damage", [b"", b"no tensors", None], ids=["empty", "foreign", "cut"])
def test_a_damaged_file_is_encoded_again(tmp_path, damage):
    first = new_store(directory=tmp_path).get(0)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    store = new_store(directory=tmp_path)
    assert_equal(store.get(0), first)
    assert store.num_encoded == 1
    assert new_store(directory=tmp_path).get(0).stride_16.shape == (1, 32, 4, 4)


@pytest.mark.skipif(os.name == "nt", reason="needs a folder that turns into a file")
def test_a_disk_that_cannot_be_written_is_only_a_warning(tmp_path):
    store = new_store(directory=tmp_path)
    (folder,) = tmp_path.iterdir()
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.warns(UserWarning, match="encoded frames are not kept on disk"):
        first = store.get(0)
    assert_equal(store.get(0), first)
    store.get(1)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(tensors, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("sam2_plugins.core.features.save_file", fail)
    store = new_store(directory=tmp_path)
    with pytest.warns(UserWarning, match="No space left"):
        store.get(0)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("small", "wanted"), [(64, [0, 1]), (63, [0, 1, 0])])
def test_small_inputs_are_kept_for_a_while(monkeypatch, small, wanted):
    monkeypatch.setattr(features, "_SMALL_INPUT", small)
    were_read = []
    store = FeatureStore(MODEL, lambda frame: were_read.append(frame) or RGB[frame])
    first = store.read(0)
    store.read(1)
    assert torch.equal(store.read(0), first)
    assert were_read == wanted
    for frame in range(5):
        store.read(frame)
    assert len(store._images) == (5 if small == 64 else 1)
