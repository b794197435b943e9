"""What is said to a person, on stderr; stdout is for data."""

from __future__ import annotations

import contextlib
import os
import sys

from livepost.errors import LivepostError, OutputError
from livepost.text import printable, without_credentials


def say(text: str) -> None:
    """A line on stderr; nothing happens when nobody listens."""
    # Without it, `print` would turn to stdout.
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(printable(text), file=sys.stderr, flush=True)


def say_error(error: LivepostError) -> None:
    """What happened, and on a second line what to do about it; a password in what was typed stays unsaid."""
    say(f"livepost: {without_credentials(str(error))}")
    if error.hint:
        say(f"  hint: {error.hint}")


def print_data(text: str) -> None:
    """A line on stdout; a reader that went away (`| head`) is no error.

    What its encoding does not have is written as an escape.  Raises OutputError if stdout is closed, or
    its disk full.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed", "redirect it to a file or a pipe")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        _discard_stdout()
        raise OutputError(
            f"standard output cannot be written: {error.strerror}", "redirect it elsewhere"
        ) from None


def _discard_stdout() -> None:
    """The interpreter flushes stdout once more at exit, and would complain then."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
