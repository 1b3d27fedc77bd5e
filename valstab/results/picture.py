"""A matplotlib figure that leaves a user's backend and settings as they are."""

from io import BytesIO

import matplotlib as mpl
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text


class Picture(Figure):
    """A figure outside pyplot: it needs no backend, is not kept by pyplot, and need not be closed.

    Names may hold dollar signs, so its texts are drawn as they are, never as mathematics. A notebook shows it as PNG.
    """

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure without reading `$` in texts as mathematics."""
        for text in self.findobj(Text):
            text.set_parse_math(False)
        # Ticks can be made while drawing.
        with mpl.rc_context({"text.parse_math": False}):
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        """Return the figure as PNG, as IPython asks for it."""
        buffer = BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()
