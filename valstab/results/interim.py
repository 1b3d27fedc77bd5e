"""An interim estimate of stability, while a run is still asking."""

import time
from collections.abc import Callable

import pandas as pd

from valstab.inputs.task import Task
from valstab.results.results import measure

MIN_PAUSE_SECONDS = 5.0
"""Minimum time between two estimates, in seconds."""


MAX_TIME_SHARE = 0.02
"""Maximum share of the run's time that estimates take."""


class InterimEstimate:
    """Estimates the stability between the contexts that are answered so far, at intervals.

    Args:
        task: the questionnaire.
        without_personas: whether there are repetitions instead of personas.
    """

    def __init__(self, task: Task, *, without_personas: bool) -> None:
        self._task = task
        self._without_personas = without_personas
        self._text = ""
        self._due = time.monotonic() + MIN_PAUSE_SECONDS

    def text(self, so_far: Callable[[], pd.DataFrame]) -> str:
        """Return the latest estimate in words, updated when it is due; empty while there is none.

        Args:
            so_far: returns the answers so far, as `valstab.protocol.ask.ask` does.
        """
        start = time.monotonic()
        if start >= self._due:
            self._text = estimate_so_far(so_far(), self._task, without_personas=self._without_personas)
            now = time.monotonic()
            self._due = now + max(MIN_PAUSE_SECONDS, (now - start) / MAX_TIME_SHARE)
        return self._text


def estimate_so_far(answers: pd.DataFrame, task: Task, *, without_personas: bool) -> str:
    """Return an estimate in words: rank-order stability, or ipsative where rank-order does not apply.

    Correlations that are undefined or lack answers are left out. The text is empty if none is left.
    """
    names = ["seed", "context", "persona", "item"]
    scores = answers.set_index(names)["score"]
    grid = pd.MultiIndex.from_product([scores.index.unique(name) for name in names], names=names)
    table = scores.astype(float).reindex(grid).reset_index()
    for name, stability in measure(table, task, "drop", without_personas=without_personas).stabilities.items():
        if stability.mean == stability.mean:  # not NaN
            return f"{name.replace('_', '-')} so far {stability.mean:.2f}"
    return ""
