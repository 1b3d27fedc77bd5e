"""Sweeps: one parent run, failing jobs among good ones, and what is left after Ctrl-C."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest

from tests.support.score_arrays import random_scores
from tests.support.sweeps import FAILING, PERSONA, ROOT, SCRIPTED, SMALL, logged, runs
from valstab.commands import interruption
from valstab.protocol.store import RecordLog
from valstab.results import wording
from valstab.statistics.inference import conclude
from valstab.statistics.resampling import StabilitySpec
from valstab.sweeps.describe import as_markdown, as_text, describe_failures
from valstab.sweeps.picture import draw
from valstab.sweeps.table import best_and_spread, job_table, swept_keys


def artifacts(folder, run):
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return {one.path for one in client.list_artifacts(run.info.run_id)}


@pytest.mark.slow
def test_a_failing_job_leaves_the_others_and_can_be_run_alone(valstab, launch_folder):
    command = valstab(
        *("-m", *SCRIPTED, *SMALL, f"{PERSONA},{FAILING.partition('=')[2]}"),
        "n_messages=1,3",
        PYTHONPATH=ROOT,
    )
    assert command.returncode == 1
    parent, children = runs(launch_folder)
    assert parent.info.status == "FAILED"
    assert [run.info.status for run in children] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    assert children[0].info.run_name == "scripted random · fictional_characters · pvq · n=1 · 4 x 2 x 1"
    assert "NaN" in children[2].data.tags["error"]
    # The command ends with what failed and how to run it again.
    *_, title, two, again_two, three, again_three = command.stderr.splitlines()
    assert title == "valstab: 2 of 4 jobs failed; to run only these again (the store has the rest):"
    assert two.startswith(f"  #2 {FAILING} n_messages=1: EngineError: ")
    assert three.startswith(f"  #3 {FAILING} n_messages=3: EngineError: ")
    expected = [*SCRIPTED, *SMALL, FAILING, "n_messages=1"]
    assert shlex.split(again_two) == ["python", "-m", "valstab", *expected]
    assert again_three.endswith("n_messages=3")
    assert "job 1 of 4\n" in command.stderr
    assert re.search(r"^job 4 of 4, about \d:\d\d:\d\d left in the sweep$", command.stderr, re.MULTILINE)
    # The parent has the table.
    assert artifacts(launch_folder, parent) == {
        "sweep.csv",
        "sweep.png",
        "methods.md",
        "methods.tex",
        "tables.tex",
        "provenance.json",
    }
    (file,) = launch_folder.glob("multirun/*/*/sweep.csv")
    table = pd.read_csv(file)
    assert table["rank_order"].fillna(-1).tolist() == [1, 1, -1, -1]
    assert table["n_messages"].tolist() == [1, 3, 1, 3]
    assert "**2 of 4 jobs finished.**" in parent.data.tags["mlflow.note.content"]
    # The sweep has a name that tells it from others, numbers, and a table of its jobs.
    assert parent.info.run_name.startswith(f"sweep · {PERSONA},{FAILING.partition('=')[2]} n_messages=1,3 · ")
    assert parent.data.metrics == {
        "rank_order_best": 1,
        "rank_order_spread": 0,
        "ipsative_best": 1,
        "ipsative_spread": 0,
    }
    tags = mlflow.MlflowClient(f"sqlite:///{launch_folder}/mlflow.db").get_experiment("1").tags
    view = json.loads(tags[f"mlflow.sharedViewState.{parent.info.run_id}"])
    assert view["searchFilter"] == f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    assert view["selectedColumns"][:2] == ["params.`engine._target_`", "params.`n_messages`"]
    *_, place, compare = command.stdout.splitlines()
    assert place.strip() == (
        "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning"
        f"&viewStateShareKey={parent.info.run_id}"
    )
    assert compare == f"test differences    python -m valstab compare runs=[{parent.info.run_id}]"


@pytest.mark.slow
def test_a_file_may_ask_for_the_sweep_and_other_processes_do_it(valstab, launch_folder):
    """Two processes share a store and a database; the launcher is that of joblib."""
    preset = launch_folder / "conf" / "experiment" / "both.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n"
        f"      {PERSONA.replace('=', ': ')},{FAILING.partition('=')[2]}\n"
        "      n_messages: 1,3\n      population.limit: 8,60\n",
        "utf-8",
    )
    command = valstab(
        *("--config-dir", "conf", "+experiment=both", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
        *(*SCRIPTED, *SMALL),
        PYTHONPATH=ROOT,
    )
    assert command.returncode == 1
    assert "Traceback" not in command.stderr
    parent, children = runs(launch_folder)
    assert "n_messages=1,3 · population.limit=4 +experiment=both" in parent.info.run_name
    assert [run.info.status for run in children] == ["FINISHED", "FINISHED", "FAILED", "FAILED"]
    assert [run.data.metrics.get("rank_order") for run in children] == [1, 1, None, None]
    words = shlex.split(command.stderr.splitlines()[-1])
    assert words[:6] == ["python", "-m", "valstab", "--config-dir", str(launch_folder / "conf"), "-m"]
    assert words[6:8] == ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert sorted(words[8:]) == sorted(["n_messages=3", "+experiment=both", *SCRIPTED, *SMALL, FAILING])
    # All that two processes said and answered is in the store: the first messages are the same for both.
    kinds = {kind.name: RecordLog(kind) for kind in launch_folder.glob(".valstab/*/*/")}
    assert {name: len(shelf) for name, shelf in kinds.items()} == {
        "conversations": 8 * 3,
        "answers-pvq-n1": 8,
        "answers-pvq-n3": 8,
    }
    assert [shelf.damaged for shelf in kinds.values()] == [[]] * len(kinds)


@pytest.mark.slow
def test_paths_are_the_launch_folder_s_where_jobs_have_folders_of_their_own(valstab, launch_folder):
    command = valstab("-m", *SCRIPTED, *SMALL, PERSONA, "n_messages=1,3", "hydra.job.chdir=true", PYTHONPATH=ROOT)
    assert command.returncode == 0, command.stderr
    parent, children = runs(launch_folder)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    assert [path.parent for path in launch_folder.rglob(".valstab")] == [launch_folder]
    assert [path.parent for path in launch_folder.rglob("mlflow.db")] == [launch_folder]
    assert len(list(launch_folder.glob("multirun/*/*/*/results/stability.json"))) == 2


@pytest.mark.slow
def test_a_sweep_of_which_no_job_begins_leaves_no_run(valstab, launch_folder):
    command = valstab("-m", "model=randon,random")
    assert command.returncode == 1
    assert "model=randon: no such option; did you mean random?" in command.stderr
    assert logged(launch_folder) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "number"), [("run", signal.SIGINT), ("run", signal.SIGTERM), ("sweep", signal.SIGTERM)]
)
def test_a_signal_ends_cleanly_and_says_how_to_go_on(mode, number, heavy_process, launch_folder):
    arguments = ("-m", "n_messages=1,3") if mode == "sweep" else ("n_messages=1",)
    command = heavy_process.start(
        "valstab",
        [*arguments, *SCRIPTED, "engine._target_=tests.support.scripted.SlowEngine"],
        launch_folder,
        {**os.environ, "PYTHONPATH": ROOT},
    )
    end = time.monotonic() + 120
    while not list(launch_folder.glob(".valstab/*/answers*/*")) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(command.pid, number)
    ended = command.wait()
    errors = ended.stderr
    assert ended.returncode == 128 + number
    assert errors.splitlines()[-1] == (
        "valstab: interrupted; the same command goes on where it was, with what its store has"
    )
    assert "Traceback" not in errors
    if mode == "sweep":
        parent, (child,) = runs(launch_folder)
        assert parent.info.status == "KILLED"
    else:
        (child,) = logged(launch_folder)
    assert child.info.status == "KILLED"
    assert child.data.tags["error"] == "KeyboardInterrupt" + (": SIGTERM" if number == signal.SIGTERM else "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_workers_of_joblib_end_with_their_parent_and_the_same_command_goes_on(number, launch_folder):
    """Only the parent gets the signal, as from SLURM."""
    command = [
        *(sys.executable, "-m", "valstab", "-m", *SCRIPTED, "engine._target_=tests.support.scripted.SlowEngine"),
        *("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "n_messages=1,3", "topics.names=[joke,chess]"),
        *("seeds=[0]", "population.limit=30"),
    ]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while len(list(launch_folder.glob(".valstab/*/answers*/*"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    if number == signal.SIGKILL:
        return
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert [run.info.status for run in logged(launch_folder)] == ["KILLED"] * 3
    assert sum(len(RecordLog(log)) for log in launch_folder.glob(".valstab/*/answers*")) > 0
    again = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert again.stdout.count("FINISHED") == 2


def test_a_second_signal_ends_the_process_and_one_that_comes_twice_does_not(monkeypatch):
    ended = []
    monkeypatch.setattr(interruption.os, "_exit", ended.append)
    monkeypatch.setattr(interruption, "SAME_SECONDS", 0.05)
    monkeypatch.setattr(interruption, "LAST_SECONDS", 0.2)
    handler = interruption._Interruption()  # noqa: SLF001 - for a real one a process of its own would be needed
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        handler(signal.SIGTERM, None)
    handler(signal.SIGTERM, None)
    assert ended == []
    time.sleep(0.06)
    handler(signal.SIGINT, None)
    assert ended == [130]
    time.sleep(0.3)
    assert ended == [130, 143]  # whatever the end waits for


class RunInfo(NamedTuple):
    """What MLflow says of a run itself."""

    run_id: str
    run_name: str
    status: str
    start_time: int
    experiment_id: str


class FakeRun:
    """What MLflow gives of a run."""

    def __init__(self, job, overrides, rank_order=None, *, p=0.2, start=0, status="FINISHED", error=None):
        tags = {"sweep.job": str(job), "overrides": overrides} | ({"error": error} if error else {})
        metrics = {} if rank_order is None else {"rank_order": rank_order, "rank_order_chance": 0.37, "rank_order_p": p}
        if rank_order:
            metrics |= {"rank_order_low": rank_order - 0.2, "rank_order_high": rank_order + 0.1}
        self.info = RunInfo(f"id{job}{start}", "m", status, start, "7")
        self.data = type("Data", (), {"tags": tags, "metrics": metrics})


def test_the_table_has_what_was_swept_and_each_job_s_newest_run():
    found = [
        FakeRun(10, "model=a +extra=1 'topics.names=[x,y]' n_messages=3", 0.5, p=0.05),
        FakeRun(2, "model=a +extra=1 'topics.names=[x,y]' n_messages=1", start=1, status="KILLED"),
        FakeRun(2, "model=a +extra=1 'topics.names=[x,y]' n_messages=1", 0.25, start=2),
    ]
    table = job_table(found)
    assert table["job"].tolist() == [2, 10]
    assert table["run_id"].tolist() == ["id22", "id100"]
    assert swept_keys(table) == ["n_messages"]
    assert table["rank_order"].tolist() == [0.25, 0.5]
    assert describe_failures(table, "x") == ""
    assert best_and_spread(table) == {"rank_order_best": 0.5, "rank_order_spread": 0.25}
    text = as_markdown(table, "", "abc").splitlines()
    assert text[0] == "**2 of 2 jobs finished.**"
    assert (
        text[2]
        == "| job | n_messages | rank-order (95%; chance reaches) | ipsative (95%; chance reaches) | answer mass | status |"
    )
    assert text[4].startswith("| [2](#/experiments/7/runs/id22) | 1 |")
    assert text[4].endswith("| 1 | 0.250 (0.050 to 0.350; 0.370) | - | - | FINISHED |")
    assert "`python -m valstab compare runs=[abc]`" in text[-1]
    assert as_text(table).splitlines()[1].split() == [
        "2",
        "1",
        "FINISHED",
        "0.250",
        "(0.050",
        "to",
        "0.350;",
        "0.370)",
        "-",
    ]
    sentences = as_text(table).splitlines()[-1:]  # the ipsative stability is unknown
    assert sentences == ["rank-order stability beyond chance (where there is none, in one job of twenty): 3"]


def test_the_table_s_sentence_tells_from_chance_as_the_run_does():
    """The test decides, not the percentile beside which a number is shown: at the border the two may differ."""
    jobs = [FakeRun(job, f"n_messages={job}", value, p=p) for job, value, p in [(1, 0.371, 0.051), (3, 0.371, 0.05)]]
    assert as_text(job_table(jobs)).splitlines()[-1].endswith(" one job of twenty): 3")
    found = conclude(random_scores(), StabilitySpec("rank_order", "zero", False))
    for p, is_more in ((0.05, True), (0.051, False)):
        at_border = found._replace(chance=found.chance._replace(p=p))
        assert wording.more_than_chance(at_border) == is_more
        assert any("is not beyond chance" in note for note in wording.notes(at_border)) != is_more


def test_the_picture_is_a_line_over_the_length_for_each_other_setting():
    overrides = [f"seeds=[{seed}] n_messages={n}" for seed in (0, 1) for n in (11, 3, 7)]
    table = job_table([FakeRun(job, text, job / 10) for job, text in enumerate(overrides)])
    (ax,) = draw(table, "t").axes
    assert ax.get_xlabel() == "n_messages"
    assert ax.get_xticks().tolist() == [3, 7, 11]
    lines = [container.lines[0].get_xydata().tolist() for container in ax.containers]
    assert lines == [[[3, 0.1], [7, 0.2], [11, 0]], [[3, 0.4], [7, 0.5], [11, 0.3]]]
    chance = [line.get_ydata().tolist() for line in ax.lines if line.get_color() == "grey"]
    assert chance == [[0.37] * 3] * 2
    ends = ax.containers[1].lines[2][0].get_segments()
    np.testing.assert_allclose([end[:, 1] for end in ends], [[0.2, 0.5], [0.3, 0.6], [0.1, 0.4]])


def test_the_picture_of_many_jobs_shows_a_hundred_and_says_so():
    table = job_table([FakeRun(job, f"model=m{job}", job / 500) for job in range(130)])
    (ax,) = draw(table, "t").axes
    assert len(ax.get_yticks()) == len(ax.containers[0].lines[0].get_xydata()) == 100
    assert ax.get_xlabel().splitlines()[-1] == "the first 100 of 130 jobs; sweep.csv has all"


def test_the_picture_of_names_has_one_job_a_row():
    table = job_table([FakeRun(job, f"model={name}", job / 10) for job, name in enumerate("ab")])
    (ax,) = draw(table, "t").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert ax.containers[0].lines[0].get_xydata().tolist() == [[0, 0], [0.1, 1]]
    assert draw(job_table([FakeRun(0, "model=a")]), "t") is None
