"""Where a figure is drawn, in a picture of its own or in axes of the caller's, and what it shows for names."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from valstab.results.marks import broken, legend_beside
from valstab.results.picture import Picture

Labels = Mapping[str, str] | None
"""What is shown in the place of names, such as a model's full name."""


def axes_of(ax: Axes | None, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """Return the axes to draw into with their figure: those of the caller, or those of a new picture.

    Args:
        ax: the caller's.
        size: of a new picture, in inches.
    """
    if ax is None:
        figure = Picture(figsize=size, layout="constrained")
        return figure, figure.subplots()
    return cast("Figure", ax.get_figure(root=True)), ax


def axes_of_panels(
    ax: Sequence[Axes] | None, number: int, columns: int, size: tuple[float, float], title: str, *, shared: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return an axes for each panel with their figure: those of the caller, or those of a new picture with a title.

    Args:
        ax: the caller's, in any shape.
        number: of the panels.
        columns: of a new picture.
        size: of a panel of a new picture, in inches.
        title: of a new picture.
        shared: whether the panels of a new picture have the same axes.

    Raises:
        ValueError: if there are not as many axes as panels.
    """
    if ax is not None:
        given = list(np.ravel(np.asarray(ax, dtype=object)))
        if len(given) != number:
            raise ValueError(f"ax needs {number} axes, one for each panel, and has {len(given)}")
        return given[0].get_figure(root=True), given
    rows = -(-number // columns)
    figure = Picture(figsize=(columns * size[0], rows * size[1]), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=shared).ravel()
    for each in axes[number:]:
        each.set_axis_off()
    figure.suptitle(broken(title, figure))
    return figure, list(axes[:number])


def relabelled(table: pd.DataFrame, labels: Labels, column: str = "label") -> pd.DataFrame:
    """Return a table with what is shown in the place of the names in a column."""
    return table.assign(**{column: table[column].replace(dict(labels))}) if labels else table


def set_title(ax: Axes, title: str) -> None:
    """Set a title, unless there is none to set."""
    if title:
        ax.set_title(broken(title, cast("Figure", ax.get_figure(root=True))), fontsize="medium")


def note(*lines: str) -> str:
    """Return the text under an axis: its lines, without empty ones."""
    return "\n".join(filter(None, lines))


def add_legend(ax: Axes, handles: Sequence[Artist] | None = None) -> None:
    """Name what is drawn beside the axes of a new picture, or within the axes of the caller's, whose size is its own.

    Args:
        ax: the axes.
        handles: what the legend names; by default all that is labelled.
    """
    figure = ax.get_figure(root=True)
    if isinstance(figure, Picture):
        legend_beside(figure, handles)
    else:
        ax.legend(handles=handles, frameon=False, fontsize="small")
