"""The stability so far, of a run that is still asking."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from valstab.results import measure
from valstab.task import Task

PAUSE = 5.0
"""The least seconds between two estimates."""
SHARE = 0.02
"""The most of the time that estimates may take."""


class RunningEstimate:
    """Collects answers, dialogue by dialogue, and estimates the stability between the contexts that there are."""

    def __init__(self, task: Task, *, permutations: bool) -> None:
        self.text = ""
        """The newest estimate in words; empty as long as there is none."""
        self._task = task
        self._permutations = permutations
        self._rows: list[Mapping[str, Any]] = []
        self._due = time.monotonic() + PAUSE

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the answers to all items of one dialogue, as `valstab.ask.ask` lays them out."""
        self._rows.extend(rows)
        start = time.monotonic()
        if start >= self._due:
            self.text = estimate_so_far(self._rows, self._task, permutations=self._permutations)
            now = time.monotonic()
            self._due = now + max(PAUSE, (now - start) / SHARE)


def estimate_so_far(rows: Sequence[Mapping[str, Any]], task: Task, *, permutations: bool) -> str:
    """Estimate the stability from the dialogues that are answered: rank-order, or ipsative where there is none.

    Correlations between what is not answered yet, and undefined ones, are left out. Empty where none is left.
    """
    names = ["seed", "context", "persona", "item"]
    given = pd.DataFrame(rows).set_index(names)["score"]
    every = pd.MultiIndex.from_product([given.index.unique(name) for name in names], names=names)
    answers = given.astype(float).reindex(every).reset_index()
    for name, stability in measure(answers, task, "drop", permutations=permutations).stabilities.items():
        if stability.mean == stability.mean:  # not NaN
            return f"{name.replace('_', '-')} so far {stability.mean:.2f}"
    return ""
