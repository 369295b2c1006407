"""Fetches published checkpoints into the cache folder: resumed, verified, moved into place whole.

A file is in the cache with the right bytes or it is not there. Bytes arrive in `<name>.part`, are
verified, and only then renamed. An interrupted download leaves its part, and the next continues it.
"""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from tqdm import tqdm

from sam2_plugins.core.partial_file import PartialFile, Refusal

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "SAM2_PLUGINS_CACHE"

_CHUNK_BYTES = 1 << 20
_POLL_S = 0.1

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes that there will be."""


class DownloadCancelled(Exception):
    """A download was cancelled by its caller; what has arrived is kept, and continued next time."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file, with the facts that tell it from any other.

    Attributes:
        model: Name of the model whose weights it holds.
        url: Its address; the last part is its name in the cache.
        size_bytes: Its exact size.
        sha256: Its checksum, 64 lower-case hexadecimal digits.
    """

    model: str
    url: str
    size_bytes: int
    sha256: str

    @property
    def filename(self) -> str:
        """The name of the file in the cache folder."""
        return self.url.rsplit("/", 1)[-1]


def cache_folder() -> Path:
    """Returns the folder for downloaded weights, which may not exist yet.

    It is the user's cache folder unless the environment variable SAM2_PLUGINS_CACHE names another.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_cache_path("sam2-plugins", appauthor=False)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a download waits.

    Attributes:
        attempts: How often in a row a server that has answered before may deliver nothing.
        pause_s: Seconds before the second attempt, doubled for each further one.
        timeout_s: Seconds of silence that end an attempt.
    """

    attempts: int = 4
    pause_s: float = 1.0
    timeout_s: float = 15.0


def fetch(
    remote: RemoteFile,
    folder: Path,
    *,
    check: Callable[[Path], None] | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    patience: Patience = Patience(),
) -> Path:
    """Returns the local path of a published file, downloading it when it is not there.

    Two processes that ask for the same file download it once. Ctrl-C keeps what has arrived for
    the next call to continue.

    Args:
        remote: The file.
        folder: The cache folder; made when missing.
        check: Called with the verified file before it is moved into place; raises ValueError to
            refuse it, and then nothing is kept.
        progress: Called while bytes arrive; without it, a terminal shows a bar.
        cancelled: Asked whenever bytes have arrived and while waiting; True stops the download.
        patience: How long to wait for the server.

    Raises:
        FileNotFoundError: The file is not here and cannot be downloaded; says where to put it.
        ValueError: The bytes, here or at the address, are not the published ones.
        OSError: The folder cannot be written or is full.
        DownloadCancelled: `cancelled` said so.
    """
    target = folder / remote.filename
    if target.exists():
        _require_published(target, remote, f"{target}; delete it to download it again")
        return target
    part = PartialFile(target.with_name(f"{target.name}.part"), remote.url, remote.size_bytes)
    download = _Download(remote, part, cancelled or (lambda: False), patience)
    with _locked(target.with_name(f"{target.name}.lock"), download):
        # Another process may have finished the file while this one waited.
        if not target.exists():
            with _shown(remote, part, progress) as on_bytes:
                download.complete(on_bytes)
            if check is not None:
                _check_or_delete(part, check)
            part.move_to(target)
    return target


@contextmanager
def _locked(path: Path, download: "_Download") -> Iterator[None]:
    """Inside, no other process downloads the same file."""
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not lock.is_locked:
            download.stop_if_cancelled()
            try:
                lock.acquire(timeout=_POLL_S)
            except Timeout:
                continue
    except OSError as error:
        raise OSError(
            f"cannot write in {path.parent} ({error.strerror}); "
            f"set {CACHE_VARIABLE} to a folder that can be written"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _shown(
    remote: RemoteFile, part: PartialFile, progress: Progress | None
) -> Iterator[Callable[[int], None]]:
    """Show the size of the part to whoever wants to see it."""
    if progress is not None:
        yield lambda size: progress(size, remote.size_bytes)
        return
    with tqdm(
        desc=remote.filename,
        initial=part.size_bytes,
        total=remote.size_bytes,
        unit="B",
        unit_scale=True,
        disable=None,
    ) as bar:
        yield lambda size: bar.update(size - bar.n) and None


@dataclass(frozen=True, slots=True)
class _Download:
    """One download, however many connections it takes."""

    remote: RemoteFile
    part: PartialFile
    cancelled: Callable[[], bool]
    patience: Patience

    def stop_if_cancelled(self) -> None:
        if self.cancelled():
            done, total = self.part.size_bytes / 1e6, self.remote.size_bytes / 1e6
            raise DownloadCancelled(
                f"the download of {self.remote.model} was cancelled at {done:.0f} of {total:.0f} "
                f"MB; the next one continues there"
            )

    def complete(self, on_bytes: Callable[[int], None]) -> None:
        """Download until the part holds the published bytes."""
        remote, part = self.remote, self.part
        self._require_room()
        logger.info("downloading %s (%.0f MB)", remote.url, remote.size_bytes / 1e6)
        was_resumed = part.size_bytes > 0
        fruitless, allowed = 0, 2  # an address that never answers is given up sooner
        while True:
            size_before = part.size_bytes
            reason = self._attempt(on_bytes) if size_before < remote.size_bytes else ""
            if part.size_bytes >= remote.size_bytes:
                try:
                    return _require_published(part.path, remote, remote.url)
                except ValueError:
                    part.delete()
                    # An old part may stem from another file: what was resumed is tried afresh once.
                    if not was_resumed:
                        raise
                    was_resumed = False
                    continue
            if part.size_bytes > size_before:
                fruitless, allowed = 0, self.patience.attempts
            fruitless += 1
            if fruitless >= allowed:
                raise self._unavailable(reason)
            self._wait(self.patience.pause_s * 2 ** (fruitless - 1))

    def _attempt(self, on_bytes: Callable[[int], None]) -> str:
        def arrived(size: int) -> None:
            on_bytes(size)
            self.stop_if_cancelled()

        self.stop_if_cancelled()
        try:
            return self.part.receive(timeout_s=self.patience.timeout_s, on_bytes=arrived)
        except Refusal as refusal:
            raise self._unavailable(str(refusal)) from refusal

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.stop_if_cancelled()
            time.sleep(min(left, _POLL_S))

    def _require_room(self) -> None:
        folder = self.part.path.parent
        missing = self.remote.size_bytes - self.part.size_bytes
        free = shutil.disk_usage(folder).free
        if free < missing:
            raise OSError(
                f"{folder} has {free / 1e6:.0f} MB free, {self.remote.filename} needs "
                f"{missing / 1e6:.0f} MB; make room or set {CACHE_VARIABLE} to another folder"
            )

    def _unavailable(self, reason: str) -> FileNotFoundError:
        remote = self.remote
        return FileNotFoundError(
            f"the weights of {remote.model} are not on this computer and cannot be downloaded from "
            f"{remote.url} ({reason}); download them elsewhere and put {remote.filename} into the "
            f"folder {self.part.path.parent}"
        )


def _check_or_delete(part: PartialFile, check: Callable[[Path], None]) -> None:
    try:
        check(part.path)
    except ValueError:
        part.delete()
        raise


def _require_published(path: Path, remote: RemoteFile, where: str) -> None:
    """Raises ValueError, naming `where`, unless the file has the published size and checksum."""
    size_bytes = path.stat().st_size
    if size_bytes != remote.size_bytes:
        raise ValueError(
            f"not the published weights of {remote.model}: {size_bytes} bytes instead of "
            f"{remote.size_bytes} ({where})"
        )
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != remote.sha256:
        raise ValueError(
            f"not the published weights of {remote.model}: SHA-256 is {digest.hexdigest()} instead "
            f"of {remote.sha256} ({where})"
        )
