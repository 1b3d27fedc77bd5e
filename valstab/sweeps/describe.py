"""A sweep's jobs and failures as text."""

from typing import Any

import numpy as np
import pandas as pd

from valstab.config.schema import MEASURES
from valstab.config.terminal import terminal_width
from valstab.results.markdown import escape_markdown as text
from valstab.sweeps.table import job_labels, rows, swept_keys
from valstab.tracking.record import FINISHED

MAX_NAMES = 4
"""Largest number of jobs that a sentence names."""


def describe_failures(table: pd.DataFrame, prefix: str) -> str:
    """Return which jobs failed, why, and the command that runs each again; an empty text if none failed."""
    failed = table if table.empty else table[(table["status"] != FINISHED) | (table["error"] != "")]
    if failed.empty:
        return ""
    lines = [f"valstab: {len(failed)} of {len(table)} jobs failed; to run only these again (the store has the rest):"]
    for row in rows(failed):
        label = " ".join(f"{key}={row[key]}" for key in swept_keys(table)) or row["name"]
        lines.append(f"  #{row['job']} {label}: {row['error'] or 'was ended from outside'}")
        lines.append(f"    {prefix} {row['overrides']}")
    return "\n".join(lines)


def how_to_compare(parent: str) -> str:
    """Return the command that tests which jobs of a sweep differ."""
    return f"python -m valstab compare runs=[{parent}]"


def as_markdown(table: pd.DataFrame, failures: str, parent: str) -> str:
    """Return a description of a sweep in Markdown, for its MLflow page. It names no winner, since it tests nothing.

    Args:
        table: the jobs.
        failures: as `describe_failures` returns them.
        parent: the id of the sweep's run.
    """
    if table.empty:
        return "No job has begun."
    finished = int((table["status"] == FINISHED).sum())
    keys = swept_keys(table)
    header = ["job", *map(text, keys or ["name"]), *map(_column, MEASURES), "answer mass", "status"]
    lines = [
        f"**{finished} of {len(table)} jobs finished.**",
        "",
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
    ]
    for row in rows(table):
        link = f"[{row['job']}](#/experiments/{row['experiment_id']}/runs/{row['run_id']})"
        names = [text(row[key]) for key in keys or ["name"]]
        cells = [link, *names, *(_stability(row, name) for name in MEASURES), _number(row["answer_mass"])]
        lines.append(f"| {' | '.join([*cells, row['status']])} |")
    if failures:
        lines += ["", "```text", failures.replace("```", "` ` `"), "```"]
    guide = (
        "Intervals are for other people, topics and seeds. Chance alone reaches the last number in one of twenty "
        "studies of this size. Which jobs differ is tested by "
        f"`{how_to_compare(parent)}`. The table is the artifact `sweep.csv`, the picture `sweep.png`."
    )
    return "\n".join([*lines, "", guide])


def as_text(table: pd.DataFrame) -> str:
    """Return a table of the jobs as text, for a terminal, and for each stability which jobs are beyond chance."""
    shown = table[["job", *(swept_keys(table) or ["name"]), "status"]]
    for name in MEASURES:
        shown = shown.assign(**{_column(name): [_stability(row, name) for row in rows(table)]})
    sentences = [_beyond_chance(table, name) for name in MEASURES]
    return "\n".join([shown.to_string(index=False, line_width=terminal_width()), "", *filter(None, sentences)])


def _beyond_chance(table: pd.DataFrame, name: str) -> str:
    """Return which jobs have a stability that chance reaches in at most one of twenty studies; empty if unknown."""
    from valstab.statistics.resampling import ALPHA

    known = table[table[[name, f"{name}_p"]].notna().all(axis=1)]
    if known.empty:
        return ""
    beyond = job_labels(known[known[f"{name}_p"] <= ALPHA])
    found = ", ".join(beyond) if len(beyond) <= MAX_NAMES else f"{len(beyond)} of {len(known)} jobs"
    label = f"{name.replace('_', '-')} stability beyond chance (where there is none, in one job of twenty)"
    return f"{label}: {found or 'no job'}"


def _column(name: str) -> str:
    return f"{name.replace('_', '-')} (95%; chance reaches)"


def _stability(row: dict[Any, Any], name: str) -> str:
    low, high, chance = (row[f"{name}_{part}"] for part in ("low", "high", "chance"))
    interval, reached = f"{low:.3f} to {high:.3f}", f"{chance:.3f}"
    known = [text for text, number in ((interval, low), (reached, chance)) if np.isfinite(number)]
    return _number(row[name]) + (f" ({'; '.join(known)})" if known and np.isfinite(row[name]) else "")


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "-"
