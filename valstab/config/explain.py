"""Describe a user's mistake in one line: the key, its value, and what is allowed."""

import dataclasses
import errno
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from valstab.config.options import CONFIG_FOLDER, read_groups
from valstab.config.quoting import describe_unreadable
from valstab.errors import UserError, allowed, one_line

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk."""


UNWRITABLE_ERRNOS = (errno.EROFS, errno.EACCES, errno.EPERM)
"""Error numbers of a place that can't be written to, or not be read."""


USER_ERRORS = (UserError, HydraException, OmegaConfBaseException)
"""Errors that a user can correct: this package's, Hydra's and OmegaConf's."""


NO_NAME_ERROR = "Config group override must be a string"
"""Start of Hydra's ValueError for a group whose option is null or a number."""


MAX_SHOWN_CHARACTERS = 60
"""Maximum number of characters shown of an argument that is too long."""


TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
"""The names of types in messages."""


FULL = "when there is space again, the same command goes on where it was, with what its store has"
UNWRITABLE = "start in a folder that can be written to, or set hydra.run.dir, hydra.sweep.dir and store.path"


def is_disk_error(error: BaseException) -> bool:
    """Return whether a disk is full, or a file can't be written or read."""
    return isinstance(error, OSError) and error.errno in (*DISK_FULL_ERRNOS, *UNWRITABLE_ERRNOS)


def explain(error: Exception, arguments: list[str]) -> str:
    """Return a line with the wrong key, its value and what is allowed.

    Args:
        error: one of `USER_ERRORS`, or an OSError or a ValueError that an argument can cause.
        arguments: the arguments of the command, as `KEY=VALUE`.
    """
    return one_line(_explain(error, arguments))


def _explain(error: Exception, arguments: list[str]) -> str:
    if isinstance(error, OSError) and is_disk_error(error):
        return f"{error}; {FULL if error.errno in DISK_FULL_ERRNOS else UNWRITABLE}"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _missing(error.missing_cfg_file, error.options)
    if isinstance(error, OverrideParseException):
        return describe_unreadable(str(error.override))
    if str(error).startswith(NO_NAME_ERROR):
        return _nameless(arguments)
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _wrong_setting(cause, _setting(cause.full_key, arguments))
    return _too_long(arguments) if is_too_long(error) else str(error)


def _wrong_setting(cause: OmegaConfBaseException, setting: str) -> str:
    fields = typing.get_type_hints(cause.object_type) if dataclasses.is_dataclass(cause.object_type) else {}
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and fields:
        return f"{setting}: {unknown_key(str(cause.full_key), cause.object_type)}"
    problem = str(cause.msg).splitlines()[0]
    wanted = fields.get(str(cause.key))
    return f"{setting}: {problem}" + (f"; allowed: {_type_name(wanted)}" if wanted is not None else "")


def unknown_key(key: str, schema: Any) -> str:
    """Return a message about a key that a section of the settings lacks, with the key that was probably meant.

    Args:
        key: the full key, such as `model.temperature`.
        schema: the dataclass of the section.
    """
    section, dot, name = key.rpartition(".")
    fields = {field: type_ for field, type_ in typing.get_type_hints(schema).items() if not field.startswith("_")}
    nested = [
        f"{section}{dot}{field}.{name}"
        for field, type_ in fields.items()
        if dataclasses.is_dataclass(type_) and name in typing.get_type_hints(type_)
    ]
    if nested:
        return f"unknown key; did you mean {' or '.join(nested)}? - allowed: {', '.join(fields)}"
    return f"unknown key; {allowed(name, fields)}"


def is_too_long(error: Exception) -> bool:
    """Return whether an error comes from an override whose name or number is too long."""
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
    """Return the last argument `key=value` that sets a key, or the key alone."""
    root = key.partition("[")[0]
    matching = [argument for argument in arguments if argument.lstrip("+~").partition("=")[0] == root]
    return matching[-1].lstrip("+~") if matching else key


def _nameless(arguments: list[str]) -> str:
    """Describe the first argument without a key, or whose option is null or a number instead of a name."""
    groups = read_groups([Path(CONFIG_FOLDER)])
    for argument in arguments:
        key, equals, value = argument.lstrip("+").partition("=")
        if equals and not key:
            return f"{argument}: has no key; allowed: KEY=VALUE"
        if key in groups and not all(isinstance(yaml.safe_load(name), str) for name in value.split(",")):
            return f"{key}={value}: must be the name of an option; allowed: {', '.join(groups[key])}"
    return "a group's option must be a name; allowed: GROUP=OPTION"


def _type_name(type_: Any) -> str:
    inner = typing.get_args(type_)
    if typing.get_origin(type_) is list:
        return f"a list such as [{'0,1' if inner[0] is int else 'a,b'}]"
    if typing.get_origin(type_) is dict:
        return "a mapping such as {a: 1}"
    if inner:
        return " or ".join(map(_type_name, inner))
    return TYPE_NAMES.get(type_, getattr(type_, "__name__", ""))
