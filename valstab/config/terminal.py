"""Write lines to the terminal, or to where it is redirected."""

import os
import sys
from contextlib import suppress

from valstab.errors import UserError


class OutputError(UserError):
    """Standard output that is closed or full."""


def say(text: str) -> None:
    """Write a line to standard output, at once.

    Raises:
        OutputError: if it is closed or full. The rest of what is written there is then dropped, also at Python's end.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):  # a stream in memory has no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output can't be written ({error.strerror or error})") from error


def warn(text: str) -> None:
    """Write a line to standard error, if that is possible."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
