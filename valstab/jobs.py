"""What a sweep's jobs found, side by side: a table, a text and a picture."""

import shlex
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from valstab.config import MEASURES
from valstab.markdown import plain as text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow.entities import Run

NUMBERS = (*(f"{name}{part}" for name in MEASURES for part in ("", "_se")), "answer_mass", "unparsed_fraction")
LENGTH = "n_messages"
"""The setting that comes first as the horizontal axis of the picture."""
DONE = "FINISHED"


def job_table(runs: Sequence["Run"]) -> pd.DataFrame:
    """Lay the jobs of a sweep out, one a row, by number: each one's newest run, as a job may have been restarted.

    The columns are job, name, status, the settings that differ between jobs, the headline numbers, error, run_id,
    experiment_id and overrides.
    """
    newest = {int(run.data.tags["sweep.job"]): run for run in sorted(runs, key=lambda run: run.info.start_time)}
    jobs = [newest[number] for number in sorted(newest)]
    settings = [_settings(run.data.tags["overrides"]) for run in jobs]
    swept = [key for key in dict.fromkeys(key for one in settings for key in one) if _differs(key, settings)]
    rows = [
        {
            "job": int(run.data.tags["sweep.job"]),
            "name": run.info.run_name,
            "status": run.info.status,
            **{key: one.get(key) for key in swept},
            **{name: run.data.metrics.get(name, np.nan) for name in NUMBERS},
            "error": run.data.tags.get("error", ""),
            "run_id": run.info.run_id,
            "experiment_id": run.info.experiment_id,
            "overrides": run.data.tags["overrides"],
        }
        for run, one in zip(jobs, settings, strict=True)
    ]
    return pd.DataFrame(rows)


def swept_keys(table: pd.DataFrame) -> list[str]:
    """Name the settings that differ between the jobs of a table."""
    columns = [str(column) for column in table]
    return columns[columns.index("status") + 1 : columns.index(NUMBERS[0])] if columns else []


def describe_failures(table: pd.DataFrame, prefix: str) -> str:
    """Say which jobs failed, why, and the command for each alone; nothing if none did."""
    if table.empty or (table["status"] == DONE).all():
        return ""
    failed = table[table["status"] != DONE]
    lines = [f"valstab: {len(failed)} of {len(table)} jobs failed; to run only these again (the store has the rest):"]
    for row in _rows(failed):
        label = " ".join(f"{key}={row[key]}" for key in swept_keys(table)) or row["name"]
        lines.append(f"  #{row['job']} {label}: {row['error'] or 'was ended from outside'}")
        lines.append(f"    {prefix} {row['overrides']}")
    return "\n".join(lines)


def markdown(table: pd.DataFrame, failures: str) -> str:
    """Describe a sweep for its MLflow page."""
    if table.empty:
        return "No job has begun."
    finished = int((table["status"] == DONE).sum())
    keys = swept_keys(table)
    header = ["job", *map(text, keys or ["name"]), "rank-order ± SE", "ipsative ± SE", "answer mass", "status"]
    lines = [
        f"**{finished} of {len(table)} jobs finished.**" + _best(table),
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
    ]
    for row in _rows(table):
        link = f"[{row['job']}](#/experiments/{row['experiment_id']}/runs/{row['run_id']})"
        names = [text(row[key]) for key in keys or ["name"]]
        cells = [link, *names, *(_stability(row, name) for name in MEASURES), _number(row["answer_mass"])]
        lines.append(f"| {' | '.join([*cells, row['status']])} |")
    if failures:
        lines += ["", "```text", failures.replace("```", "` ` `"), "```"]
    return "\n".join([*lines, "", "The table is the artifact `sweep.csv`, the picture `sweep.png`."])


def plain(table: pd.DataFrame) -> str:
    """Lay the jobs out for a terminal."""
    shown = table[["job", *(swept_keys(table) or ["name"]), "status"]]
    for name in MEASURES:
        shown = shown.assign(**{f"{name.replace('_', '-')} ± SE": [_stability(row, name) for row in _rows(table)]})
    return shown.to_string(index=False)


def figure(table: pd.DataFrame, title: str) -> "Figure | None":
    """Draw each stability ± SE: as lines over a number that was swept, else one job a row; None without results.

    The caller closes it.
    """
    import matplotlib.pyplot as plt

    import valstab.plots  # noqa: F401 - needs no screen, and takes names as they are

    shown = [name for name in MEASURES if not table.empty and table[name].notna().any()]
    if not shown:
        return None
    keys = swept_keys(table)
    axis = next((key for key in sorted(keys, key=lambda key: key != LENGTH) if _is_number(table[key])), None)
    height = 4.2 if axis else 1.6 + 0.36 * len(table)
    drawn, axes = plt.subplots(1, len(shown), figsize=(6 * len(shown), height), layout="constrained", squeeze=False)
    for ax, name in zip(axes[0], shown, strict=True):
        if axis:
            others = [key for key in keys if key != axis]
            for label, group in table.groupby(others, sort=False) if others else [("", table)]:
                line = group.assign(**{axis: pd.to_numeric(group[axis])}).sort_values(axis)
                text = " ".join(map(str, label)) if isinstance(label, tuple) else str(label)
                ax.errorbar(line[axis], line[name], line[f"{name}_se"], marker="o", capsize=3, label=text)
            ax.set_xticks(sorted(pd.to_numeric(table[axis]).unique()))
            ax.set_xlabel(axis)
            ax.set_ylabel(f"{name.replace('_', '-')} stability (± SE)")
            if others:
                ax.legend(frameon=False, fontsize="small")
        else:
            labels = [" ".join(str(row[key]) for key in keys) or row["name"] for row in _rows(table)]
            places = np.arange(len(table))
            ax.errorbar(table[name], places, xerr=table[f"{name}_se"], fmt="o", capsize=3)
            ax.set_yticks(places, labels)
            ax.invert_yaxis()
            ax.set_xlabel(f"{name.replace('_', '-')} stability (± SE)")
        (ax.axhline if axis else ax.axvline)(0, color="black", linewidth=0.8)
    drawn.suptitle(textwrap.fill(title, 60 * len(shown)), fontsize="medium")
    return drawn


def _rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return [dict(row) for row in table.to_dict("records")]


def _settings(overrides: str) -> dict[str, str]:
    parts = (override.lstrip("+").partition("=") for override in shlex.split(overrides))
    return {key: value for key, _, value in parts}


def _differs(key: str, settings: Sequence[dict[str, str]]) -> bool:
    return len({one.get(key) for one in settings}) > 1


def _is_number(column: "pd.Series[Any]") -> bool:
    return bool(pd.to_numeric(column, errors="coerce").notna().all())


def _best(table: pd.DataFrame) -> str:
    name = next((name for name in MEASURES if table[name].notna().any()), None)
    if name is None or len(table) == 1:
        return ""
    best = _rows(table.sort_values(name, ascending=False))[0]
    return f" The highest {name.replace('_', '-')} stability is {_stability(best, name)}, of {text(best['name'])}."


def _stability(row: dict[Any, Any], name: str) -> str:
    error = row[f"{name}_se"]
    return _number(row[name]) + (f" ± {error:.3f}" if np.isfinite(error) else "")


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
