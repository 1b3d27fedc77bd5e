"""Finished runs from MLflow and from folders, as tables, each with a label of its own."""

import json
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest

import valstab
from tests.support import synthetic
from tests.support.composed import compose_run
from valstab.analysis.load import load_runs
from valstab.analysis.repetitions import without_repetitions
from valstab.analysis.run_labels import with_unique_labels
from valstab.analysis.runs import Runs
from valstab.errors import ConfigError
from valstab.protocol.plan import make_plan
from valstab.run import run

SCRIPTED = ("engine=random", "engine._target_=tests.support.scripted.PersonaEngine", "model.name=scripted")
SMALL = ("population.limit=4", "topics.names=[joke,chess]", "seeds=[3,7]")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, migrated_database):
    """Three runs in two MLflow experiments, one with a retest, without pictures; their results folders."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("valstab.run.write_pictures", lambda *_: None)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        (folder / "mlflow.db").write_bytes(migrated_database.read_bytes())
        results = []
        for number, more in enumerate(
            (
                ["tracking.experiment=one", "retests=1"],
                ["tracking.experiment=one", "n_messages=1"],
                ["tracking.experiment=two", "model.name=another"],
            )
        ):
            config = compose_run(*SCRIPTED, *SMALL, *more)
            results.append(run(config, make_plan(config), folder / str(number) / "results"))
        yield folder, results


def test_an_experiment_s_runs(tracked):
    _, results = tracked
    runs = valstab.load_runs(["one"])
    assert runs.table["label"].tolist() == ["scripted", "scripted"]
    assert runs.table["n_messages"].tolist() == [3, 1]
    assert runs.table["rank_order"].tolist() == [1.0, 1.0]
    first = next(iter(runs))
    assert np.array_equal(first.scores, results[0].scores)
    pd.testing.assert_frame_equal(first.answers, results[0].answers)
    assert len(first.conversations) == 2 * 2 * 4
    assert first.opening_lengths == {"joke": 15, "chess": 5}
    assert runs.scores.columns.tolist() == ["label", "n_messages", "seed", "context", "persona", "key", "score"]
    assert len(runs.answers) == 2 * (2 * 2 * 4 * 40)


@pytest.mark.usefixtures("tracked")
def test_every_experiment_a_filter_and_ids():
    assert len(load_runs()) == 3
    (short,) = load_runs(filter_string="params.n_messages = '1'")
    assert short.n_messages == 1
    assert [run.id for run in load_runs(runs=[short.id])] == [short.id]
    (other,) = load_runs(["two"])
    assert other.label == "another"


def test_a_sweep_by_its_parent_and_by_its_folder(tracked):
    folder, _ = tracked
    client = mlflow.MlflowClient()
    experiment = mlflow.get_experiment_by_name("one").experiment_id
    parent = client.create_run(experiment).info.run_id
    for each in load_runs(["one"]):
        client.set_tag(each.id, "mlflow.parentRunId", parent)
    assert len(load_runs(runs=[parent])) == 2
    assert len(load_runs(folders=[folder / "0", folder / "1"])) == 2
    assert {each.n_messages for each in load_runs(folders=[folder])} == {1, 3}


@pytest.mark.usefixtures("tracked")
def test_a_retest_has_other_option_orders_and_the_same_people():
    first = next(iter(load_runs(["one"])))
    retests = first.retests
    assert retests["retest"].unique().tolist() == [1]
    assert len(retests) == len(first.answers)
    assert (retests["letters"] != first.answers["letters"]).mean() > 0.9
    # These answers follow the persona whatever the order: the same scores again.
    assert np.allclose(first.rescored(1), first.scores)


@pytest.mark.usefixtures("tracked")
def test_what_is_not_there_is_named(tmp_path):
    for arguments, message in (
        ({"experiments": ["three"]}, "experiments=three: no such MLflow experiment"),
        ({"runs": ["0" * 32]}, "no such MLflow run"),
        ({"filter_string": "params.task = 'none'"}, "there is no finished run with params.task"),
        ({"filter_string": "nonsense"}, "filter=nonsense: MLflow can't use it"),
        ({"folders": [tmp_path / "none"]}, "no such folder"),
        ({"folders": [tmp_path]}, "holds no results"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_runs(**arguments)


def test_files_that_were_moved_are_named_with_their_old_place(tracked, tmp_path):
    folder, _ = tracked
    (moved,) = load_runs(["two"])
    files = folder / "mlruns"
    files.rename(tmp_path / "mlruns")
    try:
        with pytest.raises(
            ConfigError, match=rf"^runs={moved.id}: .* {files}/.*/{moved.id}/artifacts; .* folders="
        ) as raised:
            load_runs(["two"])
    finally:
        (tmp_path / "mlruns").rename(files)
    assert "\n" not in str(raised.value)
    assert len(load_runs(["two"])) == 1


def test_a_damaged_results_folder_is_named(tmp_path):
    folder = synthetic.write_results(tmp_path / "run", "population.limit=2", "topics.names=[joke,chess]", "seeds=[0]")
    document = json.loads((folder / "stability.json").read_text(encoding="utf-8"))
    del document["keys"]
    (folder / "stability.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ConfigError, match="is not the results of a run that can be read: lacks 'keys'"):
        load_runs(folders=[folder])


@pytest.mark.parametrize(("quantization", "label"), [("none", "smollm2_135m"), ("8bit", "smollm2_135m 8bit")])
def test_quantization_at_the_top_of_an_older_configuration_counts(quantization, label, tmp_path):
    folder = synthetic.write_results(tmp_path / "run", "population.limit=2", "topics.names=[joke,chess]", "seeds=[0]")
    with (folder / "config.yaml").open("a", encoding="utf-8") as file:
        file.write(f"quantization: {quantization}\n")
    (run,) = load_runs(folders=[folder])
    assert run.label == label
    assert run.settings["model.quantization"] == quantization
    assert "quantization" not in run.settings


def labelled(label, **settings):
    made = synthetic.run(label, synthetic.scores(seeds=1, contexts=2, personas=2))
    told = {name.replace("__", "."): value for name, value in settings.items()}
    return replace(made, id=label + str(settings), settings={**made.settings, **told})


def test_labels_say_what_differs_and_no_more():
    runs = [
        labelled("llama", model__system_prompt="True"),
        labelled("llama", model__system_prompt="False"),
        labelled("phi", model__system_prompt="True"),
        labelled("smol", model__quantization="none", model__dtype="float32"),
        labelled("smol", model__quantization="none", model__dtype="bfloat16"),
    ]
    labels = [each.label for each in with_unique_labels(runs)]
    assert labels == ["llama sys", "llama no_sys", "phi", "smol float32", "smol bfloat16"]


def test_the_topics_file_tells_nothing_of_runs_without_conversation():
    silent = replace(labelled("llama", topics__openings="None"), n_messages=0)
    talked = labelled("llama", topics__openings="openings.yaml")
    assert [each.label for each in with_unique_labels([silent, talked])] == ["llama", "llama"]


def test_reminders_tell_conversations_apart_and_nothing_else():
    settings = {"reminder__every": "4", "reminder__slot": "system"}
    runs = [
        replace(labelled("llama", **settings), n_messages=0, id="silent"),
        labelled("llama", **settings),
        labelled("llama", reminder__every="0", reminder__slot="user"),
        labelled("llama"),  # of an older version
    ]
    labels = [each.label for each in with_unique_labels(runs)]
    assert labels == ["llama", "llama reminders=4", "llama reminders=0", "llama reminders=0"]


def test_any_setting_that_changes_answers_tells_runs_apart():
    runs = [
        labelled("smol", model__sampling__temperature="0.2", engine__batch_size="8"),
        labelled("smol", model__sampling__temperature="0.7", engine__batch_size="8"),
        labelled("smol", model__sampling__temperature="0.7", engine__batch_size="16", answer="letter"),
        labelled("other", population__introduction="{name}"),
        labelled("other", population__introduction="{name}, a guest"),
        labelled("some", answer="sampled", answer_samples="10"),
        labelled("some", answer="sampled", answer_samples="20"),
        labelled("same", answer="letter", answer_samples="10"),
        labelled("same", answer="letter", answer_samples="20"),
    ]
    found = without_repetitions(with_unique_labels(runs))
    assert [each.label for each in found] == [
        *("smol temperature=0.2", "smol temperature=0.7"),
        *("other introduction={name}", "other introduction={name}, a guest"),
        *("some answer_samples=10", "some answer_samples=20", "same"),
    ]
    assert found.replaced == (runs[1].id, runs[7].id)


def test_no_runs_give_an_empty_table_of_samples():
    samples = Runs(()).samples()
    assert samples.empty
    assert samples.columns[0] == "label"


def test_a_stability_that_is_mostly_undefined_is_not_reported():
    scores = synthetic.scores(seeds=1, contexts=3, personas=4)
    run = synthetic.run("m", scores)
    assert run.reported_stability("rank_order") is run.stability("rank_order")
    same = replace(run, scores=run.scores * 0)
    assert same.stability("rank_order").undefined_fraction == 1
    assert same.reported_stability("rank_order") is None
    row = Runs((same,)).table.iloc[0]
    assert np.isnan(row["rank_order"])
    assert row["rank_order_undefined_fraction"] == 1
    assert synthetic.run("none", scores, population="none").reported_stability("rank_order") is None


def test_a_changed_run_has_its_own_stability():
    run = synthetic.run("m", synthetic.scores(seeds=1, contexts=3, personas=4))
    before = run.stability("ipsative").mean
    assert replace(run, scores=-run.scores).stability("ipsative").mean == pytest.approx(before)
    assert replace(run, scores=run.scores.isel(context=[0, 0])).stability("ipsative").mean == 1
