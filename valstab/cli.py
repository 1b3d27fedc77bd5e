"""Start a Hydra command, and answer a user's mistake with one line instead of a traceback."""

import dataclasses
import errno
import os
import signal
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra import compose, initialize_config_dir
from hydra.conf import ConfigSourceInfo
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from valstab.config import CompareConfig, Config, ConfigError, ConfigT, UserError, allowed, one_line, register, typed
from valstab.data import found
from valstab.options import described, listing
from valstab.secrecy import problem, redacted

PACKAGE = Path(__file__).parent
CONF = str(next(folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir()))
"""The configuration files: inside an installed package, beside it in a checkout."""

FILES = (("task", "items"), ("population", "personas"), ("topics", "openings"))
"""The settings that name a file of data."""
INTERRUPTED = 128 + signal.SIGINT
"""The exit code after Ctrl-C, as in a shell."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""The numbers of the errors of a full disk."""

MISTAKES = (UserError, HydraException, OmegaConfBaseException)
COMPARED = ("figure",)
"""The groups of `valstab.compare`; all others are of a run."""
NO_NAME = "Config group override must be a string"
"""How the bare ValueError begins that Hydra raises where a group's option is null or a number."""
SHOWN = 60
"""Characters of an argument that is too long for a message."""
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def composed(*overrides: str) -> Config:
    """Compose a run's configuration as the command does.

    Raises:
        ConfigError: if a key was added that does not exist.
    """
    return _composed("config", Config, overrides)


def composed_comparison(*overrides: str) -> CompareConfig:
    """Compose the configuration of a comparison as its command does.

    Raises:
        ConfigError: if a key was added that does not exist.
    """
    return _composed("compare", CompareConfig, overrides)


def _composed(name: str, kind: type[ConfigT], overrides: Iterable[str]) -> ConfigT:
    register()
    given = list(overrides)
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            return typed(compose(name, given), kind)
    except (OSError, ValueError) as error:
        if not _is_too_long(error):
            raise
        raise UserError(one_line(explain(error, given))) from None


def job_config(composed: DictConfig, kind: type[ConfigT]) -> ConfigT:
    """Turn what Hydra composed for a job into its dataclass; options of `--config-dir` may name files beside them.

    Raises:
        ConfigError: if a key was added that does not exist.
    """
    config = typed(composed, kind)
    own = [folder for folder in _folders(HydraConfig.get().runtime.config_sources) if folder != Path(CONF)]
    for group, name in FILES:
        section = getattr(config, group, None)
        value = getattr(section, name, None)
        if value is not None and found(value) is None:
            beside = next((folder / value for folder in own if found(folder / value)), value)
            setattr(section, name, str(beside))
    return config


def start(app: Callable[[], object]) -> None:
    """Run a Hydra app. HYDRA_FULL_ERROR=1 in the environment shows tracebacks.

    Raises:
        SystemExit: with one line, at a user's mistake or after Ctrl-C; with a traceback at any other error.
    """
    _refuse_secret_arguments(sys.argv[1:])
    register()
    # For the help: Hydra's own list of groups has no descriptions.
    OmegaConf.register_new_resolver("options", _options, replace=True)
    shown = () if os.environ.get("HYDRA_FULL_ERROR") else MISTAKES
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print.
    try:
        app()
    except shown as error:
        fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("\nvalstab: interrupted; the same command goes on where it was, with what its store has\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has enough; Python would still try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, ValueError) as error:
        is_full = isinstance(error, OSError) and error.errno in FULL
        if shown and (is_full or _is_too_long(error) or str(error).startswith(NO_NAME)):
            fail(error)
        sys.exit(redacted(traceback.format_exc()))
    except Exception:  # noqa: BLE001 - the traceback as Python would print it, but for secrets
        sys.exit(redacted(traceback.format_exc()))


def job(work: Callable[[], Any]) -> Any:
    """Do the work of a Hydra job; a single job's mistake ends the command before Hydra adds lines of its own."""
    try:
        return work()
    except (*MISTAKES, OSError) as error:
        is_fault = isinstance(error, OSError) and error.errno not in FULL
        if is_fault or HydraConfig.get().mode is RunMode.MULTIRUN:
            raise
        fail(error)


def _refuse_secret_arguments(arguments: Iterable[str]) -> None:
    """End the command at an argument with a password or a key, before Hydra reads, prints or writes it."""
    for argument in arguments:
        key, equals, _ = argument.lstrip("+~").partition("=")
        if found := problem(key if key == "engine.url" else "", argument):
            fail(ConfigError(key if equals else "command line", "...", found))


def fail(error: Exception) -> NoReturn:
    """End the command with one line that says what is wrong."""
    sys.exit(f"valstab: {one_line(redacted(explain(error, sys.argv[1:])))}")


def explain(error: Exception, arguments: list[str]) -> str:
    """Say which key is wrong, its value, and what is allowed."""
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{error}; when there is space again, the same command goes on where it was, with what its store has"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _missing(error.missing_cfg_file, error.options)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: can't be read as KEY=VALUE; the list `key=[a,b]` and quotes must be closed"
    if str(error).startswith(NO_NAME):
        return _nameless(arguments)
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _wrong_setting(cause, _setting(cause.full_key, arguments))
    return _too_long(arguments) if _is_too_long(error) else str(error)


def _wrong_setting(cause: OmegaConfBaseException, setting: str) -> str:
    fields = typing.get_type_hints(cause.object_type) if dataclasses.is_dataclass(cause.object_type) else {}
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and fields:
        names = [name for name in fields if not name.startswith("_")]
        return f"{setting}: unknown key; {allowed(cause.key, names)}"
    problem = str(cause.msg).splitlines()[0]
    kind = fields.get(str(cause.key))
    return f"{setting}: {problem}" + (f"; allowed: {_describe(kind)}" if kind is not None else "")


def _is_too_long(error: Exception) -> bool:
    """Tell what Python and the file system say of an override with a name or a number of too many characters."""
    return isinstance(error, OSError | ValueError) and ("name too long" in str(error) or "Exceeds the" in str(error))


def _too_long(arguments: Iterable[str]) -> str:
    key, _, value = max(arguments, key=len, default="").lstrip("+~").partition("=")
    return f"{key[:SHOWN]}={value[:SHOWN]}...: is too long"


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
    groups = described([Path(CONF)])
    for argument in arguments:
        key, equals, value = argument.lstrip("+").partition("=")
        if equals and not key:
            return f"{argument}: has no key; allowed: KEY=VALUE"
        if key in groups and not all(isinstance(yaml.safe_load(name), str) for name in value.split(",")):
            return f"{key}={value}: must be the name of an option; allowed: {', '.join(groups[key])}"
    return "a group's option must be a name; allowed: GROUP=OPTION"


def _options(sources: Iterable[ConfigSourceInfo], command: str) -> str:
    """List what a command (`run` or `compare`) can choose in the configuration folders among Hydra's `sources`."""
    groups = {
        group: options
        for group, options in described(_folders(sources)).items()
        if (group in COMPARED) == (command == "compare")
    }
    return listing(groups).replace("$", "$$")  # what Hydra's template takes for a dollar sign


def _folders(sources: Iterable[ConfigSourceInfo]) -> list[Path]:
    return [Path(source.path) for source in sources if source.schema == "file"]


def _describe(kind: Any) -> str:
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return f"a list such as [{'0,1' if parts[0] is int else 'a,b'}]"
    if typing.get_origin(kind) is dict:
        return "a mapping such as {a: 1}"
    return " or ".join(_describe(part) for part in parts) if parts else KINDS.get(kind, getattr(kind, "__name__", ""))
