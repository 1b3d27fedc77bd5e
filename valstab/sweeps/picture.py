"""A picture of the stabilities of a sweep's jobs."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from valstab.config.schema import MEASURES
from valstab.sweeps.table import rows, swept_keys

if TYPE_CHECKING:
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
    from valstab.results.picture import Picture

    shown = [name for name in MEASURES if not table.empty and table[name].notna().any()]
    if not shown:
        return None
    keys = swept_keys(table)
    axis = next((key for key in sorted(keys, key=lambda key: key != LENGTH_SETTING) if _is_number(table[key])), None)
    height = 4.2 if axis else 1.6 + 0.36 * len(table)
    drawn = Picture(figsize=(6 * len(shown), height), layout="constrained")
    axes = drawn.subplots(1, len(shown), squeeze=False)
    for ax, name in zip(axes[0], shown, strict=True):
        if axis:
            others = [key for key in keys if key != axis]
            for label, group in table.groupby(others, sort=False) if others else [("", table)]:
                line = group.assign(**{axis: pd.to_numeric(group[axis])}).sort_values(axis)
                text = " ".join(map(str, label)) if isinstance(label, tuple) else str(label)
                ax.errorbar(line[axis], line[name], _interval(line, name), marker="o", capsize=3, label=text)
                ax.plot(line[axis], line[f"{name}_chance"], "_", markersize=14, **CHANCE)
            ax.set_xticks(sorted(pd.to_numeric(table[axis]).unique()))
            ax.set_xlabel(axis)
            ax.set_ylabel(_label(name))
            if others:
                ax.legend(frameon=False, fontsize="small")
        else:
            labels = [" ".join(str(row[key]) for key in keys) or row["name"] for row in rows(table)]
            places = np.arange(len(table))
            ax.errorbar(table[name], places, xerr=_interval(table, name), fmt="o", capsize=3)
            ax.plot(table[f"{name}_chance"], places, "|", markersize=14, **CHANCE)
            ax.set_yticks(places, labels)
            ax.invert_yaxis()
            ax.set_xlabel(_label(name))
        (ax.axhline if axis else ax.axvline)(0, color="black", linewidth=0.8)
    drawn.suptitle(textwrap.fill(title, 60 * len(shown)), fontsize="medium")
    return drawn


def _interval(table: pd.DataFrame, name: str) -> "NDArray[np.float64]":
    """Return the distances of the ends of intervals: (2, jobs), NaN where there are none."""
    return np.array([table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]], dtype=float)


def _label(name: str) -> str:
    return f"{name.replace('_', '-')} stability (95%; grey: chance reaches)"


def _is_number(column: "pd.Series[Any]") -> bool:
    return bool(pd.to_numeric(column, errors="coerce").notna().all())
