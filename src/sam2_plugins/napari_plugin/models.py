"""Which models there are, and how one is loaded."""

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
