"""A picture of the stabilities of a sweep's jobs."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from valstab.config.schema import MEASURES
from valstab.sweeps.table import job_labels, swept_keys

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from valstab.results.picture import Picture

CHANCE: dict[str, Any] = {"color": "grey", "markeredgewidth": 2}
"""How the stability is drawn that chance alone reaches in one of twenty studies."""


LENGTH_SETTING = "n_messages"
"""The setting that is preferred for the horizontal axis of the picture."""


def draw(table: pd.DataFrame, title: str) -> "Picture | None":
    """Return a picture of each stability with its 95% interval and what chance reaches, or None without results.

    If a numeric setting was swept, stabilities are lines over it; otherwise each job is a row.
    """
    from valstab.results.marks import legend_beside
    from valstab.results.picture import MAX_ROWS, Picture, left_out

    shown = [name for name in MEASURES if not table.empty and table[name].notna().any()]
    if not shown:
        return None
    keys = swept_keys(table)
    axis = next((key for key in sorted(keys, key=lambda key: key != LENGTH_SETTING) if _is_number(table[key])), None)
    n_jobs = len(table)
    table = table if axis else table.head(MAX_ROWS)
    height = 4.2 if axis else 1.6 + 0.36 * len(table)
    drawn = Picture(figsize=(6 * len(shown), height), layout="constrained")
    axes = drawn.subplots(1, len(shown), squeeze=False)
    for ax, name in zip(axes[0], shown, strict=True):
        if axis:
            _draw_lines(ax, table, name, axis, [key for key in keys if key != axis])
        else:
            places = np.arange(len(table))
            ax.errorbar(table[name], places, xerr=_interval(table, name), fmt="o", capsize=3)
            ax.plot(table[f"{name}_chance"], places, "|", markersize=14, **CHANCE)
            ax.set_yticks(places, job_labels(table))
            ax.set_ylim(len(table) - 0.5, -0.5)
            ax.set_xlabel("\n".join(filter(None, [_label(name), left_out(n_jobs, "jobs", "sweep.csv")])))
        (ax.axhline if axis else ax.axvline)(0, color="black", linewidth=0.8)
    drawn.suptitle(textwrap.fill(title, 60 * len(shown)), fontsize="medium")
    if axis and len(keys) > 1:
        handles, _ = axes[0][0].get_legend_handles_labels()
        legend_beside(drawn, handles)
    return drawn


def _draw_lines(ax: "Axes", table: pd.DataFrame, name: str, axis: str, others: list[str]) -> None:
    """Draw a stability as a line over a setting for each combination of the other settings."""
    from valstab.results.marks import line_style
    from valstab.results.picture import MAX_ROWS, left_out

    groups = list(table.groupby(others, sort=False)) if others else [("", table)]
    for number, (label, group) in enumerate(groups[:MAX_ROWS]):
        line = group.assign(**{axis: pd.to_numeric(group[axis])}).sort_values(axis)
        text = " ".join(map(str, label)) if isinstance(label, tuple) else str(label)
        ax.errorbar(line[axis], line[name], _interval(line, name), capsize=3, label=text, **line_style(number))
        ax.plot(line[axis], line[f"{name}_chance"], "_", markersize=14, **CHANCE)
    ax.set_xticks(sorted(pd.to_numeric(table[axis]).unique()))
    ax.set_xlabel("\n".join(filter(None, [axis, left_out(len(groups), "lines", "sweep.csv")])))
    ax.set_ylabel(_label(name))


def _interval(table: pd.DataFrame, name: str) -> "NDArray[np.float64]":
    """Return the distances of the ends of intervals: (2, jobs), NaN where there are none."""
    from valstab.results.marks import reach

    return reach(table[name], table[f"{name}_low"], table[f"{name}_high"])


def _label(name: str) -> str:
    return f"{name.replace('_', '-')} stability (95%; grey: chance reaches)"


def _is_number(column: "pd.Series[Any]") -> bool:
    return bool(pd.to_numeric(column, errors="coerce").notna().all())
