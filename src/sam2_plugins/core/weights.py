"""Gets a network with its weights: bundled, from a file, from the cache or from where published."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from sam2_plugins.core.checkpoints import (
    Checkpoint,
    blank_model,
    build_model,
    read_checkpoint,
)
from sam2_plugins.core.config import MODELS, ModelConfig, check_image_size
from sam2_plugins.core.download import Progress, RemoteFile, cache_folder, fetch
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.own_models import OwnModel, own_model_file, own_model_names, own_models

DTypeName = Literal["auto", "float32", "bfloat16", "float16"]

_ASSETS = Path(__file__).parent / "assets"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Meta publishes the files without checksums. These sizes and SHA-256 values are those that several
# independent public projects pin for the same addresses, all in agreement: micro-sam for all eight
# (its SAM 2 registry), the 3D Slicer extension SegmentWithSAM for 2.0, and for 2.1 projects that
# took the files from the facebook/sam2.1-hiera-* repositories on the Hugging Face Hub.
_SIZE_BYTES = {
    "sam2-tiny": 155_906_050,
    "sam2-small": 184_309_650,
    "sam2-base-plus": 323_493_298,
    "sam2-large": 897_952_466,
    "sam2.1-tiny": 156_008_466,
    "sam2.1-small": 184_416_285,
    "sam2.1-base-plus": 323_606_802,
    "sam2.1-large": 898_083_611,
}
_SHA256 = {
    "sam2-tiny": "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
    "sam2-small": "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
    "sam2-base-plus": "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
    "sam2-large": "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
    "sam2.1-tiny": "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    "sam2.1-small": "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    "sam2.1-base-plus": "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    "sam2.1-large": "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
}
PUBLISHED_FILES = {
    name: RemoteFile(name, config.checkpoint_url, _SIZE_BYTES[name], _SHA256[name])
    for name, config in MODELS.items()
    if config.checkpoint_url is not None
}
"""The published checkpoint of every model whose weights are not inside the package."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What there is to know about a model before loading it.

    Attributes:
        name: What `load_model` takes.
        num_parameters: Weights of the whole network.
        image_size: Default side of the square input, in pixels.
        licence: SPDX name of the weights' licence.
        where: Whether the weights are in the package, in the cache, still to download, or the
            user's own.
        path: Where the file is, or will be once downloaded.
        sha256: The file's checksum.
    """

    name: str
    num_parameters: int
    image_size: int
    licence: str
    where: Literal["bundled", "cached", "to download", "own"]
    path: Path
    sha256: str


def load_model(
    name: str = "nano",
    *,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "auto",
    dtype: DTypeName = "auto",
    image_size: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> SAM2:
    """Returns a model ready for inference.

    Args:
        name: One of `list_models()`; not needed with a checkpoint, whose tensors tell what it is
            for.
        checkpoint: A local file: the official `.pt`, transformers' `model.safetensors` or our own.
            Without it, weights that are not in the package are downloaded once.
        device: "auto" (the first that is there of cuda, mps and cpu), "cpu", "cuda", "cuda:N" or
            "mps".
        dtype: "auto" is bfloat16 on CUDA devices that compute in it, else float32.
        image_size: Side of the model's square input in pixels, a multiple of 32; by default the
            model's own.
        progress: Called with (bytes that are here, bytes in all) while weights are downloaded.
        cancelled: Asked over and over during a download; True ends it, and what has arrived is
            kept for the next call.

    Raises:
        ValueError: An argument is not one of the above, or the weights do not fit.
        FileNotFoundError: There is no such checkpoint, or no network to download it.
        DownloadCancelled: `cancelled` said so.
    """
    if name not in MODELS and (checkpoint is not None or name not in own_model_names()):
        raise ValueError(f"unknown model {name!r}; the models are {', '.join(_all_names())}")
    if image_size is not None:
        check_image_size(image_size)
    chosen_device = _choose_device(device)
    chosen_dtype = _choose_dtype(dtype, chosen_device)
    path = (
        find_weights(name, progress=progress, cancelled=cancelled)
        if checkpoint is None
        else Path(checkpoint)
    )
    contents = read_checkpoint(path)
    asks_for_any = name not in MODELS or (checkpoint is not None and name == "nano")
    if not asks_for_any and not _is_for(contents, name):
        raise ValueError(f"checkpoint {path} is for {contents.config.name}, not for {name}")
    model = build_model(contents, image_size=image_size).cast(chosen_dtype)
    return model.to(chosen_device).eval()


def list_models() -> list[ModelInfo]:
    """Returns every model and where its weights are now; touches no network.

    The user's own models come last, by name.
    """
    return [*map(_describe, MODELS.values()), *map(_describe_own, own_models())]


def find_weights(
    name: str,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Returns the weights file of a model by name, downloaded when it has to be.

    Args:
        name: One of `list_models()`.
        progress: See `load_model`.
        cancelled: See `load_model`.

    Raises:
        ValueError: There is no model of that name.
        FileNotFoundError: There is no network to download it.
    """
    if name in MODELS:
        return _weights_file(MODELS[name], progress, cancelled)
    if name not in own_model_names():
        raise ValueError(f"unknown model {name!r}; the models are {', '.join(_all_names())}")
    return own_model_file(name)


def model_hash(model: SAM2) -> str:
    """Returns 16 hexadecimal digits that change with anything that changes a model's output.

    That is its weights, their dtype and the size of its input, but not the device.
    """
    digest = hashlib.sha256(f"{model.config} {model.image_size}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _describe(config: ModelConfig) -> ModelInfo:
    remote = PUBLISHED_FILES.get(config.name)
    where: Literal["bundled", "cached", "to download"]
    if remote is None:
        path, where = _bundled_file(config), "bundled"
        found = path.stat()
        sha256 = _sha256(path, found.st_mtime_ns, found.st_size)
    else:
        path, sha256 = cache_folder() / remote.filename, remote.sha256
        is_here = path.is_file() and path.stat().st_size == remote.size_bytes
        where = "cached" if is_here else "to download"
    return ModelInfo(
        name=config.name,
        num_parameters=_num_parameters(config),
        image_size=config.image_size,
        licence=config.licence,
        where=where,
        path=path,
        sha256=sha256,
    )


def _all_names() -> list[str]:
    return [*MODELS, *own_model_names()]


def _describe_own(model: OwnModel) -> ModelInfo:
    return ModelInfo(
        name=model.name,
        num_parameters=_num_parameters(model.config),
        image_size=model.config.image_size,
        licence=model.config.licence,
        where="own",
        path=model.path,
        sha256=model.sha256,
    )


@lru_cache(maxsize=8)
def _sha256(path: Path, _changed_ns: int, _size: int) -> str:
    """Forms ask for it with each change that is made in them."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=64)
def _num_parameters(config: ModelConfig) -> int:
    return sum(weight.numel() for weight in blank_model(config).parameters())


def _weights_file(
    config: ModelConfig, progress: Progress | None, cancelled: Callable[[], bool] | None
) -> Path:
    remote = PUBLISHED_FILES.get(config.name)
    if remote is None:
        return _bundled_file(config)
    return fetch(
        remote,
        cache_folder(),
        check=_require_loadable,
        progress=progress,
        cancelled=cancelled,
    )


def _is_for(contents: Checkpoint, name: str) -> bool:
    """Whether weights are for a model; those for images only are the same in 2.0 and 2.1."""
    found = contents.config.name
    if contents.has_memory:
        return found == name
    return found.removeprefix("sam2.1-") == name.removeprefix("sam2.1-").removeprefix("sam2-")


def _require_loadable(path: Path) -> None:
    read_checkpoint(path)


def _bundled_file(config: ModelConfig) -> Path:
    path = _ASSETS / f"{config.name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"this installation lacks {path}; install sam2-plugins again")
    return path


def _choose_device(device: str | torch.device) -> torch.device:
    has_mps = torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"unknown device {device!r}; it is auto, cpu, cuda, cuda:N or mps"
        ) from error
    num_available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(has_mps)}
    if (chosen.index or 0) >= num_available.get(chosen.type, 0):
        raise ValueError(f"device {str(device)!r} is not available here; auto finds one that is")
    return chosen


def _choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        # Older cards only emulate bfloat16; on CPUs it is faster only with special instructions.
        is_fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if is_fast else torch.float32
    if dtype not in _DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; it is auto, {', '.join(_DTYPES)}")
    return _DTYPES[dtype]
