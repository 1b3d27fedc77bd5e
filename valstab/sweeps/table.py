"""The table of a sweep's jobs."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from valstab.config.axes import LEVELS, settings_apart
from valstab.config.schema import MEASURES

if TYPE_CHECKING:
    from mlflow.entities import Run

METRIC_COLUMNS = (
    *(f"{name}{part}" for name in MEASURES for part in ("", "_low", "_high", "_se", "_chance", "_p")),
    "answer_mass",
    "unparsed_fraction",
)
"""Metrics of a run that are columns of the table."""


def job_table(runs: Sequence["Run"]) -> pd.DataFrame:
    """Return a table of a sweep's jobs by number, with each job's newest run: a job may have been restarted.

    The columns are job, name, status, the settings that differ between jobs, the headline numbers, error, run_id,
    experiment_id and overrides.
    """
    newest = {int(run.data.tags["sweep.job"]): run for run in sorted(runs, key=lambda run: run.info.start_time)}
    jobs = [newest[number] for number in sorted(newest)]
    settings = [_settings(run.data.tags["overrides"]) for run in jobs]
    swept = _swept(settings)
    rows = [
        {
            "job": int(run.data.tags["sweep.job"]),
            "name": run.info.run_name,
            "status": run.info.status,
            **{key: one.get(key) for key in swept},
            **{name: run.data.metrics.get(name, np.nan) for name in METRIC_COLUMNS},
            "error": run.data.tags.get("error", ""),
            "run_id": run.info.run_id,
            "experiment_id": run.info.experiment_id,
            "overrides": run.data.tags["overrides"],
        }
        for run, one in zip(jobs, settings, strict=True)
    ]
    return pd.DataFrame(rows)


def swept_keys(table: pd.DataFrame) -> list[str]:
    """Return the names of the settings that differ between the jobs of a table."""
    columns = [str(column) for column in table]
    return columns[columns.index("status") + 1 : columns.index(METRIC_COLUMNS[0])] if columns else []


def best_and_spread(table: pd.DataFrame) -> dict[str, float]:
    """Return the highest of each stability over a sweep's jobs, and how far the lowest is below it, by metric's name.

    The highest of many is high by chance too.
    """
    numbers: dict[str, float] = {}
    for name in MEASURES:
        if (known := table[name].dropna()).size:
            numbers |= {f"{name}_best": float(known.max()), f"{name}_spread": float(known.max() - known.min())}
    return numbers


def job_labels(table: pd.DataFrame) -> list[str]:
    """Return a label for each job of a table: its values of the settings that differ, or its name if none do."""
    keys = swept_keys(table)
    return [" ".join(str(row[key]) for key in keys) or row["name"] for row in rows(table)]


def rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return a table's rows as dictionaries."""
    return [dict(row) for row in table.to_dict("records")]


def _settings(overrides: str) -> dict[str, str]:
    parts = (override.lstrip("+").partition("=") for override in shlex.split(overrides))
    return {key: value.strip('"') for key, _, value in parts}


def _swept(settings: Sequence[dict[str, str]]) -> list[str]:
    """Return the settings that differ between jobs; the names of a study's levels stand for what they set."""
    levels = dict.fromkeys(key for one in settings for key in one if key.startswith(LEVELS))
    varied = [key for key in levels if len({one.get(key) for one in settings}) > 1]
    return [*varied, *settings_apart(settings)]
