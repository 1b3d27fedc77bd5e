"""Describe a user's mistake in one line: the key, its value, and what is allowed."""

import dataclasses
import errno
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

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


HYDRA_TEXTS: Mapping[str, str] = {
    r"Ambiguous value for argument '(.+?)'": "{0}: several values are a sweep: add -m; a list has brackets: [A,B]",
    r"Sweep parameters '(.+)' requires --multirun": "{0}: several values are a sweep: add -m",
    r"Multiple values for experiment\. To override": "+experiment is given twice; both at once are +experiment=[A,B]",
    r"Multiple values for (.+?)\. To override": "{0} is set already; without +, {0}=VALUE gives it another value",
    r"Cannot find primary config '(.+?)'": "--config-name={0}: no such configuration; leave it out",
    r"Additional config directory '(.+)' not found": "--config-dir={0}: no such folder",
}
"""Hydra's texts, as patterns, and ours."""


OMEGACONF_TEXTS: Mapping[str, str] = {
    r"Value '(.*)' of type '\w+' could not be converted to Integer": "{0} must be a whole number",
    r"Value '(.*)' of type '\w+' could not be converted to Float": "{0} must be a number",
    r"Environment variable '(.+?)' not found": "the environment variable {0} is not set",
    r"Interpolation key '(.+?)' not found": "there is no setting {0} to take the value from",
    r"missing mandatory value": "needs a value",
}
"""OmegaConf's texts, as patterns, and ours."""


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
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and "/" in error.missing_cfg_file:
        return _missing(error.missing_cfg_file, error.options)
    if isinstance(error, OverrideParseException):
        return describe_unreadable(str(error.override))
    if str(error).startswith(NO_NAME_ERROR):
        return _nameless(arguments)
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _wrong_setting(cause, _setting(cause.full_key, arguments))
    return _too_long(arguments) if is_too_long(error) else _composition_error(str(error), arguments)


def _composition_error(text: str, arguments: list[str]) -> str:
    if found := re.search(r"Could not override '([^'@]+)", text):
        return _no_such_group(found[1], arguments)
    return _in_own_words(text, HYDRA_TEXTS)


def _in_own_words(text: str, texts: Mapping[str, str]) -> str:
    """Return the text of a pattern that another one has, or the other one if it has none."""
    for pattern, words in texts.items():
        if found := re.search(pattern, text):
            return words.format(*found.groups())
    return text


def _no_such_group(group: str, arguments: list[str]) -> str:
    setting = _setting(group, arguments)
    if group == "experiment":
        return f"{setting}: is added with a plus: +{setting}"
    groups = read_groups([Path(CONFIG_FOLDER)])
    if group in groups:
        command = "; it is one of `valstab compare`" if group == "figure" else ", whose --help has them"
        return f"{setting}: is no setting of this command{command}"
    return f"{setting}: unknown key; {allowed(group, groups)}"


def _wrong_setting(cause: OmegaConfBaseException, setting: str) -> str:
    fields = typing.get_type_hints(cause.object_type) if dataclasses.is_dataclass(cause.object_type) else {}
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and fields:
        return f"{setting}: {unknown_key(str(cause.full_key), cause.object_type)}"
    problem = _in_own_words(str(cause.msg).splitlines()[0], OMEGACONF_TEXTS)
    wanted = fields.get(str(cause.key))
    if dataclasses.is_dataclass(wanted):
        return f"{setting}: has settings of its own: {', '.join(typing.get_type_hints(wanted))}"
    if (
        wanted is not None
        and isinstance(cause, ValidationError)
        and str(cause.key) == str(cause.full_key).split(".")[-1]
    ):
        return f"{setting}: must be {_type_name(wanted)}"
    return f"{setting}: {problem}"


def unknown_key(key: str, schema: Any) -> str:
    """Return a message about a key that a section of the settings lacks, with the key that was probably meant.

    Args:
        key: the full key, such as `model.temperature`.
        schema: the dataclass of the section.
    """
    section, dot, name = key.rpartition(".")
    fields = {field: type_ for field, type_ in typing.get_type_hints(schema).items() if not field.startswith("_")}
    nested = [f"{section}{dot}{place}" for place in _places(name, schema)]
    if nested:
        return f"unknown key; did you mean {' or '.join(nested)}? - allowed: {', '.join(fields)}"
    return f"unknown key; {allowed(name, fields)}"


def _places(name: str, schema: Any) -> Iterator[str]:
    """Yield the keys, from a section on, whose last part is this name in a section below it."""
    for field, type_ in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(type_):
            if name in typing.get_type_hints(type_):
                yield f"{field}.{name}"
            yield from (f"{field}.{place}" for place in _places(name, type_))


def is_too_long(error: Exception) -> bool:
    """Return whether an error comes from an override whose name or number is too long."""
    return isinstance(error, OSError | ValueError) and ("name too long" in str(error) or "Exceeds the" in str(error))


def _too_long(arguments: Iterable[str]) -> str:
    key, _, value = max(arguments, key=len, default="").lstrip("+~").partition("=")
    return f"{key[:MAX_SHOWN_CHARACTERS]}={value[:MAX_SHOWN_CHARACTERS]}...: is too long"


def _missing(file: str, options: Sequence[str] | None) -> str:
    group, _, option = file.rpartition("/")
    options = options or list(read_groups([Path(CONFIG_FOLDER)]).get(group, ()))
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
