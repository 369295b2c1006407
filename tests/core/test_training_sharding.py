"""Shares of a network in each process (FSDP): the same weights as with whole ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_training_runs import STAGE, make_run, no_data, weights_of
from tiny import make_tiny
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from sam2_plugins.cli import main
from sam2_plugins.core.child_processes import child_method
from sam2_plugins.core.training import launch
from sam2_plugins.core.training.checkpoints import averaged_model
from sam2_plugins.core.training.loop import RunSettings, Trainer
from sam2_plugins.core.training.processes import NEEDED
from sam2_plugins.core.training.sharding import is_shared_out, local

# Everything that goes around the blocks: skipped at random, computed again, layer-wise rates.
HARD = replace(STAGE, steps=3, drop_path=0.2, saves_memory=True, layer_decay=0.8, encoder_rate=0.5)


def work(rank: int, folder: Path) -> None:
    """Train whole and in shares; leave what each process held in the folder."""
    for name in ("whole", "shares"):
        run = make_run(folder / name)
        settings = replace(run.settings, shards=name == "shares")
        run = replace(run, stages=(HARD,), settings=settings)
        trainer = launch._work_together(rank, run, "cpu", 2, folder / f"{name}_meeting")
        blocks = list(trainer.model.image_encoder.trunk.blocks.parameters())
        moments = [trainer.learner.optimizer.state[p]["exp_avg"] for p in blocks]
        held = [sum(local(t).numel() for t in tensors) for tensors in (blocks, moments)]
        torch.save([held, all(map(is_shared_out, blocks))], folder / f"{name}_{rank}.pt")
    meeting = f"file://{folder / 'resume_meeting'}"
    distributed.init_process_group("gloo", meeting, rank=rank, world_size=2)
    settings = RunSettings(folder / "resumed", rank=rank, shards=True)
    first, second = (
        Trainer(make_tiny(seed), no_data()[0], stages=[HARD], settings=settings)
        for seed in (13, 14)
    )
    first.step(HARD)
    first.save()
    distributed.barrier()  # the first process writes, all read
    second.resume()
    for trainer in (first, second):
        trainer.step(HARD)
    torch.save([t.learner.state() for t in (first, second)], folder / f"resumed_{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    for name in ("whole", "shares", "resumed"):
        (folder / name).mkdir()
    start_processes(work, (folder,), nprocs=2, start_method=child_method(*NEEDED))
    return folder


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


def test_shares_learn_what_whole_networks_do(folder: Path):
    # Attention does not change with the bias of its keys: its gradient is rounding alone, which
    # the optimiser makes as large as any.
    whole, shares = (
        {n: t for n, t in weights_of(folder / name).items() if not n.endswith(KEY_BIASES)}
        for name in ("whole", "shares")
    )
    start = {f"model.{n}": t for n, t in make_tiny().state_dict().items()}
    moved = max(float((whole[n] - t).abs().max()) for n, t in start.items() if n in whole)
    # Three steps of up to 1e-3 each; what differs is the order in which norms are summed.
    assert moved > 1e-3
    assert difference(whole, shares) < 2e-5


KEY_BIASES = ("k_proj.bias", "qkv.bias")


def test_each_process_holds_half_of_the_blocks(folder: Path):
    number = sum(p.numel() for p in make_tiny().image_encoder.trunk.blocks.parameters())
    shares = [torch.load(folder / f"shares_{rank}.pt") for rank in (0, 1)]
    for kind in (0, 1):  # weights, moments of the optimiser
        held = [own[0][kind] for own in shares]
        assert sum(held) == number
        assert max(held) < 0.52 * number
    assert all(is_shared for _, is_shared in shares)
    held, is_shared = torch.load(folder / "whole_0.pt")
    assert (held, is_shared) == ([number, number], False)


def test_a_run_in_shares_goes_on_to_the_bit(folder: Path):
    for rank in (0, 1):
        first, second = torch.load(folder / f"resumed_{rank}.pt")
        for part in ("model", "average"):
            assert difference(first[part], second[part]) == 0
        moments = [state["optimizer"]["state"] for state in (first, second)]
        assert all(difference(one, moments[1][n]) == 0 for n, one in moments[0].items())


def test_checkpoints_are_whole_and_load_anywhere(folder: Path):
    model = averaged_model(folder / "shares/checkpoint.pt")
    average = torch.load(folder / "shares/checkpoint.pt", weights_only=True)["average"]
    assert {type(value) for value in average.values()} == {torch.Tensor}
    assert all(torch.equal(value, average[name]) for name, value in model.state_dict().items())


def test_one_process_has_nothing_to_share(tmp_path: Path, capsys):
    with pytest.raises(ValueError, match="two processes or more; set --processes, or use torch"):
        Trainer(
            make_tiny(), None, stages=[STAGE], settings=RunSettings(tmp_path / "x", shards=True)
        )
    assert not distributed.is_initialized()
    options = ["-o", str(tmp_path / "run"), "--shard", "--processes", "1", "--model", "nano"]
    assert main(["train", "recipe", "mose", str(tmp_path), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
