"""Every rule of the recipe against its formula."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import make_tiny

from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.training.adapters import add_adapters, merge_adapters
from sam2_plugins.core.training.batches import Batch
from sam2_plugins.core.training.losses import LossWeights
from sam2_plugins.core.training.memory_saving import recomputed, skipped_at_random
from sam2_plugins.core.training.optimizer import layers_above, make_optimizer, set_learning_rate
from sam2_plugins.core.training.plans import plan_clips
from sam2_plugins.core.training.presets import RECIPES, recipe_stage
from sam2_plugins.core.training.prompting import PromptPlan, choose_prompt_kind
from sam2_plugins.core.training.rollout import run_clips
from sam2_plugins.core.training.simulated_user import SimulatedUser
from sam2_plugins.core.training.video_augment import augment, jitter


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def clips():
    masks = torch.zeros(1, 2, 64, 64, dtype=torch.bool)
    masks[:, :, 16:40, 16:40] = True
    return Batch(masks[:, :, None].float().expand(-1, -1, 3, -1, -1) * 3 - 1.5, masks)


def gradients(model: SAM2) -> list[torch.Tensor]:
    run_clips(model, clips(), generator=seeded(), plan=PromptPlan(kind="click")).terms.total(
        LossWeights()
    ).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_the_rates_of_layers_fall_by_the_decay_from_the_last_to_the_first():
    model = make_tiny()  # five blocks
    stage = replace(RECIPES["mose"], layer_decay=0.5, encoder_rate=0.1)
    optimizer = make_optimizer(model, [stage])
    set_learning_rate(optimizer, stage, rate=1.0)
    rates = {
        id(parameter): group["lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(rates) == len(list(model.parameters()))
    expected = {
        "sam_mask_decoder.iou_token.weight": 1.0,
        "image_encoder.neck.convs.0.conv.weight": 0.1,
        "image_encoder.trunk.blocks.4.norm1.weight": 0.1 * 0.5,
        "image_encoder.trunk.blocks.0.attn.qkv.weight": 0.1 * 0.5**5,
        "image_encoder.trunk.patch_embed.proj.weight": 0.1 * 0.5**6,
        "image_encoder.trunk.pos_embed": 0.1 * 0.5**6,
    }
    named = dict(model.named_parameters())
    assert {n: rates[id(named[n])] for n in expected} == pytest.approx(expected)
    assert layers_above("memory_encoder.out_proj.weight", 5) is None


def test_the_second_schedule_falls_as_one_over_the_root_and_ends_straight():
    stage = replace(RECIPES["image"], learning_rate=1.0, steps=10_000)
    at = {n: stage.learning_rate_at(n, n / 10_000) for n in (499, 1000, 4000, 7500, 10_000)}
    assert at[499] == pytest.approx(0.5)
    assert at[1000] == pytest.approx(1.0)
    assert at[4000] == pytest.approx(math.sqrt(1000 / 4000))
    assert at[7500] == pytest.approx(math.sqrt(1000 / 7500) * 2500 / 5000)
    assert at[10_000] == pytest.approx(0.0)


def test_the_paper_recipe_has_the_papers_numbers():
    full, mose = recipe_stage("full"), recipe_stage("mose")
    assert full.losses == LossWeights(focal=20, dice=1, iou=1, occlusion=1)
    assert (full.num_frames, recipe_stage("long").num_frames, full.objects_per_clip) == (8, 16, 3)
    assert full.learning_rate * full.encoder_rate == pytest.approx(6e-5)
    assert (full.clip_norm, full.weight_decay, full.use_bfloat16) == (0.1, 0.1, True)
    assert (full.layer_decay, recipe_stage("full", model="sam2.1-large").layer_decay) == (
        0.9,
        0.925,
    )
    assert mose.learning_rate * mose.encoder_rate == pytest.approx(3e-6)
    assert mose.final_learning_rate == pytest.approx(mose.learning_rate / 10)
    assert recipe_stage("long").frozen == ("image_encoder.",)
    with pytest.raises(ValueError, match="the recipe has image, full, long, mose"):
        recipe_stage("tea")


def test_prompts_are_mixed_as_the_paper_says():
    stage, generator = recipe_stage("full"), seeded()
    plans = [plan_clips(stage, generator) for _ in range(1000)]
    assert {plan.num_corrections for plan in plans} == {7}
    second = [plan.corrected_frame for plan in plans if plan.corrected_frame is not None]
    assert abs(len(second) - 500) < 60
    assert set(second) == set(range(1, 8))
    kinds = [choose_prompt_kind(generator, mask_chance=stage.mask_chance) for _ in range(1000)]
    shares = [kinds.count(kind) / 1000 for kind in ("mask", "click", "box")]
    assert np.abs(np.array(shares) - (0.5, 0.25, 0.25)).max() < 0.06


def test_one_click_in_ten_is_on_the_object_wherever_the_mask_is_wrong():
    truth = torch.zeros(1, 64, 64, dtype=torch.bool)
    truth[:, :8, :8] = True
    said = truth.clone()
    said[:, 40:, 40:] = True  # all that is wrong
    user = SimulatedUser(make_tiny(), seeded(), truth_chance=0.1)
    drawn = [user._click(said, truth) for _ in range(1000)]
    on_object = sum(int(labels.item()) for _, labels in drawn)
    assert abs(on_object - 100) < 40
    assert all((points.max() < 8) == bool(labels.item()) for points, labels in drawn)


def test_recomputed_activations_give_the_same_gradient():
    kept = gradients(make_tiny())
    model = make_tiny()
    with recomputed(model, enabled=True):
        again = gradients(model)
    assert len(kept) == len(again)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(kept, again, strict=True))
    assert "forward" not in vars(model.image_encoder.trunk.blocks[0])


def test_blocks_are_skipped_for_some_images_and_keep_their_mean():
    model = make_tiny()
    block = model.image_encoder.trunk.blocks[-1]
    x = torch.randn(1, 4, 4, len(block.norm1.weight), generator=seeded()).expand(200, -1, -1, -1)
    with torch.no_grad(), skipped_at_random(model, chance=0.25, generator=seeded(1)):
        out = block(x)
    distinct = torch.unique(out.flatten(1).round(decimals=4), dim=0)
    assert 3 <= len(distinct) <= 4  # each branch kept or not
    assert not block._forward_pre_hooks


def test_adapters_change_nothing_at_first_and_merge_into_the_weights():
    model = make_tiny()
    images = torch.randn(1, 3, 64, 64, generator=seeded())
    names = model.state_dict().keys()
    with torch.no_grad():
        before = model.encode_image(images).stride_16
        add_adapters(model, rank=2)
        assert torch.equal(model.encode_image(images).stride_16, before)
        learning = [n for n, p in model.named_parameters() if p.requires_grad and "trunk" in n]
        assert learning
        assert all(name.endswith((".down", ".up")) for name in learning)
        for name, parameter in model.named_parameters():
            if name.endswith(".up"):
                parameter.fill_(0.1)
        adapted = model.encode_image(images).stride_16
        merge_adapters(model)
        merged = model.encode_image(images).stride_16
    assert not torch.allclose(adapted, before, atol=1e-3)
    assert torch.allclose(adapted, merged, atol=1e-4)
    assert model.state_dict().keys() == names


def test_colours_are_changed_by_factors_and_labels_move_with_the_frames():
    grey = np.full((1, 2, 2, 3), 100, np.float32)
    assert jitter(grey, (1.1, 1.0, 1.0)) == pytest.approx(110)
    colour = np.array([[[200.0, 0.0, 0.0], [0.0, 0.0, 0.0]]], np.float32)
    luma = 0.299 * 200
    assert jitter(colour, (1.0, 1.0, 0.0))[0, 0] == pytest.approx(luma, rel=1e-4)
    low_contrast = jitter(colour, (1.0, 0.5, 1.0))
    assert low_contrast[0, 0, 0] == pytest.approx(100 + luma / 4, rel=1e-4)
    labels = np.zeros((2, 32, 32), np.int32)
    labels[:, 8:20, 4:12] = 5
    frames = np.repeat((labels == 5)[..., None] * 200, 3, -1).astype(np.uint8)
    for seed in range(12):
        shown, moved = augment(np.random.default_rng(seed), frames, labels, flips_rows=True)
        is_bright = shown[..., 0] > 100
        union = (is_bright | (moved == 5)).sum()
        assert (is_bright & (moved == 5)).sum() / union > 0.85
        assert np.array_equal(moved[0], moved[1])
