"""The overrides of a sweep and of its jobs, and the command that runs one job again."""

import shlex
from collections.abc import Callable, Iterable

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from valstab.config.options import config_folders, refuse_hidden_options
from valstab.config.secrets import refuse_composed_secrets
from valstab.sweeps.tags import OF_THE_SWEEP, config_dirs


def compose_jobs(config: DictConfig, check: Callable[[DictConfig], object]) -> int:
    """Compose every job of a sweep as Hydra's sweeper will, so that a mistake ends the sweep before any job starts.

    Args:
        config: the sweep's configuration.
        check: checks the composed configuration of a job.

    Returns:
        The number of jobs; 0 with a sweeper that chooses them as it goes.

    Raises:
        HydraException: if an option or a key does not exist, or a value is of the wrong type.
        ConfigError: if a setting holds a secret, or an option has the name of another.
    """
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return 0
    number = 0
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create(loader).parse_overrides(sweep_overrides(config))
    for batch in BasicSweeper.split_arguments(overrides, max_batch_size=None):
        for job in batch:
            composed = loader.load_sweep_config(config, job)
            refuse_composed_secrets(composed)
            runtime = composed.hydra.runtime
            refuse_hidden_options(runtime.choices, config_folders(runtime.config_sources))
            check(composed)
            number += 1
    return number


def sweep_overrides(config: DictConfig) -> list[str]:
    """Return a sweep's overrides: those of an experiment's file, then those of the command line."""
    params = config.hydra.sweeper.get("params") or {}
    return [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]


def sweep_name(overrides: Iterable[str]) -> str:
    """Return the name of a sweep: what varies between its jobs, then what they share.

    Example:
        >>> sweep_name(["model=random", "n_messages=1,3"])
        'sweep · n_messages=1,3 · model=random'
    """
    parser = OverridesParser.create()
    parts: dict[bool, list[str]] = {True: [], False: []}
    for override in overrides:
        parts[parser.parse_override(override).is_sweep_override()].append(override)
    return " · ".join(["sweep", *(" ".join(part) for part in parts.values() if part)])


def rerun_prefix(config: DictConfig) -> str:
    """Return the command that runs one job of a sweep again, without the job's own overrides.

    With another launcher than Hydra's default, it is a sweep of one job, so that the same launcher runs it.
    """
    given = list(config.hydra.overrides.hydra)
    command = ["python", "-m", "valstab", *config_dirs(config.hydra)]
    if not config.hydra.launcher._target_.endswith(".BasicLauncher"):
        command += ["-m", *(override for override in given if not override.startswith(OF_THE_SWEEP))]
    elif not any(override.startswith("hydra.mode=") for override in given):
        command.append("hydra.mode=RUN")  # since the experiment's file asks for a sweep
    return shlex.join(command)
