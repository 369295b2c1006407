"""Which model, where it runs, and when it is in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2

DEFAULT_MODEL = "nano"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What to load; see `load_model`."""

    name: str = DEFAULT_MODEL
    checkpoint: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    image_size: int | None = None


def load(choice: ModelChoice) -> "SAM2":
    """Load a model; torch is imported here for the first time.

    Raises:
        ValueError: The choice does not fit.
        FileNotFoundError: The weights are not here and cannot be downloaded.
        RuntimeError: PyTorch cannot be loaded.
    """
    try:
        from sam2_plugins.core import load_model
    except OSError as error:
        # On Windows, a library that Qt has loaded before can keep PyTorch's from loading.
        raise RuntimeError(
            f"PyTorch cannot be loaded ({error}): start Python with `import torch` before napari"
        ) from error
    return load_model(
        choice.name,
        checkpoint=choice.checkpoint,
        device=choice.device,
        dtype=choice.dtype,  # type: ignore[arg-type]
        image_size=choice.image_size,
    )


class ModelHolder:
    """The model, loaded when first asked for. `get` and `unload` are the worker's.

    Args:
        model: One that is loaded already.
        loader: Loads a choice.
    """

    def __init__(
        self, model: "SAM2 | None" = None, loader: Callable[[ModelChoice], "SAM2"] | None = None
    ) -> None:
        self.choice = ModelChoice()
        self._model = model
        self._loader = loader

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

    @property
    def device(self) -> str:
        """Where the loaded model is; empty if there is none."""
        return "" if self._model is None else str(self._model.device)

    def memory_bytes(self) -> int | None:
        """Memory that the model holds; on CUDA, all that PyTorch holds there. None if unloaded."""
        model = self._model
        if model is None:
            return None
        if model.device.type == "cuda":
            import torch

            return int(torch.cuda.memory_allocated(model.device))
        return sum(w.numel() * w.element_size() for w in model.parameters())

    def get(self) -> "SAM2":
        """The model; see `load` for errors."""
        if self._model is None:
            self._model = (self._loader or load)(self.choice)
        return self._model

    def replace(self, model: "SAM2 | None") -> None:
        """Use another model, or load anew."""
        self._model = model

    def unload(self) -> None:
        """Free the memory."""
        if self._model is None:
            return
        is_cuda = self._model.device.type == "cuda"
        self._model = None
        if is_cuda:
            import torch

            torch.cuda.empty_cache()
