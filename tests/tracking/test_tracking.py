"""MLflow has every run once, whatever happened to the run or to MLflow."""

import errno
import fcntl
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.store.tracking.dbmodels.models import SqlDataset
from sqlalchemy import create_engine, event, insert
from sqlalchemy.orm import Session
from tenacity import wait_none

from tests.support.composed import compose_run
from tests.support.scripted import PersonaEngine
from valstab.commands.sync import main, sync
from valstab.config.terminal import OutputError
from valstab.engines.base import EngineError
from valstab.errors import ConfigError
from valstab.protocol.plan import make_plan
from valstab.run import run
from valstab.tracking.client import TrackingError, TrackingUnavailableError, mlflow_errors, mlflow_reading
from valstab.tracking.experiment import open_experiment
from valstab.tracking.publish import publish
from valstab.tracking.record import Record, read_record
from valstab.tracking.resume import resume_token

pytestmark = pytest.mark.usefixtures("without_pictures")

SCRIPTED = ("engine=random", "engine._target_=tests.support.scripted.PersonaEngine", "model.name=scripted")
SMALL = ("population.limit=3", "topics.names=[joke,chess]", "seeds=[0]")
NOBODY = "http://somebody:secret@127.0.0.1:9"
OWN = ("conversing_seconds", "asking_seconds", "queries_per_second", "peak_memory_gib")


@pytest.fixture
def launched(launch_folder, monkeypatch):
    """Make a scripted run in its own folder, without pictures, which take longest; MLflow's client does not retry."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("valstab.run.write_pictures", lambda *_: None)

    def launch(name, *overrides):
        config = compose_run(*SCRIPTED, *SMALL, *overrides)
        return run(config, make_plan(config), launch_folder / name / "results")

    return launch


def runs():
    client = mlflow.MlflowClient()
    return client.search_runs([client.get_experiment_by_name("valstab").experiment_id], order_by=["start_time"])


def mlflow_content(one):
    """Return all that MLflow has of a run, except what is unique to each run."""
    client = mlflow.MlflowClient()
    metrics = {name: value for name, value in one.data.metrics.items() if name not in OWN}
    own = ("valstab.ticket", "valstab.start", "mlflow.note.content")
    tags = {name: value for name, value in one.data.tags.items() if name not in own}
    histories = {
        name: [(m.step, m.value) for m in client.get_metric_history(one.info.run_id, name)] for name in metrics
    }
    files = sorted(file.path for file in client.list_artifacts(one.info.run_id))
    inputs = sorted((i.dataset.name, i.dataset.digest, i.tags[0].value) for i in one.inputs.dataset_inputs)
    return (one.info.status, one.info.run_name, one.data.params, tags, histories, files, inputs)


def test_outputs_that_are_closed_undo_nothing(launched, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", closed)
        patch.setattr("sys.stderr", closed)
        with pytest.raises(
            OutputError, match=r"^standard output can't be written \(Broken pipe\); the results are in "
        ):
            launched("run")
    (logged,) = runs()
    assert (logged.info.status, logged.data.tags.get("error")) == ("FINISHED", None)
    assert "rank_order" in logged.data.metrics


def test_a_run_without_mlflow_is_logged_later(launched, launch_folder, monkeypatch, capsys):
    launched("there", "store.path=null")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", NOBODY)
        results = launched("away", "store.path=null")
    assert results.headline()["rank_order"] == 1
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("valstab:")]
    assert "127.0.0.1" in line
    assert line.endswith(f"; results stay in {launch_folder}/away/results, `python -m valstab sync` logs them")
    assert "secret" not in said.err + said.out + (launch_folder / "away" / "results.mlflow.json").read_text()
    assert len(runs()) == 1
    problems = []
    (logged,) = sync([launch_folder], problems)
    there, later = runs()
    assert logged == f"logged  {launch_folder}/away/results  (run {later.info.run_id})"
    assert mlflow_content(there) == mlflow_content(later)
    record = read_record(launch_folder / "away" / "results.mlflow.json")
    assert (later.info.start_time, later.info.end_time) == (record.began, record.ended)
    assert list(sync([launch_folder], problems)) == [f"nothing to log below {launch_folder}"]
    assert problems == []
    assert len(runs()) == 2


def test_the_command_logs_what_is_below_the_launch_folder(launched, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", NOBODY)
        launched("outputs/today/now")
        with pytest.raises(SystemExit) as still:
            main([])
    assert str(still.value).startswith("valstab: MLflow (MLFLOW_TRACKING_URI) can't be used: ")
    assert "secret" not in str(still.value)
    main([])
    assert capsys.readouterr().out.splitlines()[-1].startswith("logged  outputs/today/now/results  (run ")
    with pytest.raises(SystemExit) as nowhere:
        main(["nowhere"])
    assert str(nowhere.value) == "valstab: nowhere: no such folder; allowed: a folder with results below it"


def test_a_run_that_failed_goes_on_as_the_same_run(launched, monkeypatch):
    def burns(self, dialogues):
        for index, choices in enumerate(dialogues):
            if index:
                raise EngineError("the machine is on fire")
            yield index, np.array([self._answer(choice) for choice in choices])

    with monkeypatch.context() as patch:
        patch.setattr(PersonaEngine, "score_options", burns)
        with pytest.raises(EngineError, match="on fire"):
            launched("first")
    (failed,) = runs()
    assert (failed.info.status, failed.data.tags["error"]) == ("FAILED", "EngineError: the machine is on fire")
    launched("second")
    (finished,) = runs()
    assert finished.info.run_id == failed.info.run_id
    assert finished.info.status == "FINISHED"
    assert "error" not in finished.data.tags
    assert finished.info.start_time == failed.info.start_time
    launched("third")  # a new run, since the other is finished
    assert [one.info.status for one in runs()] == ["FINISHED", "FINISHED"]


def test_another_process_may_log_the_same_data_at_the_same_moment(launched, launch_folder, monkeypatch, capsys):
    """MLflow looks for a dataset before it adds one; here another adds it in between."""
    monkeypatch.setattr(publish.retry, "wait", wait_none())
    met = []

    def add_first(session, *_):
        (dataset, *_) = [each for each in session.new if isinstance(each, SqlDataset)] or [None]
        if dataset is None or met:
            return
        met.append(dataset.name)
        added = {column.name: getattr(dataset, column.name) for column in SqlDataset.__table__.columns}
        with create_engine(f"sqlite:///{launch_folder / 'mlflow.db'}").begin() as other:
            other.execute(insert(SqlDataset).values(added | {"dataset_uuid": "another"}))

    event.listen(Session, "before_flush", add_first)
    try:
        launched("run")
    finally:
        event.remove(Session, "before_flush", add_first)
    assert "valstab:" not in capsys.readouterr().err
    (logged,) = runs()
    assert logged.info.status == "FINISHED"
    assert met[0] in [one.dataset.name for one in logged.inputs.dataset_inputs]


def test_a_record_of_version_0_1_is_read(tmp_path):
    record = Record("valstab", "a run", "token", began=1, parameters={"n_messages": "3"}, tags={})
    record.write(tmp_path / "results")
    file = tmp_path / "results.mlflow.json"
    file.write_text(file.read_text().replace('"resume_token"', '"ticket"'))
    assert read_record(file) == record


def test_mlflow_is_quiet_during_calls_only(monkeypatch):
    """A call to log is repeated by valstab, since MLflow would repeat a part of it; one to read is repeated by MLflow."""
    retries, limit = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
    for name in (retries, limit):
        monkeypatch.delenv(name, raising=False)
    logger = logging.getLogger("mlflow.store")
    before = logger.level
    with mlflow_errors():
        assert logger.level == logging.CRITICAL
        assert (os.environ[retries], os.environ[limit]) == ("0", "60")
    with mlflow_reading():
        assert (os.environ[retries], os.environ[limit]) == ("3", "60")
    assert logger.level == before
    assert not {retries, limit} & os.environ.keys()
    monkeypatch.setenv(retries, "7")
    monkeypatch.setenv(limit, "5")
    for block, expected in ((mlflow_errors(), ("0", "5")), (mlflow_reading(), ("7", "5"))):
        with block:
            assert (os.environ[retries], os.environ[limit]) == expected
        assert (os.environ[retries], os.environ[limit]) == ("7", "5")


def test_resume_tokens(tmp_path):
    with resume_token(tmp_path, "key") as first:
        with resume_token(tmp_path, "key") as beside:
            assert beside != first  # somebody is at the first
        with resume_token(tmp_path, "other") as other:
            assert other not in {first, beside}
    with resume_token(tmp_path, "key") as finished_before:
        assert finished_before not in {first, beside}
    with suppress(KeyError), resume_token(tmp_path, "key") as failed:
        raise KeyError
    with resume_token(tmp_path, "key") as again:
        assert again == failed
    assert list((tmp_path / "unfinished").iterdir()) == []
    with resume_token(None, "key") as one, resume_token(None, "key") as another:
        assert one != another


def test_a_file_system_without_locks_has_new_tokens_only(tmp_path, monkeypatch, capsys):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with suppress(KeyError), resume_token(tmp_path, "key") as failed:
        raise KeyError
    with resume_token(tmp_path, "key") as again:
        assert again != failed
    assert list((tmp_path / "unfinished").iterdir()) == []
    assert capsys.readouterr().err == 2 * (
        f"valstab: store.path={tmp_path} is on a file system without locks (No locks available); the same command "
        "continues an interrupted run, but as a new run in MLflow\n"
    )


def test_a_store_that_can_not_hold_resume_tokens(tmp_path):
    (tmp_path / "unfinished").write_text("a file")
    with (
        pytest.raises(ConfigError, match=r"store.path=.*: must be a folder that can be written to"),
        resume_token(tmp_path, "k"),
    ):
        pass


def test_waiting_helps_where_nobody_answers_and_does_not_where_the_setting_is_wrong(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").write_text("not a folder")
    for uri, error_class in (
        (NOBODY, TrackingUnavailableError),
        ("file:./mlruns", TrackingError),
        (f"sqlite:///{tmp_path}/file/mlflow.db", TrackingError),
        ("gopher://127.0.0.1", TrackingError),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(TrackingError) as raised:
            open_experiment("valstab")
        assert type(raised.value) is error_class, uri
        assert "\n" not in str(raised.value)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture
def server(launch_folder, monkeypatch):
    """Start (again) and stop a real MLflow server."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{launch_folder}/mlflow.db"),
        *("--artifacts-destination", str(launch_folder / "artifacts")),
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    class Server:
        process = None

        def start(self):
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            end = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"{uri}/health").close()  # noqa: S310  (of this machine)
                except urllib.error.URLError:
                    assert time.monotonic() < end
                    time.sleep(0.2)
                else:
                    return

        def stop(self):
            subprocess.run(["pkill", "-P", str(self.process.pid)], check=False)
            self.process.terminate()
            self.process.wait()

    one = Server()
    one.start()
    yield one
    one.stop()


@pytest.mark.slow
def test_a_server_that_is_away_in_the_middle(server, launched, launch_folder, monkeypatch, capsys):
    launched("there", "store.path=null")
    answer = PersonaEngine.score_options

    def stops_the_server(self, dialogues):
        server.stop()
        return answer(self, dialogues)

    with monkeypatch.context() as patch:
        patch.setattr(PersonaEngine, "score_options", stops_the_server)
        launched("away", "store.path=null")
    assert "`python -m valstab sync` logs them" in capsys.readouterr().err
    assert not read_record(launch_folder / "away" / "results.mlflow.json").logged
    server.start()
    assert [one.info.status for one in runs()] == ["FINISHED", "RUNNING"]
    (logged,) = sync([launch_folder], problems := [])
    assert problems == []
    there, later = runs()
    assert later.info.run_id in logged
    assert mlflow_content(there) == mlflow_content(later)
    logged_file = mlflow.artifacts.download_artifacts(run_id=later.info.run_id, artifact_path="stability.json")
    assert Path(logged_file).read_bytes() == (launch_folder / "away" / "results" / "stability.json").read_bytes()


def test_a_database_may_have_options_and_needs_its_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new/mlflow.db?timeout=60")
    assert open_experiment("valstab") == "1"
    assert [path.name for path in (tmp_path / "new").glob("*.db*")] == ["mlflow.db"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql://nobody@127.0.0.1:9/valstab")
    with pytest.raises(TrackingError, match=r"MLflow \(MLFLOW_TRACKING_URI\) can't be used: No module named '\w+'$"):
        open_experiment("valstab")


def test_two_processes_may_create_a_database_and_an_experiment_at_once(launch_folder, monkeypatch):
    """Each makes a draft of the database; the first one stays, with what is in it by then."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{launch_folder}/new/mlflow.db")
    shutil.copytree(launch_folder, launch_folder / "new")
    first = launch_folder / "new" / "mlflow.db"
    first.rename(ready := launch_folder / "ready.db")
    search = mlflow.MlflowClient.search_experiments

    def other_is_first(client):
        ready.rename(first)
        mlflow.MlflowClient().create_experiment("valstab")
        return search(client)

    monkeypatch.setattr(mlflow.MlflowClient, "search_experiments", other_is_first)
    assert open_experiment("valstab") == "1"
    assert [path.name for path in first.parent.glob("mlflow.db*")] == ["mlflow.db"]
    monkeypatch.undo()
    monkeypatch.chdir(launch_folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{first}")
    find = mlflow.MlflowClient.get_experiment_by_name

    def not_yet(client, name):
        monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", find)
        client.create_experiment(name)

    monkeypatch.setattr(mlflow.MlflowClient, "get_experiment_by_name", not_yet)
    assert open_experiment("another") == "2"
