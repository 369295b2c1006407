"""What Apple GPUs lack in PyTorch versions that we support is not asked of them.

There is none here: a tensor stands in that says it is on one, and refuses what they refuse.
"""

import pytest
import torch
from torch.nn import functional

from sam2_plugins.core.model.layers import resize, sample_within
from sam2_plugins.core.motion import carry


class OnApple(torch.Tensor):
    """A tensor that behaves as if it were on an Apple GPU with PyTorch 2.3."""

    device = property(lambda self: torch.device("mps"))

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.cpu:
            return args[0].as_subclass(torch.Tensor)
        if function is torch.Tensor.to and isinstance(args[1], OnApple):
            return args[0].as_subclass(OnApple)
        if kwargs.get("padding_mode") == "border":
            raise RuntimeError("MPS: Unsupported Border padding mode")
        if kwargs.get("antialias") or kwargs.get("mode") == "bicubic":
            raise NotImplementedError("not currently implemented for the MPS device")
        return super().__torch_function__(function, types, args, kwargs)


def on_apple(tensor):
    return tensor.clone().as_subclass(OnApple)


def places(size=(1, 40, 50, 2)):
    """On the picture, at its very edges, and far outside."""
    generator = torch.Generator().manual_seed(0)
    found = 3 * torch.rand(size, generator=generator) - 1.5
    found[0, 0] = torch.tensor([1.0, -1.0])
    found[0, 1, ::2] = 1e6
    found[0, 1, 1::2] = -1e6
    found[0, 2] = torch.tensor([float("inf"), float("-inf")])
    return found


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (1, 2, 9, 31), (1, 1, 1, 1)])
def test_places_outside_are_those_at_the_edge(shape):
    pictures = 32 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = functional.grid_sample(
        pictures, places(), padding_mode="border", align_corners=False
    )
    assert torch.equal(sample_within(pictures, places()), expected)
    found = sample_within(on_apple(pictures), places()).as_subclass(torch.Tensor)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-4)


def test_masks_are_carried():
    logits = 40 * torch.randn((1, 1, 64, 64), generator=torch.Generator().manual_seed(2))
    found = carry(on_apple(logits), places()).as_subclass(torch.Tensor)
    torch.testing.assert_close(found, carry(logits, places()), rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("options", [{"antialias": True}, {"mode": "bicubic"}])
def test_pictures_are_resized(options):
    pictures = torch.randn((1, 3, 40, 60), generator=torch.Generator().manual_seed(3))
    found = resize(on_apple(pictures), (16, 24), **options)
    assert found.device.type == "mps"
    assert torch.equal(found.as_subclass(torch.Tensor), resize(pictures, (16, 24), **options))
