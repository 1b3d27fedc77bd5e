"""The stability so far, of a run that is still asking."""

import time
from collections.abc import Callable

import pandas as pd

from valstab.inputs.task import Task
from valstab.results.results import measure

MIN_PAUSE_SECONDS = 5.0
"""The least seconds between two estimates."""


MAX_TIME_SHARE = 0.02
"""The most of the time that estimates may take."""


class InterimEstimate:
    """Estimates now and then the stability between the contexts that are answered."""

    def __init__(self, task: Task, *, permutations: bool) -> None:
        self._task = task
        self._permutations = permutations
        self._text = ""
        self._due = time.monotonic() + MIN_PAUSE_SECONDS

    def text(self, so_far: Callable[[], pd.DataFrame]) -> str:
        """Return the newest estimate in words, made again if it is old; empty as long as there is none.

        Args:
            so_far: returns the answers so far, as `valstab.protocol.ask.ask` does.
        """
        start = time.monotonic()
        if start >= self._due:
            self._text = estimate_so_far(so_far(), self._task, permutations=self._permutations)
            now = time.monotonic()
            self._due = now + max(MIN_PAUSE_SECONDS, (now - start) / MAX_TIME_SHARE)
        return self._text


def estimate_so_far(answers: pd.DataFrame, task: Task, *, permutations: bool) -> str:
    """Estimate the stability from the dialogues that are answered: rank-order, or ipsative where there is none.

    Correlations between what is not answered yet, and undefined ones, are left out. Empty where none is left.
    """
    names = ["seed", "context", "persona", "item"]
    given = answers.set_index(names)["score"]
    every = pd.MultiIndex.from_product([given.index.unique(name) for name in names], names=names)
    table = given.astype(float).reindex(every).reset_index()
    for name, stability in measure(table, task, "drop", permutations=permutations).stabilities.items():
        if stability.mean == stability.mean:  # not NaN
            return f"{name.replace('_', '-')} so far {stability.mean:.2f}"
    return ""
