"""Pictures in a user's process: no setting of matplotlib changes, and names are drawn as they are."""

import itertools
import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from tests.support.score_arrays import labelled
from valstab.compare import figures
from valstab.results import plots
from valstab.results.marks import line_style, name_points
from valstab.results.picture import Picture
from valstab.results.plots import heat_map

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


def heat_map_of(n_rows, n_columns):
    values = np.random.default_rng(0).normal(size=(n_rows, n_columns))
    picture = Picture(figsize=(3 + 0.5 * n_columns, 2 + 0.25 * n_rows))
    rows, columns = (
        [f"{kind} {i}" for i in range(number)] for kind, number in (("row", n_rows), ("column", n_columns))
    )
    ax = picture.subplots()
    heat_map(ax, values, rows, columns, limit=1.0, label="score")
    return picture, ax


def test_a_picture_of_few_names_and_numbers_all():
    picture, ax = heat_map_of(60, 10)
    assert picture.get_size_inches().tolist() == [8, 17]
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"row {i}" for i in range(60)]
    assert len(ax.texts) == 60 * 10


def test_a_picture_of_ten_thousand_shows_a_hundred_rows_and_columns():
    picture, ax = heat_map_of(10_000, 200)
    assert picture.get_size_inches().tolist() == [40, 40]
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"row {i}" for i in range(100)]
    assert [label.get_text() for label in ax.get_xticklabels()] == [f"column {i}" for i in range(100)]
    assert ax.images[0].get_array().shape == (100, 100)
    assert not ax.texts


def test_profiles_say_what_they_leave_out_and_grow_no_further():
    def profiles(people):
        scores = labelled(np.random.default_rng(0).normal(size=(1, 2, people, 3)))
        task = SimpleNamespace(centred=True)
        results = SimpleNamespace(scores=scores, task=task, stabilities={}, without_personas=False)
        ((name, draw),) = plots.figures(results, "a run")
        assert name == "profiles.png"
        return draw()

    for people, left_out in ((3, ""), (100, ""), (3_000, "the first 100 of 3,000 people; profiles.csv has all")):
        picture = profiles(people)
        assert picture.axes[0].get_xlabel() == left_out
        assert picture.axes[0].get_title() == "a run\nmean over 2 contexts, 1 seed"
        assert picture.get_figheight() == pytest.approx(2.2 + 0.24 * min(people, 100))


def test_more_bars_than_a_picture_has_are_left_to_the_table():
    table = pd.DataFrame({"label": [f"m{i}" for i in range(150)], "stability": np.linspace(1, 0, 150)})
    (ax,) = figures.bars(table).axes
    assert len(ax.patches) == len(ax.get_yticks()) == 100
    assert ax.get_xlabel() == "rank-order stability (one seed)\nthe first 100 of 150 models; the table has all"


def test_bars_and_lines_reach_over_their_intervals():
    table = pd.DataFrame({"label": ["a", "b", "c"], "n_messages": [1, 1, 1], "stability": [0.5, 0.2, 0.1]})
    intervals = pd.DataFrame(
        {"label": ["b", "a", "c"], "n_messages": [1, 1, 1], "low": [-0.4, 0.3, np.nan], "high": [0.6, 0.9, np.nan]}
    )
    expected = [(0.3, 0.9), (-0.4, 0.6), (0.1, 0.1)]
    (ax,) = figures.bars(table, intervals=intervals).axes
    (bars,) = ax.containers[0].lines[2]
    np.testing.assert_allclose([segment[:, 0] for segment in bars.get_segments()], expected)
    assert ax.get_xlabel() == "rank-order stability (95% interval)"
    (ax,) = figures.lines(table, intervals=intervals).axes
    reached = [line.lines[2][0].get_segments()[0][:, 1] for line in ax.containers]
    np.testing.assert_allclose(reached, expected)
    assert ax.get_ylabel() == "rank-order stability\n(95% interval)"


def test_a_rounded_zero_has_no_sign():
    ax = Picture().subplots()
    heat_map(ax, [[-0.001, 0.001, -0.01]], ["row"], ["a", "b", "c"], limit=1.0, label="score")
    assert [text.get_text() for text in ax.texts] == ["0.00", "0.00", "-0.01"]


def test_a_cell_without_a_number_has_a_dash():
    ax = Picture().subplots()
    heat_map(ax, [[np.nan, 0.5]], ["row"], ["a", "b"], limit=1.0, label="score")
    assert [text.get_text() for text in ax.texts] == ["-", "0.50"]


def test_lines_of_twenty_one_models_differ_in_colour_and_in_grey():
    styles = [line_style(number) for number in range(21)]
    assert len({(style["color"], style["marker"]) for style in styles}) == 21
    assert len({(style["marker"], style["linestyle"]) for style in styles}) == 21


def test_names_of_points_cover_neither_each_other_nor_points():
    ax = Picture().subplots()
    points = np.random.default_rng(0).normal(size=(25, 2)) * [1, 0.3]
    ax.scatter(*points.T, s=9)
    unnamed = name_points(ax, [f"a longer name {i}" for i in range(25)], points)
    assert len(ax.texts) == 25 - unnamed
    assert 5 < len(ax.texts) < 25
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert not any(box.contains(*point) for box in boxes for point in ax.transData.transform(points))


def test_dark_cells_are_explained():
    tests = pd.DataFrame({"one": ["a", "a", "b"], "other": ["b", "c", "c"], "significant": [True, False, False]})
    picture = figures.significance(tests, ["a", "b", "c"], title="Fig. 16\npairs")
    assert picture.axes[0].images[0].get_array().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    (legend,) = picture.legends
    assert [text.get_text() for text in legend.get_texts()] == ["they differ", "no difference shown"]
    assert picture.axes[0].get_title() == "Fig. 16\npairs"


@pytest.mark.slow
@pytest.mark.parametrize("models", [2, 6, 21])
def test_legends_and_titles_cover_no_axes_and_stay_in_the_picture(models):
    table = pd.DataFrame(
        [
            (f"organisation/a_long_model_name_{model}", n, 0.5 - 0.02 * model)
            for model in range(models)
            for n in (3, 43)
        ],
        columns=["label", "n_messages", "stability"],
    )
    pictures = [
        figures.lines(table, title="A title of the picture that is rather long for so small a picture as this"),
        figures.bars(table, title="A title", reference={"two years": 0.6}),
    ]
    for picture in pictures:
        picture.draw_without_rendering()
        (ax,), (legend,) = picture.axes, picture.legends
        assert not legend.get_window_extent().overlaps(ax.get_window_extent())
        assert not legend.get_window_extent().overlaps(ax.title.get_window_extent())
        for part in (legend, ax.title, ax.yaxis.label, ax.xaxis.label, *ax.get_yticklabels()):
            box = part.get_window_extent()
            is_empty = box.width == 0
            assert is_empty or (box.x0 >= 0 and box.x1 <= picture.bbox.x1 + 1)


@pytest.mark.slow
def test_ten_thousand_rows_are_drawn(tmp_path):
    heat_map_of(10_000, 10)[0].savefig(tmp_path / "profiles.png", dpi=150)
    assert plt.imread(tmp_path / "profiles.png").shape[:2] == (6000, 1200)


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


def test_the_bars_of_panels_end_where_their_intervals_do():
    samples = pd.DataFrame({"label": ["one", "other"], "value": ["Power"] * 2, "correlation": [0.1, -0.4]})
    intervals = samples[["label", "value"]].assign(low=[-0.5, -0.6], high=[0.6, np.nan])
    (ax,) = figures.panels(samples, intervals=intervals).axes
    (ends,) = (each for each in ax.collections if isinstance(each, LineCollection))
    spans = [segment[:, 0].tolist() for segment in ends.get_segments()]
    assert spans == [pytest.approx([-0.5, 0.6]), pytest.approx([-0.6, -0.4])]
