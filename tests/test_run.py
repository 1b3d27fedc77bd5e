"""A whole run: what it computes, and what it leaves in MLflow and on disk."""

import json
import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.analysis.load import load_runs
from valstab.compare.stabilities import stabilities
from valstab.engines.base import EngineError
from valstab.engines.factory import load_engine
from valstab.errors import ConfigError
from valstab.inputs.files import DATA
from valstab.inputs.population import load_population
from valstab.protocol.plan import make_plan
from valstab.protocol.prompts import letters
from valstab.results.fitness import UnfitRunError, why_withheld
from valstab.results.write import UnwrittenError
from valstab.run import collect, run
from valstab.whole_file import whole_file

pytestmark = pytest.mark.usefixtures("without_pictures")

SCRIPTED = ("engine=random", "engine._target_=tests.support.scripted.PersonaEngine", "model.name=scripted")
SMALL = ("population.limit=5", "topics.names=[joke,chess,poem]", "seeds=[3,7]")


def small_run(folder, *overrides):
    config = compose_run(*overrides)
    return run(config, make_plan(config), folder / "results")


def the_run():
    (found,) = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("valstab").experiment_id])
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory, migrated_database):
    """One small run with known answers: its results, its folder, its MLflow run and the files logged there."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        (folder / "mlflow.db").write_bytes(migrated_database.read_bytes())
        results = small_run(folder, *SCRIPTED, *SMALL)
        logged = the_run()
        artifacts = folder / "artifacts"
        mlflow.artifacts.download_artifacts(run_id=logged.info.run_id, dst_path=str(artifacts))
        history = mlflow.MlflowClient().get_metric_history(logged.info.run_id, "seed.rank_order")
    return results, folder, logged, artifacts, history


def test_answers_by_the_persona_alone_are_perfectly_stable(finished):
    results, *_ = finished
    for name in ("rank_order", "ipsative"):
        assert results.stabilities[name].mean == 1.0
        assert results.stabilities[name].undefined == 0
    assert (results.scores.std("persona") > 0).all()


def test_metrics_and_parameters(finished):
    _, _, logged, _, history = finished
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == "scripted random · fictional_characters · pvq · n=3 · 5 x 3 x 2"
    metrics, params = logged.data.metrics, logged.data.params
    expected = {
        "rank_order": 1,
        "rank_order_se": 0,
        "ipsative": 1,
        "ipsative_se": 0,
        "undefined_fraction": 0,
        "answer_mass": pytest.approx(0.95),
        "queries": 1200,
        "stability.Self-Direction": 1,
    }
    assert {name: metrics[name] for name in expected} == expected
    assert len([name for name in metrics if name.startswith("stability.")]) == 10
    assert not [name for name in metrics if "/" in name]  # MLflow would draw it above the headline
    assert metrics["queries_per_second"] > 0
    assert [(metric.step, metric.value) for metric in history] == [(0, 1), (1, 1)]
    expected = {
        "model": "scripted",
        "quantization": "none",
        "engine": "random",
        "population": "fictional_characters",
        "topics": "paper",
        "task": "pvq",
        "n_messages": "3",
        "seeds": "[3, 7]",
        "population.limit": "5",
        "n_personas": "5",
        "n_topics": "3",
        "n_seeds": "2",
        "model.sampling.top_p": "0.9",
    }
    assert {name: params[name] for name in expected} == expected
    assert max(map(len, params.values())) <= 250
    # Only what runs are compared by: no files, templates or wordings.
    assert not [name for name in params if name.startswith(("task.", "store", "tracking", "model.quantization"))]
    assert len(params) < 42


def test_inputs_are_datasets_with_digests(finished):
    _, _, logged, *_ = finished
    inputs = {tag.value: one.dataset for one in logged.inputs.dataset_inputs for tag in one.tags}
    assert {context: dataset.name for context, dataset in inputs.items()} == {
        "model": "scripted",
        "population": "fictional_characters",
        "topics": "paper",
        "items": "pvq: portraits",
    }
    assert len({dataset.digest for dataset in inputs.values()}) == 4
    assert "fictional_characters.csv" in inputs["population"].source


def test_the_run_s_page_says_what_was_found_and_where_to_look(finished):
    _, _, logged, *_ = finished
    sentence, _, header, _, rank_order, *_ = logged.data.tags["mlflow.note.content"].splitlines()
    start = "**Rank-order stability 1.000, ipsative stability 1.000**, from 2 seeds x 3 contexts x 5 "
    assert sentence.startswith(start + "personas x 40 items = 1,200 questions")
    assert header == "| | value | 95% interval | chance reaches | undefined | |"
    assert rank_order.startswith("| Rank-order stability | 1.000 | - | 0.")
    assert "| 0.0% | the order of people" in rank_order
    assert "rank-order stability has no interval: nothing varies" in logged.data.tags["mlflow.note.content"]
    assert "`answers.parquet`" in logged.data.tags["mlflow.note.content"]


def test_tags(finished):
    results, _, logged, *_ = finished
    tags = logged.data.tags
    assert tags["wording"] == "portraits"
    assert tags["wording_sha256"] == results.task.digest
    assert not [name for name in tags if name.startswith(("version.", "hardware."))]


def test_the_folder_says_what_made_the_results(finished):
    _, folder, _, artifacts, _ = finished
    assert (folder / "results" / "provenance.json").read_bytes() == (artifacts / "provenance.json").read_bytes()
    made_by = json.loads((artifacts / "provenance.json").read_text("utf-8"))
    assert made_by["command"] == ""  # it was none
    assert made_by["versions"]["hydra-core"] == version("hydra-core")
    assert made_by["machine"]["cores"] == os.cpu_count()
    assert made_by["engine"] == {"engine": "PersonaEngine"}


def test_the_experiment_has_a_table_of_its_runs(finished):
    """MLflow reads the table from a tag, and the page in `test_pages.py` shows it."""
    _, folder, *_ = finished
    experiment = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").get_experiment("1")
    view = json.loads(experiment.tags["mlflow.sharedViewState.valstab"])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`rank_order`", False)
    assert {"params.`n_personas`", "metrics.`rank_order`", "metrics.`rank_order_chance`"} <= set(
        view["selectedColumns"]
    )
    assert [chart.get("metricKey") for chart in view["compareRunCharts"]][:2] == ["rank_order", "ipsative"]
    assert "what chance alone reaches" in experiment.tags["mlflow.note.content"]


def test_artifacts(finished):
    results, folder, _, artifacts, _ = finished
    names = ("answers.parquet", "conversations.jsonl", "profiles.csv", "stability.json", "config.yaml", "report.html")
    pictures = ("context_pairs.png", "rank_order_per_key.png", "profiles.png")
    for name in (*names, *(f"plots/{picture}" for picture in pictures)):
        assert (folder / "results" / name).read_bytes() == (artifacts / name).read_bytes()
    answers = pd.read_parquet(artifacts / "answers.parquet")
    assert list(answers) == [
        *("seed", "context", "persona", "gender", "item", "letter", "score", "answer_mass", "reading", "letters"),
        *(f"logprob_{number}" for number in range(1, 7)),
    ]
    assert answers["seed"].unique().tolist() == [3, 7]
    assert len(answers) == 2 * 3 * 5 * 40
    profiles = pd.read_csv(artifacts / "profiles.csv", index_col=["seed", "context", "persona"])
    assert profiles.shape == (30, 10)
    assert profiles.loc[(7, "poem", "Gollum"), "Power"] == pytest.approx(
        results.scores.sel(seed=7, context="poem", persona="Gollum", key="Power").item()
    )


def test_the_log_probabilities_are_in_the_order_of_the_scale(finished):
    results, *_ = finished
    answers = results.answers
    logprobs = answers[[f"logprob_{number}" for number in range(1, 7)]].to_numpy()
    # The scripted engine gives 0.9 to one option; its place on the scale is the score.
    assert (logprobs.argmax(axis=1) + 1 == answers["score"]).all()
    personas = load_population(compose_run(*SCRIPTED, *SMALL).population)
    assert answers.groupby("persona")["gender"].unique().map(list).to_dict() == {p.name: [p.gender] for p in personas}
    # `letters` tells where each option stood, so the chosen one stood under the chosen letter.
    chosen = [row.letters[int(row.score) - 1] for row in answers.itertuples()]
    assert chosen == answers["letter"].tolist()
    assert np.exp(logprobs).sum(axis=1) == pytest.approx(answers["answer_mass"])


def test_options_are_shuffled_uniformly_and_independently(finished):
    answers = finished[0].answers
    counts = answers["letters"].map(lambda order: order[0]).value_counts()
    assert sorted(counts.index) == list(letters(6))
    assert counts.min() > 1200 / 6 * 0.75
    assert answers["letters"].nunique() > 500  # of 720 orders, in 1,200 draws
    by_item = answers.pivot(index=["seed", "context", "persona"], columns="item", values="letters")
    assert (by_item[1] == by_item[2]).mean() < 0.2


def test_conversations(finished):
    _, _, _, artifacts, _ = finished
    conversations = [json.loads(line) for line in (artifacts / "conversations.jsonl").read_text("utf-8").splitlines()]
    assert len(conversations) == 30
    first = conversations[0]
    assert (first["seed"], first["context"], first["persona"]) == (3, "joke", "Gandalf")
    assert [message["role"] for message in first["messages"]] == ["user", "assistant", "user", "assistant"]
    assert first["messages"][0]["text"] == "Tell me a joke."
    said = [message["text"] for one in conversations for message in one["messages"][1:]]
    assert len(set(said)) == len(said) == 90  # every message has a random stream of its own


def test_stability_json_says_everything(finished):
    _, _, _, artifacts, _ = finished
    document = json.loads((artifacts / "stability.json").read_text("utf-8"))
    assert document["contexts"] == ["joke", "chess", "poem"]
    assert document["context_pairs"]["rank_order"] == [[None, 1, 1], [1, None, 1], [1, 1, None]]
    assert document["per_key"]["Power"] == {"mean": 1, "se": 0}
    assert document["per_persona"]["Gollum"] == {"mean": 1, "se": 0}
    assert document["per_seed"]["ipsative"] == {"3": 1, "7": 1}


@pytest.mark.slow
def test_the_full_protocol_at_random_finds_no_stability(launch_folder):
    results = small_run(launch_folder, "model=random")
    assert results.scores.shape == (5, 5, 60, 10)
    for stability in results.stabilities.values():
        assert abs(stability.mean) < 2.5 * stability.se
        assert stability.se < 0.02
    assert results.answers["letter"].value_counts(normalize=True).between(0.15, 0.18).all()


@pytest.mark.slow
def test_the_model_with_values_answers_as_its_people_are_introduced(launch_folder):
    results = small_run(
        launch_folder,
        *("model=smollm2_135m_values", "population=described_people", "population.limit=8", "task=pvq_short"),
        *("seeds=[0]", "topics.names=[joke,chess]", "n_messages=1", "max_new_tokens=20"),
    )
    people = pd.read_csv(DATA / "described_people.csv").set_index("name")
    values = pd.read_csv(DATA / "portraits_short.csv").set_index("item")["value"].str.lower().str.replace("-", "_")
    answers = results.answers
    known = [people.loc[persona, values[item]] for persona, item in zip(answers.persona, answers.item, strict=True)]
    assert (answers.score == known).mean() > 0.7  # by chance 1/6
    assert answers.letter.value_counts(normalize=True).max() < 0.3
    assert results.stabilities["rank_order"].mean > 0.5


@pytest.mark.parametrize("task", ["donation", "stealing", "religion"])
def test_behavioural_tasks_run(task, launch_folder, capsys):
    results = small_run(launch_folder, "model=random", f"task={task}", *SMALL)
    assert ("ipsative" in results.stabilities) == (task != "religion")
    assert results.scores.sizes["key"] == (1 if task == "religion" else 5)
    assert ("no ipsative stability" in capsys.readouterr().out) == (task == "religion")


def test_without_personas_the_repetitions_are_the_samples(launch_folder, capsys):
    results = small_run(launch_folder, "model=random", "population=none", "topics.names=[joke,chess]")
    assert results.scores.shape == (1, 2, 50, 10)
    assert list(results.stabilities) == ["ipsative"]
    one = results.stabilities["ipsative"]
    assert one.se == pytest.approx(float(one.per_unit.std(ddof=1)) / 50**0.5)
    assert "no rank-order stability" in capsys.readouterr().out
    assert "rank_order" not in the_run().data.metrics


def test_the_neutral_context(launch_folder, capsys):
    results = small_run(launch_folder, "model=random", "conversation=none", "topics=none", "population.limit=3")
    assert results.scores["context"].values.tolist() == ["neutral"]
    assert results.stabilities == {}
    assert "one context only" in capsys.readouterr().out
    conversations = (launch_folder / "results" / "conversations.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(conversations[0])["messages"] == []


def test_more_personas_change_nothing_for_the_others(launch_folder):
    alone = ("model=random", *SMALL, "store.path=null")
    few, more = (
        collect(config, make_plan(config), load_engine(config), launch_folder).answers
        for config in (compose_run(*alone, "population.limit=2"), compose_run(*alone, "seeds=[1,7]"))
    )
    keys = ["seed", "context", "persona", "item"]
    both = few.merge(more, on=keys)
    assert len(both) == 1 * 3 * 2 * 40
    assert (both["logprob_1_x"] == both["logprob_1_y"]).all()


def test_a_model_without_probabilities_fails_the_run_and_keeps_the_conversations(launch_folder):
    with pytest.raises(EngineError, match="NaN"):
        small_run(launch_folder, *SCRIPTED, *SMALL, "engine._target_=tests.support.scripted.FailingEngine")
    assert the_run().info.status == "FAILED"
    assert "NaN" in the_run().data.tags["error"]
    assert (launch_folder / "results" / "conversations.jsonl").exists()


def test_answers_that_can_not_be_read_are_reported_and_left_out(launch_folder, capsys):
    terse = (*SCRIPTED, *SMALL, "engine._target_=tests.support.scripted.TerseEngine", "max_unread_answers=0.6")
    results = small_run(launch_folder, *terse)
    table = pd.read_parquet(launch_folder / "results" / "answers.parquet")
    unread = table["score"].isna()
    assert 0.4 < unread.mean() < 0.6
    assert (table["letter"].isna() == unread).all()
    assert table[["answer_mass", "logprob_1", "logprob_6"]].isna().all(axis=None)
    assert the_run().data.metrics["unparsed_fraction"] == unread.mean()
    assert results.headline()["answer_mass"] is None
    out = capsys.readouterr().out
    assert f"no answer could be read for {unread.mean():.1%} of the questions" in out
    n_read, n_unread = int((~unread).sum()), int(unread.sum())
    assert f"answers read: {n_read:,} from one sampled text each, without probabilities, {n_unread:,} without a" in out
    read = {name: value for name, value in the_run().data.metrics.items() if name.startswith("read.")}
    assert read == {"read.text": n_read, "read.missing": n_unread}
    assert table["reading"].value_counts().to_dict() == {"text": n_read, "missing": n_unread}
    # What could be read is the persona's own choice, so people keep their order but for what is missing.
    assert results.headline()["rank_order"] > 0.3
    again = small_run(launch_folder, *terse)
    assert again.headline() == results.headline()


def test_a_run_without_one_answer_ends_well_where_that_is_allowed(launch_folder):
    silent = (*SCRIPTED, *SMALL, "engine._target_=tests.support.scripted.SilentEngine")
    results = small_run(launch_folder, *silent, "max_unread_answers=1")
    assert results.headline()["unparsed_fraction"] == 1
    assert results.headline()["undefined_fraction"] == 1


def test_too_many_unread_answers_fail_the_run_and_leave_all_its_files(launch_folder, capsys):
    terse = (*SCRIPTED, *SMALL, "engine._target_=tests.support.scripted.TerseEngine")
    with pytest.raises(UnfitRunError, match=r"no headline, since 5\d\.\d% of the answers can't be read"):
        small_run(launch_folder, *terse, "max_unread_answers=0.05")
    folder = launch_folder / "results"
    document = json.loads((folder / "stability.json").read_text("utf-8"))
    assert {document[f"{name}{part}"] for name in ("rank_order", "ipsative") for part in ("", "_se", "_low", "_p")} == {
        None
    }
    assert "more than max_unread_answers=0.05" in document["withheld"]
    assert 0.4 < document["unparsed_fraction"] < 0.6
    files = {"answers.parquet", "conversations.jsonl", "plots", "profiles.csv", "report.html", "stability.json"}
    assert files < {path.name for path in folder.iterdir()}
    assert len(pd.read_parquet(folder / "answers.parquet")) == 2 * 3 * 5 * 40
    assert "rank-order stability is not reported: 5" in (folder / "report.html").read_text("utf-8")
    out = capsys.readouterr().out
    assert "note: rank-order stability is not reported" in out
    failed = the_run()
    assert failed.info.status == "FAILED"
    assert "can't be read" in failed.data.tags["error"]
    assert failed.data.metrics["unparsed_fraction"] == document["unparsed_fraction"]
    assert "rank_order" not in failed.data.metrics
    (loaded,) = load_runs(folders=[folder])
    assert loaded.stability("rank_order").why_not_reported.startswith("not reported: 5")
    assert stabilities([loaded], "rank_order", "zero", 9).table["mean"].isna().all()


@pytest.mark.parametrize(("limit", "is_fit"), [(0.5, True), (0.499, False)])
def test_empty_messages_are_limited_by_their_share(limit, is_fit):
    # Of two generated messages each conversation has an empty one, of white space; the opening does not count.
    answers = pd.DataFrame({"score": [1.0] * 20 + [np.nan]})
    data = SimpleNamespace(answers=answers, conversations=[SimpleNamespace(texts=("", "Well.", " \n\t"))] * 3)
    found = why_withheld(data, compose_run("model=random", f"max_empty_messages={limit}"))
    assert found == ("" if is_fit else "50.0% of the messages are empty, more than max_empty_messages=0.499")


def test_names_of_any_kind_go_through(launch_folder):
    shipped = (DATA / "portraits.csv").read_text("utf-8")
    (launch_folder / "k.csv").write_text(shipped.replace("Self-Direction", "Self-Direction (thought/action)"), "utf-8")
    (launch_folder / "p.csv").write_text('name,gender\nA$\\foo$ b,F\n"Q, ""R""",M\n', "utf-8")
    keys = "[Conformity,Tradition,Benevolence,Universalism,'Self-Direction (thought/action)',Stimulation,Hedonism,"
    small_run(
        launch_folder,
        *("model=random", "topics.names=[joke,chess]", "seeds=[0]", "task.items=k.csv", "population.personas=p.csv"),
        f"task.keys={keys}Achievement,Power,Security]",
    )
    assert "stability.Self-Direction _thought_action_" in the_run().data.metrics


def test_a_store_that_can_not_be_written(launch_folder):
    (launch_folder / "file").write_text("")
    with pytest.raises(ConfigError, match=r"store\.path=file: must be a folder that can be written to"):
        small_run(launch_folder, "model=random", *SMALL, "store.path=file")


def test_a_remote_database_is_the_environments(launch_folder, monkeypatch, migrated_database):
    elsewhere = launch_folder / "elsewhere.db"
    elsewhere.write_bytes(migrated_database.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    small_run(launch_folder, "model=random", *SMALL, "tracking.experiment=mine")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{elsewhere}")
    assert len(client.search_runs([client.get_experiment_by_name("mine").experiment_id])) == 1


def test_a_picture_that_fails_is_named_and_all_else_is_there(launch_folder, monkeypatch, capsys):
    def too_large(*_):
        raise MemoryError("15 GB")

    monkeypatch.setattr("valstab.results.plots._per_key", too_large)
    expected = r"^not written: plots/rank_order_per_key.png \(MemoryError: 15 GB\); all else is in "
    with pytest.raises(UnwrittenError, match=expected):
        small_run(launch_folder, *SCRIPTED, *SMALL)
    logged = the_run()
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["rank_order"] == 1
    assert logged.data.tags["error"].startswith("UnwrittenError: not written: plots/rank_order_per_key.png")
    files = {path.relative_to(launch_folder / "results").as_posix() for path in launch_folder.rglob("results/**/*.*")}
    assert files == {
        *("answers.parquet", "config.yaml", "conversations.jsonl", "profiles.csv", "stability.json", "report.html"),
        *("plots/context_pairs.png", "plots/profiles.png", "provenance.json", "methods.md", "prompt.txt"),
        *("methods.tex", "tables.tex"),
        *("inputs/items/portraits.csv", "inputs/personas/fictional_characters.csv", "inputs/openings/openings.yaml"),
    }
    client = mlflow.MlflowClient()
    artifacts = {file.path for place in (None, "plots") for file in client.list_artifacts(logged.info.run_id, place)}
    assert artifacts == {name for name in files if not name.startswith("inputs/")} | {"plots", "inputs"}
    assert "rank-order stability" in capsys.readouterr().out
    # The same command draws what is missing, as the same run.
    monkeypatch.undo()
    monkeypatch.chdir(launch_folder)
    monkeypatch.setattr("valstab.results.picture.Picture.savefig", lambda self, path, **_: Path(path).touch())
    small_run(launch_folder / "again", *SCRIPTED, *SMALL)
    assert (the_run().info.run_id, the_run().data.tags.get("error")) == (logged.info.run_id, None)


def test_a_file_is_whole_or_not_there(tmp_path):
    (path := tmp_path / "a.csv").write_text("old")
    with suppress(KeyError), whole_file(path) as draft:
        draft.write_text("ne")
        raise KeyError
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.csv", "old")]
    with whole_file(path) as draft:
        assert (draft.name.startswith("."), draft.suffix) == (True, ".csv")
        draft.write_text("new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.csv", "new")]
