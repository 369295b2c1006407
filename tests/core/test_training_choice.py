import numpy as np
import torch
from safetensors.numpy import load_file

from sam2_plugins.core import load_model
from sam2_plugins.core.choosing import MEASURES
from sam2_plugins.core.rgb_frames import image_to_rgb
from sam2_plugins.core.samples import nuclei_stack
from sam2_plugins.core.training import choice
from sam2_plugins.core.training.choice import Example, click_on_image, learn
from sam2_plugins.core.training.labelled import LabelledImage, find_instances

EDGE = MEASURES.index("edge")


def example(rng):
    """Masks of which one measure tells how good they are."""
    count = int(rng.integers(3, 9))
    measures = rng.normal(size=(count, len(MEASURES))).astype(np.float32)
    iou = 1 / (1 + np.exp(-2 * measures[:, EDGE]))
    is_best = np.zeros(count, bool)
    is_best[::2] = True
    return Example(measures, iou.astype(np.float32), is_best)


def test_it_learns_which_measure_tells():
    rng = np.random.default_rng(0)
    examples = [example(rng) for _ in range(400)]
    best = np.mean([one.iou.max() for one in examples])
    random = np.mean([one.iou.mean() for one in examples])
    weights, iou = learn(examples, epochs=15)
    assert random < 0.6
    assert iou > best - 0.03
    assert weights["into"].shape == (len(MEASURES), 32)


def test_the_tracker_chooses_among_the_best_of_each_window():
    one = example(np.random.default_rng(1)).one_per_window
    assert one.is_best.all()
    assert len(one.iou) == len(one.measures) == len(one.is_best)


def test_clicks_on_an_image_become_examples_of_what_the_model_sees():
    sample = nuclei_stack()
    labels = sample.labels[10].astype(np.uint16)
    picture = image_to_rgb(sample.images[10])
    image = LabelledImage("one", picture, labels, find_instances(labels))
    torch.set_num_threads(1)
    examples = click_on_image(
        load_model(device="cpu"), image, np.random.default_rng(0), num_objects=2
    )
    assert len(examples) == 4
    for one in examples:
        assert one.measures.shape == (len(one.iou), len(MEASURES))
        assert one.is_best.sum() * 3 == len(one.iou)
        assert ((one.iou >= 0) & (one.iou <= 1)).all()
    assert max(one.iou.max() for one in examples) > 0.6


def test_what_is_learnt_is_written_as_the_chooser_reads_it(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    made = [example(rng) for _ in range(20)]
    monkeypatch.setattr(choice, "ProcessPoolExecutor", _Here)
    monkeypatch.setattr(choice, "_click_on_part", lambda part: made)
    choice.train_choice("nowhere", tmp_path / "choice.safetensors", num_processes=1)
    assert set(load_file(tmp_path / "choice.safetensors")) == {
        *("mean", "deviation", "into", "bias", "out")
    }


class _Here:
    """Does in this process what other processes would."""

    def __init__(self, *_, **__): ...
    def __enter__(self):
        return self

    def __exit__(self, *_): ...
    def map(self, function, items):
        return map(function, items)
