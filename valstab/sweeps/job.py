"""Run one job of a sweep; if it fails, the failure is logged and the other jobs go on."""

import logging
import math
from collections.abc import Callable

from hydra.core.hydra_config import HydraConfig

from valstab.config.explain import USER_ERRORS, explain, is_disk_error
from valstab.errors import UserError
from valstab.sweeps.tags import PARENT_VARIABLE, job_tags


def run_job(work: Callable[[], float | None]) -> float | None:
    """Do a job's work and return its result. In a sweep, any failure is logged, in MLflow too, and NaN is returned."""
    if PARENT_VARIABLE not in HydraConfig.get().job.env_set:
        return work()
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
