"""Advice on quotes for an argument of the command line that Hydra can't read."""

import re
import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from valstab.config.secrets import redact

CLOSING = {'"': '"', "'": "'", "[": "]", "{": "}", "(": ")"}
"""Marks that a value may begin with, and what closes each."""


MAPPING = re.compile(r"\{\s*[^{}:,]+:.*\}", re.DOTALL)
"""Pattern of a value that is a mapping, such as `{a: 1}`, not a template such as `{name}`."""


ELEMENT = re.compile(r"""\s*(?:"[^"]*"|'[^']*')\s*|[^,]+""")
"""Pattern of an element of a list, in quotes or not."""


def describe_unreadable(argument: str) -> str:
    """Return what is wrong with an argument that Hydra can't read, and what to type instead.

    Example:
        >>> print(describe_unreadable("model.name=a#b"))
        model.name=a#b: can't be read without quotes; type 'model.name="a#b"'
        >>> print(describe_unreadable("seeds=[0,1"))
        seeds=[0,1: [ is never closed
    """
    key, equals, value = argument.partition("=")
    shown = redact(argument)
    if not equals:
        return f"{shown}: has no value; settings are KEY=VALUE"
    opening = _never_closed(value)
    if opening:
        return f"{shown}: {opening} is never closed"
    corrected = f"{key}={_in_quotes(value)}"
    if _is_readable(corrected) and shown == argument:  # a secret may hold quotes
        return f"{shown}: can't be read without quotes; type {_for_shell(corrected)}"
    return f"""{shown}: can't be read as KEY=VALUE; a text with special characters needs quotes: 'KEY="a (b)"'"""


def take_verbatim(argument: str, key: str) -> str:
    """Return an argument of the command line whose value Hydra takes as it is typed, if it sets this key.

    A value that is in Hydra's quotes already stays, and so does null.

    Example:
        >>> print(take_verbatim("filter=params.task = 'pvq'", "filter"))
        filter="params.task = 'pvq'"
    """
    found, equals, value = argument.partition("=")
    if not equals or found != key or value == "null" or (value[:1] in {'"', "'"} and _is_readable(argument)):
        return argument
    escaped = re.sub(r'(\\*)("|$)', lambda match: match[1] * 2 + ("\\" + match[2] if match[2] else ""), value)
    return f'{key}="{escaped}"'


def _never_closed(value: str) -> str | None:
    """Return the mark that a value begins with and that nothing closes; None if there is none."""
    start = re.match(r"\s*\w*(\()|\s*([\"'\[{])", value)
    if start is None:
        return None
    opening = start[1] or start[2]
    closing = CLOSING[opening]
    is_closed = value.count(opening) > 1 if opening == closing else value.count(opening) <= value.count(closing)
    return None if is_closed else opening


def _in_quotes(value: str) -> str:
    """Return a value with quotes around it, or around those texts of a list that need them."""
    if value.startswith("[") and value.endswith("]"):
        texts = (text.strip() for text in ELEMENT.findall(value[1:-1]))
        return f"[{','.join(text if _is_readable(f'x={text}') else quoted(text) for text in texts)}]"
    return value if MAPPING.fullmatch(value) else quoted(value)


def quoted(text: str) -> str:
    """Return a text in Hydra's quotes."""
    return '"' + text.replace('"', r"\"") + '"'


def _is_readable(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True


def _for_shell(argument: str) -> str:
    """Return an argument in quotes for a shell, in the way that is easiest to read."""
    if "'" not in argument or re.search(r"[$`\\!]", argument):
        return shlex.quote(argument)
    return '"' + argument.replace('"', r"\"") + '"'
