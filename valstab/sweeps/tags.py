"""The tags that tie a job's MLflow run to its sweep and its command."""

import shlex
from typing import Any

from valstab.config.secrets import redact

PARENT_VARIABLE = "VALSTAB_SWEEP"
"""The environment variable with the id of the sweep's MLflow run, which Hydra sets for its jobs."""


JOB_TAG = "sweep.job"
"""The tag with a job's number in its sweep."""


OVERRIDES_TAG = "overrides"
"""The tag with what was set on the command line, or by the sweep for this job."""


OF_THE_SWEEP = ("hydra.mode=", "hydra.sweeper", "hydra.sweep.", "+hydra.job.env_set.")
"""Overrides that a job does not need when it runs again."""


def job_tags(hydra: Any) -> dict[str, str]:
    """Give the tags that tie a job's MLflow run to its command, and to its sweep if it is of one.

    Args:
        hydra: the job's own Hydra configuration.
    """
    tags = {OVERRIDES_TAG: redact(shlex.join(hydra.overrides.task))}
    if parent := hydra.job.env_set.get(PARENT_VARIABLE):
        tags |= {"mlflow.parentRunId": parent, JOB_TAG: str(hydra.job.num)}
    return tags
