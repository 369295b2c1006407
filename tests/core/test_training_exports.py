"""What is exported loads strictly elsewhere and gives the same numbers there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.build_sam import build_sam2
from tiny import make_tiny
from transformers import Sam2Model, Sam2VideoModel

from sam2_plugins.core.checkpoints import read_checkpoint, save_checkpoint
from sam2_plugins.core.config import MODELS
from sam2_plugins.core.exports import export
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.weights import list_models, load_model

SIZE = 64
CELLS = SIZE // 16


@pytest.fixture(scope="module")
def tiny() -> SAM2:
    """sam2.1-tiny with random weights, small pictures."""
    torch.manual_seed(0)
    model = SAM2(MODELS["sam2.1-tiny"], image_size=SIZE).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("gamma"):
                weight.fill_(0.5)
    return model


def test_the_published_package_loads_the_official_layout_strictly(tiny: SAM2, tmp_path: Path):
    path = export(tiny, tmp_path / "out" / "tuned.pt")
    assert [file.name for file in path.parent.iterdir()] == ["tuned.pt"]
    # Its builder raises on a missing or an unexpected key.
    official = build_sam2(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        str(path),
        device="cpu",
        hydra_overrides_extra=[
            f"++model.image_size={SIZE}",
            *(
                f"++model.memory_attention.layer.{part}_attention.feat_sizes=[{CELLS},{CELLS}]"
                for part in ("self", "cross")
            ),
        ],
    )
    ours, theirs = tiny.state_dict(), official.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    image = torch.linspace(-2, 2, 3 * SIZE * SIZE).reshape(1, 3, SIZE, SIZE)
    with torch.no_grad():
        expected = official.forward_image(image)["backbone_fpn"][-1]
        torch.testing.assert_close(tiny.encode_image(image).stride_16, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("of", ["sam2.1-tiny", "nano"])
def test_transformers_loads_a_folder_and_gives_the_same_masks(of: str, tiny: SAM2, tmp_path: Path):
    model = tiny
    if of == "nano":
        model = load_model("nano", device="cpu", dtype="float32", image_size=SIZE)
    export(model, tmp_path / "folder")
    for kind in (Sam2VideoModel, Sam2Model):
        theirs, report = kind.from_pretrained(tmp_path / "folder", output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["mismatched_keys"]
        if kind is Sam2VideoModel:
            assert not report["unexpected_keys"]
    image = torch.linspace(-2, 2, 3 * SIZE * SIZE).reshape(1, 3, SIZE, SIZE)
    points = torch.tensor([[[20.0, 30.0]]])
    with torch.no_grad():
        answer = theirs.eval()(
            pixel_values=image,
            input_points=points[None],
            input_labels=torch.ones(1, 1, 1, dtype=torch.int64),
            multimask_output=True,
        )
        features = model.encode_image(image)
        decoding = model.decode(
            features,
            model.without_memory(features),
            points=points,
            point_labels=torch.ones(1, 1, dtype=torch.int64),
        )
    expected = answer.pred_masks[0]
    assert expected.std() > 0
    scale = float(expected.abs().max())
    torch.testing.assert_close(decoding.low_res_logits / scale, expected / scale, atol=1e-4, rtol=0)
    torch.testing.assert_close(decoding.predicted_iou, answer.iou_scores[0], atol=1e-4, rtol=0)


def test_our_own_reader_takes_every_layout_back(tiny: SAM2, tmp_path: Path):
    for name in ("own.safetensors", "official.pt", "folder"):
        path = export(tiny, tmp_path / name)
        file = path / "model.safetensors" if path.is_dir() else path
        read = read_checkpoint(file)
        assert read.config == MODELS["sam2.1-tiny"]
        for key, tensor in tiny.state_dict().items():
            exact = name != "own.safetensors"
            expected = tensor if exact or "gaussian" in key else tensor.half()
            assert torch.equal(read.tensors[key], expected), key


def test_an_unknown_ending_is_refused_and_nothing_is_written(tiny: SAM2, tmp_path: Path):
    with pytest.raises(ValueError, match=r"unknown ending '\.onnx'"):
        export(tiny, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="memory maps of 64 channels, and tiny has 16"):
        export(make_tiny(), tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_models_of_ones_own_are_listed_and_load_by_name(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SAM2_PLUGINS_MODELS", str(tmp_path))
    assert all(model.where != "own" for model in list_models())
    model = make_tiny()
    model.config = replace(model.config, name="my-cells", image_size=96)
    save_checkpoint(model, tmp_path / "my-cells.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    (own,) = [found for found in list_models() if found.where == "own"]
    assert (own.name, own.image_size) == ("my-cells", 96)
    assert own.path == tmp_path / "my-cells.safetensors"
    assert "broken.safetensors is left out" in caplog.text
    loaded = load_model("my-cells", device="cpu", dtype="float32")
    assert loaded.image_size == 96
    weight = loaded.no_mem_embed.detach().numpy()
    assert np.array_equal(weight, model.no_mem_embed.detach().half().float().numpy())
    with pytest.raises(ValueError, match=r"unknown model 'my-cell'; .*my-cells"):
        load_model("my-cell")
