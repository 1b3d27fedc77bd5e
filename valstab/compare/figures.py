"""The paper's figures: each a function of a tidy table that returns a matplotlib figure.

With `ax` a figure is drawn into axes of the caller's own picture, which is otherwise left as it is.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from valstab.compare.diagnostic_figures import distributions, intervals, shares
from valstab.compare.panels import Labels, add_legend, axes_of, axes_of_panels, note, relabelled, set_title
from valstab.compare.tables import means
from valstab.results.marks import label_inches, line_style, name_points, reach
from valstab.results.picture import MAX_ROWS, left_out
from valstab.results.plots import heat_map

__all__ = ["bars", "distributions", "heat_maps", "intervals", "lines", "panels", "scatter", "shares", "significance"]

LABEL_STYLES = {
    "positive": ("#0072B2", "^"),
    "neutral": ("#999999", "o"),
    "negative": ("#D55E00", "v"),
    "": ("black", "."),
}
"""Colour and marker of a persona by its label."""


LABEL_CHARACTERS = 40
"""Characters of an axis's label that fit under a panel."""


INCHES_PER_BAR = 0.3
"""Height of a figure for each bar, in inches."""


BAR_INCHES = 4.2
"""Width of a panel of bars without their labels, in inches."""


DIFFERENT_GRAY = 0.75
"""How dark a cell is whose models differ, from 0 to 1."""


MAX_PANELS_PER_ROW = 3
"""Largest number of panels in one row."""


def bars(
    samples: pd.DataFrame,
    *,
    title: str = "",
    label: str = "rank-order stability",
    reference: Mapping[str, float] | None = None,
    value: str = "stability",
    intervals: pd.DataFrame | None = None,
    ax: Axes | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw each model's mean with its interval or standard error, highest first, and lines for reference (Figs. 4, 5).

    Args:
        samples: the columns label and `value`: one row a sample.
        title: of the picture.
        label: of the axis.
        reference: heights of lines by their names, such as human stabilities.
        value: the column to average.
        intervals: the columns label, low and high, of 95% intervals; by default standard errors are drawn.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    table = means(relabelled(samples, labels), ["label"], value).sort_values("mean", ascending=False, kind="stable")
    if intervals is not None:
        table = table.merge(relabelled(intervals, labels)[["label", "low", "high"]], how="left")
    figure, ax = axes_of(ax, _size_of_bars(table["label"].tolist()))
    _bars(ax, table)
    for number, (name, height) in enumerate((reference or {}).items()):
        ax.axvline(height, color="black", linestyle=("--", ":", "-.")[number % 3], label=f"humans, {name}")
    ax.set_xlabel(note(f"{label} {_spread(table)}", left_out(len(table), "models")))
    set_title(ax, title)
    if reference:
        add_legend(ax)
    return figure


def panels(
    samples: pd.DataFrame,
    *,
    panel: str = "value",
    value: str = "correlation",
    title: str = "",
    label: str = "",
    intervals: pd.DataFrame | None = None,
    ax: Sequence[Axes] | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw bars of each model's mean with its interval or standard error, one panel for each of `panel` (Fig. 9).

    Args:
        samples: the columns label, `panel` and `value`: one row a sample.
        panel: the column that names the panel.
        value: the column to average.
        title: of the picture.
        label: of the axis.
        intervals: the columns label, `panel`, low and high; by default standard errors are drawn.
        ax: where to draw, an axes for each panel; by default a new picture.
        labels: what is shown in the place of a name.
    """
    names = list(dict.fromkeys(samples[panel]))
    samples = relabelled(samples, labels)
    columns = min(2, len(names))
    size = _size_of_bars(list(dict.fromkeys(samples["label"])))
    figure, axes = axes_of_panels(ax, len(names), columns, size, title, shared=True)
    rest = left_out(samples["label"].nunique(), "models")
    for each, name in zip(axes, names, strict=True):
        table = means(samples[samples[panel] == name], ["label"], value)
        if intervals is not None:
            of_panel = relabelled(intervals[intervals[panel] == name], labels)
            table = table.merge(of_panel[["label", "low", "high"]])
        _bars(each, table)
        each.set_title((labels or {}).get(name, name), fontsize="medium")
    for each in axes[-columns:]:
        each.set_xlabel(note(fill(label, LABEL_CHARACTERS), rest))
    return figure


def lines(
    samples: pd.DataFrame,
    *,
    title: str = "",
    label: str = "rank-order stability",
    value: str = "stability",
    by: str = "label",
    reference: Mapping[str, float] | None = None,
    intervals: pd.DataFrame | None = None,
    ax: Axes | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw means with intervals or standard errors over the length of the conversation (Figs. 6, 7, 13, 14).

    Args:
        samples: the columns `by`, n_messages and `value`: one row a sample.
        title: of the picture.
        label: of the axis.
        value: the column to average.
        by: the column that names the line.
        reference: heights of lines by their names.
        intervals: the columns `by`, n_messages, low and high, of 95% intervals; by default standard errors are drawn.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    figure, ax = axes_of(ax, (6.4, 4.2))
    samples = relabelled(samples, labels, by)
    names = list(dict.fromkeys(samples[by]))
    table = means(samples, [by, "n_messages"], value).sort_values("n_messages")
    if intervals is not None:
        table = table.merge(relabelled(intervals, labels, by)[[by, "n_messages", "low", "high"]], how="left")
    for number, name in enumerate(names[:MAX_ROWS]):
        line = table[table[by] == name]
        ax.errorbar(line["n_messages"], line["mean"], _errors(line), capsize=3, label=str(name), **line_style(number))
    for name, height in (reference or {}).items():
        ax.axhline(height, color="black", linestyle="--", label=name)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(note("messages in the conversation", left_out(len(names), "lines")))
    ax.set_ylabel(f"{label}\n{_spread(table)}")
    set_title(ax, title)
    add_legend(ax)
    return figure


def heat_maps(
    pairs: pd.DataFrame,
    *,
    title: str = "",
    label: str = "rank-order stability",
    ax: Sequence[Axes] | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw the stability between each two contexts, one panel a model (Fig. 10).

    Args:
        pairs: the columns label, context, other and stability; contexts in the order to be drawn.
        title: of the picture.
        label: of the colours.
        ax: where to draw, an axes for each model; by default a new picture.
        labels: what is shown in the place of a name.
    """
    models = list(dict.fromkeys(pairs["label"]))
    contexts = list(dict.fromkeys(pairs["context"]))
    columns = min(MAX_PANELS_PER_ROW, len(models))
    size = 2.4 + 0.42 * min(len(contexts), MAX_ROWS)
    shown = [(labels or {}).get(name, name) for name in contexts]
    figure, axes = axes_of_panels(ax, len(models), columns, (size + 0.8, size), title)
    for each, model in zip(axes, models, strict=True):
        table = pairs[pairs["label"] == model].pivot_table(index="context", columns="other", values="stability")
        matrix = table.reindex(index=contexts, columns=contexts).to_numpy(float)
        heat_map(each, matrix, shown, shown, limit=1.0, label=label)
        mean = np.nanmean(matrix[~np.eye(len(contexts), dtype=bool)])
        each.set_title(f"{(labels or {}).get(model, model)} (mean {mean:z.3f})", fontsize="medium")
        each.set_xlabel(left_out(len(contexts), "contexts"))
    return figure


def scatter(places: pd.DataFrame, *, title: str = "", ax: Axes | None = None, labels: Labels = None) -> Figure:
    """Draw personas by two principal components of their values, coloured by their label (Fig. 12).

    Args:
        places: the columns persona, first, second and label, as `tables.components` gives them.
        title: of the picture.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    figure, ax = axes_of(ax, (8.6, 6.4))
    for label, (colour, marker) in LABEL_STYLES.items():
        some = places[places["label"] == label]
        if len(some):
            ax.scatter(some["first"], some["second"], color=colour, marker=marker, label=label or "no label", s=22)
    shares = places.attrs.get("explained", [np.nan, np.nan])
    across = f"first component ({shares[0]:.0%} of the variance)"
    ax.set_xlabel(f"{across}\n ")  # place for what is left out
    ax.set_ylabel(f"second component ({shares[1]:.0%})")
    set_title(ax, title)
    add_legend(ax)
    names = [(labels or {}).get(name, name) for name in places["persona"]]
    unnamed = name_points(ax, names, places[["first", "second"]].to_numpy(float))
    rest = f"{unnamed} of {len(places):,} names would overlap; the table has all" if unnamed else ""
    ax.set_xlabel(note(across, rest))
    return figure


def significance(
    tests: pd.DataFrame, order: Sequence[str], *, title: str = "", ax: Axes | None = None, labels: Labels = None
) -> Figure:
    """Draw which pairs of models differ significantly: dark cells (Figs. 16 to 21).

    Args:
        tests: the columns one, other and significant, as `valstab.statistics.inference.pairwise_tests` returns them.
        order: the models from the first to the last.
        title: of the picture.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    shown = list(order[:MAX_ROWS])
    names = [(labels or {}).get(name, name) for name in shown]
    place = {name: number for number, name in enumerate(shown)}
    matrix = np.zeros((len(shown), len(shown)))
    for one, other in tests.loc[tests["significant"], ["one", "other"]].itertuples(index=False):
        if one in place and other in place:
            matrix[place[one], place[other]] = matrix[place[other], place[one]] = 1
    size = 1.4 + 0.34 * len(shown) + label_inches(names)
    figure, ax = axes_of(ax, (max(size, 4.4) + 0.6, size))
    ax.imshow(matrix, cmap="gray_r", vmin=0, vmax=1 / DIFFERENT_GRAY)
    ax.set_xticks(range(len(shown)), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(shown)), names)
    ax.set_xticks(np.arange(-0.5, len(shown)), minor=True)
    ax.set_yticks(np.arange(-0.5, len(shown)), minor=True)
    ax.grid(which="minor", color="lightgray")
    ax.tick_params(which="minor", length=0)
    ax.set_xlabel(left_out(len(order), "models"))
    set_title(ax, title)
    cells = {"they differ": str(1 - DIFFERENT_GRAY), "no difference shown": "white"}
    add_legend(ax, [Patch(facecolor=colour, edgecolor="gray", label=name) for name, colour in cells.items()])
    return figure


def _bars(ax: Axes, table: pd.DataFrame) -> None:
    table = table.head(MAX_ROWS)
    places = np.arange(len(table))
    ax.barh(places, table["mean"], xerr=_errors(table), capsize=3, color="tab:blue", height=0.72)
    ax.set_yticks(places, table["label"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.axvline(0, color="black", linewidth=0.8)


def _errors(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return how far the error bars of means reach down and up, of shape (2, rows); 0 where nothing is known."""
    ends = reach(table["mean"], table["low"], table["high"]) if "low" in table else reach(0, table["se"], table["se"])
    return np.nan_to_num(ends)


def _size_of_bars(labels: Sequence[str]) -> tuple[float, float]:
    """Return the width and the height (inches) of bars with their labels beside them."""
    return BAR_INCHES + label_inches(labels), 1.4 + INCHES_PER_BAR * min(len(labels), MAX_ROWS)


def _spread(table: pd.DataFrame) -> str:
    """Return what the error bars of means are, in brackets."""
    if "low" in table:
        return "(95% interval)" if table["low"].notna().any() else "(no interval)"
    return "(mean ± SE over seeds)" if table["se"].notna().any() else "(one seed)"
