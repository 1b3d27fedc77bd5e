"""A user's mistake in one line: which key, which value, and what is allowed."""

import dataclasses
import errno
import sys
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from valstab.config.options import CONFIG_FOLDER, read_groups
from valstab.config.secrets import redact
from valstab.errors import UserError, allowed, one_line

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
"""The numbers of the errors of a full disk."""


USER_ERRORS = (UserError, HydraException, OmegaConfBaseException)


NO_NAME_ERROR = "Config group override must be a string"
"""How the bare ValueError begins that Hydra raises where a group's option is null or a number."""


MAX_SHOWN_CHARACTERS = 60
"""Characters of an argument that is too long for a message."""


TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def fail(error: Exception) -> NoReturn:
    """End the command with one line that says what is wrong."""
    sys.exit(f"valstab: {one_line(redact(explain(error, sys.argv[1:])))}")


def explain(error: Exception, arguments: list[str]) -> str:
    """Say which key is wrong, its value, and what is allowed."""
    if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
        return f"{error}; when there is space again, the same command goes on where it was, with what its store has"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _missing(error.missing_cfg_file, error.options)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: can't be read as KEY=VALUE; the list `key=[a,b]` and quotes must be closed"
    if str(error).startswith(NO_NAME_ERROR):
        return _nameless(arguments)
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _wrong_setting(cause, _setting(cause.full_key, arguments))
    return _too_long(arguments) if is_too_long(error) else str(error)


def _wrong_setting(cause: OmegaConfBaseException, setting: str) -> str:
    fields = typing.get_type_hints(cause.object_type) if dataclasses.is_dataclass(cause.object_type) else {}
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and fields:
        names = [name for name in fields if not name.startswith("_")]
        return f"{setting}: unknown key; {allowed(cause.key, names)}"
    find_secret = str(cause.msg).splitlines()[0]
    kind = fields.get(str(cause.key))
    return f"{setting}: {find_secret}" + (f"; allowed: {_type_name(kind)}" if kind is not None else "")


def is_too_long(error: Exception) -> bool:
    """Tell what Python and the file system say of an override with a name or a number of too many characters."""
    return isinstance(error, OSError | ValueError) and ("name too long" in str(error) or "Exceeds the" in str(error))


def _too_long(arguments: Iterable[str]) -> str:
    key, _, value = max(arguments, key=len, default="").lstrip("+~").partition("=")
    return f"{key[:MAX_SHOWN_CHARACTERS]}={value[:MAX_SHOWN_CHARACTERS]}...: is too long"


def _missing(file: str, options: Sequence[str]) -> str:
    group, _, option = file.rpartition("/")
    if option.startswith("submitit_"):
        return f"{group}: needs submitit; pip install 'valstab[slurm]'"
    return f"{group}={option}: no such option; {allowed(option, options)}"


def _setting(key: str, arguments: list[str]) -> str:
    """Give the user's own `key=value` for a key, or the key alone."""
    root = key.partition("[")[0]
    matching = [argument for argument in arguments if argument.lstrip("+~").partition("=")[0] == root]
    return matching[-1].lstrip("+~") if matching else key


def _nameless(arguments: list[str]) -> str:
    """Name the first argument that chooses an option by what is no name: null, a number, or without a group."""
    groups = read_groups([Path(CONFIG_FOLDER)])
    for argument in arguments:
        key, equals, value = argument.lstrip("+").partition("=")
        if equals and not key:
            return f"{argument}: has no key; allowed: KEY=VALUE"
        if key in groups and not all(isinstance(yaml.safe_load(name), str) for name in value.split(",")):
            return f"{key}={value}: must be the name of an option; allowed: {', '.join(groups[key])}"
    return "a group's option must be a name; allowed: GROUP=OPTION"


def _type_name(kind: Any) -> str:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return f"a list such as [{'0,1' if parts[0] is int else 'a,b'}]"
    if typing.get_origin(kind) is dict:
        return "a mapping such as {a: 1}"
    return (
        " or ".join(_type_name(part) for part in parts)
        if parts
        else TYPE_NAMES.get(kind, getattr(kind, "__name__", ""))
    )
