"""Start a Hydra command, and report a user's mistake in one line instead of a traceback."""

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from hydra.conf import ConfigSourceInfo
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from valstab.commands.arguments import checked_arguments
from valstab.commands.interruption import handle_signals
from valstab.commands.own_files import use_own_files
from valstab.commands.process import guard_process
from valstab.config.as_written import restore_texts
from valstab.config.comparison import CompareConfig
from valstab.config.compose import ConfigT, register_schemas, to_dataclass
from valstab.config.exit import fail
from valstab.config.explain import NO_NAME_ERROR, USER_ERRORS, is_disk_error, is_too_long
from valstab.config.meanings import describe_settings
from valstab.config.options import (
    CONFIG_FOLDER,
    config_folders,
    format_groups,
    format_lines,
    read_groups,
    refuse_hidden_options,
)
from valstab.config.schema import Config, RescoreConfig
from valstab.config.secrets import find_secret, refuse_composed_secrets
from valstab.errors import ConfigError, UserError

SCHEMAS = {"run": Config, "compare": CompareConfig, "rescore": RescoreConfig}
"""The settings of each command."""


COMMAND_GROUPS = {"compare": ("figure",), "rescore": ("task",)}
"""The groups of each command whose groups are not those of a run."""


def job_config(composed: DictConfig, schema: type[ConfigT]) -> ConfigT:
    """Return Hydra's composed configuration as its dataclass, with the paths of data files of the user's own.

    Raises:
        ConfigError: if it holds a secret, a key was added that does not exist, or an option has the name of another.
        UserError: if it has a launcher, but no sweep.
    """
    hydra = HydraConfig.get()
    for override in hydra.overrides.hydra:
        if override.startswith("hydra/launcher=") and hydra.mode is RunMode.RUN:
            raise UserError(f"{override}: starts the jobs of a sweep: add -m")
    if hydra.mode is RunMode.RUN and composed.get("axes") and not composed.levels:
        raise UserError(f"axes={','.join(composed.axes)}: each level is a run of its own: add -m")
    return config_of_job(composed, hydra, schema)


def config_of_job(composed: DictConfig, hydra: Any, schema: type[ConfigT]) -> ConfigT:
    """As `job_config`, with Hydra's own part of the configuration."""
    refuse_composed_secrets(composed)
    config = to_dataclass(composed, schema)
    runtime = hydra.runtime
    folders = config_folders(runtime.config_sources)
    refuse_hidden_options(runtime.choices, folders)
    own = [folder for folder in folders if folder != Path(CONFIG_FOLDER)]
    for group, option in runtime.choices.items():
        files = [file for folder in own if (file := folder / str(group) / f"{option}.yaml").is_file()]
        if files and is_dataclass(section := getattr(config, str(group), None)):
            restore_texts(section, files[0])
    use_own_files(config, hydra.overrides.task, runtime.choices, own)
    return config


def start(app: Callable[[], object]) -> None:
    """Run a Hydra app. With HYDRA_FULL_ERROR=1 in the environment, a user's mistake shows its traceback.

    Raises:
        SystemExit: with one line after a user's mistake, with a traceback after any other error.
    """
    _refuse_secret_arguments(sys.argv[1:])
    try:
        sys.argv[1:] = checked_arguments(sys.argv[1:], read_groups([Path(CONFIG_FOLDER)]))
    except UserError as error:
        fail(error)
    register_schemas()
    # The help uses this resolver, since Hydra's own list of groups has no descriptions.
    OmegaConf.register_new_resolver("options", _options, replace=True)
    OmegaConf.register_new_resolver("settings", _settings, replace=True)
    shown = () if os.environ.get("HYDRA_FULL_ERROR") == "1" else USER_ERRORS
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises errors instead of printing them.
    try:
        app()
    except shown as error:
        fail(error)
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed it. Python would still write the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, ValueError) as error:
        if shown and (is_disk_error(error) or is_too_long(error) or str(error).startswith(NO_NAME_ERROR)):
            fail(error)
        raise


def exit_on_mistake(work: Callable[[], Any]) -> Any:
    """Do the work of a Hydra job, and return its result. Outside a sweep, a user's mistake ends the command at once.

    Otherwise Hydra would print lines of its own. Relative paths are the launch folder's, also with `hydra.job.chdir`.
    """
    os.chdir(HydraConfig.get().runtime.cwd)
    guard_process()  # in a worker's process too
    handle_signals()
    try:
        return work()
    except (*USER_ERRORS, OSError) as error:
        is_fault = isinstance(error, OSError) and not is_disk_error(error)
        if is_fault or HydraConfig.get().mode is RunMode.MULTIRUN:
            raise
        fail(error)


def _refuse_secret_arguments(arguments: Iterable[str]) -> None:
    """End the command if an argument holds a password or a key, before Hydra prints or writes it."""
    for argument in arguments:
        key, equals, _ = argument.lstrip("+~").partition("=")
        if found := find_secret(key if key == "engine.url" else "", argument):
            fail(ConfigError(key if equals else "command line", "...", found))


def _settings(command: str) -> str:
    """Return the settings of a command with what each means, as text for its help."""
    return format_lines(describe_settings(SCHEMAS[command])).replace("$", "$$")


def _options(sources: Iterable[ConfigSourceInfo], command: str) -> str:
    """Return the options of a command's groups, as text for its help.

    Args:
        sources: Hydra's configuration sources; those that are not folders are ignored.
        command: `run`, `compare` or `rescore`.
    """
    groups = read_groups(config_folders(sources))
    names = COMMAND_GROUPS.get(command, groups.keys() - COMMAND_GROUPS["compare"])
    text = format_groups({group: options for group, options in groups.items() if group in names})
    return text.replace("$", "$$")  # in Hydra's template a single one starts a variable
