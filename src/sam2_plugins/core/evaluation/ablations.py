"""Parts of the tracker taken away, to see what they are worth."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from sam2_plugins.core.model.sam2 import SAM2

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["without_pointers"]


class _WithoutPointers(SAM2):
    """A network that attends to memory maps alone."""

    def with_memory(self, *arguments: Any, **options: Any) -> Tensor:
        """As the whole network, with no object pointers."""
        return super().with_memory(*arguments, **{**options, "pointers": ()})


def without_pointers(model: SAM2) -> SAM2:
    """The same weights without object pointers; the model given stays as it is."""
    blind = copy.copy(model)
    blind.__class__ = _WithoutPointers
    return blind
