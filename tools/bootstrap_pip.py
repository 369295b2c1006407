"""Put pip into an environment made without it, where Python's own copy (ensurepip) is missing.

Run by the environment's Python: takes pip's newest wheel from PyPI and lets it install itself.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

INDEX = "https://pypi.org/pypi/pip/json"
TIMEOUT_S = 60


def main() -> None:
    """Download the wheel, check its checksum and run it."""
    with urlopen(INDEX, timeout=TIMEOUT_S) as answer:
        files = json.load(answer)["urls"]
    wheel = next(file for file in files if file["packagetype"] == "bdist_wheel")
    # A mirror may answer with addresses relative to the index.
    address = urljoin(INDEX, wheel["url"])
    with urlopen(address, timeout=TIMEOUT_S) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != wheel["digests"]["sha256"]:
        raise SystemExit(f"{address} does not have the checksum that PyPI gives for it")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, wheel["filename"])
        path.write_bytes(content)
        command = [sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
