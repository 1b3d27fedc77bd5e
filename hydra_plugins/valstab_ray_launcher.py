"""Run the jobs of a sweep on Ray: `hydra/launcher=ray`.

Hydra's own Ray launcher needs an older cloudpickle than joblib and MLflow allow, and installs a client for one cloud
provider. This launcher only submits the jobs. It must be in `hydra_plugins`, since Hydra looks for plugins there alone.
Ray is imported only where it is used, since Hydra imports every plugin at each start.
"""

import logging
import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from valstab.errors import UserError
from valstab.sweeps.tags import job_tags

log = logging.getLogger(__name__)


class RayLauncher(Launcher):
    """Submits each job to a Ray cluster as a task, and waits for all of them.

    Args:
        init: arguments of `ray.init`: `address` joins a cluster, `num_cpus` and `num_gpus` start one here.
        remote: arguments of `ray.remote`: the resources of each job, `num_cpus` and `num_gpus`.
    """

    def __init__(self, init: DictConfig, remote: DictConfig) -> None:
        self.init: Any = OmegaConf.to_container(init, resolve=True)
        self.remote: Any = OmegaConf.to_container(remote, resolve=True)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the context, the task function and the configuration of the jobs."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one batch of jobs and return their results."""
        if not self.init.get("address"):
            # Ray's setting for a cluster that listens on this machine only, whatever its system is.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        try:
            import ray
        except ImportError:
            raise UserError("hydra/launcher=ray: needs Ray; pip install 'valstab[ray]'") from None

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        if not ray.is_initialized():
            handler = signal.getsignal(signal.SIGTERM)
            ray.init(**self.init)
            signal.signal(signal.SIGTERM, handler)  # Ray's own would end the sweep without a summary
        run = ray.remote(max_calls=1, max_retries=0, **self.remote)(_run)
        jobs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            log.info("\t#%s : %s", number, " ".join(filter_overrides(overrides)))
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = f"{config.hydra.job.name}_{number}"
                config.hydra.job.num = number
            job = run.remote(self.hydra_context, self.task_function, config, Singleton.get_state(), Path.cwd())
            jobs.append((job, config))
        return [_result(job, config) for job, config in jobs]


def _result(job: Any, config: DictConfig) -> JobReturn:
    """Wait for a job and return its result. If its process died, for instance out of memory, it is marked failed."""
    import ray

    try:
        result: JobReturn = ray.get(job)
    except ray.exceptions.RayError as error:
        from valstab.sweeps.parent import record_failure

        log.exception("\t#%s : its process died", config.hydra.job.num)
        record_failure(error, job_tags(config.hydra))
        return JobReturn(status=JobStatus.COMPLETED, _return_value=math.nan)
    return result


def _run(
    hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig, state: Any, folder: Path
) -> JobReturn:
    """Run one job in the process of a worker, in the folder from which the sweep was started."""
    os.chdir(folder)
    setup_globals()
    Singleton.set_state(state)
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
