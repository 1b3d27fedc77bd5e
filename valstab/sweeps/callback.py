"""Open and close the MLflow run of a sweep, the parent of its jobs' runs, with any launcher.

Hydra calls `SweepCallback` in the process of the command. The jobs use `valstab.sweeps.job.run_job` and
`valstab.sweeps.tags.job_tags`, possibly on other machines. They learn the parent's id from an environment variable
that `SweepCallback` adds to every job's configuration.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from valstab.config.exit import fail
from valstab.config.explain import USER_ERRORS
from valstab.config.terminal import say, warn
from valstab.errors import ConfigError, UserError, one_line
from valstab.sweeps.overrides import compose_jobs, rerun_prefix, sweep_overrides
from valstab.sweeps.tags import JOBS_VARIABLE, PARENT_VARIABLE, command_line

if TYPE_CHECKING:  # what it imports takes seconds
    from valstab.dry_run.preview import Preview


class SweepCallback(Callback):
    """Opens the parent run before the jobs, and closes it with a summary of all jobs."""

    ongoing: ClassVar["SweepCallback | None"] = None
    preview: ClassVar["Preview | None"] = None
    """The estimates of a dry run's jobs, as far as they were made in this process."""
    check_job: ClassVar[Callable[[DictConfig], object]] = staticmethod(lambda _: None)
    """Checks the composed configuration of a job, before the first job begins; a command sets it."""
    check_figure: ClassVar[Callable[[str], object]] = staticmethod(lambda _: None)
    """Checks that there is a figure of a name, before the first job begins; a command sets it."""
    compare: ClassVar[Callable[[str, str, Path], object]] = staticmethod(lambda *_: None)
    """Makes a figure of the runs of a sweep, by its run's id, in the sweep's folder; a command sets it."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent run, and pass its id to all jobs."""
        # Jobs that SLURM has accepted go on after the command ends.
        self.detached = config.hydra.launcher._target_.endswith(".SlurmLauncher")
        if self.detached and shutil.which("sbatch") is None:
            fail(ConfigError("hydra/launcher", "slurm", "needs sbatch, which is not here; slurm_local does without"))
        try:
            for figure in figures_of(config):
                SweepCallback.check_figure(figure)
            number = compose_jobs(config, SweepCallback.check_job)
        except (*USER_ERRORS, ValueError) as error:  # Hydra only warns of exceptions in a callback
            fail(error)
        if config.dry_run:
            return
        from valstab.sweeps.parent import open_parent

        # An override of the command line replaces the same key of an experiment's file.
        overrides = list({each.partition("=")[0]: each for each in sweep_overrides(config)}.values())
        command = command_line(config.hydra, "-m")
        try:
            self.parent = open_parent(config.tracking.experiment, overrides, rerun_prefix(config), command)
        except UserError as error:
            fail(error)
        config.hydra.overrides.hydra.append(f"+hydra.job.env_set.{PARENT_VARIABLE}='{self.parent}'")
        if number:
            jobs = f"+hydra.job.env_set.{JOBS_VARIABLE}='{number} {time.time():.0f}'"
            config.hydra.overrides.hydra.append(jobs)
        self.folder = Path(config.hydra.sweep.dir).absolute()
        SweepCallback.ongoing = self

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Close the parent run.

        Raises:
            SystemExit: if jobs failed, with a description of each and the command that runs it again.
        """
        if SweepCallback.preview:
            say(f"\n{SweepCallback.preview.total()}")
        if SweepCallback.ongoing is not self:
            return
        try:
            failures = self.close(interrupted=False)
        except USER_ERRORS as error:
            fail(error)
        failures = "\n".join(filter(None, [failures, *self.draw_figures(config)]))
        if failures:
            sys.exit(failures)

    def draw_figures(self, config: DictConfig) -> Iterator[str]:
        """Make the figures that the sweep ends with, and yield why one can't be made."""
        for figure in figures_of(config):
            try:
                SweepCallback.compare(figure, self.parent, self.folder)
            except USER_ERRORS as error:
                yield f"valstab: figure={figure}: {one_line(str(error))}"

    def close(self, *, interrupted: bool) -> str:
        """Summarise the jobs in the parent run and on standard output; return a description of the failures, if any.

        Raises:
            UserError: if MLflow cannot be reached or used; `python -m valstab sync` then closes the sweep later.
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


def figures_of(config: DictConfig) -> list[str]:
    """Return the figures that a sweep ends with."""
    return list(dict.fromkeys([*(["axes"] if config.axes else []), *config.figures]))


@contextmanager
def closing_sweep() -> Iterator[None]:
    """Close the sweep's run if an exception ends the block, such as after Ctrl-C."""
    try:
        yield
    except BaseException:
        if SweepCallback.ongoing:
            try:
                SweepCallback.ongoing.close(interrupted=True)
            except UserError as error:
                warn(f"valstab: {error}")
        raise
