"""One job of a sweep: a failure is logged, and the others go on."""

import logging
import math
import traceback
from collections.abc import Callable

from hydra.core.hydra_config import HydraConfig

from valstab.config.explain import DISK_FULL_ERRNOS, USER_ERRORS, explain
from valstab.config.secrets import redact
from valstab.errors import UserError
from valstab.sweeps.tags import PARENT_VARIABLE, job_tags


def run_job(work: Callable[[], float | None]) -> float | None:
    """Do a job's work. In a sweep, a failure of any kind is logged, in MLflow too, and gives NaN: the others go on."""
    if PARENT_VARIABLE not in HydraConfig.get().job.env_set:
        return work()
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - it is logged, and the other jobs go on
        from valstab.sweeps.parent import record_failure

        log = logging.getLogger("valstab")
        if isinstance(error, USER_ERRORS) or getattr(error, "errno", None) in DISK_FULL_ERRNOS:
            log.error("job failed: %s", explain(error, HydraConfig.get().overrides.task))  # noqa: TRY400
        else:
            log.error("job failed\n%s", redact(traceback.format_exc()))  # noqa: TRY400  (would show it as it is)
        try:
            record_failure(error, job_tags(HydraConfig.get()))
        except UserError as away:
            log.error("%s", away)  # noqa: TRY400
        return math.nan
