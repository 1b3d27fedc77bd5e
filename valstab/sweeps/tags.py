"""The tags that tie a job's MLflow run to its sweep and its command."""

import shlex
from typing import Any

PARENT_VARIABLE = "VALSTAB_SWEEP"
"""The environment variable with the id of the sweep's MLflow run. Hydra sets it for each job."""


JOBS_VARIABLE = "VALSTAB_SWEEP_JOBS"
"""The environment variable with the number of a sweep's jobs, and when it began, in seconds since 1970."""


JOB_TAG = "sweep.job"
"""The tag with a job's number in its sweep."""


OVERRIDES_TAG = "overrides"
"""The tag with the overrides of a run's command line, or those that a sweep sets for a job."""


OF_THE_SWEEP = ("hydra.mode=", "hydra.sweeper", "hydra.sweep.", "+hydra.job.env_set.")
"""Start of overrides that concern the whole sweep: a job that runs again does not need them."""


def command_line(hydra: Any, *options: str) -> str:
    """Return the command that makes a run, as text for a shell.

    Args:
        hydra: the Hydra configuration of the run, the job or the sweep.
        *options: further arguments.
    """
    return shlex.join(["python", "-m", "valstab", *options, *config_dirs(hydra), *hydra.overrides.task])


def config_dirs(hydra: Any) -> list[str]:
    """Return the arguments of a command that name its folders of options."""
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    return [part for folder in folders for part in ("--config-dir", folder)]


def job_tags(hydra: Any) -> dict[str, str]:
    """Return the tags that tie a job's MLflow run to its command and, in a sweep, to the sweep's run.

    Args:
        hydra: the Hydra configuration of the job.
    """
    tags = {OVERRIDES_TAG: shlex.join(hydra.overrides.task)}
    if parent := hydra.job.env_set.get(PARENT_VARIABLE):
        tags |= {"mlflow.parentRunId": parent, JOB_TAG: str(hydra.job.num)}
    return tags
