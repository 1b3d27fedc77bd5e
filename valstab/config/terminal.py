"""Write lines to the terminal, or to where it is redirected."""

import os
import shutil
import sys
from contextlib import suppress
from textwrap import TextWrapper

from valstab.errors import UserError


class OutputError(UserError):
    """Standard output that is closed or full."""


def say(text: str) -> None:
    """Write a text to standard output, at once. Lines that are longer than a terminal is wide are broken between words.

    Raises:
        OutputError: if it is closed or full. The rest of what is written there is then dropped, also at Python's end.
    """
    try:
        sys.stdout.write(f"{_wrapped(text, terminal_width())}\n")
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):  # a stream in memory has no descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output can't be written ({error.strerror or error})") from error


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _wrapped(text: str, width: int | None) -> str:
    if width is None:
        return text
    breaks = TextWrapper(
        width, subsequent_indent="  ", replace_whitespace=False, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(breaks.fill(line) if len(line) > width else line for line in text.split("\n"))


def warn(text: str) -> None:
    """Write a line to standard error, if that is possible."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
