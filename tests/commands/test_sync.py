"""`valstab sync` logs what MLflow lacks, and nothing older than what it has."""

import json
import shutil
from pathlib import Path

import mlflow
import pytest

from valstab.commands.sync import main, sync
from valstab.tracking import publish as publishing
from valstab.tracking.client import TrackingError
from valstab.tracking.publish import publish
from valstab.tracking.record import Record
from valstab.whole_file import whole_file

MINUTE = 60_000


def ended(folder, status="FINISHED", name="a1", began=MINUTE, experiment="valstab", **metrics):
    """Leave what a run without MLflow leaves: its results and its record."""
    results = folder / "results"
    (results / "plots").mkdir(parents=True)
    (results / "stability.json").write_text("{}")
    (results / "plots" / "profiles.png").touch()
    values = {name: [value] for name, value in metrics.items()}
    tags = {} if status == "FINISHED" else {"error": "KeyboardInterrupt"}
    record = Record(experiment, "a run", name, began, {"n_messages": "3"}, tags, [], values, status, began + 1)
    record.write(results)
    return record


def record_file(folder):
    return folder / "results.mlflow.json"


def runs(**settings):
    client = mlflow.MlflowClient()
    ids = [one.experiment_id for one in client.search_experiments()]
    return client.search_runs(ids, **settings)


def synced(folder):
    """Return what `sync` says, and what its problems are."""
    lines = list(sync([folder], problems := []))
    return lines, problems


def test_an_interrupted_start_does_not_undo_the_finished_one(launch_folder):
    ended(launch_folder / "1", "KILLED")  # while MLflow was away
    finished = ended(launch_folder / "2", began=2 * MINUTE, rank_order=0.5)
    publish(finished, launch_folder / "2" / "results")
    finished.logged = True
    finished.write(launch_folder / "2" / "results")
    (before,) = runs()
    (line,), problems = synced(launch_folder)
    (after,) = runs()
    assert problems == []
    assert line == f"passed  {launch_folder}/1/results  (run {after.info.run_id} has a later start of it)"
    assert (after.info.status, after.data.tags.get("error")) == ("FINISHED", None)
    assert (after.info, after.data.metrics, after.data.tags) == (before.info, before.data.metrics, before.data.tags)
    assert synced(launch_folder)[0] == [f"nothing to log below {launch_folder}"]


def test_an_interrupted_start_does_not_end_the_one_that_goes_on(launch_folder):
    ended(launch_folder / "1", "KILLED")
    publish(Record("valstab", "a run", "a1", 2 * MINUTE, {}, {}))
    synced(launch_folder)
    assert [(run.info.status, run.data.tags.get("error")) for run in runs()] == [("RUNNING", None)]


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_the_order_of_records_does_not_matter(launch_folder, order):
    killed, finished = order
    ended(launch_folder / killed, "KILLED")
    ended(launch_folder / finished, began=2 * MINUTE, rank_order=0.5)
    _, problems = synced(launch_folder)
    (run,) = runs()
    assert (problems, run.info.status, run.data.metrics) == ([], "FINISHED", {"rank_order": 0.5})
    assert "error" not in run.data.tags


def test_a_finished_run_that_is_started_again_stays_finished_when_that_fails(launch_folder):
    """A kill between logging and the removal of the token, or a picture that failed, lets it be started again."""
    publish(ended(launch_folder / "1", rank_order=0.5), launch_folder / "1" / "results")
    again = Record("valstab", "a run", "a1", 2 * MINUTE, {}, {})
    assert publish(again).is_outdated
    again.status, again.ended, again.tags["error"] = "FAILED", 3 * MINUTE, "EngineError: no"
    publish(again, launch_folder / "1" / "results")
    (run,) = runs()
    assert (run.info.status, run.data.tags.get("error")) == ("FINISHED", None)
    again.status = "FINISHED"
    again.tags = {}
    again.metrics = {"rank_order": [0.5]}
    assert not publish(again, launch_folder / "1" / "results").is_outdated
    assert [one.data.metrics for one in runs()] == [{"rank_order": 0.5}]


@pytest.mark.parametrize("first_to_end", [0, 1])
def test_two_at_once_log_one_run(launch_folder, monkeypatch, first_to_end):
    """Both look for the run before either creates one. Then one logs all of it before the other goes on."""
    record = ended(launch_folder / "1", rank_order=0.5)
    results = launch_folder / "1" / "results"
    create, made = mlflow.MlflowClient.create_run, []
    find = publishing._find_or_create_run  # noqa: SLF001

    def both_create(client, *settings):
        made.extend(create(client, *settings) for _ in range(2))
        made.sort(key=lambda run: run.info.run_id, reverse=bool(first_to_end))
        others = iter([made[1]])
        monkeypatch.setattr(publishing, "_find_or_create_run", lambda *each: next(others, None) or find(*each))
        publish(record, results)
        return made[0]

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", both_create)
    published = publish(record, results)
    (run,) = runs()
    assert published.id == run.info.run_id == min(one.info.run_id for one in made)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"rank_order": 0.5})
    assert {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)} == {"stability.json", "plots"}


def test_what_is_bad_is_named_and_the_rest_is_logged(launch_folder, capsys):
    ended(launch_folder / "outputs" / "1_gone")
    shutil.rmtree(launch_folder / "outputs" / "1_gone" / "results")
    for name in ("2_cut", "3_empty", "4_newer", "5_list", "6_types", "7_deep", "8_old"):
        ended(launch_folder / "outputs" / name, name=name)
    text = record_file(launch_folder / "outputs" / "2_cut").read_text()
    fields = json.loads(text)
    for name, content in (
        ("2_cut", text[: len(text) // 2]),
        ("3_empty", ""),
        ("4_newer", json.dumps(fields | {"colour": "red"})),
        ("5_list", "[]"),
        ("6_types", json.dumps(fields | {"metrics": {"rank_order": 0.5}, "parameters": ["a"]})),
        ("7_deep", "[" * 100_000),
        ("8_old", json.dumps({"ticket": "8_old"} | {k: v for k, v in fields.items() if k != "resume_token"})),
    ):
        record_file(launch_folder / "outputs" / name).write_text(content)
    ended(launch_folder / "outputs" / "9_deleted", name="deleted", experiment="deleted")
    client = mlflow.MlflowClient()
    client.delete_experiment(deleted := client.create_experiment("deleted"))
    with pytest.raises(SystemExit) as code:
        main([])
    assert capsys.readouterr().out.startswith("logged  outputs/8_old/results  (run ")
    assert [run.data.tags["valstab.ticket"] for run in runs()] == ["8_old"]
    lines = str(code.value).splitlines()
    for line, (name, what) in zip(
        lines,
        (
            ("1_gone/results", ": the results are gone, so the run is not logged"),
            ("2_cut/results.mlflow.json", ": is no record of a run (Unterminated string"),
            ("3_empty/results.mlflow.json", ": is no record of a run (Expecting value"),
            ("4_newer/results.mlflow.json", ": was written by a newer version of valstab (colour)"),
            ("5_list/results.mlflow.json", ": is no record of a run ("),
            ("6_types/results.mlflow.json", ": is no record of a run (wrong type of parameters, metrics)"),
            ("7_deep/results.mlflow.json", ": is no record of a run ("),
            ("9_deleted/results", ": MLflow's experiment deleted is deleted; restore it (`mlflow experiments restore "),
        ),
        strict=True,
    ):
        assert line.startswith(f"valstab: outputs/{name}{what}"), line
    assert f"--experiment-id {deleted}`" in lines[-1]
    client.restore_experiment(deleted)
    with pytest.raises(SystemExit) as still:
        main([])
    assert len(str(still.value).splitlines()) == len(lines) - 1
    assert {run.data.tags["valstab.ticket"] for run in runs()} == {"8_old", "deleted"}


def test_a_file_that_mlflow_refuses_is_named_and_the_rest_is_logged(launch_folder, monkeypatch):
    record = ended(launch_folder / "1", rank_order=0.5)
    log = mlflow.MlflowClient.log_artifact

    def refuses_pictures(client, run_id, file, folder=None):
        if file.endswith(".png"):
            raise mlflow.exceptions.MlflowException("too large")
        log(client, run_id, file, folder)

    def has_no_links(*_):
        raise OSError("this file system has no hard links")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", has_no_links)
        patch.setattr(mlflow.MlflowClient, "log_artifact", refuses_pictures)
        with pytest.raises(TrackingError, match=r"^plots/profiles.png: MLflow .* can't be used: too large$"):
            publish(record, launch_folder / "1" / "results")
        lines, problems = synced(launch_folder)
    assert lines == []
    assert len(problems) == 1
    (run,) = runs()
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"rank_order": 0.5})
    client = mlflow.MlflowClient()
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["stability.json"]
    assert synced(launch_folder) == ([f"logged  {launch_folder}/1/results  (run {run.info.run_id})"], [])
    assert len(list(client.list_artifacts(run.info.run_id))) == 2


def test_files_are_in_mlflow_without_taking_space_twice(launch_folder):
    record, results = ended(launch_folder / "1", rank_order=0.5), launch_folder / "1" / "results"
    run_id = publish(record, results).id
    artifacts = Path(mlflow.MlflowClient().get_run(run_id).info.artifact_uri.removeprefix("file://"))
    for name in ("stability.json", "plots/profiles.png"):
        assert (artifacts / name).samefile(results / name)
    # Another start replaces a file of the results, and then the one in MLflow.
    with whole_file(results / "stability.json") as draft:
        draft.write_text("[]", encoding="utf-8")
    assert (artifacts / "stability.json").read_text("utf-8") == "{}"
    publish(record, results)
    shutil.rmtree(results)
    logged = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="stability.json")
    assert Path(logged).read_text("utf-8") == "[]"


def test_a_closed_output_does_not_keep_the_rest_from_being_logged(launch_folder, monkeypatch):
    for name in "12":
        ended(launch_folder / "outputs" / name, name=name)
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it would fail again
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)
        with pytest.raises(SystemExit) as code:
            main([])
    assert str(code.value) == "valstab: standard output can't be written (No space left on device)"
    assert [run.info.status for run in runs()] == ["FINISHED", "FINISHED"]
