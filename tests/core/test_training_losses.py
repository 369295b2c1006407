import math

import pytest
import torch

from sam2_plugins.core.training.losses import (
    LossTerms,
    LossWeights,
    balanced_cross_entropy,
    dice_loss,
    focal_loss,
    mask_iou,
    mean_terms,
    prediction_losses,
    to_loss_size,
)

LOGITS = torch.tensor([[2.0, -1.0], [0.5, -3.0]])
TRUTH = torch.tensor([[1.0, 0.0], [0.0, 1.0]])


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def pixels():
    return list(zip(LOGITS.flatten().tolist(), TRUTH.flatten().tolist(), strict=True))


def test_focal_loss_is_its_formula():
    expected = 0.0
    for logit, truth in pixels():
        p_true = sigmoid(logit) if truth else 1 - sigmoid(logit)
        alpha = 0.25 if truth else 0.75
        expected -= alpha * (1 - p_true) ** 2 * math.log(p_true) / 4
    assert float(focal_loss(LOGITS, TRUTH)) == pytest.approx(expected, rel=1e-5)


def test_dice_loss_is_its_formula():
    overlap = sum(sigmoid(logit) * truth for logit, truth in pixels())
    total = sum(sigmoid(logit) + truth for logit, truth in pixels())
    expected = 1 - (2 * overlap + 1) / (total + 1)
    assert float(dice_loss(LOGITS, TRUTH)) == pytest.approx(expected, rel=1e-5)


def test_balanced_cross_entropy_weighs_object_and_background_alike():
    inside = [-math.log(sigmoid(logit)) for logit, truth in pixels() if truth]
    outside = [-math.log(1 - sigmoid(logit)) for logit, truth in pixels() if not truth]
    expected = (sum(inside) / len(inside) + sum(outside) / len(outside)) / 2
    assert float(balanced_cross_entropy(LOGITS, TRUTH)) == pytest.approx(expected, rel=1e-5)


def test_iou_counts_pixels_and_two_empty_masks_agree():
    assert float(mask_iou(LOGITS, TRUTH)) == pytest.approx(1 / 3)
    assert float(mask_iou(-torch.ones(2, 2), torch.zeros(2, 2))) == 1


def test_the_total_is_weighted_20_1_1_1():
    terms = prediction_losses(
        LOGITS[None, None],
        torch.tensor([[0.9]]),
        object_score_logits=torch.tensor([[1.5]]),
        targets=TRUTH[None],
    )
    expected = (
        20 * focal_loss(LOGITS, TRUTH)
        + dice_loss(LOGITS, TRUTH)
        + abs(0.9 - 1 / 3)
        - math.log(sigmoid(1.5))
    )
    assert float(terms.total(LossWeights())) == pytest.approx(float(expected), rel=1e-5)


def test_only_the_best_mask_learns_from_pixels_but_every_iou_learns():
    good, bad = TRUTH * 8 - 4, 4 - TRUTH * 8
    logits = torch.stack([bad, good])[None].requires_grad_()
    iou = torch.tensor([[0.5, 0.5]], requires_grad=True)
    terms = prediction_losses(
        logits, iou, object_score_logits=torch.ones(1, 1), targets=TRUTH[None]
    )
    terms.total(LossWeights()).backward()
    assert logits.grad[0, 0].abs().max() == 0
    assert logits.grad[0, 1].abs().max() > 0
    assert iou.grad.tolist() == [[0.5, -0.5]]


def test_an_absent_object_teaches_only_the_object_score():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    iou = torch.full((1, 3), 0.5, requires_grad=True)
    score = torch.tensor([[2.0]], requires_grad=True)
    terms = prediction_losses(logits, iou, object_score_logits=score, targets=torch.zeros(1, 4, 4))
    terms.total(LossWeights()).backward()
    assert logits.grad.abs().max() == 0
    assert iou.grad.abs().max() == 0
    assert float(score.grad) == pytest.approx(sigmoid(2.0), rel=1e-5)


def test_losses_by_hand():
    """Logits 0 everywhere: p = 1/2; one of four pixels is object."""
    logits, truth = torch.zeros(2, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    # (0.25 + 3 * 0.75) / 4 of (1/2)^2 log 2
    assert float(focal_loss(logits, truth)) == pytest.approx(0.625 * 0.25 * math.log(2))
    # 1 - (2 * 0.5 + 1) / (2 + 1 + 1)
    assert float(dice_loss(logits, truth)) == pytest.approx(0.5)
    assert float(balanced_cross_entropy(logits, truth)) == pytest.approx(math.log(2))


def test_losses_of_several_masks_are_those_of_each():
    logits, truth = torch.randn(2, 3, 4, 4), (torch.rand(2, 3, 4, 4) > 0.5).float()
    for loss in (focal_loss, dice_loss, balanced_cross_entropy, mask_iou):
        together = loss(logits, truth)
        assert together.shape == (2, 3)
        assert float(together[1, 2]) == pytest.approx(float(loss(logits[1, 2], truth[1, 2])))


def test_an_empty_mask_satisfies_focal_loss_nearly_but_balanced_not():
    """Why the first stage from scratch has a loss of its own."""
    truth = torch.zeros(32, 32)
    truth[:4, :8] = 1
    empty = torch.full((32, 32), -3.0)
    assert float(focal_loss(empty, truth)) < 0.03
    assert float(balanced_cross_entropy(empty, truth)) > 1.5


def test_the_best_mask_is_chosen_by_the_weighted_losses():
    """Dice prefers the second mask, balanced cross-entropy the first."""
    truth = torch.zeros(1, 8, 8)
    truth[0, 0, :2] = 1
    wide = torch.full((8, 8), -1.0)
    wide[:2, :4] = 4
    sure = torch.full((8, 8), -9.0)
    sure[0, 0] = 9
    logits = torch.stack([wide, sure])[None]

    def chosen(weights):
        masks = logits.clone().requires_grad_()
        terms = prediction_losses(
            masks,
            torch.ones(1, 2),
            object_score_logits=torch.ones(1, 1),
            targets=truth,
            weights=weights,
        )
        terms.total(weights).backward()
        return [bool(grad.abs().max() > 0) for grad in masks.grad[0]]

    assert chosen(LossWeights(focal=0, dice=1)) == [False, True]
    assert chosen(LossWeights(focal=0, dice=0, balanced=1)) == [True, False]


def test_absent_objects_are_left_out_of_the_mean():
    logits = LOGITS.expand(3, 1, 2, 2)
    targets = torch.stack([TRUTH, torch.zeros(2, 2), torch.zeros(2, 2)])
    scores = torch.tensor([[1.0], [-1.0], [2.0]])
    terms = prediction_losses(
        logits, torch.full((3, 1), 0.9), object_score_logits=scores, targets=targets
    )
    assert float(terms.focal) == pytest.approx(float(focal_loss(LOGITS, TRUTH)))
    assert float(terms.dice) == pytest.approx(float(dice_loss(LOGITS, TRUTH)))
    assert float(terms.iou) == pytest.approx(0.9 - 1 / 3)
    right = [-math.log(sigmoid(1.0)), -math.log(sigmoid(1.0)), -math.log(1 - sigmoid(2.0))]
    assert float(terms.occlusion) == pytest.approx(sum(right) / 3)


def test_the_terms_of_a_clip_are_averaged():
    one, two = (LossTerms(*torch.arange(5) * scale) for scale in (1.0, 3.0))
    mean = mean_terms([one, two])
    assert [float(value) for value in vars(mean).values()] == [0, 2, 4, 6, 8]


def test_a_cell_half_covered_is_object():
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, 0, :2] = True  # half of the first cell
    masks[0, 2, 2] = True  # a quarter of the last cell
    assert to_loss_size(masks, (2, 2)).tolist() == [[[1, 0], [0, 0]]]
