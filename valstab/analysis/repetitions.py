"""Count each seed of a study once: leave out runs that another one contains, and pool runs that differ in their seeds.

A pilot with seeds 0 and 1 and its study with seeds 0, 1 and 2 have the same answers for the seeds of the pilot. As two
runs, these would count twice in means and tests.
"""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import reduce

import pandas as pd
import xarray as xr

from valstab.analysis.comparability import comparison_group
from valstab.analysis.runs import Run, Runs
from valstab.statistics.scores import DIMENSIONS


def without_repetitions(found: Sequence[Run]) -> Runs:
    """Return runs in which no seed counts twice.

    A run whose seeds, topics and people are contained in those of another run is replaced by it; of equal ones the last
    stays. Runs that differ only in their seeds become one, in the place of the last; of a seed that several have, the
    last counts.

    Args:
        found: runs, older ones first, whose labels tell apart different settings.
    """
    kept = [
        run
        for place, run in enumerate(found)
        if not any(
            _contains(other, run) and (later > place or not _contains(run, other))
            for later, other in enumerate(found)
            if other is not run
        )
    ]
    studies: dict[Hashable, list[Run]] = {}
    for run in kept:
        studies.setdefault((run.label, run.sliding_orders, *comparison_group(run)), []).append(run)
    pooled = {study[-1].id: reduce(_pooled, study) for study in studies.values()}
    known = {run.id for run in kept}
    return Runs(
        tuple(pooled[run.id] for run in kept if run.id in pooled),
        replaced=tuple(run.id for run in found if run.id not in known),
        pooled=tuple(run.id for run in kept if run.id not in pooled),
    )


def _contains(one: Run, other: Run) -> bool:
    """Return whether a run has everything of another with the same settings."""
    return _settings(one) == _settings(other) and all(
        set(other.scores[name].to_numpy().tolist()) <= set(one.scores[name].to_numpy().tolist()) for name in DIMENSIONS
    )


def _settings(run: Run) -> tuple[Hashable, ...]:
    return (run.label, run.task.name, run.task.wording, run.digest, run.n_messages, run.sliding_orders)


def _pooled(older: Run, newer: Run) -> Run:
    """Return the newer run with those seeds of the older one that it lacks."""
    seeds = [seed for seed in older.seeds if seed not in newer.seeds]

    def joined(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([one[one["seed"].isin(seeds)], other], ignore_index=True)

    retests = None if older.retests is None or newer.retests is None else joined(older.retests, newer.retests)
    return replace(
        newer,
        scores=xr.concat([older.scores.sel(seed=seeds), newer.scores], "seed"),
        answers=joined(older.answers, newer.answers),
        retests=retests,
        conversations=[*(each for each in older.conversations if each["seed"] in seeds), *newer.conversations],
        withheld=newer.withheld or older.withheld,
    )
