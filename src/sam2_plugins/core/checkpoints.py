"""Reads weights from files, strictly and without running anything that is in them.

Three layouts are understood: the official `.pt` (a pickle, of which only tensors are read), the
safetensors of transformers' Sam2Model and Sam2VideoModel, and our own safetensors, which carry
their configuration along.
"""

import json
import pickle
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sam2_plugins.core.config import MODELS, ModelConfig
from sam2_plugins.core.key_names import from_transformers, is_transformers, transformers_name
from sam2_plugins.core.model.sam2 import SAM2

_CONFIG_KEY = "sam2_plugins_config"
_NUM_LISTED = 8

# What only video needs; transformers' Sam2Model is saved without.
_MEMORY_PREFIXES = (
    "memory_attention.",
    "memory_encoder.",
    "mask_downsample.",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "maskmem_tpos_enc",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The contents of a weights file, complete and of a known size.

    Attributes:
        config: The network it is for.
        tensors: Every weight by its official name, in the dtype of the file, on the CPU.
        has_memory: False where the file has no weights for video, only for images.
    """

    config: ModelConfig
    tensors: dict[str, Tensor]
    has_memory: bool


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a weights file and finds out which network it is for.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be read, holds something else, or tensors are missing or too many.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder, not a checkpoint file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"checkpoint {path} {what}")
    tensors, notes = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    translates = is_transformers(tensors)
    try:
        official = from_transformers(tensors) if translates else tensors
        config = config_from_notes(notes) or infer_config(official)
        has_memory = any(name.startswith(_MEMORY_PREFIXES) for name in official)
        _require_shapes(config, official, has_memory=has_memory, translates=translates)
    except ValueError as error:
        raise ValueError(f"checkpoint {path}: {error}") from error
    return Checkpoint(config, official, has_memory)


def save_checkpoint(
    model: SAM2,
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float16,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Writes a model's weights as our own safetensors, moved into place whole.

    Args:
        model: The model.
        path: The file, ending in `.safetensors`.
        dtype: What the weights are stored as.
        notes: Further facts to store, such as the licence and where the weights come from.
    """
    path = Path(path)
    # The Fourier matrix, the one buffer, is small and exact.
    buffers = {name for name, _ in model.named_buffers()}
    tensors = {
        name: tensor.detach().to("cpu", torch.float32 if name in buffers else dtype).contiguous()
        for name, tensor in model.state_dict().items()
    }
    metadata = {**(notes or {}), _CONFIG_KEY: json.dumps(asdict(model.config))}
    unfinished = path.with_name(f"{path.name}.part")
    try:
        save_file(tensors, unfinished, metadata)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def build_model(checkpoint: Checkpoint, *, image_size: int | None = None) -> SAM2:
    """Returns the network with the weights of a checkpoint, on the CPU, in the file's dtype.

    The weights of the memory are NaN where the checkpoint has none.

    Args:
        checkpoint: The weights.
        image_size: Side of the model's input in pixels; by default the config's.
    """
    model = blank_model(checkpoint.config, image_size=image_size)
    dtype = next(iter(checkpoint.tensors.values())).dtype
    absent = {
        name: torch.full(weight.shape, torch.nan, dtype=dtype)
        for name, weight in model.state_dict().items()
        if name not in checkpoint.tensors
    }
    model.load_state_dict({**checkpoint.tensors, **absent}, strict=True, assign=True)
    model.has_memory = checkpoint.has_memory
    return model


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves large new weights as they were allocated.

    The usual way, the meta device, loads PyTorch's compiler: seconds for the first model.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def blank_model(config: ModelConfig, *, image_size: int | None = None) -> SAM2:
    """Returns a network to be filled with weights; until then its values mean nothing."""
    with torch.random.fork_rng(devices=[]), _WithoutInitialisation():
        return SAM2(config, image_size=image_size)


def infer_config(tensors: Mapping[str, Tensor]) -> ModelConfig:
    """Returns the configuration that tensors, named officially, are for, judged by their shapes.

    Weights for images only are the same in both versions and count as 2.1.

    Raises:
        ValueError: They are not of SAM 2, or of no known size.
    """
    try:
        embed_dim = tensors["image_encoder.trunk.pos_embed"].shape[1]
        model_dim = tensors["image_encoder.neck.convs.0.conv.weight"].shape[0]
    except (KeyError, IndexError):
        raise ValueError(
            f"not a SAM 2 checkpoint: it holds {len(tensors)} tensors{_such_as(tensors)}"
        ) from None
    blocks = (re.match(r"image_encoder\.trunk\.blocks\.(\d+)\.", name) for name in tensors)
    num_blocks = len({block[1] for block in blocks if block})
    is_first_version = "no_obj_ptr" in tensors and "no_obj_embed_spatial" not in tensors
    for config in MODELS.values():
        if (
            (config.embed_dim, sum(config.stages)) == (embed_dim, num_blocks)
            and config.model_dim == model_dim
            and (config.version == "2.0") == is_first_version
        ):
            return config
    raise ValueError(
        f"a SAM 2 checkpoint of no known size: trunk of {num_blocks} blocks, {embed_dim} channels "
        f"at first, {model_dim} after the neck; known sizes are {', '.join(MODELS)}"
    )


def config_from_notes(notes: Mapping[str, str]) -> ModelConfig | None:
    """Returns the configuration in the header of a file of our own, None where there is none.

    Raises:
        ValueError: It cannot be read.
    """
    if _CONFIG_KEY not in notes:
        return None
    try:
        return make_config(json.loads(notes[_CONFIG_KEY]))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"its configuration cannot be read ({error})") from error


def make_config(fields: Mapping[str, Any]) -> ModelConfig:
    """Returns a configuration from its fields, in which lists stand for tuples."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return ModelConfig(**values)


def _require_shapes(
    config: ModelConfig, tensors: Mapping[str, Tensor], *, has_memory: bool, translates: bool
) -> None:
    """Raises ValueError that lists the tensors that are missing, too many or of another shape."""
    wanted = {name: weight.shape for name, weight in blank_model(config).state_dict().items()}
    if not has_memory:
        wanted = {n: shape for n, shape in wanted.items() if not n.startswith(_MEMORY_PREFIXES)}

    def named(names: Collection[str]) -> str:
        return _listed([transformers_name(n) if translates else n for n in names])

    missing = wanted.keys() - tensors.keys()
    unexpected = tensors.keys() - wanted.keys()
    misshapen = [
        f"{transformers_name(name) if translates else name} {tuple(tensors[name].shape)} instead "
        f"of {tuple(shape)}"
        for name, shape in wanted.items()
        if name in tensors and tensors[name].shape != shape
    ]
    problems = [
        f"{len(missing)} missing: {named(missing)}" if missing else "",
        f"{len(unexpected)} unexpected: {named(unexpected)}" if unexpected else "",
        f"{len(misshapen)} of another shape: {_listed(misshapen)}" if misshapen else "",
    ]
    if any(problems):
        raise ValueError(
            f"its tensors do not fit {config.name}; " + "; ".join(filter(None, problems))
        )


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _NUM_LISTED} more" if len(names) > _NUM_LISTED else ""
    return ", ".join(names[:_NUM_LISTED]) + more


def _such_as(names: Iterable[str]) -> str:
    names = sorted(names)
    return f" such as {names[0]}" if names else ""


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: the header's length, then the header, JSON."""
    with path.open("rb") as stream:
        start = stream.read(9)
    return path.suffix == ".safetensors" or start[8:] == b"{"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is damaged or not of safetensors ({error})") from error


def _read_pickle(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found is None:
            raise ValueError(f"checkpoint {path} is damaged or not a checkpoint") from error
        raise ValueError(
            f"checkpoint {path} is refused: it asks to run code ({found[1]}), and only tensors are "
            "read"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"checkpoint {path} is damaged or not a checkpoint") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise ValueError(
            f"checkpoint {path} is not a SAM 2 checkpoint: it does not hold tensors by name"
        )
    return content, {}
