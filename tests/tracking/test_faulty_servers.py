"""An MLflow server that does wrong things costs a run a limited time, and nothing else."""

import math
import os
import time
from threading import Thread

import mlflow
import pytest

from tests.robustness.fault_server import ENDING, serving
from tests.support.composed import compose_run
from valstab.commands.sync import sync
from valstab.protocol.plan import make_plan
from valstab.run import run
from valstab.tracking import client, waiting
from valstab.tracking.client import TrackingError, TrackingUnavailableError, require_mlflow
from valstab.tracking.experiment import open_experiment
from valstab.tracking.waiting import within

pytestmark = pytest.mark.usefixtures("without_pictures")

LIMIT = 1
"""The time that a request may take here, in seconds."""


@pytest.fixture(autouse=True)
def short_limit(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(LIMIT))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def failing(fault, times=math.inf):
    """Run a server that fails at its first requests, and refuses all later ones."""
    return serving(fault=ENDING[fault], strike=lambda number: number <= times)


EMPTY_DOCUMENTS = ("sends another document", "sends too much")
"""Faults that MLflow takes for an answer in which everything is empty."""


@pytest.mark.parametrize("fault", ENDING)
def test_no_fault_takes_longer_than_the_limit(fault, monkeypatch):
    with failing(fault) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.root)
        start = time.monotonic()
        with pytest.raises(TrackingError, match=r"^MLflow") as raised:
            open_experiment("valstab")
        assert time.monotonic() - start < LIMIT + 30  # the faults last a day, and machines are busy
        assert str(raised.value).isprintable()
    if fault not in EMPTY_DOCUMENTS:
        assert isinstance(raised.value, TrackingUnavailableError)
        assert str(raised.value).startswith("MLflow (MLFLOW_TRACKING_URI) can't be used: ")
    if fault in {"hangs", "drips"}:
        assert str(raised.value).endswith(f"{server.root} took more than 1 seconds (MLFLOW_HTTP_REQUEST_TIMEOUT)")


def test_the_limit_reads_the_same_when_that_of_mlflow_ends_first(monkeypatch):
    monkeypatch.setattr(client, "within", lambda _seconds, _what, call: call())
    with failing("hangs") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.root)
        with pytest.raises(TrackingUnavailableError) as raised:
            open_experiment("valstab")
        assert len(server.requests) == 1
    assert str(raised.value).endswith(f"{server.root} took more than 1 seconds (MLFLOW_HTTP_REQUEST_TIMEOUT)")


@pytest.mark.slow
def test_a_run_goes_on_while_its_server_hangs(launch_folder, monkeypatch, capsys):
    config = compose_run("model=random", "population.limit=2", "topics.names=[joke,chess]", "seeds=[0]")
    with failing("hangs") as server, monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server.root)
        patch.setattr(waiting, "NOTICE_SECONDS", 0.2)
        run(config, make_plan(config), launch_folder / "results")
        assert len(server.requests) == 2  # at the start and at the end: nothing is sent again
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("valstab: ")]
    waited = f"valstab: waiting for MLflow at {server.root}, for at most 1 seconds"
    later = f"; results stay in {launch_folder}/results, `python -m valstab sync` logs them"
    assert (lines[0], lines[2]) == (waited, waited)
    assert lines[1].endswith(later)
    assert len(lines) == 3
    assert len(list(sync([launch_folder], problems := []))) == 1
    (logged,) = mlflow.MlflowClient().search_runs([open_experiment("valstab")])
    assert (problems, logged.info.status) == ([], "FINISHED")
    assert "answer_mass" in logged.data.metrics


def test_one_that_hangs_keeps_no_other_from_its_answer(monkeypatch):
    """The first request gets no answer, the second is refused at once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    with failing("hangs", times=1) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.root)

        def hang():
            with pytest.raises(TrackingError):
                open_experiment("valstab")

        hanging = Thread(target=hang, daemon=True)
        hanging.start()
        end = time.monotonic() + 10
        while not server.requests and time.monotonic() < end:
            time.sleep(0.01)
        with pytest.raises(TrackingError, match="413"):
            open_experiment("valstab")
        assert hanging.is_alive()
    hanging.join(10)


@pytest.mark.parametrize(("retries", "requests"), [("0", 1), ("2", 3)])
def test_a_server_that_restarts_is_asked_again(monkeypatch, retries, requests):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    pauses = []
    monkeypatch.setattr(require_mlflow.retry, "sleep", pauses.append)
    with failing("loads (503, HTML)") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.root)
        with pytest.raises(TrackingUnavailableError):
            require_mlflow()
    assert len(server.requests) == requests
    assert pauses == [2, 4][: requests - 1]


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5", "9" * 30])
def test_a_limit_is_a_number_of_seconds(monkeypatch, value):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", value)
    with pytest.raises(TrackingError, match=f"^MLFLOW_HTTP_REQUEST_TIMEOUT={value}: must be a whole number of seconds"):
        require_mlflow()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == value


def test_what_a_call_returns_or_raises_is_passed_on():
    assert within(60, "it", lambda: 7) == 7
    with pytest.raises(KeyError, match="no"):
        within(60, "it", lambda: {}["no"])
