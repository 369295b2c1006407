"""Opening a sample in napari, which is a process of its own, and taking back what is sent."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fiftyone as fo
from sam2_plugins.fiftyone_plugin.heartbeat import is_known_dead, process_name
from sam2_plugins.fiftyone_plugin.importing import fiftyone_variables
from sam2_plugins.fiftyone_plugin.napari_return import receive
from sam2_plugins.fiftyone_plugin.napari_session import UNSENT, session_folder, write_session
from sam2_plugins.fiftyone_plugin.options import Options
from sam2_plugins.fiftyone_plugin.records import BusyError
from sam2_plugins.fiftyone_plugin.sources import (
    Unit,
    is_ordered,
    root_dataset,
    single_unit,
    source_samples,
)
from sam2_plugins.fiftyone_plugin.tracks import list_media

POLL_S = 0.5
OWNER, LOG = "open.json", "napari.log"
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
_EARLY_S = 3.0


def find_unit(view: Any, sample_id: str) -> Unit:
    """The video, group of images or image of a sample; of clips and frames, the whole video.

    Args:
        view: A dataset, or any view of one.
        sample_id: Of the dataset, or of a clip or frame that the view holds.

    Raises:
        ValueError: It is not among what the view holds.
    """
    root = root_dataset(view)
    if view._dataset is not root:  # noqa: SLF001 - clips and frames are made from another dataset
        (sample_id,) = source_samples(view, [sample_id])
        view = root
    # Of whatever slice: with one sample of a group the App shows the others.
    is_single = root.media_type == "group" and not is_ordered(view)
    for unit in [single_unit(root, sample_id)] if is_single else list_media(view):
        if unit is not None and sample_id in unit.sample_ids:
            return unit
    raise ValueError(f"there is no sample {sample_id!r} among the {len(view)} to choose from")


def check_display(advice: str = "run this on a desktop, or under xvfb-run") -> None:
    """Refuse to open a window where there is none to be seen.

    Raises:
        OSError: There is no display.
    """
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in _DISPLAYS):
        raise OSError(f"there is no display, so napari cannot be opened: {advice}")


def open_in_napari(
    dataset: Any,
    unit: Unit,
    options: Options,
    *,
    say: Callable[[str], None],
    command: Sequence[str] | None = None,
) -> int:
    """Open a sample in napari, and take over what is sent back until it is closed.

    Args:
        dataset: That the sample belongs to.
        unit: The video, group or image.
        options: Say which fields, and which model.
        say: Takes a line for each time that something came back.
        command: Opens the folder that is added to it; `sam2-plugins napari --session` if not given.

    Returns:
        How often something came back.

    Raises:
        OSError: There is no display, or napari ended with an error.
        ValueError: The sample cannot be opened, or is open already.
    """
    check_display()
    folder = session_folder(dataset, unit, options.field)
    _refuse_second(folder)
    folder = write_session(dataset, unit, options)
    (folder / OWNER).write_text(json.dumps(process_name()), encoding="utf-8")
    usual = [sys.executable, "-m", "sam2_plugins", "napari", "--session"]
    say(f"napari opens {unit.name}; what you send back comes into {dataset.name!r}")
    num_received = 0
    try:
        with (folder / LOG).open("wb") as log:
            napari = subprocess.Popen([*(command or usual), str(folder)], stdout=log, stderr=log)
            try:
                while napari.poll() is None:
                    num_received += _receive(folder, say)
                    time.sleep(POLL_S)
            finally:
                if napari.poll() is None:
                    napari.terminate()
                    napari.wait()
        num_received += _receive(folder, say, is_last=True)
        if napari.returncode:
            raise OSError(f"napari ended with an error: {_last_line(folder / LOG)}")
    finally:
        (folder / OWNER).unlink(missing_ok=True)
    if (folder / UNSENT).exists():
        say("corrections that were not sent back are kept: open the sample again to go on")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return num_received


def start_detached(dataset: Any, sample_id: str, params: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Open a sample by a process that outlives this one, as the App's server needs it.

    Args:
        dataset: That the sample belongs to; saved under its name.
        sample_id: Which.
        params: Options of `sam2-plugins fiftyone open`, by name.

    Raises:
        OSError: There is no display, or it ended at once; the message says why.
    """
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in params.items() if value]
    line = f"sam2-plugins fiftyone open {dataset.name} {sample_id}"
    check_display(f"on a desktop that reaches this database, run: {line}")
    folder = Path(fo.config.default_dataset_dir) / "sam2-napari"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{sample_id}.log"
    command = [sys.executable, "-m", "sam2_plugins", "fiftyone", "open", dataset.name]
    with path.open("wb") as log:
        process = subprocess.Popen(
            [*command, sample_id, *arguments],
            stdout=log,
            stderr=log,
            env={**os.environ, **fiftyone_variables()},
            start_new_session=True,
        )
    until = time.monotonic() + _EARLY_S
    while process.poll() is None and time.monotonic() < until:
        time.sleep(POLL_S / 5)
    if process.returncode:
        raise OSError(_last_line(path))
    return process


def _receive(folder: Path, say: Callable[[str], None], *, is_last: bool = False) -> int:
    """Take over what waits; 1 where something did."""
    while True:
        try:
            received = receive(folder)
        except BusyError:
            if not is_last:
                return 0  # it is tried again
            time.sleep(POLL_S)
            continue
        if received is not None:
            say(received.text)
        return int(received is not None)


def _refuse_second(folder: Path) -> None:
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if owner != process_name() and not is_known_dead(owner):
        raise ValueError(f"the sample is open in napari already (process {owner['pid']})")


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else "it said nothing"
