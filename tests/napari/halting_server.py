"""A server that sends a file in three parts, each when a test says so."""

import http.server
import threading

TIMEOUT_S = 180


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends a quarter, the next when told `more`, and the rest when told `goes_on`."""

    server: "HaltingServer"

    def do_GET(self) -> None:
        server, content = self.server, self.server.content
        quarter, half = len(content) // 4, len(content) // 2
        asked = self.headers.get("Range")
        start = int(asked[6:-1]) if asked else 0
        server.starts.append(start)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", '"one"')
        self.end_headers()
        if start < quarter:
            self.wfile.write(content[start:quarter])
            server.more.wait(TIMEOUT_S)
            self.wfile.write(content[quarter:half])
        if not server.breaks:
            server.goes_on.wait(TIMEOUT_S)
            self.wfile.write(content[max(start, half) :])

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class HaltingServer(http.server.ThreadingHTTPServer):
    """Runs inside a `with`.

    Attributes:
        more: Set to go on after the first quarter.
        goes_on: Set to go on after the first half.
        breaks: End the connection there instead.
        starts: Where each request has asked to begin.
    """

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.more, self.goes_on = threading.Event(), threading.Event()
        self.breaks = False
        self.starts: list[int] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> "HaltingServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.more.set()
        self.goes_on.set()
        self.shutdown()
        self._thread.join()
        super().__exit__()

    def address(self, name: str) -> str:
        """Where a file of that name is; every name is the same file."""
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of the tests."""
