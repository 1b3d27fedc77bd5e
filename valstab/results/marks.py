"""Parts of a picture that stay apart: lines, titles, legends and names."""

import itertools
from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that people with any colour vision tell apart (Okabe & Ito 2008), without yellow."""


MARKERS = "osD^vPX*<>"


LINES = ("-", "--", ":", "-.")


NAME_PLACES: tuple[tuple[int, Literal["left", "center", "right"]], ...] = ((5, "left"), (-5, "right"), (0, "center"))
"""Where a name may begin, stand or end beside its point, in points to the right."""


NAME_HEIGHTS: tuple[tuple[int, Literal["bottom", "center", "top"]], ...] = ((4, "bottom"), (-4, "top"), (0, "center"))
"""Where it may stand, in points upwards."""


INCHES_PER_CHARACTER = 0.085
"""Width of a character of a label, in inches."""


TITLE_CHARACTERS_PER_INCH = 10
"""Characters of a title that fit in one inch of a figure's width."""


def line_style(number: int) -> dict[str, Any]:
    """Return the colour, marker and line of the line of this number, for `Axes.errorbar`.

    Of fewer than 70 lines no two have the same colour and marker, and of fewer than 40 none the same marker and line,
    so that they are told apart in grey.
    """
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": LINES[number // len(MARKERS) % len(LINES)],
    }


def reach(mean: ArrayLike, low: ArrayLike, high: ArrayLike) -> NDArray[np.float64]:
    """Return how far error bars go from means to the ends of intervals: (2, means), NaN where there is none."""
    return np.abs(np.asarray([low, high], dtype=np.float64) - np.asarray(mean, dtype=np.float64))


def legend_beside(figure: Figure, handles: Sequence[Artist] | None = None) -> None:
    """Add a legend to the right of the axes, which covers no data; the picture gets as much wider, and as high.

    Args:
        figure: the picture.
        handles: what the legend names; by default all that is labelled.
    """
    legend = figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small")
    canvas: Any = FigureCanvasAgg(figure)
    box = legend.get_window_extent(canvas.get_renderer())
    figure.set_size_inches(
        figure.get_figwidth() + box.width / figure.dpi, max(figure.get_figheight(), 0.3 + box.height / figure.dpi)
    )


def name_points(ax: Axes, names: Sequence[str], points: NDArray[np.float64]) -> int:
    """Write names beside points where they cover neither a point nor another name.

    Args:
        ax: the axes, with all else that is drawn.
        names: of the points.
        points: shape (points, 2).

    Returns:
        The number of points without a name.
    """
    figure = ax.figure.get_figure(root=True)
    canvas: Any = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # places the axes
    renderer, inside = canvas.get_renderer(), ax.get_window_extent()
    taken = [Bbox.from_bounds(x - 2, y - 2, 4, 4) for x, y in ax.transData.transform(points)]
    unnamed = 0
    for name, point in zip(names, points, strict=True):
        text = ax.annotate(name, point, (0, 0), textcoords="offset points", fontsize=6.5)
        for (right, across), (up, along) in itertools.product(NAME_PLACES, NAME_HEIGHTS):
            text.set(position=(right, up), horizontalalignment=across, verticalalignment=along)
            box = text.get_window_extent(renderer)
            if inside.containsx(box.x0) and inside.containsx(box.x1) and not box.count_overlaps(taken):
                taken.append(box)
                break
        else:
            text.remove()
            unnamed += 1
    return unnamed


def broken(title: str, figure: Figure) -> str:
    """Break each line of a title where the picture is narrower."""
    width = int(figure.get_figwidth() * TITLE_CHARACTERS_PER_INCH)
    return "\n".join(fill(line, width) for line in title.splitlines())


def label_inches(labels: Iterable[str]) -> float:
    """Return how wide the longest label is, in inches."""
    return INCHES_PER_CHARACTER * max(map(len, labels), default=0)
