"""Put the parts of a divided run together, when a sweep has made all of them (`-m parts=4 part=range(1,5)`)."""

import shlex
from collections.abc import Iterable
from pathlib import Path

import mlflow
from hydra.core.global_hydra import GlobalHydra
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from omegaconf import DictConfig, open_dict, read_write

from valstab.config import Config, typed
from valstab.model import settled
from valstab.parent import jobs_of
from valstab.plan import make_plan
from valstab.run import conclude_parts
from valstab.sweep import OVERRIDES

DIVISION = ("part=", "parts=")
"""Overrides that the whole does not have."""


def assemble(config: DictConfig, parent: str, folder: Path) -> None:
    """Make one run of the parts in a sweep; of several, where more was swept than the parts.

    Args:
        config: the sweep's, as Hydra composed it.
        parent: the id of its MLflow run, which the whole runs belong to as well.
        folder: of the sweep; the results lie in `whole` in it, or `whole_1`, `whole_2`, ...

    Raises:
        ConfigError: if a part is missing.
    """
    wholes: dict[tuple[str, ...], list[str]] = {}
    for job in jobs_of(parent, end_running=False):
        kept = tuple(each for each in shlex.split(job.data.tags[OVERRIDES]) if not each.startswith(DIVISION))
        wholes.setdefault(kept, []).append(job.info.run_id)
    for number, (overrides, jobs) in enumerate(wholes.items(), 1):
        whole = _config(config, overrides)
        parts = [Path(mlflow.artifacts.download_artifacts(run_id=job)) for job in jobs]
        name = "whole" if len(wholes) == 1 else f"whole_{number}"
        tags = {MLFLOW_PARENT_RUN_ID: parent, OVERRIDES: shlex.join(overrides)}
        conclude_parts(whole, make_plan(whole), parts, folder / name, tags)


def _config(sweep: DictConfig, overrides: Iterable[str]) -> Config:
    """Compose a whole run's configuration."""
    composed = GlobalHydra.instance().config_loader().load_sweep_config(sweep, [*overrides, "parts=1", "part=null"])
    with read_write(composed), open_dict(composed):
        del composed["hydra"]
    config = typed(composed, Config)
    config.model = settled(config)
    return config
