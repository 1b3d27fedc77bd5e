"""The figures of an appraisal: intervals, parts of a whole, and distributions, each of a tidy table."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from valstab.compare.axes import Labels, axes_of, relabelled, set_title


def intervals(
    table: pd.DataFrame,
    *,
    title: str = "",
    label: str = "rank-order stability",
    ax: Axes | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw stabilities with their intervals beside their ceilings and what chance gives.

    Args:
        table: the columns label, mean, low, high, and where known chance (its 95th percentile) and ceiling.
        title: of the picture.
        label: of the axis.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    figure, ax = axes_of(ax, (7.2, 1.6 + 0.5 * len(table)))
    table = relabelled(table, labels)
    places = np.arange(len(table))
    mean = table["mean"].to_numpy(float)
    spans = np.abs([mean - table["low"].to_numpy(float), table["high"].to_numpy(float) - mean])
    ax.errorbar(
        mean,
        places,
        xerr=np.nan_to_num(spans),
        fmt="o",
        capsize=4,
        label="stability, 95% interval",
    )
    if "chance" in table:
        ax.plot(table["chance"], places, "|", color="tab:red", markersize=16, label="95% of what chance gives")
    if "ceiling" in table and table["ceiling"].notna().any():
        ax.plot(table["ceiling"], places, "D", color="tab:green", label="noise ceiling (same topic, other seed)")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(places, table["label"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlabel(label)
    set_title(ax, title)
    ax.legend(frameon=False, fontsize="small")
    return figure


def shares(
    table: pd.DataFrame,
    *,
    column: str,
    value: str = "share",
    title: str = "",
    label: str = "",
    ax: Axes | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw parts of a whole, one stacked bar a model: variance by its sources, or letters by how often they are chosen.

    Args:
        table: the columns label, `column` (what a part is of) and `value`.
        column: the column that names the part.
        value: the column with the parts.
        title: of the picture.
        label: of the axis.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    table = relabelled(relabelled(table, labels), labels, column)
    models = list(dict.fromkeys(table["label"]))
    parts = list(dict.fromkeys(table[column]))
    wide = table.pivot_table(index="label", columns=column, values=value, sort=False).reindex(models)[parts].fillna(0)
    figure, ax = axes_of(ax, (8.4, 1.5 + 0.5 * len(models)))
    places, left = np.arange(len(models)), np.zeros(len(models))
    colours = mpl.colormaps["tab20"]
    for number, part in enumerate(parts):
        ax.barh(places, wide[part], left=left, color=colours(number % 20), label=str(part))
        left += wide[part].to_numpy(float)
    ax.set_yticks(places, models)
    ax.invert_yaxis()
    ax.set_xlabel(label)
    set_title(ax, title)
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def distributions(
    answers: pd.DataFrame,
    *,
    value: str = "answer_mass",
    title: str = "",
    label: str = "",
    ax: Axes | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw how a column of the answers is distributed, one box a model (whiskers: 5% and 95%).

    Args:
        answers: the columns label and `value`.
        value: the column.
        title: of the picture.
        label: of the axis.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    groups = relabelled(answers, labels).groupby("label", sort=False)
    parts = {str(name): part[value].dropna().to_numpy(float) for name, part in groups}
    parts = {name: values for name, values in parts.items() if len(values)}
    figure, ax = axes_of(ax, (7.2, 1.5 + 0.5 * len(parts)))
    ax.boxplot(list(parts.values()), orientation="horizontal", whis=(5, 95), showfliers=False)
    ax.set_yticks(range(1, len(parts) + 1), list(parts))
    ax.invert_yaxis()
    ax.set_xlabel(label)
    set_title(ax, title)
    return figure
