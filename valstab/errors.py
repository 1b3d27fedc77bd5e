"""Errors that a user can put right, and the checks and words that they share."""

import difflib
from collections.abc import Collection, Iterable

MAX_MESSAGE_CHARACTERS = 2_000
"""Characters of a message."""


class UserError(Exception):
    """What the user can put right; the message is one line."""


class ConfigError(UserError, ValueError):
    """A setting that can't be used: says in one line which key, which value and what is allowed."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(one_line(f"{key}={value}: {allowed}"))


def one_line(text: str) -> str:
    r"""Make a message one line of a bearable length, with what steers a terminal or can't be printed as an escape.

    Example:
        >>> print(one_line("a\n  b \x1b[2J"))
        a b \x1b[2J
    """
    line = " ".join(text.split())
    line = line if len(line) <= MAX_MESSAGE_CHARACTERS else f"{line[:MAX_MESSAGE_CHARACTERS]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def allowed(value: object, options: Iterable[str]) -> str:
    """List the `options` for an error message, with the one nearest to `value` first if it looks like a typo."""
    names = [str(option) for option in options]
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"did you mean {near[0]}? - " if near else ""
    return f"{hint}allowed: {', '.join(names)}"


def require(key: str, value: object, options: Collection[str]) -> None:
    """Raise `ConfigError` unless `value` is one of `options`."""
    if value not in options:
        raise ConfigError(key, value, allowed(value, options))


def require_text(key: str, value: object, text: str) -> None:
    """Raise `ConfigError` unless a text can be written to a UTF-8 file and read from it again."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise ConfigError(key, value, "must be Unicode text, without NUL characters")
