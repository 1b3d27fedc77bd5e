"""Draw the pictures of one run."""

from collections.abc import Callable, Iterator

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from valstab.results import wording
from valstab.results.marks import COLOURS
from valstab.results.picture import MAX_ROWS, Picture, left_out
from valstab.results.results import Results
from valstab.statistics.stability import MEASURE_NAMES

MAX_NUMBERED_CELLS = 1_000
"""Largest number of cells of a heat map that show their numbers."""


DARK_LUMINANCE = 0.5
"""Luminance (0 black, 1 white) below which a cell's number is white."""


def figures(results: Results, title: str) -> Iterator[tuple[str, Callable[[], Picture]]]:
    """List every picture that the results allow.

    Yields:
        The file name and a function that draws it: stability between contexts, stability of each key, mean profiles.
    """
    if results.stabilities:
        yield "context_pairs.png", lambda: _context_pairs(results, title)
    if "rank_order" in results.stabilities:
        yield "rank_order_per_key.png", lambda: _per_key(results, title)
    yield "profiles.png", lambda: _profiles(results, title)


def _context_pairs(results: Results, title: str) -> Picture:
    contexts = results.scores["context"].to_numpy().tolist()
    size = 2.2 + 0.75 * min(len(contexts), MAX_ROWS)
    number = len(results.stabilities)
    figure = Picture(figsize=((size + 1) * number, size), layout="constrained")
    axes = figure.subplots(1, number, squeeze=False)
    for ax, (name, stability) in zip(axes[0], results.stabilities.items(), strict=True):
        heat_map(ax, stability.pairs.to_numpy(), contexts, contexts, limit=1.0, label="mean Spearman correlation")
        ax.set_xlabel(left_out(len(contexts), "contexts", "stability.json"))
        chance = results.conclusions[name].chance.high
        beside = f"\nchance alone reaches {chance:.3f}" if np.isfinite(chance) else ""
        value = wording.value(results.conclusions[name])
        ax.set_title(f"{MEASURE_NAMES[name]} stability {value}{beside}", fontsize="medium")
    figure.suptitle(title)
    return figure


def _per_key(results: Results, title: str) -> Picture:
    stability, chance = results.stabilities["rank_order"], results.conclusions["rank_order"].chance
    keys = stability.per_unit["key"].to_numpy().tolist()[:MAX_ROWS]
    has_errors = results.scores.sizes["seed"] >= wording.MIN_SAMPLES
    errors = np.nan_to_num(stability.per_unit_se.to_numpy())[:MAX_ROWS] if has_errors else None
    figure = Picture(figsize=(7, 1.6 + 0.36 * len(keys)), layout="constrained")
    ax = figure.subplots()
    ax.barh(keys, stability.per_unit.to_numpy()[:MAX_ROWS], xerr=errors, capsize=3, color=COLOURS[5])
    if not stability.why_not_reported:
        ax.axvline(stability.mean, color="black", linestyle="--", label=f"mean {stability.mean:.3f}")
    if np.isfinite(chance.high):
        ax.axvline(chance.high, color="black", linestyle=":", label=f"chance alone: a mean of {chance.high:.3f}")
    ax.axvline(0, color="black", linewidth=0.8)
    ax.invert_yaxis()
    rest = left_out(stability.per_unit.size, "keys", "stability.json")
    spread = " (mean ± SE over seeds)" if has_errors else ""
    ax.set_xlabel("\n".join(filter(None, [f"rank-order stability{spread}", rest])))
    figure.legend(loc="outside lower right", frameon=False)
    ax.set_title(title, fontsize="medium")
    return figure


def _profiles(results: Results, title: str) -> Picture:
    mean = results.scores.mean(["seed", "context"]).transpose("persona", "key")
    personas, keys = mean["persona"].to_numpy().tolist(), mean["key"].to_numpy().tolist()
    shown = min(len(personas), MAX_ROWS), min(len(keys), MAX_ROWS)
    figure = Picture(figsize=(3.2 + 0.55 * shown[1], 2.2 + 0.24 * shown[0]), layout="constrained")
    ax = figure.subplots()
    if results.task.centred:
        label, limit = "centred score", float(np.abs(mean).max()) or 1.0
    else:
        label, limit = "score", None
    heat_map(ax, mean.to_numpy(), personas, keys, limit=limit, label=label)
    people = "repetitions" if results.without_personas else "people"
    rest = [left_out(len(personas), people, "profiles.csv"), left_out(len(keys), "keys", "profiles.csv")]
    ax.set_xlabel("\n".join(filter(None, rest)))
    over = ", ".join(
        f"{number} {name}{'' if number == 1 else 's'}"
        for name in ("context", "seed")
        for number in [results.scores.sizes[name]]
    )
    ax.set_title(f"{title}\nmean over {over}", fontsize="medium")
    return figure


def heat_map(
    ax: Axes,
    values: ArrayLike,
    rows: list[str],
    columns: list[str],
    *,
    limit: float | None,
    label: str,
) -> None:
    """Draw the first `MAX_ROWS` rows and columns of a matrix as a heat map with a colour bar.

    Each cell shows its number, if there are at most `MAX_NUMBERED_CELLS`, since signs can't be told apart in grey.

    Args:
        ax: where to draw.
        values: the matrix, shape (rows, columns); NaN has a dash and no colour.
        rows: labels of the rows.
        columns: labels of the columns.
        limit: colours diverge around zero, from -limit to limit; None takes the range of the values.
        label: of the colour bar.
    """
    matrix = np.asarray(values, dtype=float)[:MAX_ROWS, :MAX_ROWS]
    if limit is None:
        image = ax.imshow(matrix, aspect="auto", cmap="viridis")
    else:
        image = ax.imshow(matrix, aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit)
    height, width = matrix.shape
    ax.set_xticks(range(width), columns[:width], rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(height), rows[:height])
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    for (row, column), value in np.ndenumerate(matrix if matrix.size <= MAX_NUMBERED_CELLS else matrix[:0]):
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = np.isfinite(value) and 0.3 * red + 0.59 * green + 0.11 * blue < DARK_LUMINANCE
        text = f"{value:z.2f}" if np.isfinite(value) else "-"
        colour = "white" if dark else "black"
        ax.text(column, row, text, ha="center", va="center", fontsize="small", color=colour)
