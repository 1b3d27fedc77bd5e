"""What a notebook shows: figures in axes of one's own with names of one's own, and runs in a few lines."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tests.support import synthetic
from valstab.analysis.runs import Runs
from valstab.compare import figures

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"
LABELS = {"a": "Model A, 4 bit"}
SAMPLES = pd.DataFrame(
    {
        "label": ["a", "a", "b", "b"],
        "n_messages": [1, 3, 1, 3],
        "value": ["x", "y", "x", "y"],
        "stability": [0.1, 0.2, 0.3, 0.4],
        "correlation": [0.1, 0.2, 0.3, 0.4],
        "answer_mass": [0.9, 0.8, 0.7, 0.6],
    }
)
PAIRS = pd.DataFrame({"label": "a", "context": ["joke", "chess"], "other": ["chess", "joke"], "stability": [0.5, 0.5]})
PLACES = pd.DataFrame({"persona": ["a", "Bob"], "first": [0.0, 1.0], "second": [1.0, 0.0], "label": ["", ""]})
TESTS = pd.DataFrame({"one": ["a"], "other": ["b"], "significant": [True]})
TABLE = pd.DataFrame({"label": ["a", "b"], "mean": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3]})
PARTS = pd.DataFrame({"label": ["a", "a"], "effect": ["persona", "rest"], "share": [0.4, 0.6]})
DRAWN = {
    "bars": lambda **given: figures.bars(SAMPLES, **given),
    "lines": lambda **given: figures.lines(SAMPLES, **given),
    "scatter": lambda **given: figures.scatter(PLACES, **given),
    "significance": lambda **given: figures.significance(TESTS, ["a", "b"], **given),
    "intervals": lambda **given: figures.intervals(TABLE, **given),
    "shares": lambda **given: figures.shares(PARTS, column="effect", **given),
    "distributions": lambda **given: figures.distributions(SAMPLES, **given),
    "panels": lambda **given: figures.panels(SAMPLES, **given),
    "heat_maps": lambda **given: figures.heat_maps(PAIRS, **given),
}
N_PANELS = {"panels": 2, "heat_maps": 1}


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def test_every_figure_is_tried():
    assert sorted(DRAWN) == sorted(figures.__all__)


@pytest.mark.parametrize("name", figures.__all__)
def test_a_figure_is_drawn_into_axes_of_the_caller_s_with_names_of_the_caller_s(name):
    backend = mpl.get_backend()
    own = Figure()
    *axes, other = own.subplots(1, 1 + N_PANELS.get(name, 1))
    other.plot([1, 2])
    other.set_title("mine")
    for each in axes:
        each.set_title("kept")
    ax = axes if name in N_PANELS else axes[0]
    drawn = DRAWN[name](ax=ax, labels=LABELS)
    assert drawn is own
    assert all(each.has_data() for each in axes)
    assert other.get_title() == "mine"
    assert len(other.lines) == 1
    if name not in N_PANELS:
        assert axes[0].get_title() == "kept"
    assert any("Model A, 4 bit" in text for text in texts(own))
    assert "a" not in texts(own)
    alone = DRAWN[name]()
    assert alone is not own
    assert any(text == "a" or text.startswith("a (") for text in texts(alone))
    assert mpl.get_backend() == backend


def test_panels_need_an_axes_each():
    with pytest.raises(ValueError, match="ax needs 2 axes, one for each panel, and has 1"):
        DRAWN["panels"](ax=[Figure().subplots()])


def test_runs_are_shown_in_a_line_and_as_a_table():
    run = synthetic.run("<m>", synthetic.scores(seeds=2, contexts=3, personas=6))
    run = replace(run, answers=pd.DataFrame({"answer_mass": [0.5] * 50_000}))
    assert repr(run) == f"<Run <m> · {run.task.name} · n=3: 6 people x 3 topics x 2 seeds>"
    many = Runs((run,) * 30)
    assert repr(many).splitlines()[0] == "<Runs: 30>"
    assert repr(many).splitlines()[-1] == "... and 10 more"
    assert len(repr(many)) < 3_000
    html = run._repr_html_()
    assert "&lt;m&gt;" in html
    assert f"{run.stability('rank_order').mean:.3f}" in html
    assert html.count("<tr") == 2


@pytest.mark.slow
def test_the_notebook_runs(launch_folder):
    """Its cells are executed in order in a new process, and the last value of each is shown as IPython does it."""
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    program = ["import matplotlib", "shown = []"]
    for cell in cells:
        *statements, last = ast.parse("".join(cell["source"])).body
        program += map(ast.unparse, statements)
        program.append(f"shown.append({ast.unparse(last)})" if isinstance(last, ast.Expr) else ast.unparse(last))
    program.append(
        "for value in shown:\n"
        "    names = ('_repr_png_', '_repr_html_', '__repr__')\n"
        "    made = {name: getattr(value, name, lambda: None)() for name in names}\n"
        "    kind = next(name for name in names if made[name])\n"
        "    print('SHOWN', type(value).__name__, kind, len(made[kind]))\n"
        "print('BACKEND', matplotlib.rcParams['backend'], matplotlib.pyplot.get_fignums())"
    )
    environment = {**os.environ, "MPLBACKEND": "svg", "PYTHONPATH": str(NOTEBOOK.parents[1])}
    made = subprocess.run(
        [sys.executable, "-c", "\n".join(program)],
        env=environment,
        cwd=launch_folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    shown = [line.split()[1:] for line in made.stdout.splitlines() if line.startswith("SHOWN")]
    assert [(name, kind) for name, kind, _ in shown] == [
        ("Results", "__repr__"),
        ("Runs", "_repr_html_"),
        ("DataFrame", "_repr_html_"),
        ("Picture", "_repr_png_"),
        ("Figure", "__repr__"),  # pyplot's own, which IPython draws itself
    ]
    assert int(shown[0][2]) < 300
    assert int(shown[3][2]) > 5_000
    assert made.stdout.splitlines()[-1] == "BACKEND svg [1]"
