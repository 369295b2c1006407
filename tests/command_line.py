"""How a command ended, and what may be asked of it."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def summary(self) -> dict[str, Any]:
        """The JSON on stdout, its only line."""
        assert self.out.count("\n") == 1, self.out
        return dict(json.loads(self.out))

    @property
    def error(self) -> str:
        """The message of a command that refused its input: one line, and nothing else."""
        assert self.err.count("\n") == 1, self.err
        return self.late_error

    @property
    def late_error(self) -> str:
        """The message of a command that failed after it had begun: its last line."""
        assert (self.status, self.out) == (2, ""), self
        line = self.err.splitlines()[-1]
        assert line.startswith("sam2-plugins: error: ")
        return line.removeprefix("sam2-plugins: error: ")
