"""Targets, loss and head of dense training."""

import numpy as np
import torch
from tiny import make_tiny

from sam2_plugins.core.training.batches import BatchShape, draw_batch
from sam2_plugins.core.training.dense import DenseHead, dense_loss, dense_targets, stack_targets
from sam2_plugins.core.training.sources import TrainingData


def two_squares():
    labels = np.zeros((64, 64), np.int32)
    labels[8:24, 8:24] = 7
    labels[8:24, 24:40] = 3
    return labels


def test_targets_tell_objects_apart_and_point_to_their_middles():
    is_object, border, x, y = dense_targets(two_squares())
    assert is_object[2:6, 2:10].all()
    assert is_object.sum() == 4 * 8
    assert border[4, 5] > 0
    assert border[4, 6] > 0
    assert border[12, 12] == 0
    # Squares of side 16 have a radius of 8; the cell's middle is at 4 i + 2.5.
    np.testing.assert_allclose(x[4, 2:6], (16 - (4 * np.arange(2, 6) + 2.5)) / 8)
    np.testing.assert_allclose(x[4, 6:10], (32 - (4 * np.arange(6, 10) + 2.5)) / 8)
    np.testing.assert_allclose(y[2:6, 3], (16 - (4 * np.arange(2, 6) + 2.5)) / 8)
    assert not x[is_object == 0].any()


def test_the_loss_is_near_nothing_for_the_truth_alone():
    targets = stack_targets(two_squares()[None])
    truth = targets.clone()
    truth[:, 0] = targets[:, 0] * 40 - 20
    truth[:, 1] = torch.logit(targets[:, 1].clamp(1e-6, 1 - 1e-6))
    least = float(dense_loss(truth, targets))
    border = targets[:, 1].double().clamp(1e-12, 1 - 1e-12)
    entropy = -(border * border.log() + (1 - border) * (1 - border).log()).mean()
    assert least < float(entropy) + 0.01
    for channel in range(4):
        wrong = truth.clone()
        wrong[:, channel] = wrong[:, channel].roll(4, -1)
        assert float(dense_loss(wrong, targets)) > least + 0.02


def test_a_picture_without_objects_has_a_finite_loss():
    targets = stack_targets(np.zeros((1, 32, 32), np.int32))
    assert torch.isfinite(dense_loss(torch.zeros(1, 4, 8, 8), targets))


def test_the_encoder_learns_at_every_level():
    model = make_tiny()
    head = DenseHead(model.config)
    size = model.image_size
    labels = np.kron(two_squares(), np.ones((size // 64, size // 64), np.int32)).astype(np.int32)
    features = model.encode_image(torch.randn(1, 3, size, size))
    outputs = head(features)
    assert outputs.shape == (1, 4, size // 4, size // 4)
    dense_loss(outputs, stack_targets(labels[None])).backward()
    silent = [
        name
        for name, parameter in model.image_encoder.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert not silent


def test_targets_lie_where_the_objects_of_the_same_batch_do():
    shape = BatchShape(6, 64, 1, 2, {"blobs": 1.0}, has_targets=True)
    batch = draw_batch(TrainingData({}, {}), (3, 1), shape)
    objects = batch.targets[:, 0].repeat_interleave(2, 0) > 0
    masks = batch.masks[:, 0, 2::4, 2::4]
    assert masks.any()
    assert not (masks & ~objects).any()


def test_no_targets_are_drawn_where_none_are_wanted():
    shape = BatchShape(1, 64, 1, 2, {"blobs": 1.0})
    assert draw_batch(TrainingData({}, {}), (3, 1), shape).targets is None
