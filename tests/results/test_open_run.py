"""A whole run whose answers are in the model's own words, rated by another model."""

import gzip
import json
import re
from base64 import b64decode

import mlflow
import pandas as pd
import pytest

from tests.conftest import leave_pictures_empty
from tests.support.composed import compose_run
from valstab.commands.checked_plan import checked_plan
from valstab.config.compose import load_config
from valstab.results.saved_inputs import read_saved
from valstab.run import run

pytestmark = pytest.mark.slow

SETTINGS = (
    *("model=control_writes", "task=dilemmas", "population.limit=3", "topics.names=[joke,chess]", "seeds=[0]"),
    *("judge=model", "engine@judge.engine=random", "judge.model.name=dice"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, migrated_database):
    """The folder of such a run's results."""
    place = tmp_path_factory.mktemp("open")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
        (place / "mlflow.db").write_bytes(migrated_database.read_bytes())
        leave_pictures_empty(patch)
        config = compose_run(*SETTINGS)
        run(config, checked_plan(config), place / "results")
        (logged,) = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("valstab").experiment_id])
        (place / "logged.json").write_text(json.dumps([logged.info.run_name, logged.data.params, logged.data.tags]))
    return place / "results"


def test_the_answers_are_saved_and_shown(folder):
    answers = pd.read_parquet(folder / "answers.parquet")
    assert answers["open_answer"].str.contains(": (?:They|It fits)").all()
    page = (folder / "report.html").read_text("utf-8")
    block = re.search(r'class="block">([^<]+)<', page)[1]
    sessions = json.loads(gzip.decompress(b64decode(block)))
    first = answers[(answers["persona"] == "Gandalf") & (answers["context"] == sessions_of(answers)[0])]
    assert sessions[0]["said"] == first["open_answer"].tolist()
    assert "They choose what is safe and certain over what might go wrong." in page


def sessions_of(answers):
    return list(dict.fromkeys(answers["context"]))


def test_the_methods_say_who_judged(folder):
    text = " ".join((folder / "methods.md").read_text("utf-8").split())
    assert "answered in the model's own words, in up to 150 tokens. A judge (dice) read each answer" in text
    assert "5 options in an order drawn for each question and labelled by letters" in text


def test_mlflow_knows_the_judge(folder):
    name, params, tags = json.loads((folder.parent / "logged.json").read_text())
    assert "dilemmas judged by dice" in name
    assert params["judge"] == "dice"
    assert not [key for key in params if key.startswith("judge.")]
    assert tags["engine.judge_engine"] == "random"


def test_the_run_can_be_made_again_from_its_folder(folder):
    assert (folder / "inputs" / "rubric" / "dilemmas_rubric.yaml").is_file()
    saved = read_saved(folder)
    assert saved.task.rubric == str(folder / "inputs" / "rubric" / "dilemmas_rubric.yaml")
    assert checked_plan(saved).task.digest == checked_plan(load_config(folder / "config.yaml")).task.digest
    assert saved.judge.engine.name == "random"


def test_answers_and_ratings_lie_with_their_models(folder):
    store = folder.parent / ".valstab"
    logs = {
        (json.loads((log.parent / "identity.json").read_text("utf-8"))["engine"], log.name)
        for log in store.glob("*/*")
        if log.is_dir()
    }
    assert logs == {
        ("control", "conversations"),
        ("control", "open-dilemmas-n3"),
        ("random", "judged-dilemmas-n3"),
    }
