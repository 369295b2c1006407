"""A file that arrives over HTTP in pieces: each connection continues where the last one ended."""

import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

_CHUNK_BYTES = 1 << 20
_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


class Refusal(Exception):
    """The server does not offer the file, and would not later either; the message says why."""


class PartialFile:
    """The first bytes of a published file, on disk.

    Args:
        path: Where they are; beside it lies the server's identifier of the file they are of.
        url: Where the file is published.
        total_bytes: Size of the whole file.
    """

    def __init__(self, path: Path, url: str, total_bytes: int) -> None:
        self.path = path
        self.url = url
        self.total_bytes = total_bytes
        self._etag_path = path.with_name(f"{path.name}.etag")

    @property
    def size_bytes(self) -> int:
        """How much has arrived."""
        return self.path.stat().st_size if self.path.exists() else 0

    def delete(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)

    def move_to(self, target: Path) -> None:
        """Give the file its final name."""
        self.path.replace(target)
        self._etag_path.unlink(missing_ok=True)

    def receive(self, *, timeout_s: float, on_bytes: Callable[[int], None]) -> str:
        """Receive what one connection delivers.

        Args:
            timeout_s: Seconds of silence that end it.
            on_bytes: Called with the file's size whenever that has changed; what it raises ends the
                connection, and what has arrived stays.

        Returns:
            Why it may have ended early.

        Raises:
            Refusal: The server refuses, and would again.
            OSError: The file cannot be written.
        """
        try:
            self._receive(timeout_s, on_bytes)
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"HTTP status {error.code} {error.reason}".rstrip()
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.delete()
            elif error.code < 500 and error.code not in (408, 429):
                raise Refusal(reason) from error
            return reason
        except _NETWORK_ERRORS as error:
            return str(getattr(error, "reason", "") or error or type(error).__name__)
        except OSError as error:
            raise OSError(f"cannot write {self.path}: {error.strerror or error}") from error
        return f"it ended after {self.size_bytes} of {self.total_bytes} bytes"

    def _receive(self, timeout_s: float, on_bytes: Callable[[int], None]) -> None:
        """Append what the server sends, or start over where it cannot continue."""
        start = self.size_bytes
        request = urllib.request.Request(self.url, headers={"User-Agent": "sam2-plugins"})
        if start:
            request.add_header("Range", f"bytes={start}-")
            if self._etag_path.exists():
                # The server then sends the whole file if it is no longer the one the part is of.
                request.add_header("If-Range", self._etag_path.read_text("ascii"))
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            offset, total = _announced(response)
            if total is not None and total != self.total_bytes:
                raise Refusal(f"it offers {total} bytes, not the published {self.total_bytes}")
            if offset not in (0, start):
                self.delete()
                raise http.client.HTTPException(f"the server sent bytes from {offset}, not {start}")
            self._remember_etag(response.headers.get("ETag", ""))
            with self.path.open("ab" if offset else "wb") as stream:
                # One byte more than announced is enough to know that the file is another.
                missing = self.total_bytes + 1 - offset
                # What a slow connection has delivered is taken at once, not a chunk later.
                while missing > 0 and (chunk := response.read1(min(_CHUNK_BYTES, missing))):
                    stream.write(chunk)
                    missing -= len(chunk)
                    on_bytes(self.total_bytes + 1 - missing)

    def _remember_etag(self, etag: str) -> None:
        """Keep the server's identifier of the file; weak ones cannot be used to continue."""
        if etag.startswith('"') and etag.isascii():
            self._etag_path.write_text(etag, "ascii")
        else:
            self._etag_path.unlink(missing_ok=True)


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
