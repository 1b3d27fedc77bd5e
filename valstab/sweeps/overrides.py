"""The overrides of a sweep and of its jobs, and the command that runs one job again."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from valstab.config.axes import LEVELS, Cell, cells, key_of
from valstab.config.options import config_folders, refuse_hidden_options
from valstab.config.quoting import quoted
from valstab.config.secrets import refuse_composed_secrets
from valstab.errors import ConfigError
from valstab.sweeps.tags import OF_THE_SWEEP, config_dirs

OF_AXES = ("axes", "axes_crossed")
"""Settings of a study that its runs do not need."""


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
    if not config.hydra.sweeper._target_.endswith((".BasicSweeper", ".AxesSweeper")):
        if config.axes:
            raise ConfigError("axes", ",".join(config.axes), "need Hydra's own sweeper: leave hydra/sweeper out")
        return 0
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create(loader).parse_overrides(sweep_overrides(config))
    jobs = jobs_of(config, overrides)
    for job in jobs:
        composed = loader.load_sweep_config(config, job)
        refuse_composed_secrets(composed)
        runtime = composed.hydra.runtime
        refuse_hidden_options(runtime.choices, config_folders(runtime.config_sources))
        check(composed)
    return len(jobs)


def jobs_of(config: DictConfig, overrides: list[Override]) -> list[list[str]]:
    """Return the overrides of each job of a sweep: what is swept over, for each combination of levels of its axes.

    Args:
        config: the sweep's configuration.
        overrides: those of an experiment's file and of the command line.

    Raises:
        ConfigError: if an axis can't be used, or a level sets what the command line sets too.
    """
    (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    axes = cast("dict[str, Any]", OmegaConf.to_container(config.axes))
    if not axes:
        return jobs
    combinations = cells(axes, crossed=config.axes_crossed)
    by_levels = {key_of(override) for cell in combinations for override in cell.overrides}
    for override in jobs[0]:
        if (key := key_of(override)) in by_levels:
            raise ConfigError("axes", override, f"levels of an axis set {key} too; leave it out, or the axis")
    return [
        [*(each for each in job if key_of(each).partition(".")[0] not in OF_AXES), *cell.overrides, *_named(cell)]
        for job in jobs
        for cell in combinations
    ]


def _named(cell: Cell) -> Iterator[str]:
    """Yield the overrides that say which levels a run is at."""
    for axis, level in cell.levels.items():
        yield f"+{LEVELS}{axis}={quoted(level)}"


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
