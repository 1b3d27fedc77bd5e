"""Kills and faults, each tried for real; `python -m tests.robustness` tries more of them."""

import pytest

from tests.robustness import faults, kills
from tests.robustness.command import launch, outcome

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
    "fault", [faults.damaged_store, faults.mlflow_away, faults.jumping_clock, faults.two_processes]
)
def test_a_run_that_something_breaks_ends_as_if_nothing_had_been(alone, fault):
    finding = fault(*alone, 2)
    assert finding.held == finding.tried > 0


def test_a_full_disk(alone):
    finding = faults.full_disk(*alone, 3)
    if not finding.tried:
        pytest.skip(finding.what)
    assert finding.held == finding.tried
