"""Every published size has the official package's parameters, and every one of them is used."""

import pytest
import torch
from references import Pair, blank_weights, yaml_file
from sam2.build_sam import build_sam2

from sam2_plugins.core.checkpoints import blank_model
from sam2_plugins.core.config import MODELS
from sam2_plugins.core.model.sam2 import MapMemory, PointerMemory

PUBLISHED = [name for name in MODELS if name != "nano"]
# In millions, as the package's authors publish them: the whole network.
MILLIONS = {"tiny": 38.9, "small": 46.0, "base-plus": 80.8, "large": 224.4}


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_the_official_ones(name: str) -> None:
    with blank_weights():
        official = build_sam2(yaml_file(name), device="cpu")
    expected = {key: tensor.shape for key, tensor in official.state_dict().items()}
    ours = blank_model(MODELS[name])
    assert {key: tensor.shape for key, tensor in ours.state_dict().items()} == expected
    millions = sum(weight.numel() for weight in ours.parameters()) / 1e6
    assert abs(millions - MILLIONS[name.split("-", 1)[1]]) < 0.1


@pytest.mark.parametrize("pair", ["sam2-tiny", "sam2.1-tiny"], indirect=True)
def test_every_weight_shows_in_the_output(pair: Pair) -> None:
    """Else agreement with the reference would say nothing of it."""
    model = pair.ours
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 128, 128, generator=generator)
    points = torch.rand(2, 5, 2, generator=generator) * 128
    labels = torch.tensor([[0, 1, 2, 3, -1]] * 2)
    mask = (torch.rand(2, 1, 128, 128, generator=generator) > 0.5).float()
    with torch.enable_grad():
        features = model.encode_image(images)
        alone = model.without_memory(features)
        clicked = model.decode(features, alone, points=points, point_labels=labels)
        dense = model.decode(features, alone, mask_logits=mask, multimask=False)
        given = model.adopt_masks(features, mask)
        absent = model.summarise(dense._replace(object_score_logits=-dense.object_score_logits))
        scores = torch.tensor([1.0, -1.0])
        logits = clicked.low_res_logits[:, :1]
        memory = model.encode_memory(features, logits, scores, hard=False)
        recalled = model.with_memory(
            features,
            maps=[MapMemory(memory, age) for age in range(7)],
            pointers=[PointerMemory(given.object_pointers, 3)],
        )
        outputs = [*clicked, *dense, *absent, recalled]
        sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    unused = {
        key
        for key, weight in model.named_parameters()
        if weight.grad is None or not weight.grad.any()
    }
    model.zero_grad(set_to_none=True)
    assert unused == {"no_mem_pos_enc"}  # carried by every checkpoint, read by nobody
