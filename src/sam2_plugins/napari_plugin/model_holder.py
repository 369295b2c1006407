"""The model in use: when it is in memory, and how another takes its place."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from sam2_plugins.napari_plugin import models
from sam2_plugins.napari_plugin.model_loading import ModelLoad
from sam2_plugins.napari_plugin.models import Download, ModelChoice

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2, ModelConfig


class ModelHolder:
    """The model, loaded when first asked for. `get`, `replace` and `unload` are the worker's.

    Args:
        model: One that is loaded already.
        loader: Loads a choice.
    """

    def __init__(
        self, model: "SAM2 | None" = None, loader: Callable[[ModelChoice], "SAM2"] | None = None
    ) -> None:
        self.choice = ModelChoice()
        self.on_download: Callable[[Download], None] = lambda download: None
        self._model = model
        self._weights: WeakKeyDictionary[SAM2, int] = WeakKeyDictionary()
        self._loader = loader
        self._load: ModelLoad | None = None
        self._next: ModelLoad | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded: this one, or the next."""
        return self._load is not None or self._next is not None

    @property
    def is_preparing(self) -> bool:
        """Whether another model is being loaded, to take the place of this one."""
        return self._next is not None

    @property
    def wanted(self) -> ModelChoice:
        """The next model while one is being loaded, else this one."""
        following = self._next
        return self.choice if following is None else following.choice

    @property
    def config(self) -> "ModelConfig | None":
        """Of the network that is loaded; None if there is none."""
        return None if self._model is None else self._model.config

    @property
    def device(self) -> str:
        """Where the loaded model is, and how precisely; empty if there is none."""
        model = self._model
        return "" if model is None else f"{model.device} {str(model.dtype).removeprefix('torch.')}"

    def memory_bytes(self) -> int | None:
        """Memory that the model holds; on CUDA, all that PyTorch holds there. None if unloaded."""
        model = self._model
        if model is None:
            return None
        if model.device.type == "cuda":
            import torch

            return int(torch.cuda.memory_allocated(model.device))
        if model not in self._weights:
            # Asked for at every answer, and weights do not grow.
            sizes = (w.numel() * w.element_size() for w in model.parameters())
            self._weights[model] = sum(sizes)
        return self._weights[model]

    def get(self) -> "SAM2":
        """The model; see `load` for errors."""
        if self._model is None:
            current = self._load = self._make(self.choice)
            current.start()
            try:
                self._model = current.result()
            finally:
                self._load = None
        return self._model

    def prepare(self, choice: ModelChoice, on_over: Callable[[ModelLoad], None]) -> None:
        """Load another model beside this one, which goes on answering meanwhile.

        Args:
            choice: The other model; one that was being prepared is given up.
            on_over: Called from another thread when it is loaded, or is not; then `take` it.
        """
        before, self._next = self._next, self._make(choice, on_over)
        if before is not None:
            before.cancel()
        self._next.start()

    def take(self, load: ModelLoad) -> bool:
        """End preparing; False if that load is not wanted any more."""
        is_wanted = load is self._next
        if is_wanted:
            self._next = None
        return is_wanted

    def cancel(self) -> None:
        """End what is being loaded, from another thread; what has arrived is kept for next time."""
        for load in (self._load, self._next):
            if load is not None:
                load.cancel()

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

    def _make(
        self, choice: ModelChoice, on_over: Callable[[ModelLoad], None] = lambda over: None
    ) -> ModelLoad:
        loader = self._loader
        return ModelLoad(
            choice,
            load=models.load if loader is None else lambda _: loader(choice),
            progress=partial(self._report, choice.name),
            on_over=on_over,
        )

    def _report(self, name: str, done_bytes: int, total_bytes: int) -> None:
        self.on_download(Download(name, done_bytes, total_bytes))
