"""The paper's figures: each a function of a tidy table that returns a matplotlib figure. The caller closes it."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from valstab.compare.tables import means
from valstab.results.picture import Picture
from valstab.results.plots import heat_map

LABEL_COLOURS = {"positive": "tab:green", "neutral": "tab:blue", "negative": "tab:red", "": "tab:gray"}


MARKERS = "osD^vPX*<>"


INCHES_PER_BAR = 0.46
"""Width of a figure for each bar, in inches."""


MAX_NUMBERED_CONTEXTS = 8
"""Largest number of contexts for which each cell of a heat map shows its number."""


MAX_PANELS_PER_ROW = 3
"""Largest number of panels in one row."""


TITLE_CHARACTERS_PER_INCH = 10
"""Characters of a title that fit in one inch of a figure's width."""


def bars(
    samples: pd.DataFrame,
    *,
    title: str = "",
    label: str = "rank-order stability",
    reference: Mapping[str, float] | None = None,
    value: str = "stability",
) -> Picture:
    """Draw each model's mean with its standard error, highest first, and lines for reference (Figs. 4, 5, 8, 15).

    Args:
        samples: the columns label and `value`: one row a sample.
        title: of the picture.
        label: of the axis.
        reference: heights of lines by their names, such as human stabilities.
        value: the column to average.
    """
    table = means(samples, ["label"], value).sort_values("mean", ascending=False, kind="stable")
    figure = Picture(figsize=(max(4.5, 2.2 + INCHES_PER_BAR * len(table)), 4.4), layout="constrained")
    ax = figure.subplots()
    _bars(ax, table)
    for number, (name, height) in enumerate((reference or {}).items()):
        ax.axhline(height, color="black", linestyle=("--", ":", "-.")[number % 3], label=f"humans, {name}")
    if reference:
        ax.legend(frameon=False, fontsize="small")
    ax.set_ylabel(f"{label} (mean ± SE over seeds)")
    ax.set_title(title, fontsize="medium")
    return figure


def panels(
    samples: pd.DataFrame, *, panel: str = "value", value: str = "correlation", title: str = "", label: str = ""
) -> Picture:
    """Draw bars of each model's mean with its standard error, one panel for each of `panel` (Fig. 9).

    Args:
        samples: the columns label, `panel` and `value`: one row a sample.
        panel: the column that names the panel.
        value: the column to average.
        title: of the picture.
        label: of the axis.
    """
    names = list(dict.fromkeys(samples[panel]))
    models = samples["label"].nunique()
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    figure = Picture(figsize=(columns * max(3.2, 1.8 + INCHES_PER_BAR * models), 3.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for ax, name in zip(axes.ravel(), names, strict=False):
        _bars(ax, means(samples[samples[panel] == name], ["label"], value))
        ax.set_title(name, fontsize="medium")
    for ax in axes.ravel()[len(names) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel(label)
    figure.suptitle(_broken(title, figure))
    return figure


def lines(
    samples: pd.DataFrame,
    *,
    title: str = "",
    label: str = "rank-order stability",
    value: str = "stability",
    by: str = "label",
    reference: Mapping[str, float] | None = None,
) -> Picture:
    """Draw means with standard errors over the length of the conversation (Figs. 6, 7, 13, 14).

    Args:
        samples: the columns `by`, n_messages and `value`: one row a sample.
        title: of the picture.
        label: of the axis.
        value: the column to average.
        by: the column that names the line.
        reference: heights of lines by their names.
    """
    figure = Picture(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
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
    ax.set_title(title, fontsize="medium")
    ax.legend(frameon=False, fontsize="small")
    return figure


def heat_maps(pairs: pd.DataFrame, *, title: str = "", label: str = "rank-order stability") -> Picture:
    """Draw the stability between each two contexts, one panel a model (Fig. 10).

    Args:
        pairs: the columns label, context, other and stability; contexts in the order to be drawn.
        title: of the picture.
        label: of the colours.
    """
    models = list(dict.fromkeys(pairs["label"]))
    contexts = list(dict.fromkeys(pairs["context"]))
    columns = min(MAX_PANELS_PER_ROW, len(models))
    rows = -(-len(models) // columns)
    size = 2.4 + 0.42 * len(contexts)
    figure = Picture(figsize=(columns * (size + 0.8), rows * size), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax, model in zip(axes.ravel(), models, strict=False):
        table = pairs[pairs["label"] == model].pivot_table(index="context", columns="other", values="stability")
        matrix = table.reindex(index=contexts, columns=contexts).to_numpy(float)
        heat_map(ax, matrix, contexts, contexts, limit=1.0, label=label, numbers=len(contexts) <= MAX_NUMBERED_CONTEXTS)
        mean = np.nanmean(matrix[~np.eye(len(contexts), dtype=bool)])
        ax.set_title(f"{model} (mean {mean:.3f})", fontsize="medium")
    for ax in axes.ravel()[len(models) :]:
        ax.set_axis_off()
    figure.suptitle(_broken(title, figure))
    return figure


def _broken(title: str, figure: Picture) -> str:
    """Break a title where the picture is narrower."""
    return fill(title, int(figure.get_figwidth() * TITLE_CHARACTERS_PER_INCH))


def scatter(places: pd.DataFrame, *, title: str = "") -> Picture:
    """Draw personas by two principal components of their values, coloured by their label (Fig. 12).

    Args:
        places: the columns persona, first, second and label, as `tables.components` gives them.
        title: of the picture.
    """
    figure = Picture(figsize=(8.6, 6.4), layout="constrained")
    ax = figure.subplots()
    for label in (name for name in LABEL_COLOURS if (places["label"] == name).any()):
        some = places[places["label"] == label]
        ax.scatter(some["first"], some["second"], color=LABEL_COLOURS[label], label=label or "no label", s=22)
    for _, row in places.iterrows():
        ax.annotate(
            row["persona"], (row["first"], row["second"]), xytext=(3, 3), textcoords="offset points", fontsize=6.5
        )
    shares = places.attrs.get("explained", [np.nan, np.nan])
    ax.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
    ax.set_ylabel(f"second component ({shares[1]:.0%})")
    ax.legend(frameon=False)
    ax.set_title(title, fontsize="medium")
    return figure


def significance(tests: pd.DataFrame, order: Sequence[str], *, title: str = "") -> Picture:
    """Draw which pairs of models differ significantly: black cells (Figs. 16 to 21).

    Args:
        tests: the columns one, other and significant, as `valstab.statistics.inference.pairwise_tests` returns them.
        order: the models from the first to the last.
        title: of the picture.
    """
    place = {name: number for number, name in enumerate(order)}
    matrix = np.zeros((len(order), len(order)))
    for _, row in tests[tests["significant"]].iterrows():
        matrix[place[row["one"]], place[row["other"]]] = matrix[place[row["other"]], place[row["one"]]] = 1
    size = 2.4 + 0.34 * len(order)
    figure = Picture(figsize=(size + 0.4, size), layout="constrained")
    ax = figure.subplots()
    ax.imshow(matrix, cmap="gray_r", vmin=0, vmax=1)
    ax.set_xticks(range(len(order)), order, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(order)), order)
    ax.set_xticks(np.arange(-0.5, len(order)), minor=True)
    ax.set_yticks(np.arange(-0.5, len(order)), minor=True)
    ax.grid(which="minor", color="lightgray")
    ax.tick_params(which="minor", length=0)
    ax.set_title(title, fontsize="medium")
    return figure


def intervals(table: pd.DataFrame, *, title: str = "", label: str = "rank-order stability") -> Picture:
    """Draw stabilities with their intervals beside their ceilings and what chance gives.

    Args:
        table: the columns label, mean, low, high, and where known chance (its 95th percentile) and ceiling.
        title: of the picture.
        label: of the axis.
    """
    figure = Picture(figsize=(7.2, 1.6 + 0.5 * len(table)), layout="constrained")
    ax = figure.subplots()
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
    ax.set_title(title, fontsize="medium")
    ax.legend(frameon=False, fontsize="small")
    return figure


def shares(table: pd.DataFrame, *, column: str, value: str = "share", title: str = "", label: str = "") -> Picture:
    """Draw parts of a whole, one stacked bar a model: variance by its sources, or letters by how often they are chosen.

    Args:
        table: the columns label, `column` (what a part is of) and `value`.
        column: the column that names the part.
        value: the column with the parts.
        title: of the picture.
        label: of the axis.
    """
    models = list(dict.fromkeys(table["label"]))
    parts = list(dict.fromkeys(table[column]))
    wide = table.pivot_table(index="label", columns=column, values=value, sort=False).reindex(models)[parts].fillna(0)
    figure = Picture(figsize=(8.4, 1.5 + 0.5 * len(models)), layout="constrained")
    ax = figure.subplots()
    left = np.zeros(len(models))
    colours = mpl.colormaps["tab20"]
    for number, part in enumerate(parts):
        ax.barh(models, wide[part], left=left, color=colours(number % 20), label=str(part))
        left += wide[part].to_numpy(float)
    ax.invert_yaxis()
    ax.set_xlabel(label)
    ax.set_title(title, fontsize="medium")
    ax.legend(frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def distributions(answers: pd.DataFrame, *, value: str = "answer_mass", title: str = "", label: str = "") -> Picture:
    """Draw how a column of the answers is distributed, one box a model (whiskers: 5% and 95%).

    Args:
        answers: the columns label and `value`.
        value: the column.
        title: of the picture.
        label: of the axis.
    """
    parts = {str(name): part[value].dropna().to_numpy(float) for name, part in answers.groupby("label", sort=False)}
    parts = {name: values for name, values in parts.items() if len(values)}
    figure = Picture(figsize=(7.2, 1.5 + 0.5 * len(parts)), layout="constrained")
    ax = figure.subplots()
    ax.boxplot(list(parts.values()), orientation="horizontal", whis=(5, 95), showfliers=False)
    ax.set_yticks(range(1, len(parts) + 1), list(parts))
    ax.invert_yaxis()
    ax.set_xlabel(label)
    ax.set_title(title, fontsize="medium")
    return figure


def _bars(ax: Axes, table: pd.DataFrame) -> None:
    places = np.arange(len(table))
    ax.bar(places, table["mean"], yerr=table["se"].fillna(0), capsize=3, color="tab:blue", width=0.72)
    ax.set_xticks(places, table["label"], rotation=45, ha="right", rotation_mode="anchor")
    ax.axhline(0, color="black", linewidth=0.8)
