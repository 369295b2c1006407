"""What a run is asked to do: the parameters of `propagate_masks`, checked."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sam2_plugins.core import SAM2, list_models, load_model
from sam2_plugins.fiftyone_plugin.runner import DIRECTIONS
from sam2_plugins.fiftyone_plugin.store import clean_field

STORAGES = ("database", "path")
ENGINES = ("local", "delegated", "ray")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_SIDE = 32
"""The network halves its input so often."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to propagate.

    Attributes:
        prompt_field: Frame field with prompts; several, comma separated.
        output_field: Frame field for the masks.
        model: A name of `list_models()`, or the path of a checkpoint.
        direction: "both", "forward" or "backward", away from the prompts.
        mask_storage: "database", or "path" for PNG files.
        start: First frame to compute, from 1; the first of all if not given.
        stop: Last frame to compute; the last of all if not given.
        stride: Every how manyth frame, from `start` on.
        overwrite: Redo tracks whose prompts have not changed, too.
        mask_dir: Where PNG files are put; FiftyOne's folder for datasets if not given.
        work_dir: Where unfinished work is put, for the next run; likewise.
        image_size: Side of the network's input; the model's own if not given.
        device: "auto", "cpu", "mps", "cuda" or "cuda:N".
    """

    prompt_field: str = "prompts"
    output_field: str = "masks"
    model: str = "nano"
    direction: str = "both"
    mask_storage: str = "database"
    start: int | None = None
    stop: int | None = None
    stride: int = 1
    overwrite: bool = False
    mask_dir: str | None = None
    work_dir: str | None = None
    image_size: int | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        _check_choice("direction", self.direction, DIRECTIONS)
        _check_choice("mask_storage", self.mask_storage, STORAGES)
        for name in ("start", "stop", "stride", "image_size"):
            whole_number(name, getattr(self, name))
        if self.image_size and self.image_size % _SIDE:
            raise ValueError(f"image_size must be a multiple of {_SIDE}, not {self.image_size}")
        if not _DEVICE.fullmatch(self.device):
            raise ValueError(f"device must be auto, cpu, mps, cuda or cuda:N, not {self.device!r}")
        if self.start and self.stop and self.stop < self.start:
            raise ValueError(f"stop ({self.stop}) must not be before start ({self.start})")
        if not self.prompt_fields:
            raise ValueError("prompt_field must name a field with prompts")
        clean_field(self.output_field)

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Options":
        """Read an operator's parameters; what is missing, None or empty is the default.

        Raises:
            ValueError: A value is not allowed.
        """
        names = cls.__dataclass_fields__
        given = {
            name: value
            for name, value in params.items()
            if name in names and value is not None and value != ""
        }
        for name in ("start", "stop", "stride", "image_size"):
            if name in given:
                given[name] = whole_number(name, given[name])
        if "prompt_field" in given:
            given["prompt_field"] = ", ".join(field_names(given["prompt_field"]))
        return cls(**given)

    @property
    def prompt_fields(self) -> list[str]:
        """The names, without `frames.`."""
        return field_names(self.prompt_field)

    @property
    def field(self) -> str:
        """The output field's name, without `frames.`."""
        return clean_field(self.output_field)

    def to_params(self) -> dict[str, Any]:
        """As parameters of the operator."""
        return asdict(self)

    def load_model(self) -> SAM2:
        """Load the model; the last one is kept for the next video.

        Raises:
            ValueError: There is no such model, or its file cannot be read.
        """
        return _load_model(self.model, self.image_size, self.device)

    def digest(self, others: object) -> str:
        """A hash of everything but the prompts that masks depend on.

        Args:
            others: What else they depend on, as what says which frames are computed.
        """
        weights = model_path(self.model)
        is_there = weights is not None and weights.is_file()
        status = weights.stat() if is_there and weights is not None else None
        facts = (
            *("1", self.model, self.image_size, self.direction, self.mask_storage, others),
            None if status is None else (status.st_size, status.st_mtime_ns),
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def model_path(model: str) -> Path | None:
    """The file with a model's weights; None where its name is not known.

    Args:
        model: A name, or the path of a checkpoint.
    """
    known = {info.name: info.path for info in list_models()}
    if model in known:
        return Path(known[model])
    return Path(model) if Path(model).is_file() else None


@lru_cache(maxsize=1)
def _load_model(model: str, image_size: int | None, device: str) -> SAM2:
    is_name = model in {info.name for info in list_models()}
    if is_name or not Path(model).is_file():
        return load_model(model, image_size=image_size, device=device)
    return load_model(checkpoint=model, image_size=image_size, device=device)


def check_model(model: str) -> None:
    """Refuse a model that is neither known nor a file.

    Raises:
        ValueError: The message lists those that are known.
    """
    if model_path(model) is None:
        known = ", ".join(info.name for info in list_models())
        raise ValueError(f"model {model!r} is neither a file nor one of {known}")


def field_names(given: str | Sequence[str]) -> list[str]:
    """Names of fields without `frames.`, from text with commas or a list.

    Raises:
        ValueError: One is no name of a field.
    """
    names = given.split(",") if isinstance(given, str) else given
    return [clean_field(name) for name in names if name.strip()]


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be {', '.join(allowed)}, not {value!r}")


def whole_number(name: str, value: Any) -> int | None:
    """A number of 1 or more that a form or a caller gave; None where it is empty.

    Raises:
        ValueError: It is none.
    """
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or number < 1 or number != int(number):
        raise ValueError(f"{name} must be a whole number of 1 or more, not {value!r}")
    return int(number)
