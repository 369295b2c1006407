"""What is found without prompts, held against labels."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from scipy.optimize import linear_sum_assignment

from sam2_plugins.core import load_model, nuclei_stack
from sam2_plugins.core.evaluation import evaluate_everything
from sam2_plugins.core.evaluation.everything import count_matches, run_everything


def square(x, y, side=10, size=(60, 80)):
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_each_mask_and_each_object_counts_once_and_the_most_alike_go_together():
    truth = np.stack([square(0, 0), square(20, 0), square(40, 0)])
    found = [square(1, 0), square(0, 0), square(21, 1), square(60, 40)]
    counts = count_matches(found, truth)
    # The second is the first object, so the first is none; the third has IoU 81 / 119.
    assert counts[0.5] == counts[0.65] == 2
    assert counts[0.7] == counts[0.95] == 1


@pytest.mark.parametrize("seed", range(8))
def test_of_masks_that_do_not_overlap_as_many_are_found_as_can_be(seed):
    rng = np.random.default_rng(seed)

    def scattered():
        labels = np.zeros((60, 80), int)
        for number in range(1, 13):
            y, x = rng.integers(0, 5) * 12, rng.integers(0, 6) * 12
            labels[y : y + rng.integers(7, 12), x : x + rng.integers(7, 12)] = number
        return np.stack([labels == n for n in np.unique(labels)[1:]])

    truth, found = scattered(), scattered()
    shared = (truth[:, None] & found[None]).sum((2, 3))
    iou = shared / (truth[:, None] | found[None]).sum((2, 3))
    counts = count_matches(list(found), truth)
    for least, count in counts.items():
        pairs = iou >= least
        rows, columns = linear_sum_assignment(pairs, maximize=True)
        assert count == pairs[rows, columns].sum()


def folder_of(tmp_path, images, labels):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number, (image, truth) in enumerate(zip(images, labels, strict=True)):
        tifffile.imwrite(tmp_path / "images" / f"{number}.tif", image)
        tifffile.imwrite(tmp_path / "labels" / f"{number}.tif", truth.astype(np.uint16))
    return tmp_path


class Generator:
    """Finds what it is told."""

    def __init__(self, masks):
        self.masks = masks

    def generate_rgb(self, image):
        assert image.shape == (60, 80, 3)
        return [SimpleNamespace(mask=mask) for mask in self.masks]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([square(0, 0), square(20, 0)], {"f1_50": 1, "precision_50": 1, "recall_50": 1, "ap": 1}),
        (
            [square(0, 0), square(40, 40), square(60, 40)],
            {"f1_50": 0.4, "precision_50": 1 / 3, "recall_50": 0.5, "ap": 0.25},
        ),
        ([square(22, 0)], {"f1_50": 2 / 3, "f1_75": 0, "recall_50": 0.5, "ap": 0.5 * 0.4}),
        ([], {"f1_50": 0, "precision_50": np.nan, "recall_50": 0, "ap": 0}),
    ],
)
def test_scores_are_those_of_their_formulas(tmp_path, found, expected):
    labels = square(0, 0) + 2 * square(20, 0)
    folder = folder_of(tmp_path, [np.zeros((60, 80), np.uint8)], [labels])
    pair = (folder / "images" / "0.tif", folder / "labels" / "0.tif")
    (row,) = run_everything(pair, generator=Generator(found)).rows
    for name, value in expected.items():
        assert row.metrics[name] == pytest.approx(value, nan_ok=True), name
    assert (row.metrics["found"], row.metrics["labelled"]) == (len(found), 2)


def test_nuclei_are_found_and_each_once(tmp_path):
    sample = nuclei_stack()
    planes = (8, 12)
    folder = folder_of(
        tmp_path, [sample.images[z] for z in planes], [sample.labels[z] for z in planes]
    )
    model = load_model("nano")
    evaluation = evaluate_everything(model, folder, generator={"points_per_side": 12})
    assert evaluation.headline == "f1_50"
    assert evaluation.mean("sam2") > 0.6
    once = evaluation.mean("sam2", "precision_50")
    options = {"points_per_side": 12, "max_known_share": 1.0}
    twice = evaluate_everything(model, folder, generator=options, max_images=1)
    assert len(twice.rows) == 1
    assert once >= twice.mean("sam2", "precision_50")


def test_mistakes(tmp_path):
    model = load_model("nano")
    with pytest.raises(FileNotFoundError, match="expected images/"):
        evaluate_everything(model, tmp_path)
    images = [np.zeros((60, 80), np.uint8)]
    folder = folder_of(tmp_path, images, [np.zeros((60, 81))])
    with pytest.raises(ValueError, match="has size"):
        evaluate_everything(model, folder)
    with pytest.raises(TypeError, match="pointz"):
        evaluate_everything(model, folder, generator={"pointz": 3})
