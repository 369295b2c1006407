"""Downloads against a server that misbehaves in every way a real one has been seen to."""

import hashlib
import http.server
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from sam2_plugins.core import download
from sam2_plugins.core.checkpoints import save_checkpoint
from sam2_plugins.core.config import MODELS, NANO
from sam2_plugins.core.download import (
    DownloadCancelled,
    Patience,
    RemoteFile,
    cache_folder,
    fetch,
)
from sam2_plugins.core.model.sam2 import SAM2
from sam2_plugins.core.weights import PUBLISHED_FILES, load_model

CONTENT = bytes(itertools.islice(itertools.cycle(range(251)), 3_000_000))
ETAG = '"version-1"'
Behaviour = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next behaviour of its server, then with the last for ever."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.server.requests.append(self.headers)
        behaviours = self.server.behaviours
        (behaviours.pop(0) if len(behaviours) > 1 else behaviours[0])(self)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    def start(self) -> int:
        """Returns the first byte asked for."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(found[1]) if found else 0

    def answer(self, body: bytes, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def answer_rest(self, content: bytes, until: int | None = None, etag: str = ETAG) -> None:
        """Answers with the range asked for, dropping the connection after byte `until`."""
        start = self.start()
        if_range = self.headers.get("If-Range", etag)
        if start and if_range == etag:
            announced = {
                "status": 206,
                "Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
            }
        else:
            start, announced = 0, {"status": 200}
        self.answer(
            content[start:until], **announced, Content_Length=len(content) - start, ETag=etag
        )


class Server(http.server.ThreadingHTTPServer):
    behaviours: list[Behaviour]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[object] = []

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the tests."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def remote(server: Server) -> RemoteFile:
    address = f"http://127.0.0.1:{server.server_port}/weights.pt"
    return RemoteFile("sam2-tiny", address, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def whole(handler: Handler) -> None:
    handler.answer_rest(CONTENT)


def broken_at(byte: int) -> Behaviour:
    return lambda handler: handler.answer_rest(CONTENT, until=byte)


def ignoring_range(handler: Handler) -> None:
    handler.answer(CONTENT)


def status(code: int) -> Behaviour:
    return lambda handler: handler.answer(b"<html>no</html>", status=code)


QUICK = Patience(pause_s=0.001, timeout_s=5)


def get(remote: RemoteFile, folder: Path, patience: Patience = QUICK, **options: Any) -> Path:
    return fetch(remote, folder, patience=patience, **options)


def left_in(folder: Path) -> set[str]:
    """The names of files in the folder, but for the lock, which carries no content."""
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_a_download_ends_with_the_right_bytes_and_nothing_else(server, remote, tmp_path):
    server.behaviours = [whole]
    path = get(remote, tmp_path / "not" / "yet")
    assert path.read_bytes() == CONTENT
    assert left_in(path.parent) == {"weights.pt"}


def test_a_file_that_is_there_is_not_asked_for_again(server, remote, tmp_path):
    server.behaviours = [whole]
    assert get(remote, tmp_path) == get(remote, tmp_path)
    assert len(server.requests) == 1


def test_broken_connections_are_continued_where_they_broke(server, remote, tmp_path):
    server.behaviours = [broken_at(1_000_000), broken_at(2_500_000), whole]
    assert get(remote, tmp_path).read_bytes() == CONTENT
    assert [request["Range"] for request in server.requests] == [
        None,
        "bytes=1000000-",
        "bytes=2500000-",
    ]
    assert server.requests[1]["If-Range"] == ETAG


def test_a_server_that_breaks_every_time_but_moves_on_is_never_given_up(server, remote, tmp_path):
    server.behaviours = [broken_at(end) for end in range(100_000, 3_000_000, 100_000)] + [whole]
    assert get(remote, tmp_path, replace(QUICK, attempts=2)).read_bytes() == CONTENT


def test_the_next_call_continues_an_interrupted_one(server, remote, tmp_path, monkeypatch):
    server.behaviours = [whole]

    class Interrupted(download.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(download, "tqdm", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            get(remote, tmp_path)
    assert not (tmp_path / "weights.pt").exists()
    kept = (tmp_path / "weights.pt.part").stat().st_size
    assert 0 < kept < len(CONTENT)

    assert get(remote, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == f"bytes={kept}-"
    assert left_in(tmp_path) == {"weights.pt"}


def test_progress_goes_up_to_the_whole_and_starts_where_the_part_ended(server, remote, tmp_path):
    server.behaviours = [broken_at(1_000_000), whole]
    seen: list[tuple[int, int]] = []
    get(remote, tmp_path, progress=lambda *sizes: seen.append(sizes))
    sizes = [size for size, _ in seen]
    assert sizes == sorted(sizes)
    assert 1_000_000 in sizes
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_cancelled_download_keeps_its_part_and_is_continued(server, remote, tmp_path):
    server.behaviours = [whole]
    seen: list[int] = []
    with pytest.raises(DownloadCancelled, match=r"sam2-tiny was cancelled at \d of 3 MB; the next"):
        get(
            remote,
            tmp_path,
            progress=lambda size, _: seen.append(size),
            cancelled=lambda: bool(seen) and seen[-1] >= 1_000_000,
        )
    assert left_in(tmp_path) == {"weights.pt.part", "weights.pt.part.etag"}
    kept = (tmp_path / "weights.pt.part").stat().st_size
    assert 1_000_000 <= kept < len(CONTENT)
    assert get(remote, tmp_path, cancelled=lambda: False).read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == f"bytes={kept}-"


def test_loading_a_model_shows_its_download_and_can_be_cancelled(server, tmp_path, monkeypatch):
    config = replace(NANO, name="sam2.1-tiny")
    made = tmp_path / "made.safetensors"
    save_checkpoint(SAM2(config), made)
    content = made.read_bytes()
    address = f"http://127.0.0.1:{server.server_port}/weights.pt"
    remote = RemoteFile("sam2.1-tiny", address, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(MODELS, "sam2.1-tiny", config)
    monkeypatch.setitem(PUBLISHED_FILES, "sam2.1-tiny", remote)
    monkeypatch.setenv("SAM2_PLUGINS_CACHE", str(tmp_path / "cache"))
    server.behaviours = [lambda handler: handler.answer_rest(content)]
    seen: list[tuple[int, int]] = []

    def show(size: int, total: int) -> None:
        seen.append((size, total))

    with pytest.raises(DownloadCancelled):
        load_model("sam2.1-tiny", device="cpu", progress=show, cancelled=lambda: len(seen) > 2)
    (kept,) = (tmp_path / "cache").glob("*.part")
    assert kept.stat().st_size == seen[-1][0] < len(content)
    model = load_model("sam2.1-tiny", device="cpu", progress=show, cancelled=lambda: False)
    assert model.config.name == "sam2.1-tiny"
    assert seen[-1] == (len(content), len(content))


def test_what_a_slow_server_has_sent_is_seen_before_the_rest_comes(server, remote, tmp_path):
    """A progress bar moves, and cancelling works, long before a large chunk is full."""
    release = threading.Event()

    def slow(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:1000])
        handler.wfile.flush()
        release.wait(30)

    server.behaviours = [slow]
    try:
        with pytest.raises(DownloadCancelled):
            get(remote, tmp_path, replace(QUICK, timeout_s=30), cancelled=lambda: arrived(tmp_path))
        assert not release.is_set()
    finally:
        release.set()
    assert (tmp_path / "weights.pt.part").read_bytes() == CONTENT[:1000]


def arrived(folder: Path) -> bool:
    return (folder / "weights.pt.part").exists()


def test_cancelling_ends_the_wait_for_a_server_that_is_down(server, remote, tmp_path):
    server.behaviours = [status(503)]
    with pytest.raises(DownloadCancelled, match="at 0 of 3 MB"):
        get(remote, tmp_path, replace(QUICK, pause_s=600), cancelled=lambda: bool(server.requests))
    assert len(server.requests) == 1


def test_cancelling_ends_the_wait_for_another_process(server, remote, tmp_path):
    server.behaviours = [whole]
    with FileLock(tmp_path / "weights.pt.lock"), pytest.raises(DownloadCancelled):
        get(remote, tmp_path, cancelled=itertools.cycle([False, False, True]).__next__)
    assert server.requests == []
    assert left_in(tmp_path) == set()


def test_a_part_that_was_complete_is_only_verified(server, remote, tmp_path):
    server.behaviours = [status(500)]
    (tmp_path / "weights.pt.part").write_bytes(CONTENT)
    assert get(remote, tmp_path).read_bytes() == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 9)])
def test_a_part_of_another_file_is_thrown_away(server, remote, tmp_path, part):
    server.behaviours = [whole]
    (tmp_path / "weights.pt.part").write_bytes(part)
    assert get(remote, tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_is_asked_for_the_whole_file(server, remote, tmp_path):
    server.behaviours = [broken_at(1_000_000), ignoring_range]
    assert get(remote, tmp_path).read_bytes() == CONTENT


def test_a_file_that_changed_between_two_connections_is_started_over(server, remote, tmp_path):
    server.behaviours = [
        lambda handler: handler.answer_rest(b"y" * len(CONTENT), until=1_000_000, etag='"old"'),
        whole,
    ]
    assert get(remote, tmp_path).read_bytes() == CONTENT
    assert server.requests[1]["If-Range"] == '"old"'


def test_a_refused_range_starts_over(server, remote, tmp_path):
    server.behaviours = [broken_at(1_000_000), status(416), whole]
    assert get(remote, tmp_path).read_bytes() == CONTENT


def test_a_range_that_was_not_asked_for_is_not_appended(server, remote, tmp_path):
    def elsewhere(handler: Handler) -> None:
        last = len(CONTENT) - 1
        body = CONTENT[5:]
        handler.answer(body, 206, Content_Range=f"bytes 5-{last}/{len(CONTENT)}")

    server.behaviours = [broken_at(1_000_000), elsewhere, whole]
    assert get(remote, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("code", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(server, remote, tmp_path, code):
    server.behaviours = [status(code), whole]
    assert get(remote, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_final_and_says_what_to_do(server, remote, tmp_path, code):
    server.behaviours = [status(code)]
    with pytest.raises(FileNotFoundError) as refused:
        get(remote, tmp_path)
    assert_tells_what_to_do(refused, remote, tmp_path)
    assert f"HTTP status {code}" in str(refused.value)
    assert len(server.requests) == 1
    assert left_in(tmp_path) == set()


def test_without_network_the_error_says_which_file_to_put_where(remote, tmp_path):
    nobody = RemoteFile("sam2-tiny", "http://127.0.0.1:9/weights.pt", 10, "0" * 64)
    with pytest.raises(FileNotFoundError) as refused:
        get(nobody, tmp_path)
    assert_tells_what_to_do(refused, nobody, tmp_path)


def test_a_silent_server_is_given_up(server, remote, tmp_path):
    release = threading.Event()
    server.behaviours = [lambda _: release.wait(10) and None]
    try:
        with pytest.raises(FileNotFoundError, match="timed out"):
            get(remote, tmp_path, replace(QUICK, timeout_s=0.1))
    finally:
        release.set()


def assert_tells_what_to_do(
    refused: pytest.ExceptionInfo[FileNotFoundError], remote: RemoteFile, folder: Path
) -> None:
    message = str(refused.value)
    assert "\n" not in message
    for needed in (remote.model, remote.url, remote.filename, str(folder)):
        assert needed in message


@pytest.mark.parametrize("length", [2_000, len(CONTENT) - 1, len(CONTENT) + 1])
def test_an_announced_size_that_is_not_the_published_one_is_refused(
    server, remote, tmp_path, length
):
    server.behaviours = [lambda handler: handler.answer(CONTENT, Content_Length=length)]
    with pytest.raises(FileNotFoundError, match=f"offers {length} bytes, not .* {len(CONTENT)}"):
        get(remote, tmp_path)
    assert left_in(tmp_path) == set()


def test_a_server_that_announces_more_than_it_sends_is_given_up_but_the_part_kept(
    server, remote, tmp_path
):
    server.behaviours = [broken_at(1_000_000)]
    with pytest.raises(FileNotFoundError, match="ended after 1000000 of 3000000 bytes"):
        get(remote, tmp_path)
    assert (tmp_path / "weights.pt.part").stat().st_size == 1_000_000


def test_wrong_bytes_never_reach_the_cache(server, remote, tmp_path):
    server.behaviours = [lambda handler: handler.answer(b"x" * len(CONTENT))]
    with pytest.raises(ValueError, match=r"not the published weights of sam2-tiny: SHA-256 is"):
        get(remote, tmp_path)
    assert left_in(tmp_path) <= {"weights.pt.part.etag"}
    assert len(server.requests) == 1


def test_an_endless_answer_is_cut_off(server, remote, tmp_path):
    def endless(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(1000):
            handler.wfile.write(CONTENT)

    server.behaviours = [endless]
    with pytest.raises(ValueError, match=f"{len(CONTENT) + 1} bytes instead of {len(CONTENT)}"):
        get(remote, tmp_path)


def test_a_file_refused_by_the_check_is_not_kept(server, remote, tmp_path):
    server.behaviours = [whole]

    def refuse(path: Path) -> None:
        assert path.read_bytes() == CONTENT
        raise ValueError("not a checkpoint")

    with pytest.raises(ValueError, match="not a checkpoint"):
        get(remote, tmp_path, check=refuse)
    assert left_in(tmp_path) <= {"weights.pt.part.etag"}


def test_a_damaged_file_in_the_cache_is_reported(remote, tmp_path):
    (tmp_path / "weights.pt").write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"weights\.pt; delete it to download it again"):
        get(remote, tmp_path)


def test_two_at_once_download_once(server, remote, tmp_path):
    server.behaviours = [whole]
    paths: list[Path] = []
    threads = [
        threading.Thread(target=lambda: paths.append(get(remote, tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [tmp_path / "weights.pt"] * 4
    assert len(server.requests) == 1


def test_a_full_disk_is_noticed_before_the_download(server, remote, tmp_path):
    server.behaviours = [whole]
    huge = RemoteFile(remote.model, remote.url, 10**18, remote.sha256)
    with pytest.raises(OSError, match=r"MB free, weights\.pt needs .* SAM2_PLUGINS_CACHE"):
        get(huge, tmp_path)
    assert server.requests == []


def test_a_folder_that_cannot_be_made_is_reported(remote, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot write in .*file.cache .*SAM2_PLUGINS_CACHE"):
        get(remote, tmp_path / "file" / "cache")


def test_the_environment_names_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SAM2_PLUGINS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SAM2_PLUGINS_CACHE")
    assert cache_folder().name == "sam2-plugins"
