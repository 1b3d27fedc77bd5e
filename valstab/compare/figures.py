"""The paper's figures: each a function of a tidy table that returns a matplotlib figure.

With `ax` a figure is drawn into axes of the caller's own picture, which is otherwise left as it is.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from valstab.compare.axes import Labels, axes_of, axes_of_panels, relabelled, set_title
from valstab.compare.diagnostic_figures import distributions, intervals, shares
from valstab.compare.tables import means
from valstab.results.plots import heat_map

__all__ = ["bars", "distributions", "heat_maps", "intervals", "lines", "panels", "scatter", "shares", "significance"]

LABEL_COLOURS = {"positive": "tab:green", "neutral": "tab:blue", "negative": "tab:red", "": "tab:gray"}


MARKERS = "osD^vPX*<>"


INCHES_PER_BAR = 0.46
"""Width of a figure for each bar, in inches."""


MAX_NUMBERED_CONTEXTS = 8
"""Largest number of contexts for which each cell of a heat map shows its number."""


MAX_PANELS_PER_ROW = 3
"""Largest number of panels in one row."""


def bars(
    samples: pd.DataFrame,
    *,
    title: str = "",
    label: str = "rank-order stability",
    reference: Mapping[str, float] | None = None,
    value: str = "stability",
    ax: Axes | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw each model's mean with its standard error, highest first, and lines for reference (Figs. 4, 5, 8, 15).

    Args:
        samples: the columns label and `value`: one row a sample.
        title: of the picture.
        label: of the axis.
        reference: heights of lines by their names, such as human stabilities.
        value: the column to average.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    table = means(relabelled(samples, labels), ["label"], value).sort_values("mean", ascending=False, kind="stable")
    figure, ax = axes_of(ax, (max(4.5, 2.2 + INCHES_PER_BAR * len(table)), 4.4))
    _bars(ax, table)
    for number, (name, height) in enumerate((reference or {}).items()):
        ax.axhline(height, color="black", linestyle=("--", ":", "-.")[number % 3], label=f"humans, {name}")
    if reference:
        ax.legend(frameon=False, fontsize="small")
    ax.set_ylabel(f"{label} (mean ± SE over seeds)")
    set_title(ax, title)
    return figure


def panels(
    samples: pd.DataFrame,
    *,
    panel: str = "value",
    value: str = "correlation",
    title: str = "",
    label: str = "",
    ax: Sequence[Axes] | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw bars of each model's mean with its standard error, one panel for each of `panel` (Fig. 9).

    Args:
        samples: the columns label, `panel` and `value`: one row a sample.
        panel: the column that names the panel.
        value: the column to average.
        title: of the picture.
        label: of the axis.
        ax: where to draw, an axes for each panel; by default a new picture.
        labels: what is shown in the place of a name.
    """
    names = list(dict.fromkeys(samples[panel]))
    models = samples["label"].nunique()
    columns = min(2, len(names))
    size = (max(3.2, 1.8 + INCHES_PER_BAR * models), 3.2)
    figure, axes = axes_of_panels(ax, len(names), columns, size, title, sharey=True)
    for number, (each, name) in enumerate(zip(axes, names, strict=True)):
        _bars(each, means(relabelled(samples[samples[panel] == name], labels), ["label"], value))
        each.set_title((labels or {}).get(name, name), fontsize="medium")
        if number % columns == 0:
            each.set_ylabel(label)
    return figure


def lines(
    samples: pd.DataFrame,
    *,
    title: str = "",
    label: str = "rank-order stability",
    value: str = "stability",
    by: str = "label",
    reference: Mapping[str, float] | None = None,
    ax: Axes | None = None,
    labels: Labels = None,
) -> Figure:
    """Draw means with standard errors over the length of the conversation (Figs. 6, 7, 13, 14).

    Args:
        samples: the columns `by`, n_messages and `value`: one row a sample.
        title: of the picture.
        label: of the axis.
        value: the column to average.
        by: the column that names the line.
        reference: heights of lines by their names.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    figure, ax = axes_of(ax, (6.4, 4.2))
    samples = relabelled(samples, labels, by)
    for number, name in enumerate(dict.fromkeys(samples[by])):
        table = means(samples[samples[by] == name], ["n_messages"], value).sort_values("n_messages")
        marker = MARKERS[number % len(MARKERS)]
        ax.errorbar(
            table["n_messages"], table["mean"], yerr=table["se"].fillna(0), marker=marker, capsize=3, label=str(name)
        )
    for name, height in (reference or {}).items():
        ax.axhline(height, color="black", linestyle="--", label=name)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("messages in the conversation")
    ax.set_ylabel(f"{label} (mean ± SE over seeds)")
    set_title(ax, title)
    ax.legend(frameon=False, fontsize="small")
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
    size = 2.4 + 0.42 * len(contexts)
    shown = [(labels or {}).get(name, name) for name in contexts]
    figure, axes = axes_of_panels(ax, len(models), columns, (size + 0.8, size), title)
    for each, model in zip(axes, models, strict=True):
        table = pairs[pairs["label"] == model].pivot_table(index="context", columns="other", values="stability")
        matrix = table.reindex(index=contexts, columns=contexts).to_numpy(float)
        heat_map(each, matrix, shown, shown, limit=1.0, label=label, numbers=len(contexts) <= MAX_NUMBERED_CONTEXTS)
        mean = np.nanmean(matrix[~np.eye(len(contexts), dtype=bool)])
        each.set_title(f"{(labels or {}).get(model, model)} (mean {mean:.3f})", fontsize="medium")
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
    for label in (name for name in LABEL_COLOURS if (places["label"] == name).any()):
        some = places[places["label"] == label]
        ax.scatter(some["first"], some["second"], color=LABEL_COLOURS[label], label=label or "no label", s=22)
    for _, row in places.iterrows():
        ax.annotate(
            (labels or {}).get(row["persona"], row["persona"]),
            (row["first"], row["second"]),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=6.5,
        )
    shares = places.attrs.get("explained", [np.nan, np.nan])
    ax.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
    ax.set_ylabel(f"second component ({shares[1]:.0%})")
    ax.legend(frameon=False)
    set_title(ax, title)
    return figure


def significance(
    tests: pd.DataFrame, order: Sequence[str], *, title: str = "", ax: Axes | None = None, labels: Labels = None
) -> Figure:
    """Draw which pairs of models differ significantly: black cells (Figs. 16 to 21).

    Args:
        tests: the columns one, other and significant, as `valstab.statistics.inference.pairwise_tests` returns them.
        order: the models from the first to the last.
        title: of the picture.
        ax: where to draw; by default a new picture.
        labels: what is shown in the place of a name.
    """
    place = {name: number for number, name in enumerate(order)}
    matrix = np.zeros((len(order), len(order)))
    for _, row in tests[tests["significant"]].iterrows():
        matrix[place[row["one"]], place[row["other"]]] = matrix[place[row["other"]], place[row["one"]]] = 1
    size = 2.4 + 0.34 * len(order)
    figure, ax = axes_of(ax, (size + 0.4, size))
    names = [(labels or {}).get(name, name) for name in order]
    ax.imshow(matrix, cmap="gray_r", vmin=0, vmax=1)
    ax.set_xticks(range(len(order)), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(order)), names)
    ax.set_xticks(np.arange(-0.5, len(order)), minor=True)
    ax.set_yticks(np.arange(-0.5, len(order)), minor=True)
    ax.grid(which="minor", color="lightgray")
    ax.tick_params(which="minor", length=0)
    set_title(ax, title)
    return figure


def _bars(ax: Axes, table: pd.DataFrame) -> None:
    places = np.arange(len(table))
    ax.bar(places, table["mean"], yerr=table["se"].fillna(0), capsize=3, color="tab:blue", width=0.72)
    ax.set_xticks(places, table["label"], rotation=45, ha="right", rotation_mode="anchor")
    ax.axhline(0, color="black", linewidth=0.8)
