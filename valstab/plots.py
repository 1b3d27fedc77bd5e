"""The pictures of one run."""

from collections.abc import Iterator

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from valstab.results import Results

TITLES = {"rank_order": "Rank-order stability", "ipsative": "Ipsative stability"}


def figures(results: Results, title: str) -> Iterator[tuple[str, Figure]]:
    """Draw every picture that the results allow, each with its file name. The caller closes them."""
    stabilities = [
        (name, stability)
        for name, stability in (("rank_order", results.rank_order), ("ipsative", results.ipsative))
        if stability is not None
    ]
    if stabilities:
        contexts = results.scores["context"].values.tolist()
        size = 2.2 + 0.75 * len(contexts)
        figure, axes = plt.subplots(
            1, len(stabilities), figsize=((size + 1) * len(stabilities), size), layout="constrained", squeeze=False
        )
        for ax, (name, stability) in zip(axes[0], stabilities, strict=True):
            _heat_map(ax, stability.pairs.values, contexts, contexts, limit=1.0, label="mean Spearman's ρ")
            ax.set_title(f"{TITLES[name]} {stability.mean:.2f}")
        figure.suptitle(title)
        yield "context_pairs.png", figure
    if results.rank_order is not None:
        yield "rank_order_per_key.png", _bars(results, title)
    yield "profiles.png", _profiles(results, title)


def _bars(results: Results, title: str) -> Figure:
    stability = results.rank_order
    assert stability is not None
    keys = stability.per_unit["key"].values.tolist()
    figure, ax = plt.subplots(figsize=(7, 1.4 + 0.36 * len(keys)), layout="constrained")
    ax.barh(keys, stability.per_unit.values, xerr=np.nan_to_num(stability.per_unit_se.values), capsize=3)
    ax.axvline(stability.mean, color="black", linestyle="--", label=f"mean {stability.mean:.2f}")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.invert_yaxis()
    ax.set_xlabel("rank-order stability (mean ± SE over seeds)")
    ax.legend(loc="best", frameon=False)
    ax.set_title(title, fontsize="medium")
    return figure


def _profiles(results: Results, title: str) -> Figure:
    mean = results.scores.mean(["seed", "context"]).transpose("persona", "key")
    personas, keys = mean["persona"].values.tolist(), mean["key"].values.tolist()
    figure, ax = plt.subplots(
        figsize=(3.2 + 0.55 * len(keys), 2.2 + 0.24 * len(personas)), layout="constrained"
    )
    if results.task.centred:
        label, limit = "centred score", float(np.abs(mean).max()) or 1.0
    else:
        label, limit = "score", None
    _heat_map(ax, mean.values, personas, keys, limit=limit, label=label, numbers=len(personas) <= 20)
    ax.set_title(f"{title}\nmean over {results.scores.sizes['context']} contexts and "
                 f"{results.scores.sizes['seed']} seeds", fontsize="medium")
    return figure


def _heat_map(
    ax: Axes,
    values: ArrayLike,
    rows: list[str],
    columns: list[str],
    *,
    limit: float | None,
    label: str,
    numbers: bool = True,
) -> None:
    """Draw a matrix; with a `limit` the colours diverge around zero."""
    matrix = np.asarray(values, dtype=float)
    if limit is None:
        image = ax.imshow(matrix, aspect="auto", cmap="viridis")
    else:
        image = ax.imshow(matrix, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit)
    ax.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    if numbers:
        for (row, column), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                red, green, blue, _ = image.cmap(image.norm(value))
                dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
                ax.text(
                    column,
                    row,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize="small",
                    color="white" if dark else "black",
                )
