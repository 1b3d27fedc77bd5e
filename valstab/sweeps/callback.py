"""A sweep as one MLflow run, the parent of its jobs' runs, whatever launcher starts them and wherever they run.

Hydra calls `Sweep` in the process that was started; `attempt` and `job_tags` are for the jobs. They know of each
other through one line that `Sweep` adds to every job's configuration, and through MLflow alone.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from valstab.config.exit import fail
from valstab.config.explain import USER_ERRORS
from valstab.config.secrets import redact
from valstab.errors import ConfigError, UserError
from valstab.sweeps.overrides import compose_jobs, rerun_prefix, sweep_overrides
from valstab.sweeps.tags import PARENT_VARIABLE


class SweepCallback(Callback):
    """Makes the parent run, and closes it with a summary of all jobs."""

    ongoing: ClassVar["SweepCallback | None"] = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Make the parent run, and tell all jobs, in whatever process, that it is theirs."""
        # What SLURM has goes on without the command that gave it.
        self.detached = config.hydra.launcher._target_.endswith(".SlurmLauncher")
        if self.detached and shutil.which("sbatch") is None:
            fail(ConfigError("hydra/launcher", "slurm", "needs sbatch, which is not here; slurm_local does without"))
        try:
            compose_jobs(config)
        except (*USER_ERRORS, ValueError) as error:  # what a callback raises, Hydra only warns of
            fail(error)
        if config.dry_run:
            return
        from valstab.sweeps.parent import open_parent

        # What was given replaces what an experiment's file sweeps.
        overrides = {each.partition("=")[0]: each for each in sweep_overrides(config)}
        try:
            self.parent = open_parent(
                config.tracking.experiment,
                redact(" ".join(overrides.values())),
                redact(rerun_prefix(config)),
            )
        except UserError as error:
            fail(error)
        config.hydra.overrides.hydra.append(f"+hydra.job.env_set.{PARENT_VARIABLE}='{self.parent}'")
        self.folder = Path(config.hydra.sweep.dir).absolute()
        SweepCallback.ongoing = self

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ARG002
        """Close the parent run.

        Raises:
            SystemExit: if a job failed, with what failed and how to run it again.
        """
        if SweepCallback.ongoing is not self:
            return
        try:
            failures = self.close(interrupted=False)
        except USER_ERRORS as error:
            fail(error)
        if failures:
            sys.exit(failures)

    def close(self, *, interrupted: bool) -> str:
        """Summarise the jobs in the parent run and on standard output; give the failures in words, if any.

        Raises:
            UserError: if MLflow can't be reached or used; `valstab.sync` does the same later.
        """
        from valstab.sweeps.parent import finish_sweep

        SweepCallback.ongoing = None
        try:
            return finish_sweep(
                self.parent,
                self.folder,
                interrupted=interrupted,
                end_running=not (interrupted and self.detached),
            )
        except UserError as error:
            later = f"results stay in {self.folder}, `python -m valstab sync` logs them"
            raise UserError(f"{error}; {later}") from error


@contextmanager
def closing_sweep() -> Iterator[None]:
    """Close a sweep that something ends before its jobs are done."""
    try:
        yield
    except BaseException:
        if SweepCallback.ongoing:
            try:
                SweepCallback.ongoing.close(interrupted=True)
            except UserError as error:
                sys.stderr.write(f"valstab: {error}\n")
        raise
