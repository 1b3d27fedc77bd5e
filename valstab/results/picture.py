"""A matplotlib figure that leaves a user's backend and settings as they are."""

import warnings
from io import BytesIO
from typing import Any

import matplotlib as mpl
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text

from valstab.results.fonts import fallback_fonts

MAX_INCHES = 40.0
"""Maximum width and height of a picture: at 150 pixels an inch, one of both takes some 150 MB."""


MAX_ROWS = 100
"""Largest number of rows, columns, bars or lines of a picture; tables have the rest."""


def left_out(number: int, things: str, table: str = "the table") -> str:
    """Return the sentence that a picture has under it if it can't show all things of a kind; empty if it can.

    Args:
        number: how many there are.
        things: what they are.
        table: what has all of them.

    Example:
        >>> left_out(3_000, "people", "profiles.csv"), left_out(100, "people")
        ('the first 100 of 3,000 people; profiles.csv has all', '')
    """
    return f"the first {MAX_ROWS} of {number:,} {things}; {table} has all" if number > MAX_ROWS else ""


def drop_title(figure: Figure) -> None:
    """Remove the title of a figure, but not those of its panels."""
    figure.suptitle("")
    panels = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    if len(panels) == 1:
        panels[0].set_title("")


class Picture(Figure):
    """A figure outside pyplot: it needs no backend, is not kept by pyplot, and need not be closed.

    It is as large as `figsize` says (inches), up to `MAX_INCHES`: what it shows of thousands gets smaller instead.

    Names may hold dollar signs, so its texts are drawn as they are, never as mathematics. They may be of any script, so
    other fonts of the system are used for what matplotlib's own lacks. A notebook shows it as PNG.
    """

    def __init__(self, *, figsize: tuple[float, float] | None = None, **settings: Any) -> None:
        bounded = figsize and (min(figsize[0], MAX_INCHES), min(figsize[1], MAX_INCHES))
        super().__init__(figsize=bounded, **settings)

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure without reading `$` in texts as mathematics."""
        texts = self.findobj(Text)
        fonts = fallback_fonts(text.get_text() for text in texts)
        for text in texts:
            text.set_parse_math(False)
            if fonts:
                text.set_fontfamily([*dict.fromkeys([*text.get_fontfamily(), *fonts])])
        # Ticks can be made while drawing.
        with mpl.rc_context({"text.parse_math": False, "font.family": [*mpl.rcParams["font.family"], *fonts]}):
            super().draw(renderer)

    def savefig(self, *arguments: Any, **settings: Any) -> None:
        """Save the figure, without a warning for each character that no font has: `fallback_fonts` reports them."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            super().savefig(*arguments, **settings)

    def _repr_png_(self) -> bytes:
        """Return the figure as PNG, as IPython asks for it."""
        buffer = BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()
