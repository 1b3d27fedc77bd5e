"""Runs in order of their stability, with intervals and groups that do not differ significantly."""

from dataclasses import dataclass

import pandas as pd

from valstab.analysis.comparability import comparison_group
from valstab.analysis.runs import Run, Runs
from valstab.compare.stabilities import stabilities
from valstab.statistics.stability import MEASURE_NAMES, Measure, Undefined


@dataclass(frozen=True)
class Board:
    """Runs that can be compared, the most stable first.

    `table` has the columns of `valstab.compare.stabilities.Stabilities.table`, after rank, and group: labels that
    share a letter do not differ significantly.
    """

    setting: str
    measure: Measure
    table: pd.DataFrame
    tests: pd.DataFrame
    """Each two of them: see `valstab.statistics.inference.differences`."""


def boards(runs: Runs, undefined: Undefined = "zero", resamples: int = 1000) -> list[Board]:
    """Return a leaderboard of each measure for each set of comparable runs."""
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(comparison_group(run), []).append(run)
    found = []
    for group in groups.values():
        for measure in MEASURE_NAMES:
            board = _board(group, measure, undefined, resamples)
            if board is not None:
                found.append(board)
    return found


def _board(runs: list[Run], measure: Measure, undefined: Undefined, resamples: int) -> Board | None:
    found = stabilities(runs, measure, undefined, resamples)
    table, tests = found.ranked()
    if table.empty:
        return None
    table.insert(0, "rank", range(1, len(table) + 1))
    one = runs[0]
    who = one.settings.get("population.name", "")
    setting = f"{MEASURE_NAMES[measure]} · {who} · {one.task.name} · {found.design} · n={one.n_messages}"
    return Board(setting, measure, table, tests)
