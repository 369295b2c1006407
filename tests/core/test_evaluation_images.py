import pickle

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny import make_tiny

from sam2_plugins.core.evaluation import evaluate_image
from sam2_plugins.core.evaluation.images import image_pairs
from sam2_plugins.core.evaluation.starts import pick_evenly
from sam2_plugins.core.masks import box_to_mask
from sam2_plugins.core.predictor import ImagePrediction, ImagePredictor

SIZE = (40, 60)


def truth():
    labels = np.zeros(SIZE, np.uint8)
    labels[5:25, 5:25] = 1
    labels[5:25, 40:55] = 4
    return labels


def write(folder, num_images=3):
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(num_images):
        Image.fromarray(np.full((*SIZE, 3), number, np.uint8)).save(
            folder / "images" / f"{number}.png"
        )
        Image.fromarray(truth()).save(folder / "labels" / f"{number}.png")
    return folder


class Fixed:
    """Answers each prompt by a function of it; notes what it was told."""

    def __init__(self, mask_for=None):
        self.mask_for = mask_for
        self.calls, self.images = [], []

    def set_image(self, image, *, rgb=None):
        self.images.append((image.shape, image.dtype, rgb))

    def predict(self, **prompt):
        prompt = {name: list(v) if name == "points" else v for name, v in prompt.items()}
        prompt |= {"point_labels": list(prompt.get("point_labels", []))}
        self.calls.append(prompt)
        logits = np.full((1, 8, 8), len(self.calls), np.float32)
        mask = self.mask_for(prompt)
        return ImagePrediction(mask[None], np.ones(1, np.float32), logits, 10.0)


def columns_by_clicks(prompt):
    """20 rows x 4 columns of object 1 more with every click."""
    if prompt.get("box") is not None:
        return box_to_mask(prompt["box"], SIZE)
    mask = np.zeros(SIZE, bool)
    mask[5:25, 5 : 5 + 4 * len(prompt["points"])] = True
    return mask


def test_iou_after_clicks_and_box(tmp_path):
    labels = np.where(truth() == 1, 1, 0).astype(np.uint8)
    write(tmp_path, 1)
    Image.fromarray(labels).save(tmp_path / "labels" / "0.png")
    predictor = Fixed(columns_by_clicks)
    result = evaluate_image(predictor, tmp_path)
    assert [row.method for row in result.rows] == ["1-click", "3-click", "5-click", "box"]
    ious = [row.metrics["iou"] for row in result.rows]
    assert ious == pytest.approx([0.2, 0.6, 1.0, 1.0])
    assert result.headline == "iou"
    assert result.rows[0].metrics["area"] == 400
    clicks = predictor.calls[:5]
    assert [len(call["points"]) for call in clicks] == [1, 2, 3, 4, 5]
    assert [call["multimask"] for call in clicks] == [True, False, False, False, False]
    assert clicks[0]["mask_logits"] is None
    assert clicks[3]["mask_logits"].max() == 3  # the mask before is refined
    assert clicks[1]["point_labels"] == [1, 1]
    assert predictor.images == [((*SIZE, 3), np.uint8, True)]


def test_no_click_when_nothing_is_wrong(tmp_path):
    labels = truth()
    predictor = Fixed(lambda prompt: labels == labels[prompt["points"][0][::-1]])
    result = evaluate_image(predictor, write(tmp_path, 2), prompts=["1-click", "5-click"])
    assert result.mean("5-click") == 1
    assert len(predictor.calls) == 4  # one for each of two objects on two images
    assert {row.object_id for row in result.rows} == {1, 4}


def test_surplus_is_clicked_away(tmp_path):
    predictor = Fixed(lambda _: np.ones(SIZE, bool))
    evaluate_image(predictor, write(tmp_path, 1), prompts=["3-click"])
    assert predictor.calls[2]["point_labels"] == [1, 0, 0]


def test_limits(tmp_path):
    predictor = Fixed(lambda _: np.ones(SIZE, bool))
    result = evaluate_image(
        predictor, write(tmp_path, 5), prompts=["box"], max_images=2, max_objects=1
    )
    assert [(row.sequence, row.object_id) for row in result.rows] == [("0", 1), ("2", 1)]
    assert pick_evenly(range(10), 3) == [0, 3, 6]
    assert pick_evenly(range(2), 3) == [0, 1]


def test_tiff_labels_and_grey_images(tmp_path):
    write(tmp_path, 1)
    (tmp_path / "images" / "0.png").unlink()
    (tmp_path / "labels" / "0.png").unlink()
    tifffile.imwrite(tmp_path / "images" / "0.tif", truth().astype(np.uint16) * 900)
    tifffile.imwrite(tmp_path / "labels" / "0.tif", truth().astype(np.uint16) * 1000)
    predictor = Fixed(lambda _: np.ones(SIZE, bool))
    result = evaluate_image(predictor, tmp_path, prompts=["box"])
    assert predictor.images == [(SIZE, np.uint16, False)]
    assert [row.object_id for row in result.rows] == [1000, 4000]


def test_errors(tmp_path):
    predictor = Fixed()
    with pytest.raises(FileNotFoundError, match="expected images/NAME"):
        evaluate_image(predictor, tmp_path)
    write(tmp_path, 1)
    with pytest.raises(ValueError, match="unknown prompt '2-click'; known are 1-click"):
        evaluate_image(predictor, tmp_path, prompts=["2-click"])
    with pytest.raises(ValueError, match="there are no prompts"):
        evaluate_image(predictor, tmp_path, prompts=[])
    Image.fromarray(truth()[:30]).save(tmp_path / "labels" / "0.png")
    with pytest.raises(ValueError, match=r"has size \(40, 60\), its labels \(30, 60\)"):
        evaluate_image(predictor, tmp_path)
    with pytest.raises(ValueError, match=r"has size \(40, 60\), its labels \(30, 60\)"):
        image_pairs(tmp_path)
    (tmp_path / "labels" / "0.png").rename(tmp_path / "labels" / "other.png")
    with pytest.raises(ValueError, match="has labels of its name"):
        image_pairs(tmp_path)


def test_what_is_left_out_is_told(tmp_path):
    write(tmp_path, 5)
    for number in range(4):
        (tmp_path / "labels" / f"{number}.png").unlink()
    Image.fromarray(truth()).save(tmp_path / "labels" / "other.png")
    with pytest.warns(UserWarning, match="left out") as warned:
        assert [image.name for image, _ in image_pairs(tmp_path)] == ["4.png"]
    assert [str(warning.message) for warning in warned] == [
        f"{tmp_path}: left out 4 of 5 images, without labels: 0.png, 1.png, 2.png, …",
        f"{tmp_path}: left out 1 of 2 files of labels, without an image: other.png",
    ]


def test_with_a_real_network(tmp_path):
    import torch

    from sam2_plugins.core.config import MODELS
    from sam2_plugins.core.model.sam2 import SAM2

    torch.manual_seed(0)
    model = SAM2(MODELS["nano"], image_size=64).eval()
    result = evaluate_image(model, write(tmp_path, 1))
    assert len(result.rows) == 8
    assert len(result.model) >= 12


def test_a_predictor_travels_to_other_processes():
    image = np.full((64, 64, 3), 90, np.uint8)
    image[10:40, 10:40] = 220
    predictors = [ImagePredictor(make_tiny())]
    predictors.append(pickle.loads(pickle.dumps(predictors[0])))
    found = []
    for predictor in predictors:
        predictor.set_image(image)
        found.append(predictor.predict(box=[10, 10, 40, 40]).low_res_logits)
    np.testing.assert_array_equal(*found)
