"""Kills, faults, servers and checkpoints, each tried for real; `python -m tests.robustness` tries more of them."""

import pytest

from tests.robustness import checkpoints, faults, kills, servers
from tests.robustness.command import launch, outcome
from tests.robustness.fault_server import ENDING, FAULTS, NUMBERS
from valstab.engines.servers import repetition

pytestmark = pytest.mark.slow


def test_a_run_of_the_embedded_model_that_is_killed_in_each_phase():
    found = list(kills.findings(5))
    assert [(finding.tried, finding.held) for finding in found] == [(1, 1)] * 5


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A folder, and what a run leaves in it that nothing happens to."""
    folder = tmp_path_factory.mktemp("faults")
    assert launch(folder / "alone", *faults.SETTINGS).code == 0
    return folder, outcome(folder / "alone")


@pytest.mark.parametrize(
    "fault",
    [
        *(faults.damaged_store, faults.wrong_store, faults.damaged_records, faults.mlflow_away, faults.jumping_clock),
        faults.two_processes,
    ],
)
def test_a_run_that_something_breaks_ends_as_if_nothing_had_been(alone, fault):
    finding = fault(*alone, 2)
    assert finding.held == finding.tried > 0


def test_a_full_disk(alone):
    finding = faults.full_disk(*alone, 3)
    if not finding.tried:
        pytest.skip(finding.what)
    assert finding.held == finding.tried


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The outcome of each endpoint with a server that never fails."""
    return {form: servers.undisturbed(tmp_path_factory.mktemp(form), form) for form in servers.FORMATS}


@pytest.fixture
def short_pauses(monkeypatch):
    monkeypatch.setattr(repetition, "FIRST_PAUSE", 0.01)


PASSING = {**FAULTS, **NUMBERS}
WITH_BASE = ("hangs", "cuts the answer", "sends log-probabilities of nan")


@pytest.mark.parametrize(
    ("form", "kind"), [*(("chat", kind) for kind in PASSING), *(("base", kind) for kind in WITH_BASE)]
)
@pytest.mark.usefixtures("short_pauses")
def test_a_model_server_that_fails_now_and_then_changes_nothing(undisturbed, tmp_path, form, kind):
    assert servers.passes(tmp_path, form, PASSING[kind], undisturbed[form])


@pytest.mark.parametrize("kind", ["drips", "is busy for a day (429)", "redirects in a circle", "sends too much"])
@pytest.mark.usefixtures("short_pauses")
def test_a_model_server_that_fails_for_good_loses_an_unfinished_conversation_at_most(undisturbed, tmp_path, kind):
    assert servers.ends(tmp_path, "chat", ENDING[kind], undisturbed["chat"])


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.usefixtures("short_pauses")
def test_a_model_server_whose_numbers_are_none_chooses_nothing(tmp_path, kind):
    assert servers.chooses_nothing(tmp_path, "chat", NUMBERS[kind])


def test_damaged_and_hostile_checkpoints():
    (finding,) = checkpoints.findings()
    assert finding.held == finding.tried
