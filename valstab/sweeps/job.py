"""Run one job of a sweep; if it fails, the failure is logged and the other jobs go on."""

import logging
import math
import time
from collections.abc import Callable
from datetime import timedelta

from hydra.core.hydra_config import HydraConfig

from valstab.config.explain import USER_ERRORS, explain, is_disk_error
from valstab.config.terminal import warn
from valstab.errors import UserError
from valstab.sweeps.tags import JOBS_VARIABLE, PARENT_VARIABLE, job_tags


def place_in_sweep(number: int, jobs: int, seconds: float | None) -> str:
    """Return which job of a sweep begins, and how long the sweep will take from now on, if jobs before it tell.

    Args:
        number: of the job, from 0.
        jobs: of the sweep.
        seconds: that the jobs before took; None if jobs run at the same time.

    Example:
        >>> place_in_sweep(2, 36, 600.0)
        'job 3 of 36, about 2:50:00 left in the sweep'
    """
    place = f"job {number + 1} of {jobs}"
    if not number or seconds is None:
        return place
    return f"{place}, about {timedelta(seconds=round(seconds / number * (jobs - number)))} left in the sweep"


def run_job(work: Callable[[], float | None]) -> float | None:
    """Do a job's work and return its result. In a sweep, any failure is logged, in MLflow too, and NaN is returned."""
    hydra = HydraConfig.get()
    if PARENT_VARIABLE not in hydra.job.env_set:
        return work()
    if jobs := hydra.job.env_set.get(JOBS_VARIABLE):
        number, began = jobs.split()
        in_turn = hydra.launcher._target_.endswith(".BasicLauncher")
        warn(place_in_sweep(hydra.job.num, int(number), time.time() - float(began) if in_turn else None))
    try:
        return work()
    except Exception as error:
        from valstab.sweeps.parent import record_failure

        log = logging.getLogger("valstab")
        if isinstance(error, USER_ERRORS) or is_disk_error(error):
            log.error("job failed: %s", explain(error, HydraConfig.get().overrides.task))  # noqa: TRY400
        else:
            log.exception("job failed")
        try:
            record_failure(error, job_tags(HydraConfig.get()))
        except UserError as away:
            log.error("%s", away)  # noqa: TRY400
        return math.nan
