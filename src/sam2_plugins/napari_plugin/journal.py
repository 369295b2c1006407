"""A session's folder: it holds, at any moment, all that was said and every finished slice.

`prompts.json` is replaced whole at every edit. `slices.log` grows by one record per finished slice;
a record that was cut short by a crash is left out when it is read. `plane-N.session` is the
tracker's own file, written when a run is over, from which it goes on without computing anew.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sam2_plugins.napari_plugin.document import Document, ObjectFacts
from sam2_plugins.napari_plugin.frame_labels import FrameLabels, Score
from sam2_plugins.napari_plugin.layers import Plane
from sam2_plugins.napari_plugin.prompt_json import (
    describe_plane,
    describe_prompts,
    make_plane,
    make_prompts,
)
from sam2_plugins.napari_plugin.prompts import PromptKey, SlicePrompts
from sam2_plugins.napari_plugin.session import Knowledge

FORMAT, VERSION = "sam2-plugins autosave", 1
PROMPTS, SLICES = "prompts.json", "slices.log"
_HEAD = struct.Struct("<4sII")
_MAGIC = b"SAM2"


@dataclass
class Saved:
    """What was read back.

    Attributes:
        prompts: By object and frame.
        objects: By id.
        current_object: New prompts were of this object.
        ours: Every id that was drawn.
        slices: The last record of every frame.
        confirmed: (object, frame) of every locked mask, by plane.
        sessions: The trackers' own files, by plane.
        newer: Frames that were drawn after the plane's tracker was saved, by plane.
    """

    prompts: dict[PromptKey, SlicePrompts]
    objects: dict[int, ObjectFacts]
    current_object: int
    ours: set[int]
    slices: dict[tuple[Plane, int], FrameLabels]
    confirmed: dict[Plane, list[tuple[int, int]]]
    sessions: dict[Plane, Path]
    newer: dict[Plane, frozenset[int]]

    def knowledge(self) -> dict[Plane, Knowledge]:
        """Where there are prompts and locks."""
        prompted: dict[Plane, dict[int, frozenset[int]]] = {}
        confirmed: dict[Plane, dict[int, frozenset[int]]] = {}
        for plane, frame_index, object_id in self.prompts:
            frames = prompted.setdefault(plane, {})
            frames[object_id] = frames.get(object_id, frozenset()) | {frame_index}
        for plane, locked in self.confirmed.items():
            for object_id, frame_index in locked:
                frames = confirmed.setdefault(plane, {})
                frames[object_id] = frames.get(object_id, frozenset()) | {frame_index}
        planes = {*prompted, *confirmed}
        return {p: Knowledge(prompted.get(p, {}), confirmed.get(p, {})) for p in planes}


class Journal:
    """Writes the autosave of one image, and reads it. All writing is the worker's.

    Args:
        folder: Of one session; it exists when something is written.
        signature: Of the image.
        path: Where the image was read from, if known: for people who find the folder.
    """

    def __init__(self, folder: Path, signature: str, *, path: str | None = None) -> None:
        self.folder = folder
        self.signature = signature
        self._path = path
        self._sessions: dict[Plane, str] = {}
        self._followed_bytes: dict[Plane, int] = {}
        self._written: dict[tuple[Plane, int], int] = {}

    @property
    def num_objects(self) -> int:
        """How many objects there are to restore for this image: prompted, locked or named."""
        try:
            header = self._read_header()
            prompted = {entry["object"] for entry in header["prompts"]}
            locked = {object_id for _, object_id, _ in header["confirmed"]}
            named = {int(i) for i, facts in header["objects"].items() if facts["name"]}
            return len(prompted | locked | named)
        except (OSError, ValueError, KeyError):
            return 0

    def describe(self, document: Document) -> str:
        """All that was said, as text; made in the window's thread, written by `write_prompts`."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": VERSION,
                "signature": self.signature,
                "image": document.stack.name,
                "path": self._path,
                "current_object": document.current_object,
                "ours": sorted(document.ours),
                "objects": {str(i): asdict(facts) for i, facts in document.objects.items()},
                "confirmed": [
                    [describe_plane(plane), object_id, sorted(frames)]
                    for plane, known in document.knowledge.items()
                    for object_id, frames in known.confirmed.items()
                    if frames
                ],
                "prompts": [describe_prompts(key, said) for key, said in document.prompts.items()],
                "sessions": [
                    {
                        "plane": describe_plane(plane),
                        "file": name,
                        "follows": self._followed_bytes.get(plane, 0),
                    }
                    for plane, name in self._sessions.items()
                ],
            }
        )

    def write_prompts(self, text: str) -> None:
        """Replace what was said, whole or not at all."""
        partial = self.folder / f".{PROMPTS}.{os.getpid()}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.folder / PROMPTS)

    def add(self, found: FrameLabels) -> bool:
        """Add a finished slice; False where it is as it was added before.

        Raises:
            OSError: It could not be written; what was added before is whole.
        """
        header = json.dumps(
            {
                "plane": describe_plane(found.plane),
                "frame": found.frame_index,
                "window": found.window,
                "dtype": str(found.labels.dtype),
                "scores": {str(i): score for i, score in found.scores.items()},
            }
        ).encode()
        pixels = np.ascontiguousarray(found.labels).tobytes()
        body = zlib.compress(struct.pack("<I", len(header)) + header + pixels, 1)
        checksum, place = zlib.crc32(body), (found.plane, found.frame_index)
        if self._written.get(place) == checksum:
            return False
        record = _HEAD.pack(_MAGIC, len(body), checksum) + body
        # One write, unbuffered: what the system has taken survives the end of this process.
        with (self.folder / SLICES).open("ab", buffering=0) as file:
            end = file.tell()
            if file.write(record) < len(record):
                # What follows a record that was cut short could not be read.
                file.truncate(end)
                raise OSError(f"no room for another slice in {self.folder}")
        self._written[place] = checksum
        return True

    def session_file(self, plane: Plane) -> Path:
        """Where the tracker of a plane is saved."""
        name = self._sessions.setdefault(plane, f"plane-{len(self._sessions)}.session")
        return self.folder / name

    def saved_tracker(self, plane: Plane, *, knows_all: bool) -> None:
        """The tracker of a plane was saved.

        Args:
            plane: The plane.
            knows_all: All that was drawn until now; otherwise each slice is compared when the
                tracker is opened again.
        """
        path = self.folder / SLICES
        is_drawn = knows_all and path.exists()
        self._followed_bytes[plane] = path.stat().st_size if is_drawn else 0

    def read(self) -> Saved:
        """Read everything back.

        Raises:
            FileNotFoundError: Nothing was saved.
            ValueError: It is of another image, or of a later version.
        """
        header = self._read_header()
        for entry in header["sessions"]:
            plane = make_plane(entry["plane"])
            self._sessions[plane] = entry["file"]
            # Earlier versions did not say.
            self._followed_bytes[plane] = entry.get("follows", 0)
        slices: dict[tuple[Plane, int], FrameLabels] = {}
        newer: dict[Plane, set[int]] = {}
        for begin, found in self._read_slices():
            slices[found.plane, found.frame_index] = found
            if begin >= self._followed_bytes.get(found.plane, 0):
                newer.setdefault(found.plane, set()).add(found.frame_index)
        return Saved(
            prompts=dict(make_prompts(entry) for entry in header["prompts"]),
            objects={int(i): ObjectFacts(**facts) for i, facts in header["objects"].items()},
            current_object=header["current_object"],
            ours=set(header["ours"]),
            slices=slices,
            confirmed=_make_confirmed(header["confirmed"]),
            sessions={
                plane: self.folder / name
                for plane, name in self._sessions.items()
                if (self.folder / name).exists()
            },
            newer={plane: frozenset(frames) for plane, frames in newer.items()},
        )

    def _read_header(self) -> dict[str, Any]:
        path = self.folder / PROMPTS
        if not path.exists():
            raise FileNotFoundError(f"nothing was saved at {self.folder}")
        header = json.loads(path.read_text(encoding="utf-8"))
        is_ours = isinstance(header, dict) and header.get("format") == FORMAT
        if not is_ours or header.get("version", 0) > VERSION:
            raise ValueError(f"{path} is not an autosave of this version of sam2-plugins")
        if header["signature"] != self.signature:
            raise ValueError(f"{path} was saved for another image")
        return dict(header)

    def _read_slices(self) -> Iterator[tuple[int, FrameLabels]]:
        """Every record and where it begins; what a crash has left of one is cut off."""
        path = self.folder / SLICES
        if not path.exists():
            return
        with path.open("r+b") as file:
            end = 0
            while (body := _read_record(file)) is not None:
                yield end, _make_labels(body)
                end = file.tell()
            file.truncate(end)


def _read_record(file: BinaryIO) -> bytes | None:
    """The next record of a log; None where there is no whole one."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, length, checksum = _HEAD.unpack(head)
    body = file.read(length)
    if magic != _MAGIC or len(body) < length or zlib.crc32(body) != checksum:
        return None
    return zlib.decompress(body)


def _make_labels(data: bytes) -> FrameLabels:
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    window = None if header["window"] is None else tuple(header["window"])
    shape = (0, 0) if window is None else (window[2] - window[0], window[3] - window[1])
    pixels = np.frombuffer(data, dtype=header["dtype"], offset=4 + length).reshape(shape)
    scores = {int(i): Score(*score) for i, score in header["scores"].items()}
    return FrameLabels(make_plane(header["plane"]), header["frame"], window, pixels, scores)


def _make_confirmed(entries: list[Any]) -> dict[Plane, list[tuple[int, int]]]:
    found: dict[Plane, list[tuple[int, int]]] = {}
    for plane, object_id, frames in entries:
        found.setdefault(make_plane(plane), []).extend((object_id, f) for f in frames)
    return found
