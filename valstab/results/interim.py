"""An interim estimate of stability, while a run is still asking."""

import math
import time
from collections.abc import Callable
from typing import cast

import pandas as pd

from valstab.inputs.task import Task
from valstab.statistics.scores import score
from valstab.statistics.stability import MEASURE_NAMES, Undefined, applicable_measures, stability_so_far

MIN_PAUSE_SECONDS = 5.0
"""Minimum time between two estimates, in seconds."""


MAX_TIME_SHARE = 0.02
"""Maximum share of the run's time that estimates take."""


class InterimEstimate:
    """Estimates the stability between the contexts that are answered so far, at intervals.

    Args:
        task: the questionnaire.
        undefined: what an undefined correlation counts as.
        without_personas: whether there are repetitions instead of personas.
    """

    def __init__(self, task: Task, undefined: str, *, without_personas: bool) -> None:
        self._task = task
        self._undefined = cast("Undefined", undefined)
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
            self._text = estimate_so_far(so_far(), self._task, self._undefined, without_personas=self._without_personas)
            now = time.monotonic()
            self._due = now + max(MIN_PAUSE_SECONDS, (now - start) / MAX_TIME_SHARE)
        return self._text


def estimate_so_far(answers: pd.DataFrame, task: Task, undefined: Undefined, *, without_personas: bool) -> str:
    """Return an estimate in words: rank-order stability, or ipsative where rank-order does not apply.

    Correlations that lack answers are left out, and the text is empty if none is left. Others that are undefined count
    as at the end.
    """
    names = ["seed", "context", "persona", "item"]
    given = answers.set_index(names)["score"]
    grid = pd.MultiIndex.from_product([given.index.unique(name) for name in names], names=names)
    scores = score(given.astype(float).reindex(grid).reset_index(), task)
    for measure in applicable_measures(scores, without_personas=without_personas):
        mean = stability_so_far(scores, measure, undefined)
        if not math.isnan(mean):
            return f"{MEASURE_NAMES[measure].lower()} so far {mean:.2f}"
    return ""
