"""Check the arguments of a command before Hydra reads them, and say what to type instead."""

import typing
from argparse import Namespace
from collections.abc import Collection, Iterable

from hydra._internal.utils import get_args_parser

from valstab.commands.parser import in_own_words
from valstab.config.schema import Config
from valstab.errors import UserError

SEVERAL = ("axes", "experiment")
"""The groups of which several options can be chosen."""


NESTED = (
    *("model@interlocutor.model", "engine@interlocutor.engine"),
    *("model@judge.model", "engine@judge.engine"),
)
"""The groups that a part of the configuration has besides its own."""


ALONE = ("run", "multirun", "cfg", "info", "shell_completion")
"""Hydra's options of which a command takes one."""


COMPLETION_COMMANDS = ("install", "uninstall", "query")
"""What Hydra's option for Tab completion needs one of."""


def checked_arguments(arguments: list[str], groups: Collection[str]) -> list[str]:
    """Return arguments with the settings first, since Hydra reads none after an option that follows another setting.

    Refuse what is no setting, and settings in a form that only Hydra's own commands have.

    Args:
        arguments: those of the command line.
        groups: the names of all groups of options.

    Raises:
        UserError: with what to type instead.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    known, unknown = parser.parse_known_args(arguments)
    for option in unknown:
        if option.startswith("-"):
            raise UserError(f"{option}: no such option; settings have no dashes: {_as_setting(option, arguments)}")
    known.overrides += unknown
    _refuse_options(known)
    for argument in known.overrides:
        if advice := missing_value(argument):
            raise UserError(advice)
        key, equals, value = argument.lstrip("+").partition("=")
        group, at, _ = key.partition("@")
        if argument.startswith("~"):
            raise UserError(f"{argument}: a setting can't be removed; KEY=VALUE gives it another value")
        if equals and not key:
            raise UserError(f"{argument}: needs the name of a setting before =")
        if at and group in groups and key not in NESTED:
            raise UserError(f"{argument}: unknown key; did you mean {group}={value}?")
        if equals and key in groups and key not in SEVERAL and value.startswith("["):
            several = f"{key}={value.strip('[]').replace(' ', '')}"
            raise UserError(f"{argument}: takes one option; to run with each of several: -m {several}")
    return sorted(arguments, key=lambda argument: argument not in known.overrides)


def missing_value(word: str) -> str | None:
    """Return what to type for a word that is a setting without a value; None if it is no setting."""
    if word == "help":
        return "help: no such command; type --help"
    return f"{word}: needs a value: {_example(word)}" if word in typing.get_type_hints(Config) else None


def _refuse_options(known: Namespace) -> None:
    """Refuse options of Hydra that say nothing alone, or that a subcommand replaces."""
    if known.experimental_rerun:
        raise UserError("--experimental-rerun: no such option; valstab rerun RESULTS makes a run again")
    given = [f"--{option.replace('_', '-')}" for option in ALONE if getattr(known, option)]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: one at a time")
    if known.resolve and not (known.cfg or known.help):
        raise UserError("--resolve goes with --cfg job or with --help")
    keys = {argument.partition("=")[0] for argument in known.overrides}
    if known.shell_completion and not keys.intersection(COMPLETION_COMMANDS):
        raise UserError("--shell-completion needs install=SHELL or uninstall=SHELL after it, such as install=bash")


def _refuse(message: str) -> typing.NoReturn:
    raise UserError(in_own_words(message))


def _as_setting(option: str, arguments: Iterable[str]) -> str:
    name, _, value = option.lstrip("-").partition("=")
    following = iter(arguments)
    value = value or next((next(following, "") for argument in following if argument == option), "")
    key = name.replace("-", "_")
    if key.replace("_", "") == "dryrun":
        key = "dry_run"
    return f"{key}={value}" if value and "=" not in value and not value.startswith("-") else _example(key)


def _example(key: str) -> str:
    return f"{key}=true" if typing.get_type_hints(Config).get(key) is bool else f"{key}=VALUE"
