"""The folder of a run: whose it is, and that no other run is mixed into it or lost."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

CHECKPOINT, LOG, METRICS_TABLE, CURVES = "checkpoint.pt", "log.txt", "metrics.csv", "tensorboard"


def check_run_folder(
    folder: Path,
    about: Mapping[str, Any] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Check that a run can go on in a folder, or begin there.

    Args:
        folder: Of the run.
        about: What the run is, in plain values; it goes on only with the same. None to look only
            whether there is one.
        resume: Go on with the run there.
        overwrite: Begin anew, also where there is one.

    Raises:
        FileNotFoundError: There is nothing to resume.
        ValueError: The run there is another one, or would be lost.
    """
    checkpoint = folder / CHECKPOINT
    if resume and overwrite:
        raise ValueError("a run goes on (--resume) or begins anew (--overwrite), not both")
    if not resume:
        if checkpoint.exists() and not overwrite:
            raise ValueError(
                f"{folder} holds a run: --resume goes on with it, --overwrite begins anew"
            )
        return
    if not checkpoint.is_file():
        raise FileNotFoundError(f"nothing to resume: there is no {checkpoint}")
    if about is None:
        return
    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    was = content.get("about", {})
    differing = [name for name in about if name in was and was[name] != about[name]]
    if differing:
        there = ", ".join(f"{name} {was[name]!r}" for name in differing)
        here = ", ".join(f"{name} {about[name]!r}" for name in differing)
        raise ValueError(f"{folder} holds another run: there {there}, here {here}")


def known_as(place: str | Path) -> str:
    """A file or folder by its full path, a name as it is: what a run says of itself."""
    return str(Path(place).resolve()) if Path(place).exists() else str(place)


def clear_run_folder(folder: Path) -> None:
    """Remove what an earlier run left: a new one would be mixed with it."""
    for name in (CHECKPOINT, LOG, METRICS_TABLE):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / CURVES, ignore_errors=True)
