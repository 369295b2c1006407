import numpy as np
import pytest
from safetensors.torch import load_file

from in_this_process import InThisProcess
from sam2_plugins.core import load_model
from sam2_plugins.core.choice_network import MEASURES, ChoiceNetwork, prepare
from sam2_plugins.core.portraits import CHANNELS, SIDE
from sam2_plugins.core.rgb_frames import image_to_rgb
from sam2_plugins.core.samples import nuclei_stack
from sam2_plugins.core.training import choice, choice_learning, recipes
from sam2_plugins.core.training.choice import best_overlaps, click_on_image, search_image
from sam2_plugins.core.training.choice_learning import Example, chosen_iou, learn
from sam2_plugins.core.training.labelled import LabelledImage, TrainingData, find_instances

pytestmark = pytest.mark.usefixtures("one_thread")

EDGE = MEASURES.index("edge")


def example(rng, *, is_measured=True):
    """Masks of which one measure, or how much of the portrait is masked, tells how good they are.

    A blank portrait says nothing, and so do measures that are all of another kind.
    """
    count = int(rng.integers(3, 9))
    iou = rng.random(count).astype(np.float32)
    portraits = np.zeros((count, CHANNELS, SIDE, SIDE), np.uint8)
    if not is_measured:
        for portrait, value in zip(portraits, iou, strict=True):
            portrait[3, : round(value * SIDE)] = 255
        return Example(portraits, None, iou)
    measures = rng.normal(size=(count, len(MEASURES))).astype(np.float32)
    measures[:, EDGE] = 4 * iou - 2
    return Example(portraits, measures, iou)


def test_it_learns_which_measure_tells_and_to_look(monkeypatch):
    monkeypatch.setattr(choice_learning, "_EXAMPLES", 4)
    monkeypatch.setattr(choice_learning, "_MASKS", 6)
    rng = np.random.default_rng(0)
    measured = [example(rng) for _ in range(60)]
    drawn = [example(rng, is_measured=False) for _ in range(60)]
    network = learn([*measured, *drawn], steps=100)
    for examples in (measured, drawn):
        best = np.mean([one.iou.max() for one in examples])
        random = np.mean([one.iou.mean() for one in examples])
        assert random < 0.6
        assert chosen_iou(network, examples) > best - 0.08


def test_portraits_are_varied_but_what_is_drawn_on_them_stays_on_them():
    portraits = np.zeros((2, CHANNELS, SIDE, SIDE), np.uint8)
    portraits[:, 0, 5:9, 20:30] = 200
    portraits[:, 3, 5:9, 20:30] = 255
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        varied = choice_learning._varied(prepare(portraits), rng)
        assert varied.shape == (2, CHANNELS, SIDE, SIDE)
        mask = varied[0, 3] > 0
        assert mask.sum() == 40
        inside = varied[0, :3][:, mask].std(dim=1)
        assert (inside < 1e-4).all()
        seen.add(tuple(np.argwhere(mask.numpy()).min(0).tolist()))
    assert len(seen) > 4


def labelled():
    sample = nuclei_stack()
    labels = sample.labels[10].astype(np.uint16)
    return LabelledImage("one", image_to_rgb(sample.images[10]), labels, find_instances(labels))


def test_clicks_on_an_image_become_examples_of_what_the_model_sees():
    model = load_model(device="cpu")
    examples = click_on_image(model, labelled(), np.random.default_rng(0), num_objects=3)
    assert len(examples) == 3
    for one in examples:
        assert one.measures.shape == (len(one.iou), len(MEASURES))
        assert one.portraits.shape == (len(one.iou), CHANNELS, SIDE, SIDE)
        assert ((one.iou >= 0) & (one.iou <= 1)).all()
    assert max(one.iou.max() for one in examples) > 0.6


def test_everything_that_is_found_on_an_image_becomes_an_example():
    image = labelled()
    (one,) = search_image(load_model(device="cpu"), image, np.random.default_rng(0))
    assert one.measures is None
    assert len(one.portraits) == len(one.iou) <= 60
    assert one.iou.max() > 0.6
    assert one.iou.min() < 0.2
    nothing = LabelledImage("two", image.image, np.zeros_like(image.labels), ())
    (bare,) = search_image(load_model(device="cpu"), nothing, np.random.default_rng(0))
    assert not bare.iou.any()


def test_masks_are_held_against_the_object_that_they_are_most_like():
    image = labelled()
    found = search_of(image)
    overlaps = best_overlaps(found, image.labels)
    for each, overlap in list(zip(found, overlaps, strict=True))[:10]:
        mask = each.mask.unpack()
        truths = [image.labels == one.object_id for one in image.instances]
        ious = [(mask & truth).sum() / (mask | truth).sum() for truth in truths]
        assert overlap == pytest.approx(max(ious), abs=1e-6)


def search_of(image):
    search = choice.MaskGenerator(load_model(device="cpu"), **choice.GRID).search(image.image)
    list(search)
    return search.candidates()


def test_what_is_learnt_is_written_as_the_chooser_reads_it(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    made = [example(rng, is_measured=bool(n % 4)) for n in range(20)]
    monkeypatch.setattr(recipes, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(choice, "_gather_part", lambda part: made)
    target = tmp_path / "choice.safetensors"
    iou = choice.train_choice("nowhere", target, num_processes=1, steps=3)
    assert 0 < iou < 1
    network = ChoiceNetwork()
    network.load_state_dict({k: v.float() for k, v in load_file(target).items()})
    assert target.stat().st_size < 600_000


def test_every_part_is_given_to_one_process(monkeypatch):
    image = labelled()
    data = TrainingData(images={"dsb2018": [image] * 5, "clothing": [image] * 21}, volumes={})
    monkeypatch.setattr(choice, "load_training_data", lambda root: data)
    monkeypatch.setattr(choice, "load_model", lambda **_: None)
    monkeypatch.setattr(choice, "click_on_image", lambda *_, num_objects, weight: ["click"])
    monkeypatch.setattr(choice, "search_image", lambda *_: ["grid"])
    parts = [choice._gather_part(("", part, 2, 0)) for part in (0, 1)]
    made = [one for part in parts for one in part]
    # Of nuclei every image and every second, of clothing every second and every tenth.
    assert made.count("click") == 5 + 11
    assert made.count("grid") == 3 + 3
    assert abs(len(parts[0]) - len(parts[1])) <= 4
