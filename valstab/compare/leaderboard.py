"""Runs in order of their stability, with intervals and groups that do not differ significantly."""

from dataclasses import dataclass

import pandas as pd

from valstab.analysis.runs import ASPECTS, Run, Runs
from valstab.compare.tables import means, samples_by_label
from valstab.statistics.inference import bootstrap, pairwise_tests, significance_groups
from valstab.statistics.stability import MEASURE_NAMES, Measure, Undefined


@dataclass(frozen=True)
class Board:
    """Runs that can be compared, the most stable first.

    `table` has the columns rank, label, mean, se, low, high (95%, over personas) and group: labels that share a
    letter do not differ significantly.
    """

    setting: str
    measure: Measure
    table: pd.DataFrame


def boards(runs: Runs, undefined: Undefined = "zero", resamples: int = 1000) -> list[Board]:
    """Return a leaderboard of each measure for each set of comparable runs."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(of_run(run) for of_run in ASPECTS.values()), []).append(run)
    found = []
    for group in groups.values():
        for measure in MEASURE_NAMES:
            board = _board(group, measure, undefined, resamples)
            if board is not None:
                found.append(board)
    return found


def _board(runs: list[Run], measure: Measure, undefined: Undefined, resamples: int) -> Board | None:
    samples = Runs(tuple(runs)).samples(measure, undefined)
    if samples.empty:
        return None
    table = means(samples, ["label"])
    tests = pairwise_tests(samples_by_label(samples))
    by_label = {run.label: run for run in runs}
    intervals = [
        bootstrap(
            by_label[label].scores,
            measure,
            "persona",
            undefined=undefined,
            without_personas=by_label[label].without_personas,
            resamples=resamples,
        )
        for label in table["label"]
    ]
    table["low"] = [interval.low for interval in intervals]
    table["high"] = [interval.high for interval in intervals]
    table["group"] = table["label"].map(
        significance_groups(dict(zip(table["label"], table["mean"], strict=True)), tests)
    )
    table = table.sort_values("mean", ascending=False, kind="stable", ignore_index=True)
    table.insert(0, "rank", range(1, len(table) + 1))
    one = runs[0]
    who = one.settings.get("population.name", "")
    topics = f"{len(one.contexts)} topics"
    setting = (
        f"{MEASURE_NAMES[measure]} · {who} ({len(one.personas)}) · {one.task.name} · {topics} · n={one.n_messages}"
    )
    return Board(setting, measure, table)
