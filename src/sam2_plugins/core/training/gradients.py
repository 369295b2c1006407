"""One flat gradient, averaged over processes, and a running average of the weights."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn

from sam2_plugins.core.training.sharding import is_shared_out, local, norm_of


class FlatGradient:
    """The gradients of all parameters as views of one buffer.

    Small models spend more time on many small messages than on the numbers in them; one buffer
    is one message. A few more numbers, such as losses, ride along. The gradients of what is shared
    out are not in it: they are averaged where they arise, see `sharding`.

    Args:
        parameters: The parameters; their `.grad` becomes a view of the buffer.
        num_extras: How many other numbers are averaged with the gradient.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, num_extras: int) -> None:
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        kept = [parameter for parameter in learning if not is_shared_out(parameter)]
        self._shared_out = [parameter for parameter in learning if is_shared_out(parameter)]
        self._views: list[tuple[nn.Parameter, Tensor]] = []
        length = sum(parameter.numel() for parameter in kept)
        device = kept[0].device if kept else None
        self._buffer = torch.zeros(length + num_extras, device=device)
        self._length = length
        offset = 0
        for parameter in kept:
            view = self._buffer[offset : offset + parameter.numel()]
            parameter.grad = view.view_as(parameter)
            self._views.append((parameter, parameter.grad))
            offset += parameter.numel()

    def clear(self) -> None:
        """Set everything to zero; parameters that do not learn now have no gradient at all."""
        self._buffer.zero_()
        for parameter, view in self._views:
            parameter.grad = view if parameter.requires_grad else None
        for parameter in self._shared_out:
            parameter.grad = None

    def average(self, extras: list[float]) -> list[float]:
        """Average the gradients, and some numbers, over all processes.

        Args:
            extras: As many numbers as `num_extras`.

        Returns:
            The averaged numbers.
        """
        for parameter in self._shared_out:
            if not parameter.requires_grad:
                parameter.grad = None
        self._buffer[self._length :] = torch.tensor(extras)
        if distributed.is_initialized():
            distributed.all_reduce(self._buffer)
            self._buffer /= distributed.get_world_size()
        return [float(value) for value in self._buffer[self._length :]]

    def clip(self, limit: float) -> float:
        """Scale the gradient down to a norm of at most `limit`; return the norm it had."""
        gradient = self._buffer[: self._length]
        norm = float(gradient.norm())
        shares = [parameter.grad for parameter in self._shared_out if parameter.grad is not None]
        if self._shared_out:
            norm = math.hypot(norm, norm_of(shares))
        if norm > limit:
            gradient *= limit / norm
            for share in shares:
                share *= limit / norm
        return norm


class AverageWeights:
    """A running average of a model's state, started anew without bias.

    Args:
        model: Whose floating-point state is averaged.
    """

    def __init__(self, model: nn.Module) -> None:
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int, decay: float) -> None:
        """Move towards the model by 1 - decay, faster in the first steps."""
        rate = 1 - min(decay, (1 + step) / (10 + step))
        current = model.state_dict()
        names = [name for name, value in self.state.items() if value.is_floating_point()]
        targets = [local(current[name]) for name in names]
        torch._foreach_lerp_([local(self.state[name]) for name in names], targets, rate)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over a saved average."""
        for name, value in self.state.items():
            value.copy_(state[name])
