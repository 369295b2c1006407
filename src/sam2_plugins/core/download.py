"""Fetches published checkpoints into the cache folder: resumed, verified, moved into place whole.

A file is in the cache with the right bytes or it is not there. Bytes arrive in `<name>.part`, are
verified, and only then renamed. An interrupted download leaves its part, and the next continues it.
"""

import hashlib
import http.client
import logging
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path
from tqdm import tqdm

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "SAM2_PLUGINS_CACHE"

_CHUNK_BYTES = 1 << 20
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


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


def fetch(
    remote: RemoteFile,
    folder: Path,
    *,
    check: Callable[[Path], None] | None = None,
    attempts: int = 4,
    pause_s: float = 1.0,
    timeout_s: float = 15.0,
) -> Path:
    """Returns the local path of a published file, downloading it when it is not there.

    Two processes that ask for the same file download it once. Ctrl-C keeps what has arrived for
    the next call to continue.

    Args:
        remote: The file.
        folder: The cache folder; made when missing.
        check: Called with the verified file before it is moved into place; raises ValueError to
            refuse it, and then nothing is kept.
        attempts: How often in a row a server that has answered before may deliver nothing.
        pause_s: Seconds before the second attempt, doubled for each further one.
        timeout_s: Seconds of silence that end an attempt.

    Raises:
        FileNotFoundError: The file is not here and cannot be downloaded; says where to put it.
        ValueError: The bytes, here or at the address, are not the published ones.
        OSError: The folder cannot be written or is full.
    """
    target = folder / remote.filename
    if target.exists():
        _require_published(target, remote, f"{target}; delete it to download it again")
        return target
    lock = FileLock(target.with_name(f"{target.name}.lock"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise OSError(
            f"cannot write in {folder} ({error.strerror}); "
            f"set {CACHE_VARIABLE} to a folder that can be written"
        ) from error
    try:
        # Another process may have finished the file while this one waited.
        if not target.exists():
            part = target.with_name(f"{target.name}.part")
            _complete(part, remote, attempts=attempts, pause_s=pause_s, timeout_s=timeout_s)
            if check is not None:
                _check_or_delete(part, check)
            part.replace(target)
            _etag_file(part).unlink(missing_ok=True)
    finally:
        lock.release()
    return target


def _check_or_delete(part: Path, check: Callable[[Path], None]) -> None:
    try:
        check(part)
    except ValueError:
        part.unlink()
        raise


def _complete(
    part: Path, remote: RemoteFile, *, attempts: int, pause_s: float, timeout_s: float
) -> None:
    """Downloads until `part` holds the published bytes."""
    _require_room(part, remote)
    logger.info("downloading %s (%.0f MB)", remote.url, remote.size_bytes / 1e6)
    was_resumed = _size(part) > 0
    fruitless, allowed = 0, 2  # an address that never answers is given up sooner
    while True:
        size_before = _size(part)
        reason = _attempt(part, remote, timeout_s) if size_before < remote.size_bytes else ""
        if _size(part) >= remote.size_bytes:
            try:
                return _require_published(part, remote, remote.url)
            except ValueError:
                part.unlink()
                # An old part may stem from another file, so what was resumed is tried afresh once.
                if not was_resumed:
                    raise
                was_resumed = False
                continue
        if _size(part) > size_before:
            fruitless, allowed = 0, attempts
        fruitless += 1
        if fruitless >= allowed:
            raise _unavailable(remote, part, reason)
        time.sleep(pause_s * 2 ** (fruitless - 1))


def _attempt(part: Path, remote: RemoteFile, timeout_s: float) -> str:
    """Receives what one connection delivers; returns why it may have ended early.

    Raises:
        FileNotFoundError: The server refuses, and would again.
        OSError: The part cannot be written.
    """
    try:
        _receive(part, remote, timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"HTTP status {error.code} {error.reason}".rstrip()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
        elif error.code < 500 and error.code not in (408, 429):
            raise _unavailable(remote, part, reason) from error
        return reason
    except FileNotFoundError:
        raise
    except _NETWORK_ERRORS as error:
        return str(getattr(error, "reason", "") or error or type(error).__name__)
    except OSError as error:
        raise OSError(f"cannot write {part}: {error.strerror or error}") from error
    return f"it ended after {_size(part)} of {remote.size_bytes} bytes"


def _receive(part: Path, remote: RemoteFile, timeout_s: float) -> None:
    """Appends to `part` what the server sends, or starts over where it cannot continue."""
    start = _size(part)
    request = urllib.request.Request(remote.url, headers={"User-Agent": "sam2-plugins"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        if _etag_file(part).exists():
            # The server then sends the whole file if it is no longer the one the part is of.
            request.add_header("If-Range", _etag_file(part).read_text("ascii"))
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        offset, total = _announced(response)
        if total is not None and total != remote.size_bytes:
            raise _unavailable(
                remote, part, f"it offers {total} bytes, not the published {remote.size_bytes}"
            )
        if offset not in (0, start):
            part.unlink(missing_ok=True)
            raise http.client.HTTPException(f"the server sent bytes from {offset}, not {start}")
        _remember_etag(part, response.headers.get("ETag", ""))
        with (
            part.open("ab" if offset else "wb") as stream,
            tqdm(
                desc=remote.filename,
                initial=offset,
                total=remote.size_bytes,
                unit="B",
                unit_scale=True,
                disable=None,
            ) as bar,
        ):
            # One byte more than announced is enough to know that the file is another.
            missing = remote.size_bytes + 1 - offset
            while missing > 0 and (chunk := response.read(min(_CHUNK_BYTES, missing))):
                stream.write(chunk)
                bar.update(len(chunk))
                missing -= len(chunk)


def _announced(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Returns where the body starts in the file, and the file's size if the server says it."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        found = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if found is None:
            raise http.client.HTTPException("a partial answer without its Content-Range")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _etag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _remember_etag(part: Path, etag: str) -> None:
    """Keeps the server's identifier of the file; weak ones cannot be used to continue."""
    if etag.startswith('"') and etag.isascii():
        _etag_file(part).write_text(etag, "ascii")
    else:
        _etag_file(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_room(part: Path, remote: RemoteFile) -> None:
    missing = remote.size_bytes - _size(part)
    free = shutil.disk_usage(part.parent).free
    if free < missing:
        raise OSError(
            f"{part.parent} has {free / 1e6:.0f} MB free, {remote.filename} needs "
            f"{missing / 1e6:.0f} MB; make room or set {CACHE_VARIABLE} to another folder"
        )


def _require_published(path: Path, remote: RemoteFile, where: str) -> None:
    """Raises ValueError, naming `where`, unless the file has the published size and checksum."""
    if _size(path) != remote.size_bytes:
        raise ValueError(
            f"not the published weights of {remote.model}: {_size(path)} bytes instead of "
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


def _unavailable(remote: RemoteFile, part: Path, reason: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"the weights of {remote.model} are not on this computer and cannot be downloaded from "
        f"{remote.url} ({reason}); download them elsewhere and put {remote.filename} into the "
        f"folder {part.parent}"
    )
