"""A sweep as one MLflow run, the parent of its jobs' runs, whatever launcher starts them and wherever they run.

Hydra calls `Sweep` in the process that was started; `attempt` and `job_tags` are for the jobs. They know of each
other through one line that `Sweep` adds to every job's configuration, and through MLflow alone.
"""

import logging
import math
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from valstab.cli import FULL, MISTAKES, explain, fail
from valstab.config import ConfigError, UserError, one_line
from valstab.secrecy import redacted, refuse_composed_secrets

PARENT = "VALSTAB_SWEEP"
"""The environment variable with the id of the sweep's MLflow run, which Hydra sets for its jobs."""

JOB = "sweep.job"
"""The tag with a job's number in its sweep."""

OVERRIDES = "overrides"
"""The tag with what was set on the command line, or by the sweep for this job."""

OF_THE_SWEEP = ("hydra.mode=", "hydra.sweeper", "hydra.sweep.", "+hydra.job.env_set.")
"""Overrides that a job does not need when it runs again."""


class Sweep(Callback):
    """Makes the parent run, and closes it with a summary of all jobs."""

    ongoing: ClassVar["Sweep | None"] = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Make the parent run, and tell all jobs, in whatever process, that it is theirs."""
        # What SLURM has goes on without the command that gave it.
        self.detached = config.hydra.launcher._target_.endswith(".SlurmLauncher")
        if self.detached and shutil.which("sbatch") is None:
            fail(ConfigError("hydra/launcher", "slurm", "needs sbatch, which is not here; slurm_local does without"))
        try:
            compose_jobs(config)
        except (*MISTAKES, ValueError) as error:  # what a callback raises, Hydra only warns of
            fail(error)
        if config.dry_run:
            return
        from valstab.parent import open_parent

        # What was given replaces what an experiment's file sweeps.
        overrides = {each.partition("=")[0]: each for each in swept(config)}
        try:
            self.parent = open_parent(
                config.tracking.experiment,
                redacted(" ".join(overrides.values())),
                redacted(rerun_prefix(config)),
            )
        except UserError as error:
            fail(error)
        config.hydra.overrides.hydra.append(f"+hydra.job.env_set.{PARENT}='{self.parent}'")
        self.folder = Path(config.hydra.sweep.dir).absolute()
        Sweep.ongoing = self

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Close the parent run, and put the parts of a divided run together.

        Raises:
            SystemExit: if a job failed, with what failed and how to run it again, or the parts don't fit.
        """
        if Sweep.ongoing is not self:
            return
        try:
            failures = self.close(interrupted=False)
            if not failures and config.parts > 1:
                from valstab.assemble import assemble

                assemble(config, self.parent, self.folder)
        except MISTAKES as error:
            fail(error)
        if failures:
            sys.exit(failures)

    def close(self, *, interrupted: bool) -> str:
        """Summarise the jobs in the parent run and on standard output; give the failures in words, if any.

        Raises:
            UserError: if MLflow can't be reached or used; `valstab.sync` does the same later.
        """
        from valstab.parent import conclude

        Sweep.ongoing = None
        try:
            return conclude(
                self.parent,
                self.folder,
                interrupted=interrupted,
                end_running=not (interrupted and self.detached),
            )
        except UserError as error:
            later = f"results stay in {self.folder}, `python -m valstab.sync` logs them"
            raise UserError(f"{error}; {later}") from error


def compose_jobs(config: DictConfig) -> None:
    """Compose every job of a sweep as Hydra's own sweeper will, so that a mistake ends it before it leaves anything.

    Raises:
        HydraException: if an option or a key does not exist, or a value is of the wrong type.
        ConfigError: if a setting holds a secret.
    """
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return
    loader = GlobalHydra.instance().config_loader()
    overrides = OverridesParser.create(loader).parse_overrides(swept(config))
    for batch in BasicSweeper.split_arguments(overrides, max_batch_size=None):
        for job in batch:
            refuse_composed_secrets(loader.load_sweep_config(config, job))


def swept(config: DictConfig) -> list[str]:
    """Give a sweep's overrides: those of an experiment's file, then those of the command line."""
    params = config.hydra.sweeper.get("params") or {}
    return [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]


@contextmanager
def closed_sweep() -> Iterator[None]:
    """Close a sweep that something ends before its jobs are done."""
    try:
        yield
    except BaseException:
        if Sweep.ongoing:
            try:
                Sweep.ongoing.close(interrupted=True)
            except UserError as error:
                sys.stderr.write(f"valstab: {error}\n")
        raise


def attempt(work: Callable[[], float | None]) -> float | None:
    """Do a job's work. In a sweep, a failure of any kind is logged, in MLflow too, and gives NaN: the others go on."""
    if PARENT not in HydraConfig.get().job.env_set:
        return work()
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - it is logged, and the other jobs go on
        from valstab.parent import record_failure

        log = logging.getLogger("valstab")
        if isinstance(error, MISTAKES) or getattr(error, "errno", None) in FULL:
            said = one_line(redacted(explain(error, HydraConfig.get().overrides.task)))
            log.error("job failed: %s", said)  # noqa: TRY400
        else:
            log.error("job failed\n%s", redacted(traceback.format_exc()))  # noqa: TRY400  (would show it as it is)
        try:
            record_failure(error, job_tags(HydraConfig.get()))
        except UserError as away:
            log.error("%s", away)  # noqa: TRY400
        return math.nan


def job_tags(hydra: Any) -> dict[str, str]:
    """Give the tags that tie a job's MLflow run to its command, and to its sweep if it is of one.

    Args:
        hydra: the job's own Hydra configuration.
    """
    tags = {OVERRIDES: redacted(shlex.join(hydra.overrides.task))}
    if parent := hydra.job.env_set.get(PARENT):
        tags |= {"mlflow.parentRunId": parent, JOB: str(hydra.job.num)}
    return tags


def rerun_prefix(config: DictConfig) -> str:
    """Give the command that runs one job of a sweep again, but for the job's own overrides.

    With a launcher it is a sweep of one job, so that the same launcher runs it.
    """
    given = list(config.hydra.overrides.hydra)
    folders = [source.path for source in config.hydra.runtime.config_sources if source.provider == "command-line"]
    command = ["python", "-m", "valstab", *(part for folder in folders for part in ("--config-dir", folder))]
    if not config.hydra.launcher._target_.endswith(".BasicLauncher"):
        command += ["-m", *(override for override in given if not override.startswith(OF_THE_SWEEP))]
    elif not any(override.startswith("hydra.mode=") for override in given):
        command.append("hydra.mode=RUN")  # an experiment's own file asks for the sweep
    return shlex.join(command)
