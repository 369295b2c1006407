"""The command line: `sam2-plugins COMMAND …`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from sam2_plugins import __version__
from sam2_plugins.commands import (
    auto,
    benchmark,
    demo,
    evaluate,
    fiftyone,
    models,
    napari,
    segment,
    track,
    train,
)
from sam2_plugins.commands.console import INTERRUPTED, say, show_warning

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, BAD_INPUT = 0, 2

COMMANDS = (demo, models, segment, track, auto, evaluate, train, benchmark, napari, fiftyone)

# What is imported by a command alone, and the extra that brings it.
EXTRAS = {"cv2": "train"}


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all errors of the commands are."""

    def error(self, message: str) -> NoReturn:
        """Raise the error instead of printing the usage and leaving."""
        raise ValueError(f"{message} (see: {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command. Nothing heavy is imported before a command runs."""
    parser = OneLineParser(
        prog="sam2-plugins",
        description="SAM 2 from the shell: segment images, track objects in stacks and videos.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after the program's name; those of this process when left out.

    Returns:
        The exit status: 0 done, 2 bad input, 130 stopped by Ctrl-C.
    """
    arguments = argparse.Namespace(traceback=False)
    try:
        arguments = build_parser().parse_args(argv, arguments)
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            status = arguments.run(arguments)
            sys.stdout.flush()
    except SystemExit as leaving:  # --help and --version
        return int(leaving.code or DONE)
    except KeyboardInterrupt:
        say("stopped")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left, as `head` does; the exit must not write to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        message = explain(error)
        if message is None or arguments.traceback:
            raise
        say(f"error: {message}")
        return BAD_INPUT
    return int(status or DONE)


def explain(error: Exception) -> str | None:
    """One line for an error that the user can mend; None for one that is ours."""
    if isinstance(error, KeyError) and error.args:
        return _one_line(error.args[0])
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        extra = EXTRAS[error.name]
        return f"{error.name} is not installed: pip install 'sam2-plugins[{extra}]'"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return _one_line(f"{os.fsdecode(error.filename)}: {error.strerror}")
    if isinstance(error, (ValueError, TypeError, LookupError, OSError, ImportError)):
        return _one_line(error) or type(error).__name__
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; a smaller --model or --image-size needs less"
    return None


def _one_line(message: Any) -> str:
    return " ".join(str(message).split())


if __name__ == "__main__":
    sys.exit(main())
