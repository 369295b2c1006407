"""A pool of processes that is none: tests see what its functions do, and replace what they call."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any


class InThisProcess:
    """Does here what other processes would; takes the place of a `ProcessPoolExecutor`."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> "InThisProcess":
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(function, items)
