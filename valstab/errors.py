"""Errors that a user can correct, and the checks and texts that they share."""

import difflib
from collections.abc import Collection, Iterable

MAX_ERROR_CHARACTERS = 2_000
"""Maximum length of an error's text, in characters."""


MIN_BEGINNING = 3
"""Number of characters from which on a text is taken for the beginning of a name."""


MAX_HINTS = 6
"""Maximum number of names that a text may be the beginning of."""


class UserError(Exception):
    """An error that the user can correct; its text is made one line, without characters that move a cursor."""

    def __init__(self, text: str = "") -> None:
        super().__init__(one_line(text))


class ConfigError(UserError, ValueError):
    """An invalid setting. The text is one line with the key, the value and what is allowed."""

    def __init__(self, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{key}={value}: {allowed}")


def one_line(text: str) -> str:
    r"""Return a text as one line of limited length, with control and unprintable characters escaped.

    Example:
        >>> print(one_line("a\n  b \x1b[2J"))
        a b \x1b[2J
    """
    line = " ".join(text.split())
    return printable(line if len(line) <= MAX_ERROR_CHARACTERS else f"{line[:MAX_ERROR_CHARACTERS]}...")


def printable(text: str) -> str:
    """Return a text with control and unprintable characters escaped, but for new lines and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def allowed(value: object, options: Iterable[str]) -> str:
    """Return the `options` as text for an error; those that begin with `value`, or the nearest, come first."""
    names = [str(option) for option in options]
    begun = [name for name in names if name.startswith(str(value))] if len(str(value)) >= MIN_BEGINNING else []
    near = begun[:MAX_HINTS] or difflib.get_close_matches(str(value), names, n=1)
    hint = f"did you mean {' or '.join(filter(None, [', '.join(near[:-1]), near[-1]]))}? - " if near else ""
    return f"{hint}allowed: {', '.join(names)}"


def require(key: str, value: object, options: Collection[str]) -> None:
    """Raise `ConfigError` unless `value` is one of `options`."""
    if value not in options:
        raise ConfigError(key, value, allowed(value, options))


def require_text(key: str, value: object, text: str) -> None:
    """Raise `ConfigError` unless a text can be written to a UTF-8 file and read from it again."""
    if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise ConfigError(key, value, "must be Unicode text, without NUL characters")
