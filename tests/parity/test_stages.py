"""Each part of the network against the published sam2 package, on the same random weights."""

import pytest
import torch
from references import Pair, assert_agrees, difference
from torch import Tensor
from torch.nn import functional

from sam2_plugins.core.model.mask_decoder import Decoding, choose_masks
from sam2_plugins.core.model.sam2 import ImageFeatures, MapMemory, PointerMemory

SIZE = 256
CELLS = SIZE // 16


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def blobs(num: int, size: int, seed: int) -> Tensor:
    """Smooth random maps (num, 1, size, size) with a spread of some 10."""
    return (
        functional.interpolate(noise(num, 1, 7, 7, seed=seed), size=(size, size), mode="bicubic")
        * 10
    )


def click_positions(num: int, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clicks (num, points, 2) in the input and their labels (num, points)."""
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(num, points, 2, generator=generator) * SIZE
    labels = torch.randint(0, 2, (num, points), generator=generator, dtype=torch.int32)
    return xy, labels


@pytest.fixture(scope="module")
def images() -> Tensor:
    coarse = functional.interpolate(noise(2, 3, 16, 16, seed=1), size=(SIZE, SIZE), mode="bicubic")
    return coarse + 0.3 * noise(2, 3, SIZE, SIZE, seed=2)


@pytest.fixture(scope="module")
def features(pair: Pair, images: Tensor) -> ImageFeatures:
    with torch.no_grad():
        return pair.ours.encode_image(images)


def official_levels(features: ImageFeatures) -> list[Tensor]:
    return [features.stride_4, features.stride_8]


def flat(features: ImageFeatures) -> list[Tensor]:
    """The stride-16 map as sam2 passes it about: a list of (L, B, C)."""
    return [features.stride_16.flatten(2).permute(2, 0, 1)]


def test_image_encoder(pair: Pair, images: Tensor, features: ImageFeatures) -> None:
    expected = pair.official.forward_image(images)["backbone_fpn"]
    for ours, reference in zip(
        (features.stride_4, features.stride_8, features.stride_16), expected, strict=True
    ):
        assert_agrees(ours, reference)


@pytest.mark.parametrize("num_points", [0, 1, 2, 9])
def test_points(pair: Pair, num_points: int) -> None:
    xy, labels = click_positions(3, num_points, seed=num_points)
    encoder = pair.official.sam_prompt_encoder
    if num_points:
        expected, _ = encoder(points=(xy, labels), boxes=None, masks=None)
    else:  # as sam2 says that there are no points
        padding = (torch.zeros(3, 1, 2), -torch.ones(3, 1, dtype=torch.int32))
        expected, _ = encoder(points=padding, boxes=None, masks=None)
    assert_agrees(pair.ours.sam_prompt_encoder.encode_points(xy, labels, SIZE), expected)


def test_box_corners_with_clicks(pair: Pair) -> None:
    xy, labels = click_positions(3, 4, seed=5)
    labels[:, 0], labels[:, 1] = 2, 3
    expected, _ = pair.official.sam_prompt_encoder(points=(xy, labels), boxes=None, masks=None)
    assert_agrees(pair.ours.sam_prompt_encoder.encode_points(xy, labels, SIZE), expected)


def test_masks_as_dense_prompts(pair: Pair) -> None:
    encoder = pair.official.sam_prompt_encoder
    masks = blobs(2, SIZE // 4, seed=6)
    _, expected = encoder(points=None, boxes=None, masks=masks)
    assert_agrees(pair.ours.sam_prompt_encoder.encode_masks(masks), expected)
    _, expected = encoder(points=click_positions(2, 1, seed=7), boxes=None, masks=None)
    assert_agrees(pair.ours.sam_prompt_encoder.no_mask(2, CELLS, CELLS), expected)


def test_positions_of_the_image(pair: Pair) -> None:
    ours = pair.ours.sam_prompt_encoder.image_positions(CELLS, CELLS)
    assert_agrees(ours, pair.official.sam_prompt_encoder.get_dense_pe())


PROMPTS = {
    "no points": {"num_points": 0, "has_mask": False},
    "one click": {"num_points": 1, "has_mask": False},
    "many clicks": {"num_points": 9, "has_mask": False},
    "box": {"num_points": 2, "has_mask": False},
    "mask": {"num_points": 0, "has_mask": True},
    "clicks on a previous mask": {"num_points": 3, "has_mask": True},
}


@pytest.mark.parametrize("masks_wanted", ["three", "one", "one that is stable"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_mask_decoder(
    pair: Pair,
    features: ImageFeatures,
    prompt: str,
    masks_wanted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    multimask, stable = masks_wanted == "three", masks_wanted == "one that is stable"
    decoder = pair.official.sam_mask_decoder
    monkeypatch.setattr(decoder, "dynamic_multimask_via_stability", stable)
    num_points, has_mask = PROMPTS[prompt].values()
    xy, labels = click_positions(2, num_points, seed=11)
    if prompt == "box":
        labels = torch.tensor([[2, 3], [2, 3]], dtype=torch.int32)
    mask_logits = blobs(2, SIZE // 4, seed=12) if has_mask else None
    conditioned = features.stride_16 + 0.1 * noise(*features.stride_16.shape, seed=13)

    multimasks, _, ious, masks, _, pointers, scores = pair.official._forward_sam_heads(
        backbone_features=conditioned,
        point_inputs={"point_coords": xy, "point_labels": labels} if num_points else None,
        mask_inputs=mask_logits,
        high_res_features=official_levels(features),
        multimask_output=multimask,
    )
    decoding = pair.ours.decode(
        features,
        conditioned,
        points=xy,
        point_labels=labels,
        mask_logits=mask_logits,
        multimask=multimask,
        stable=stable,
    )
    chosen = pair.ours.summarise(decoding)

    assert (scores > 0).all(), "the object must be there, or its mask is constant"
    assert 0.02 < (masks > 0).float().mean() < 0.98, "the mask must be neither empty nor full"
    assert_agrees(decoding.low_res_logits, multimasks)
    assert_agrees(decoding.predicted_iou, ious)
    assert_agrees(decoding.object_score_logits, scores)
    assert_agrees(chosen.low_res_logits, masks)
    assert_agrees(chosen.object_pointers, pointers)


def test_an_absent_object(pair: Pair, features: ImageFeatures) -> None:
    bias = pair.official.sam_mask_decoder.pred_obj_score_head.layers[-1].bias
    ours_bias = pair.ours.sam_mask_decoder.pred_obj_score_head.layers[-1].bias
    present = bias.item()
    try:
        bias.fill_(-9)
        ours_bias.fill_(-9)
        _, _, _, masks, _, pointers, _ = pair.official._forward_sam_heads(
            backbone_features=features.stride_16,
            high_res_features=official_levels(features),
            multimask_output=True,
        )
        chosen = pair.ours.summarise(pair.ours.decode(features, features.stride_16))
    finally:
        bias.fill_(present)
        ours_bias.fill_(present)
    assert (masks == -1024).all()
    assert torch.equal(chosen.low_res_logits, masks)
    assert_agrees(chosen.object_pointers, pointers)


def test_unstable_masks_fall_back_on_the_best_of_three(pair: Pair) -> None:
    # A wide spread of logits is stable, a narrow one changes with the threshold.
    spreads = torch.logspace(-2, 2, 24)[:, None, None, None]
    logits = noise(24, 4, 32, 32, seed=21) * spreads
    iou = noise(24, 4, seed=22).sigmoid()
    tokens, scores = noise(24, 4, 256, seed=23), noise(24, 1, seed=24)
    decoder = pair.official.sam_mask_decoder
    expected_logits, expected_iou = decoder._dynamic_multimask_via_stability(logits, iou)

    ours = choose_masks(Decoding(logits, iou, tokens, scores), multimask=False, stable=True)
    falls_back = (expected_logits != logits[:, :1]).flatten(1).any(1)
    assert 4 < falls_back.sum() < 20
    assert torch.equal(ours.low_res_logits, expected_logits)
    assert torch.equal(ours.predicted_iou, expected_iou)
    assert torch.equal(ours.tokens, tokens[:, :1])


def test_a_given_mask(pair: Pair, features: ImageFeatures) -> None:
    masks = (blobs(2, SIZE, seed=31) > 0).float()
    masks[1] = 0
    _, _, _, expected, _, pointers, scores = pair.official._use_mask_as_output(
        features.stride_16, official_levels(features), masks
    )
    ours = pair.ours.adopt_masks(features, masks)
    assert_agrees(ours.low_res_logits, expected)
    assert_agrees(ours.object_pointers, pointers)
    assert torch.equal(ours.object_score_logits, scores[:, 0])


@pytest.mark.parametrize("hard", [False, True])
def test_memory_encoder(pair: Pair, features: ImageFeatures, hard: bool) -> None:
    low_res_logits = blobs(2, SIZE // 4, seed=41) / 5
    scores = torch.tensor([[3.0], [-3.0]])  # the second object is absent
    expected, expected_places = pair.official._encode_new_memory(
        current_vision_feats=flat(features),
        feat_sizes=[(CELLS, CELLS)],
        pred_masks_high_res=functional.interpolate(
            low_res_logits, size=(SIZE, SIZE), mode="bilinear", align_corners=False
        ),
        object_score_logits=scores,
        is_mask_from_pts=hard,
    )
    assert_agrees(
        pair.ours.encode_memory(features, low_res_logits, scores[:, 0], hard=hard), expected
    )
    assert expected_places[-1].shape == expected.shape


@pytest.mark.parametrize("backward", [False, True])
def test_memory_attention_with_a_full_bank(
    pair: Pair, features: ImageFeatures, backward: bool
) -> None:
    frame, prompted, step = 30, (12, 48), -1 if backward else 1
    maps = {t: noise(2, 64, CELLS, CELLS, seed=t) for t in range(60)}
    pointers = {t: noise(2, 256, seed=100 + t) for t in range(60)}
    places = pair.official.memory_encoder.position_encoding(maps[0])
    outputs = {
        t: {"maskmem_features": maps[t], "maskmem_pos_enc": [places], "obj_ptr": pointers[t]}
        for t in range(60)
    }
    expected = pair.official._prepare_memory_conditioned_features(
        frame_idx=frame,
        is_init_cond_frame=False,
        current_vision_feats=flat(features),
        current_vision_pos_embeds=[
            pair.official.image_encoder.neck.position_encoding(features.stride_16)
            .flatten(2)
            .permute(2, 0, 1)
        ],
        feat_sizes=[(CELLS, CELLS)],
        output_dict={
            "cond_frame_outputs": {t: outputs[t] for t in prompted},
            "non_cond_frame_outputs": {t: outputs[t] for t in range(60) if t not in prompted},
        },
        num_frames=60,
        track_in_reverse=backward,
    )
    recent = [(frame - step * age, age) for age in range(6, 0, -1)]
    passed = [t for t in prompted if (frame - t) * step > 0]
    ours = pair.ours.with_memory(
        features,
        maps=[MapMemory(maps[t], 0) for t in prompted]
        + [MapMemory(maps[t], age) for t, age in recent],
        pointers=[PointerMemory(pointers[t], (frame - t) * step) for t in passed]
        + [PointerMemory(pointers[frame - step * k], k) for k in range(1, 16)],
    )
    assert len(passed) + 15 == 16
    assert_agrees(ours, expected)


def test_the_first_prompted_frame_remembers_nothing(pair: Pair, features: ImageFeatures) -> None:
    expected = pair.official._prepare_memory_conditioned_features(
        frame_idx=0,
        is_init_cond_frame=True,
        current_vision_feats=flat(features),
        current_vision_pos_embeds=None,
        feat_sizes=[(CELLS, CELLS)],
        output_dict={},
        num_frames=1,
    )
    assert_agrees(pair.ours.without_memory(features), expected)


def test_the_comparison_would_show_a_difference(pair: Pair, features: ImageFeatures) -> None:
    shifted = features.stride_16 * (1 + 2e-4)
    assert difference(shifted, features.stride_16) > 1e-4
