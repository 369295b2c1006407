"""Sessions on disk: one zip file with what a person said and what tracking found."""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from sam2_plugins.core.frame_results import FramePrompts, FrameResult
from sam2_plugins.core.logits_file import LogitsFile
from sam2_plugins.core.masklets import Masklet, MaskletStore
from sam2_plugins.core.prompts import Box, MaskPrompt, Points
from sam2_plugins.core.rgb_frames import RGBFrames
from sam2_plugins.core.stored_masks import StoredMask
from sam2_plugins.core.streaming import StreamFrames

FORMAT = "sam2-plugins session"
VERSION = 1
_HEADER, _MASKS, _LOGITS, _POINTERS = "session.json", "masks.bin", "logits.bin", "pointers.npy"


@dataclass(slots=True)
class _Results:
    """Results in the order they are written; a result that two places share is written once."""

    rows: list[FrameResult] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    def place(self, result: FrameResult) -> int:
        """The row of a result."""
        if id(result) not in self.places:
            self.places[id(result)] = len(self.rows)
            self.rows.append(result)
        return self.places[id(result)]


def describe_origin(model_name: str, frames: RGBFrames) -> dict[str, Any]:
    """What a session must find again when it is opened; None for what cannot be known."""
    source = frames.source
    return {
        "model": model_name,
        "num_frames": source.num_frames,
        "frame_size": list(source.frame_size),
        "rgb": source.is_rgb,
        "pixels": None if isinstance(source, StreamFrames) else frames.fingerprint,
    }


def write_session(path: Path, store: MaskletStore, *, header: dict[str, Any]) -> None:
    """Write a session, whole or not at all.

    Args:
        path: Of the file; replaced if there is one.
        store: What is written; its undo history is not.
        header: What the session was made with.

    Raises:
        OSError: The file cannot be written; what was there before stays.
    """
    results = _Results()
    objects = {
        str(object_id): {
            **_describe_masklet(masklet, results),
            "reported": store.reported_frames(object_id),
        }
        for object_id, masklet in sorted(store.masklets.items())
    }
    description = {
        "format": FORMAT,
        "version": VERSION,
        **header,
        "objects": objects,
        "results": [_describe_result(result) for result in results.rows],
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            # NumPy's numbers, which callers may have given, become Python's.
            archive.writestr(_HEADER, json.dumps(description, default=_plain))
            _write_all(archive, _MASKS, (r.mask.bits for r in results.rows))
            _write_all(archive, _LOGITS, (_logits_bytes(r) for r in results.rows))
            pointers = [r.pointer.numpy() for r in results.rows] or [np.zeros((0, 0), np.float32)]
            buffer = io.BytesIO()
            np.save(buffer, np.concatenate(pointers))
            archive.writestr(_POINTERS, buffer.getvalue())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_session(
    path: Path,
) -> tuple[dict[str, Any], Callable[[MaskletStore, LogitsFile], None]]:
    """Read a session's header, and get what fills a store with the rest.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a session, or is damaged, or one of a later version.
    """
    if not path.exists():
        raise FileNotFoundError(f"no session at {path}")
    with _blaming(path):
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read(_HEADER))
        is_session, version = header["format"] == FORMAT, header["version"]
    if not is_session:
        raise ValueError(f"{path} is not a session of sam2-plugins")
    if version > VERSION:
        raise ValueError(
            f"{path} was written by a later version of sam2-plugins (session format {version}; "
            f"this version reads up to {VERSION}): update it"
        )
    with _blaming(path):
        for name in ("model", "num_frames", "frame_size", "rgb", "pixels", "options"):
            header[name]

    def load_into(store: MaskletStore, logits_file: LogitsFile) -> None:
        with _blaming(path):
            with zipfile.ZipFile(path) as archive:
                rows = _read_results(archive, header["results"], logits_file)
            masklets = {
                int(object_id): _make_masklet(entry, rows)
                for object_id, entry in header["objects"].items()
            }
        store.masklets.update(masklets)
        for object_id, entry in header["objects"].items():
            for frame_index in entry["reported"]:
                store.report(int(object_id), frame_index)

    return header, load_into


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes its readers raise into one error that names it."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, LookupError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a session of sam2-plugins, or is damaged") from error


def check_same(header: dict[str, Any], found: dict[str, Any], path: Path) -> None:
    """Check that a session is opened with what it was made with.

    Args:
        header: Of the session.
        found: From `describe_origin`, now.
        path: Of the session.

    Raises:
        ValueError: Something differs.
    """
    for name, value in found.items():
        was = header[name]
        if None in (was, value) or was == value:
            continue
        what = name.replace("_", " ")
        if name == "pixels":
            raise ValueError(f"{path}: the session was made with other frames of the same size")
        raise ValueError(f"{path}: the session was made with {what} {was}, not {value}")


def _plain(value: np.generic) -> Any:
    return value.tolist()


def _write_all(archive: zipfile.ZipFile, name: str, chunks: Iterable[bytes]) -> None:
    with archive.open(name, "w", force_zip64=True) as file:
        for chunk in chunks:
            file.write(chunk)


def _logits_bytes(result: FrameResult) -> bytes:
    data: bytes = result.logits.read().to(result.logits.dtype).numpy().tobytes()
    return data


def _describe_result(result: FrameResult) -> dict[str, Any]:
    return {
        "version": result.version,
        "shape": result.mask.shape,
        "predicted_iou": result.predicted_iou,
        "object_score_logit": result.object_score_logit,
        "logits_shape": result.logits.shape,
        "box": result.box,
        "step": result.step,
        "is_given": result.is_given,
        "walked": result.walked,
        "meeting": result.meeting,
    }


def _describe_masklet(masklet: Masklet, results: _Results) -> dict[str, Any]:
    return {
        "prompts": {
            str(frame): _describe_prompts(prompts, results)
            for frame, prompts in sorted(masklet.prompts.items())
        },
        "results": {str(f): results.place(r) for f, r in sorted(masklet.results.items())},
        "confirmed": sorted(masklet.confirmed),
    }


def _describe_prompts(prompts: FramePrompts, results: _Results) -> dict[str, Any]:
    entry: dict[str, Any] = {"strokes": [[s.xy, s.labels] for s in prompts.strokes]}
    if prompts.box is not None:
        box = prompts.box
        entry["box"] = [box.x0, box.y0, box.x1, box.y1]
    if prompts.mask is not None:
        stored = StoredMask.pack(prompts.mask.mask)
        entry["mask"] = {"bits": stored.bits.hex(), "shape": stored.shape}
    if prompts.base is not None:
        entry["base"] = results.place(prompts.base)
    return entry


def _read_results(
    archive: zipfile.ZipFile, entries: list[dict[str, Any]], logits_file: LogitsFile
) -> list[FrameResult]:
    pointers = np.load(io.BytesIO(archive.read(_POINTERS)))
    rows = []
    dtype = np.float16 if logits_file.dtype == torch.float16 else np.float32
    with archive.open(_MASKS) as masks, archive.open(_LOGITS) as logits:
        for index, entry in enumerate(entries):
            shape = tuple(entry["shape"])
            bits = _read(masks, -(-int(np.prod(shape)) // 8))
            logits_shape = tuple(entry["logits_shape"])
            size = int(np.prod(logits_shape)) * np.dtype(dtype).itemsize
            values = np.frombuffer(_read(logits, size), dtype=dtype).reshape(logits_shape)
            rows.append(
                FrameResult(
                    version=entry["version"],
                    mask=StoredMask.from_bits(bits, shape),
                    predicted_iou=entry["predicted_iou"],
                    object_score_logit=entry["object_score_logit"],
                    logits=logits_file.append(torch.from_numpy(values.copy())),
                    pointer=torch.from_numpy(pointers[index : index + 1].copy()),
                    box=tuple(entry["box"]),
                    step=entry["step"],
                    is_given=entry["is_given"],
                    # Neither is in the sessions of earlier versions.
                    walked=entry.get("walked", abs(entry["step"])),
                    meeting=entry.get("meeting", ""),
                )
            )
    return rows


def _read(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _make_masklet(entry: dict[str, Any], rows: list[FrameResult]) -> Masklet:
    return Masklet(
        prompts={int(f): _make_prompts(p, rows) for f, p in entry["prompts"].items()},
        results={int(f): rows[place] for f, place in entry["results"].items()},
        confirmed=frozenset(entry["confirmed"]),
    )


def _make_prompts(entry: dict[str, Any], rows: list[FrameResult]) -> FramePrompts:
    mask = None
    if "mask" in entry:
        bits, shape = bytes.fromhex(entry["mask"]["bits"]), tuple(entry["mask"]["shape"])
        mask = MaskPrompt(StoredMask.from_bits(bits, shape).unpack())
    return FramePrompts(
        box=Box(*entry["box"]) if "box" in entry else None,
        mask=mask,
        strokes=tuple(
            Points(tuple((x, y) for x, y in xy), tuple(labels)) for xy, labels in entry["strokes"]
        ),
        base=rows[entry["base"]] if "base" in entry else None,
    )
