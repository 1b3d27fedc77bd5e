"""Draw how profiles drift with the messages of a conversation."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from valstab.compare.panels import Labels, add_legend, axes_of_panels, note, relabelled
from valstab.results.marks import line_style, reach
from valstab.results.picture import MAX_ROWS, left_out


class Panel(NamedTuple):
    """A curve of `valstab.compare.drift.Drift.curves` in a panel."""

    measure: str
    reference: str
    label: str
    is_distance: bool = False
    """Whether 1 less the correlation is drawn."""


PANELS = (
    Panel("rank_order", "first", "rank-order stability, with the first length"),
    Panel("ipsative", "first", "ipsative stability, with the first length"),
    Panel("ipsative", "neutral", "distance to the neutral profile", is_distance=True),
)
"""The panels of a picture, of those that there are curves for."""

PANEL_INCHES = (4.6, 4.2)
"""Width and height of a panel."""

CHANCE: Mapping[str, Any] = {"linestyle": ":", "linewidth": 1}
"""How a line is drawn of what chance reaches."""


def drift(curves: pd.DataFrame, *, title: str = "", ax: Sequence[Axes] | None = None, labels: Labels = None) -> Figure:
    """Draw each label's stability over messages and its distance to the neutral profile, with 95% intervals and chance.

    Args:
        curves: as in `valstab.compare.drift.Drift`.
        title: of the picture.
        ax: where to draw, an axes for each of `PANELS` that there is a curve for; by default a new picture.
        labels: what is shown in the place of a name.
    """
    curves = relabelled(curves, labels)
    parts = {panel: curves[_is_of(curves, panel)] for panel in PANELS}
    parts = {panel: part for panel, part in parts.items() if len(part)}
    figure, axes = axes_of_panels(ax, len(parts), len(parts), PANEL_INCHES, title)
    names = list(dict.fromkeys(curves["label"]))
    for each, (panel, part) in zip(axes, parts.items(), strict=True):
        for number, name in enumerate(names[:MAX_ROWS]):
            _line(each, part[part["label"] == name], panel, number, name)
        each.xaxis.set_major_locator(MaxNLocator(integer=True))
        each.axhline(1 if panel.is_distance else 0, color="black", linewidth=0.8)
        each.set_xlabel(note("messages in the conversation", left_out(len(names), "lines")))
        each.set_ylabel(panel.label)
    handles, _ = axes[0].get_legend_handles_labels()
    add_legend(axes[0], [*handles, Line2D([], [], color="black", label="chance reaches (one of twenty)", **CHANCE)])
    return figure


def _is_of(curves: pd.DataFrame, panel: Panel) -> "pd.Series[bool]":
    return (curves["measure"] == panel.measure) & (curves["reference"] == panel.reference)


def _line(ax: Axes, part: pd.DataFrame, panel: Panel, number: int, name: str) -> None:
    numbers = part[["value", "low", "high", "chance"]].to_numpy(float).T
    value, low, high, chance = 1 - numbers if panel.is_distance else numbers
    style = line_style(number)
    ax.errorbar(part["n_messages"], value, reach(value, low, high), capsize=3, label=name, **style)
    ax.plot(part["n_messages"], chance, color=style["color"], **CHANCE)
