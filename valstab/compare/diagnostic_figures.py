"""The figures of an appraisal: intervals, parts of a whole, and distributions, each of a tidy table."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from valstab.compare.panels import Labels, add_legend, axes_of, note, relabelled, set_title
from valstab.results.marks import label_inches, reach
from valstab.results.picture import MAX_ROWS, left_out

HATCHES = ("", "///", "...", "\\\\\\", "xxx", "ooo")
"""Patterns that tell neighbouring parts of a bar apart in grey."""


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
    rest, table = left_out(len(table), "models"), relabelled(table.head(MAX_ROWS), labels)
    figure, ax = axes_of(ax, (5 + label_inches(table["label"]), 1.6 + 0.4 * len(table)))
    places = np.arange(len(table))
    mean = table["mean"].to_numpy(float)
    ax.errorbar(
        mean,
        places,
        xerr=np.nan_to_num(reach(mean, table["low"], table["high"])),
        fmt="o",
        capsize=4,
        label="stability, 95% interval for\nother people, topics and seeds",
    )
    if "chance" in table:
        ax.plot(
            table["chance"],
            places,
            "|",
            color="black",
            markersize=16,
            label="what chance alone reaches\nin one of twenty studies",
        )
    if "ceiling" in table and table["ceiling"].notna().any():
        ax.plot(table["ceiling"], places, "D", color="#D55E00", label="noise ceiling\n(same topic, other seed)")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_yticks(places, table["label"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set_xlabel(note(label, rest))
    set_title(ax, title)
    add_legend(ax)
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
    models = list(dict.fromkeys(table["label"]))[:MAX_ROWS]
    parts = list(dict.fromkeys(table[column]))
    wide = table.pivot_table(index="label", columns=column, values=value, sort=False).reindex(models)[parts].fillna(0)
    figure, ax = axes_of(ax, (5 + label_inches(models), 1.5 + 0.4 * len(models)))
    places, left = np.arange(len(models)), np.zeros(len(models))
    colours = mpl.colormaps["cividis"](np.linspace(0, 1, len(parts)))
    for number, part in enumerate(parts):
        hatch = HATCHES[number % len(HATCHES)]
        ax.barh(places, wide[part], left=left, color=colours[number], edgecolor="white", hatch=hatch, label=str(part))
        left += wide[part].to_numpy(float)
    ax.set_yticks(places, models)
    ax.invert_yaxis()
    ax.set_xlabel(note(label, left_out(table["label"].nunique(), "models")))
    set_title(ax, title)
    add_legend(ax)
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
    rest, parts = left_out(len(parts), "models"), dict(list(parts.items())[:MAX_ROWS])
    figure, ax = axes_of(ax, (5 + label_inches(parts), 1.5 + 0.4 * len(parts)))
    ax.boxplot(list(parts.values()), orientation="horizontal", whis=(5, 95), showfliers=False)
    ax.set_yticks(range(1, len(parts) + 1), list(parts))
    ax.invert_yaxis()
    ax.set_xlabel(note(label, rest))
    set_title(ax, title)
    return figure
