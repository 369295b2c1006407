"""Getting a model by name or by file, on a device and in a dtype."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from sam2_plugins.core import weights
from sam2_plugins.core.checkpoints import blank_model, save_checkpoint
from sam2_plugins.core.config import MODELS, NANO
from sam2_plugins.core.download import RemoteFile
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.weights import PUBLISHED_FILES, list_models, load_model, model_hash


@pytest.fixture(scope="module")
def nano() -> SAM2:
    torch.manual_seed(0)
    return SAM2(NANO).eval()


@pytest.fixture(scope="module")
def assets(nano: SAM2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the package's own, with random weights in it."""
    folder = tmp_path_factory.mktemp("assets")
    save_checkpoint(nano, folder / "nano.safetensors")
    return folder


@pytest.fixture(autouse=True)
def in_a_fresh_place(assets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_ASSETS", assets)
    monkeypatch.setenv("SAM2_PLUGINS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(assets: Path) -> Path:
    return assets / "nano.safetensors"


def features(model: SAM2) -> Tensor:
    size = model.image_size
    image = torch.linspace(-2, 2, 3 * size * size).reshape(1, 3, size, size)
    with torch.inference_mode():
        return model.encode_image(image.to(model.device)).stride_16.float().cpu()


def test_the_bundled_model_is_the_default(nano: SAM2):
    model = load_model(device="cpu")
    assert model.config == NANO
    assert model.device.type == "cpu"
    assert model.dtype == torch.float32
    assert model.image_size == NANO.image_size
    assert not model.training
    # Weights were stored in half precision.
    assert torch.allclose(features(model), features(nano), atol=0.05)


def test_a_checkpoint_alone_is_enough(file: Path):
    assert load_model(checkpoint=file, device="cpu").config == NANO
    assert load_model(checkpoint=str(file), device="cpu").config == NANO


def test_a_checkpoint_of_another_model_than_named_is_refused(file: Path):
    with pytest.raises(ValueError, match=r"nano\.safetensors is for nano, not for sam2\.1-tiny"):
        load_model("sam2.1-tiny", checkpoint=file)


def test_weights_for_images_only_suit_both_versions(tmp_path: Path):
    kept = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")
    tensors = {
        name: torch.zeros_like(weight)
        for name, weight in blank_model(MODELS["sam2-tiny"]).state_dict().items()
        if name.startswith(kept)
    }
    path = tmp_path / "image.safetensors"
    save_file(tensors, path)
    for name in ("nano", "sam2-tiny", "sam2.1-tiny"):
        assert not load_model(name, checkpoint=path, device="cpu").has_memory
    with pytest.raises(ValueError, match=r"is for sam2\.1-tiny, not for sam2-small"):
        load_model("sam2-small", checkpoint=path)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes_are_of_the_weights_but_for_the_fourier_matrix(dtype: str):
    model = load_model(device="cpu", dtype=dtype)
    assert {weight.dtype for weight in model.parameters()} == {getattr(torch, dtype)}
    assert {buffer.dtype for buffer in model.buffers()} == {torch.float32}


def test_bfloat16_is_close(nano: SAM2):
    half, full = features(load_model(device="cpu", dtype="bfloat16")), features(nano)
    assert (half - full).abs().mean() < 0.03 * full.abs().mean()


def test_image_size_can_be_chosen():
    model = load_model(device="cpu", image_size=64)
    assert model.image_size == 64
    assert features(model).shape[-2:] == (4, 4)


@pytest.mark.parametrize("image_size", [0, -32, 100, 250])
def test_image_size_is_a_multiple_of_32(image_size: int):
    with pytest.raises(ValueError, match=f"positive multiple of 32, not {image_size}"):
        load_model(device="cpu", image_size=image_size)


def test_unknown_names_are_answered_with_the_known():
    with pytest.raises(ValueError, match=r"unknown model 'sam3'; the models are nano, sam2-tiny, "):
        load_model("sam3")


def test_unknown_dtypes_and_devices():
    with pytest.raises(ValueError, match="unknown dtype 'int8'; it is auto, float32"):
        load_model(device="cpu", dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown device 'gpu'; it is auto, cpu, cuda"):
        load_model(device="gpu")
    for missing in ("cuda:99", "xpu", "meta"):
        with pytest.raises(ValueError, match=f"device '{missing}' is not available here"):
            load_model(device=missing)


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_the_best_device_is_chosen(monkeypatch, has_cuda, has_mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    assert weights._choose_device("auto").type == expected


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)]
)
def test_cards_that_compute_in_bfloat16_use_it(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert weights._choose_dtype("auto", torch.device("cuda")) == dtype


@pytest.mark.gpu
def test_on_a_gpu(nano: SAM2):
    model = load_model()
    assert (model.device.type, model.dtype) == ("cuda", torch.bfloat16)
    half, full = features(model), features(nano)
    assert (half - full).abs().mean() < 0.03 * full.abs().mean()


def test_every_published_model_has_its_file():
    assert PUBLISHED_FILES.keys() == MODELS.keys() - {"nano"}
    assert len({remote.sha256 for remote in PUBLISHED_FILES.values()}) == 8
    for name, remote in PUBLISHED_FILES.items():
        assert re.fullmatch("[0-9a-f]{64}", remote.sha256)
        version, size = name.split("-", 1)
        assert remote.filename == f"{version}_hiera_{size.replace('-', '_')}.pt"
        # Weights are float32; names and the archive's directory add a little.
        num_weights = sum(t.numel() for t in blank_model(MODELS[name]).state_dict().values())
        assert 0 < remote.size_bytes - 4 * num_weights < 400_000


def put_into_cache(folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Path:
    """Makes `content` the published file of sam2.1-tiny, already downloaded."""
    remote = RemoteFile(
        "sam2.1-tiny",
        "http://127.0.0.1:9/tiny.pt",
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setitem(PUBLISHED_FILES, "sam2.1-tiny", remote)
    folder.mkdir(exist_ok=True)
    (folder / "tiny.pt").write_bytes(content)
    return folder / "tiny.pt"


def test_models_are_listed_with_where_they_are(file, tmp_path, monkeypatch):
    path = put_into_cache(tmp_path / "cache", monkeypatch, b"weights")
    infos = {info.name: info for info in list_models()}
    assert list(infos) == list(MODELS)

    nano = infos["nano"]
    assert (nano.where, nano.path) == ("bundled", file)
    assert nano.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert nano.licence == "Apache-2.0"

    tiny = infos["sam2.1-tiny"]
    assert (tiny.where, tiny.path) == ("cached", path)
    assert (tiny.num_parameters, tiny.image_size) == (38_962_498, 1024)

    large = infos["sam2.1-large"]
    assert large.where == "to download"
    assert large.path == tmp_path / "cache" / "sam2.1_hiera_large.pt"
    path.write_bytes(b"half")
    assert {info.name: info.where for info in list_models()}["sam2.1-tiny"] == "to download"


def test_a_published_model_comes_from_the_cache(tmp_path, monkeypatch):
    config = replace(NANO, name="sam2.1-tiny")
    monkeypatch.setitem(MODELS, "sam2.1-tiny", config)
    made = tmp_path / "made.safetensors"
    save_checkpoint(SAM2(config), made)
    put_into_cache(tmp_path / "cache", monkeypatch, made.read_bytes())
    assert load_model("sam2.1-tiny", device="cpu").config.name == "sam2.1-tiny"


def test_without_network_the_error_says_what_to_put_where(tmp_path, monkeypatch):
    put_into_cache(tmp_path / "cache", monkeypatch, b"weights").unlink()
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(FileNotFoundError) as refused:
        load_model("sam2.1-tiny", device="cpu")
    for needed in ("sam2.1-tiny", "http://127.0.0.1:9/tiny.pt", str(tmp_path / "cache")):
        assert needed in str(refused.value)


def test_an_installation_without_its_weights_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_ASSETS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"lacks .*nano\.safetensors; install"):
        load_model()


def test_the_hash_changes_with_whatever_changes_the_output():
    reference = load_model(device="cpu")
    assert model_hash(reference) == model_hash(load_model(device="cpu"))
    assert re.fullmatch("[0-9a-f]{16}", model_hash(reference))
    changed = load_model(device="cpu")
    with torch.no_grad():
        changed.no_mem_embed[0, 0, 0] += 1
    others = [
        changed,
        load_model(device="cpu", dtype="bfloat16"),
        load_model(device="cpu", image_size=64),
    ]
    assert len({model_hash(model) for model in (reference, *others)}) == 4
