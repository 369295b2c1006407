"""Reading weights: what is accepted, what is refused, and in which words."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sam2_plugins.core import key_names
from sam2_plugins.core.checkpoints import (
    blank_model,
    build_model,
    infer_config,
    read_checkpoint,
    save_checkpoint,
)
from sam2_plugins.core.config import MODELS, NANO
from sam2_plugins.core.model.sam2 import SAM2

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def nano() -> SAM2:
    torch.manual_seed(0)
    return SAM2(NANO).eval()


@pytest.fixture
def weights(nano: SAM2) -> Weights:
    return dict(nano.state_dict())


def without_memory(weights: Weights) -> Weights:
    """What transformers' Sam2Model would hold, officially named."""
    kept = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")
    return {name: weight for name, weight in weights.items() if name.startswith(kept)}


WRITERS: dict[str, Callable[[Weights, Path], None]] = {
    "official.pt": lambda weights, path: torch.save({"model": weights}, path),
    "bare.pt": torch.save,
    "official.safetensors": save_file,
    "model.safetensors": lambda weights, path: save_file(key_names.to_transformers(weights), path),
}


@pytest.mark.parametrize("filename", WRITERS)
def test_every_layout_gives_the_same_weights(weights: Weights, tmp_path: Path, filename: str):
    WRITERS[filename](weights, tmp_path / filename)
    read = read_checkpoint(tmp_path / filename)
    assert read.config == NANO
    assert read.has_memory
    assert read.tensors.keys() == weights.keys()
    assert all(torch.equal(read.tensors[name], weights[name]) for name in weights)


def test_the_content_tells_the_layout_not_the_ending(weights: Weights, tmp_path: Path):
    save_file(weights, tmp_path / "model.bin")
    assert read_checkpoint(tmp_path / "model.bin").config == NANO


def test_our_own_file_comes_back(nano: SAM2, tmp_path: Path):
    path = tmp_path / "own.safetensors"
    save_checkpoint(nano, path, notes={"licence": "Apache-2.0"})
    assert [left.name for left in tmp_path.iterdir()] == ["own.safetensors"]
    assert path.stat().st_size < 2.1 * sum(weight.numel() for weight in nano.parameters())

    loaded = build_model(read_checkpoint(path))
    for name, weight in nano.state_dict().items():
        stored = loaded.state_dict()[name]
        if "gaussian_matrix" in name:
            assert torch.equal(stored, weight)
        else:
            assert torch.equal(stored, weight.half())


def test_our_own_file_carries_a_configuration_of_no_published_size(tmp_path: Path):
    config = replace(NANO, name="smaller", stages=(1, 1, 2, 1), global_blocks=(3,))
    save_checkpoint(SAM2(config), tmp_path / "own.safetensors")
    assert read_checkpoint(tmp_path / "own.safetensors").config == config


@pytest.mark.parametrize("name", MODELS)
def test_size_and_version_are_inferred_from_shapes(name: str):
    assert infer_config(blank_model(MODELS[name]).state_dict()) == MODELS[name]


def test_a_blank_model_is_complete_and_leaves_random_numbers_alone():
    before = torch.get_rng_state()
    names = blank_model(NANO).state_dict().keys()
    assert torch.equal(torch.get_rng_state(), before)
    assert names == SAM2(NANO).state_dict().keys()


def test_weights_for_images_only(weights: Weights, tmp_path: Path):
    save_file(without_memory(weights), tmp_path / "image.safetensors")
    read = read_checkpoint(tmp_path / "image.safetensors")
    assert not read.has_memory
    model = build_model(read)
    assert not model.has_memory
    assert torch.equal(model.no_mem_embed, weights["no_mem_embed"])
    # What is not there cannot be mistaken for a weight.
    assert model.memory_encoder.out_proj.weight.isnan().all()
    assert not any(t.isnan().any() for t in model.image_encoder.state_dict().values())


def assert_refused(path: Path, *words: str) -> None:
    with pytest.raises(ValueError, match="checkpoint") as refused:
        read_checkpoint(path)
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 900
    for word in (str(path), *words):
        assert word in message


@pytest.mark.parametrize("filename", WRITERS)
def test_missing_and_unexpected_tensors_are_listed(weights, tmp_path, filename):
    absent = weights.pop("sam_mask_decoder.iou_token.weight")
    weights["sam_mask_decoder.iou_tokens.weight"] = absent
    WRITERS[filename](weights, tmp_path / filename)
    begin = "mask_decoder" if filename == "model.safetensors" else "sam_mask_decoder"
    assert_refused(
        tmp_path / filename,
        f"1 missing: {begin}.iou_token.weight",
        f"1 unexpected: {begin}.iou_tokens.weight",
        "nano",
    )


def test_a_file_without_a_part_of_the_memory_is_not_one_for_images(weights, tmp_path):
    kept = {n: t for n, t in weights.items() if not n.startswith("memory_encoder.")}
    torch.save(kept, tmp_path / "part.pt")
    assert_refused(tmp_path / "part.pt", "missing: memory_encoder.", "more")


def test_tensors_of_another_shape_are_listed(weights, tmp_path):
    weights["no_mem_embed"] = torch.zeros(1, 1, 7)
    torch.save(weights, tmp_path / "shape.pt")
    assert_refused(tmp_path / "shape.pt", "no_mem_embed (1, 1, 7) instead of (1, 1, 128)")


def test_the_two_copies_of_the_fourier_matrix_must_agree(weights, tmp_path):
    named = key_names.to_transformers(weights)
    named["shared_image_embedding.positional_embedding"] += 1
    save_file(named, tmp_path / "model.safetensors")
    assert_refused(tmp_path / "model.safetensors", "differ")
    del named["shared_image_embedding.positional_embedding"]
    save_file(named, tmp_path / "one.safetensors")
    assert read_checkpoint(tmp_path / "one.safetensors").config == NANO


def test_a_size_nobody_publishes_is_named(weights, tmp_path):
    weights["image_encoder.trunk.pos_embed"] = torch.zeros(1, 50, 7, 7)
    torch.save(weights, tmp_path / "odd.pt")
    assert_refused(tmp_path / "odd.pt", "no known size", "50 channels", "sam2.1-large")


def resnet() -> Weights:
    return {f"layer{i}.0.conv1.weight": torch.zeros(4, 4, 3, 3) for i in range(1, 60)}


def sam_1() -> Weights:
    names = ("image_encoder.pos_embed", "image_encoder.blocks.0.attn.qkv.weight", "mask_decoder.x")
    return {name: torch.zeros(3, 3) for name in names}


@pytest.mark.parametrize("make", [resnet, sam_1, dict])
def test_another_network_is_not_sam_2(tmp_path, make):
    torch.save(make(), tmp_path / "other.pt")
    assert_refused(tmp_path / "other.pt", "not a SAM 2 checkpoint", f"{len(make())} tensors")


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {"model": {"a": 1}}, {1: torch.zeros(1)}, "text"]
)
def test_something_else_than_tensors_by_name(tmp_path, content):
    torch.save(content, tmp_path / "thing.pt")
    assert_refused(tmp_path / "thing.pt", "does not hold tensors by name")


@pytest.mark.parametrize("filename", ["official.pt", "model.safetensors"])
def test_damaged_files(weights, tmp_path, filename):
    path = tmp_path / filename
    WRITERS[filename](weights, path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2], whole[:-1], b"\0" * 1000):
        path.write_bytes(damaged)
        assert_refused(path, "damaged")


@pytest.mark.parametrize("filename", ["notes.txt", "model.pt", "model.safetensors"])
def test_a_text_file(tmp_path, filename):
    (tmp_path / filename).write_text("These are not the weights that you are looking for.\n" * 9)
    assert_refused(tmp_path / filename, "damaged")


def test_configurations_that_cannot_be_read(weights, tmp_path):
    fields = {**asdict(NANO), "num_heads_per_stage": 3}
    for stored in ("{", "[]", json.dumps(fields)):
        save_file(weights, tmp_path / "own.safetensors", {"sam2_plugins_config": stored})
        assert_refused(tmp_path / "own.safetensors", "configuration cannot be read")


class Attack:
    """Unpickled, it would make a folder."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self):
        return (os.mkdir, (str(self.victim),))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(weights, tmp_path, legacy):
    victim, path = tmp_path / "made by the attack", tmp_path / "evil.pt"
    torch.save(
        {"model": weights, "extra": Attack(victim)}, path, _use_new_zipfile_serialization=not legacy
    )
    assert_refused(path, "refused", "run code", "mkdir")
    assert not victim.exists()
    pickle.loads(pickle.dumps(Attack(victim)))
    assert victim.exists(), "the attack would not have worked anyway"


def test_a_plain_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    victim, path = tmp_path / "made by the attack", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"model": Attack(victim)}, protocol=2))
    assert_refused(path)
    assert not victim.exists()


def test_a_header_that_claims_terabytes_is_refused(tmp_path):
    path = tmp_path / "huge.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}})
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    assert_refused(path, "damaged")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"checkpoint .*none\.pt does not exist"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError, match="is a folder, not a checkpoint file"):
        read_checkpoint(tmp_path)


def test_the_name_table_leads_back(weights):
    for name in (*weights, *(f"{n}" for n in blank_model(MODELS["sam2.1-large"]).state_dict())):
        if "point_embeddings" not in name:
            there = key_names.transformers_name(name)
            assert key_names.official_name(there) == name
    there = key_names.to_transformers(weights)
    assert len(there) == len(weights) - 3 + 1  # one stack for four, one copy more
    back = key_names.from_transformers(there)
    assert back.keys() == weights.keys()


def test_saving_over_a_file_is_all_or_nothing(nano, tmp_path, monkeypatch):
    path = tmp_path / "own.safetensors"
    save_checkpoint(nano, path)
    before = load_file(path)

    def fail(_: object, unfinished: Path, __: object) -> None:
        unfinished.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("sam2_plugins.core.checkpoints.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(nano, path)
    assert load_file(path).keys() == before.keys()
    assert [left.name for left in tmp_path.iterdir()] == ["own.safetensors"]
