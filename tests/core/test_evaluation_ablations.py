"""Switches of the tracker, one by one, on the same objects."""

import numpy as np
import pytest
from tiny import everything, make_tiny

from sam2_plugins.core.evaluation import RunOptions, VosSequence, evaluate_vos
from sam2_plugins.core.evaluation.ablations import (
    VARIANTS,
    Variant,
    ablations_table,
    evaluate_ablations,
    gain,
    without_pointers,
)
from sam2_plugins.core.tracker import VideoTracker


def clip(num_frames=6):
    labels = np.zeros((num_frames, 64, 64), np.uint8)
    for t in range(num_frames):
        labels[t, 20:44, 8 + 4 * t : 32 + 4 * t] = 1
        labels[t, 50:60, 40:60] = 2
    frames = np.random.default_rng(0).integers(0, 90, labels.shape, np.uint8)
    return VosSequence.from_arrays("clip", np.where(labels, 255 - frames, frames), labels)


def make_model(image_size=None):
    return make_tiny(image_size=image_size)


def test_without_pointers_attends_to_maps_alone():
    model = make_tiny()
    blind = without_pointers(model)
    seen = {}
    for name, network in (("whole", model), ("blind", blind)):
        tracker = VideoTracker(network, clip().source)
        tracker.set_mask(0, 1, clip().read_truth(0).masks[0])
        list(tracker.propagate())
        seen[name] = everything(tracker)
    assert seen["whole"] != seen["blind"]
    # it is the pointers: taking their weights away changes only the network that has them
    maps_only = []
    attend = model.memory_attention.forward
    blind.memory_attention.forward = lambda *a, num_pointer_tokens, **o: (
        maps_only.append(num_pointer_tokens),
        attend(*a, num_pointer_tokens=num_pointer_tokens, **o),
    )[1]
    tracker = VideoTracker(blind, clip().source)
    tracker.set_mask(0, 1, clip().read_truth(0).masks[0])
    list(tracker.propagate())
    assert set(maps_only) == {0}
    assert type(model) is not type(blind)


def test_every_switch_reaches_the_tracker():
    model = make_tiny()
    default = evaluate_vos(model, [clip()], baselines=())
    for options in (
        {"memory_frames": 0},
        {"memory_stride": 3},
        {"memory_selection": 1.0},
        {"exact": True},
    ):
        changed = evaluate_vos(model, [clip()], baselines=(), tracker_options=options)
        assert changed.options | options == changed.options
        assert [r.metrics for r in changed.rows] != [r.metrics for r in default.rows]


def test_the_table_holds_variants_against_the_default(tmp_path):
    variants = [v for v in VARIANTS if v.name in ("default", "half the input size")]
    variants.append(Variant("again"))
    calls = []
    found = evaluate_ablations(
        make_model,
        [clip()],
        variants=variants,
        run=RunOptions(tmp_path),
        progress=lambda *told: calls.append(told),
        prompt="box",
    )
    assert list(found) == ["default", "half the input size", "again"]
    assert calls[1] == (1, 3, "half the input size")
    assert [e.options["image_size"] for e in found.values()] == [64, 32, 64]
    assert found["again"].rows == found["default"].rows
    same = gain(found["again"], found["default"])
    assert (same.mean, same.low, same.high, same.count) == (0, 0, 0, 2)
    before, after = (
        [row.metrics["j_and_f"] for row in found[name].rows]
        for name in ("default", "half the input size")
    )
    assert gain(found["half the input size"], found["default"]).mean == pytest.approx(
        np.mean(after) - np.mean(before)
    )
    text = ablations_table(found)
    assert "| variant | j_and_f | against default (95 % interval) | time |" in text
    assert "| again | " in text
    assert "+0.000 (+0.000 to +0.000)" in text
    assert "2 objects of 1 sequences; prompt box" in text
    assert (tmp_path / "half-the-input-size" / "evaluation.json").exists()
    again = evaluate_ablations(
        make_model, [clip()], variants=variants, run=RunOptions(tmp_path, resume=True), prompt="box"
    )
    assert again["again"].seconds == found["again"].seconds  # read, not measured again


def test_sizes_are_what_the_network_takes():
    assert Variant("x", scale=0.5).image_size(1024) == 512
    assert Variant("x", scale=1.5).image_size(256) == 384
    assert Variant("x", scale=0.1).image_size(64) == 32
