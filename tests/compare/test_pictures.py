"""Pictures in a user's process: no setting of matplotlib changes, and names are drawn as they are."""

import subprocess
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from valstab.compare import figures
from valstab.results.picture import Picture

IMPORTS = """
import sys
import matplotlib as mpl
mpl.use("svg")
before = dict(mpl.rcParams)
import valstab.compare.figure_kinds, valstab.compare.figures, valstab.results.plots, valstab.sweeps.picture
assert dict(mpl.rcParams) == before
assert mpl.get_backend() == "svg"
assert "sklearn" not in sys.modules
"""


def test_importing_changes_no_setting_and_loads_no_scikit_learn():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_drawing_changes_no_setting_and_leaves_nothing_open():
    before, is_open = dict(mpl.rcParams), plt.get_fignums()
    picture = figures.bars(pd.DataFrame({"label": ["one", "other"], "stability": [0.1, 0.2]}))
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == is_open


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def test_dollar_signs_are_drawn_as_they_are():
    def drawn(kind):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure = kind()
        FigureCanvasAgg(figure)
        ax = figure.subplots()
        ax.barh(["$a$", "$b$"], [1, 2])  # these ticks are made while drawing
        ax.set_title("$5 and $6")
        return pixels(figure)

    as_mathematics = drawn(mpl.figure.Figure)
    with mpl.rc_context({"text.parse_math": False}):
        as_they_are = drawn(mpl.figure.Figure)
    assert not np.array_equal(as_mathematics, as_they_are)
    assert np.array_equal(drawn(Picture), as_they_are)
