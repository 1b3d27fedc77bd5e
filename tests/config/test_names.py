"""Names of any kind, from the files that have them to the results, MLflow and a comparison, and back."""

import csv
import json
import re
import shlex
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest

import valstab
from tests.support.composed import compose_run
from valstab.commands.compare import compare_runs
from valstab.config.compose import compose_comparison
from valstab.protocol.plan import make_plan
from valstab.results.markdown import escape_markdown
from valstab.run import run
from valstab.sweeps.describe import as_markdown
from valstab.sweeps.table import job_table
from valstab.tracking.names import metric_names

NAMES = (
    "Ada, \"Q\"/R\\S 'T'",
    "../../out of here",
    "..",
    "two\nlines\rand\r\nmore",
    "a|b",
    "a/b",
    "50% {name} $x ${y} %(z)s",
    "=1+1",
    "@SUM(A1)",
    "\u05e9\u05dc\u05d5\u05dd \u202eright to left",
    "\U0001f9d9\u200d\u2640\ufe0f e\u0301 \u00e9",
    "</script><!--<img src=x onerror=alert(1)>[l](\u2028javascript:alert(1))",
    "NaN",
    "007",
    "x" * 300,
)
KEYS = [name.replace("{", "(").replace("}", ")") for name in NAMES]
"""In a file of items braces are the template's."""
SCRIPTED = ("engine=random", "engine._target_=tests.support.scripted.PersonaEngine")


def write_csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([header, *rows])


@pytest.fixture
def settings(launch_folder):
    """A configuration in which personas, topics, keys and every name are of that kind."""
    write_csv(launch_folder / "people.csv", ("name", "gender"), [(name, "FM"[i % 2]) for i, name in enumerate(NAMES)])
    items = [(number, key, f"Item {number}.") for number, key in enumerate(KEYS, 1)]
    write_csv(launch_folder / "items.csv", ("item", "value", "text"), items)
    topics = {name: f"Let us talk of {number}." for number, name in enumerate(NAMES)}
    (launch_folder / "topics.yaml").write_text(json.dumps(topics), encoding="utf-8")
    config = compose_run(
        *SCRIPTED,
        "population.personas=people.csv",
        'population.introduction="{name}, a guest."',
        "topics.openings=topics.yaml",
        "topics.names=null",
        "task.items=items.csv",
        "task.keys=null",
        f"task.n_items={len(NAMES)}",
        "seeds=[0]",
        "n_messages=1",
    )
    config.model.name = NAMES[11]
    config.population.name, config.topics.name, config.task.name = NAMES[1], NAMES[10], NAMES[0] + NAMES[-1]
    config.tracking.experiment = "names"
    return config


@pytest.mark.slow
def test_names_of_every_kind_come_back_unharmed(settings, launch_folder):
    before = set(launch_folder.parent.iterdir())
    plan = make_plan(settings)
    assert [persona.name for persona in plan.personas] == list(NAMES)
    folder = launch_folder / "deep" / "er" / "results"
    results = run(settings, plan, folder)
    assert set(launch_folder.parent.iterdir()) == before
    assert {path.name for path in launch_folder.iterdir()} - {"mlflow.db", "mlruns"} == {
        *("people.csv", "items.csv", "topics.yaml", "deep", ".valstab")
    }
    answers = pd.read_parquet(folder / "answers.parquet")
    assert list(answers["persona"].unique()) == list(answers["context"].unique()) == list(NAMES)
    with (folder / "profiles.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["persona"] for row in rows] == list(NAMES) * len(NAMES)
    said = [json.loads(line) for line in (folder / "conversations.jsonl").read_text("utf-8").split("\n")[:-1]]
    assert [one["persona"] for one in said] == list(NAMES) * len(NAMES)
    mine, tracked = valstab.load_runs(folders=[folder]), valstab.load_runs(["names"])
    for (found,) in (mine, tracked):
        assert found.personas == found.contexts == list(NAMES)
        assert list(found.task.keys) == KEYS
        assert found.label == settings.model.name
        assert found.scores.equals(results.scores)
    (logged,) = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("names").experiment_id])
    per_key = [name for name in logged.data.metrics if name.startswith("stability.")]
    assert len(per_key) == len(NAMES)
    assert logged.data.params["population"] == NAMES[1]
    assert logged.data.params["task"] == f"{settings.task.name[:249]}…"

    comparison = compose_comparison("figure=bars", "experiments=[names]", "resamples=10")
    compare_runs(comparison, launch_folder / "deep" / "compared")
    table = pd.read_csv(launch_folder / "deep" / "compared" / "runs.csv", dtype=str, keep_default_na=False)
    assert table["label"].tolist() == [settings.model.name]
    text = (launch_folder / "deep" / "compared" / "findings.md").read_text(encoding="utf-8")
    assert settings.model.name not in text
    assert escape_markdown(settings.model.name) in text
    assert re.search(r"(?<!\\)\](?=\()", text) is None
    assert re.search(r"(?<!\\)<", text) is None


def test_names_that_mlflow_would_take_for_the_same_stay_apart():
    named = metric_names([("v", "a|b"), ("v", "a/b"), ("v", "A_B"), ("v", "c"), ("v", ".."), ("v", "x" * 300)])
    assert named["v", "c"] == "v/c"
    assert named["v", ".."] == "v/__"
    assert len({name.casefold() for name in named.values()}) == len(named)
    assert all(re.fullmatch(r"v/a_b_[0-9a-f]{8}", named["v", name].lower()) for name in ("a|b", "a/b", "A_B"))
    assert all(len(name) < 250 for name in named.values())


def test_a_sweep_s_page_shows_overrides_as_text():
    info = SimpleNamespace(run_id="id", experiment_id="7", status="FINISHED", start_time=0, run_name="n")
    first, other = (
        SimpleNamespace(
            info=info,
            data=SimpleNamespace(metrics={}, tags={"sweep.job": job, "overrides": shlex.join([f"model.name={name}"])}),
        )
        for job, name in (("0", "a|<b>[c](javascript:d)\n# e"), ("1", "other"))
    )
    table = job_table([first, other])
    text = as_markdown(table, "```\n# not a heading", "abc").splitlines()
    assert r"| a\|&lt;b>\[c\](javascript:d) # e |" in text[4]
    assert text.count("```") == 1
