"""Which model, where it runs, and when it is in memory."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sam2_plugins.core import SAM2

DEFAULT_MODEL = "nano"
REPORT_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What to load; see `load_model`."""

    name: str = DEFAULT_MODEL
    checkpoint: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    image_size: int | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """How far the download of a model's weights is; all of it ends one."""

    name: str
    done_bytes: int
    total_bytes: int

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to come."""
        return self.done_bytes >= self.total_bytes


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that can be chosen.

    Attributes:
        name: What `ModelChoice` takes.
        text: Size, licence and where its weights are, in words.
        is_here: Whether nothing has to be downloaded.
    """

    name: str
    text: str
    is_here: bool


@dataclass(frozen=True, slots=True)
class Loading:
    """What to load, and how to tell of it.

    Attributes:
        choice: The model.
        progress: Told of (bytes that are here, bytes in all) of a download.
        cancelled: Asked whether to go on with it.
    """

    choice: ModelChoice
    progress: Callable[[int, int], None]
    cancelled: Callable[[], bool]


def describe_models() -> tuple[ModelFacts, ...]:
    """Every model there is; torch is imported here, so this is the worker's."""
    from sam2_plugins.core import list_models

    found = []
    for info in list_models():
        size = f"{info.num_parameters / 1e6:.0f} M parameters"
        text = f"{size} · {info.licence} · {info.where}"
        found.append(ModelFacts(info.name, text, info.where != "to download"))
    return tuple(found)


def load(loading: Loading) -> "SAM2":
    """Load a model; torch is imported here for the first time.

    Raises:
        DownloadCancelled: `loading.cancelled` said so.
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
    choice = loading.choice
    return load_model(
        choice.name,
        checkpoint=choice.checkpoint,
        device=choice.device,
        dtype=choice.dtype,  # type: ignore[arg-type]
        image_size=choice.image_size,
        progress=loading.progress,
        cancelled=loading.cancelled,
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
        self.on_download: Callable[[Download], None] = lambda download: None
        self._model = model
        self._loader = loader
        self._is_cancelled = threading.Event()
        self._reported_s = 0.0

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model is not None

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
        return sum(w.numel() * w.element_size() for w in model.parameters())

    def get(self) -> "SAM2":
        """The model; see `load` for errors."""
        if self._model is None:
            self._is_cancelled.clear()
            if self._loader is not None:
                self._model = self._loader(self.choice)
            else:
                self._model = load(Loading(self.choice, self._report, self._is_cancelled.is_set))
        return self._model

    def cancel(self) -> None:
        """End a download, from another thread; what has arrived is kept for the next one."""
        self._is_cancelled.set()

    def _report(self, done_bytes: int, total_bytes: int) -> None:
        now = time.monotonic()
        if done_bytes < total_bytes and now - self._reported_s < REPORT_EVERY_S:
            return
        self._reported_s = now
        self.on_download(Download(self.choice.name, done_bytes, total_bytes))

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
