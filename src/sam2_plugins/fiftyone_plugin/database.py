"""Waiting for a database that is gone for a while, and writing what must not be lost."""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import fiftyone.core.odm as foo
from pymongo.errors import ConnectionFailure, ServerSelectionTimeoutError
from pymongo.write_concern import WriteConcern

T = TypeVar("T")

PATIENCE_S = 600.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0

logger = logging.getLogger(__name__)


def collection(name: str) -> Any:
    """A collection of ours in FiftyOne's database.

    A write returns when it is on the disk, and with it all that was written before.
    """
    return foo.get_db_conn()[name].with_options(write_concern=WriteConcern(w=1, j=True))


def patiently(work: Callable[[], T], *, patience_s: float = PATIENCE_S) -> T:
    """Do something that may be done twice, again and again while the database is gone.

    Args:
        work: Reads or writes; must end in the same state however often it is begun.
        patience_s: Give up after so long.

    Raises:
        ConnectionError: The database did not come back in time.
    """
    deadline = time.monotonic() + patience_s
    wait = _FIRST_WAIT_S
    while True:
        try:
            return work()
        except (ConnectionFailure, ServerSelectionTimeoutError) as error:
            if time.monotonic() + wait > deadline:
                raise ConnectionError(
                    f"the database has not answered for {patience_s:.0f} s; what was finished is "
                    "kept, and the next run continues"
                ) from error
            logger.warning("the database does not answer; trying again")
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_S)
