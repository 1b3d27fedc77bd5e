"""An interim estimate of stability, while a run is still asking."""

import time
from collections.abc import Callable
from typing import cast

import pandas as pd

from valstab.protocol.plan import Plan
from valstab.statistics.inference import permutation_null
from valstab.statistics.resampling import Exchange
from valstab.statistics.scores import genders, score
from valstab.statistics.stability import MEASURE_NAMES, Undefined, applicable_measures, stability

MIN_PAUSE_SECONDS = 5.0
"""Minimum time between two estimates, in seconds."""


MAX_TIME_SHARE = 0.02
"""Maximum share of the run's time that estimates take."""


RESAMPLES = 99
"""Number of shuffles for the chance level of an estimate."""


class InterimEstimate:
    """Estimates the stability between the contexts that are answered so far, at intervals.

    Args:
        plan: the plan of the run.
        undefined: what an undefined correlation counts as.
    """

    def __init__(self, plan: Plan, undefined: str) -> None:
        self._plan = plan
        self._undefined = cast("Undefined", undefined)
        self._text = ""
        self._due = time.monotonic() + MIN_PAUSE_SECONDS

    def text(self, so_far: Callable[[], pd.DataFrame]) -> str:
        """Return the latest estimate in words, updated when it is due; empty while there is none.

        Args:
            so_far: returns the answers so far, as `valstab.protocol.ask.ask` does.
        """
        start = time.monotonic()
        if start >= self._due:
            self._text = estimate_so_far(so_far(), self._plan, self._undefined)
            now = time.monotonic()
            self._due = now + max(MIN_PAUSE_SECONDS, (now - start) / MAX_TIME_SHARE)
        return self._text


def estimate_so_far(answers: pd.DataFrame, plan: Plan, undefined: Undefined) -> str:
    """Return an estimate in words, with what chance gives: rank-order, or ipsative where rank-order does not apply.

    It is over the contexts that everybody has answered; the text is empty before there are two of a seed.
    """
    whole = _answered_by_all(answers, len(plan.personas) * len(plan.task.items))
    if whole.empty:
        return ""
    scores = score(whole, plan.task)
    for measure in applicable_measures(scores, without_personas=plan.without_personas):
        found = stability(scores, measure, undefined, without_personas=plan.without_personas)
        chance = permutation_null(
            scores,
            measure,
            without_personas=plan.without_personas,
            undefined=undefined,
            resamples=RESAMPLES,
            exchange=Exchange(genders(whole, scores["persona"].to_numpy().tolist())),
        )
        if not found.why_not_reported:
            name = MEASURE_NAMES[measure].lower()
            return f"{name} so far {found.mean:z.2f}, where chance alone reaches {chance.high:z.2f}"
    return ""


def _answered_by_all(answers: pd.DataFrame, number: int) -> pd.DataFrame:
    """Return the answers of the contexts that the most advanced seed has whole, for all seeds that have them whole.

    Args:
        answers: as `estimate_so_far` takes them.
        number: of answers that a whole context has.
    """
    is_whole = answers.groupby(["seed", "context"]).size().unstack(fill_value=0) == number
    ahead = is_whole.iloc[int(is_whole.sum(axis=1).argmax())]
    seeds = is_whole.index[is_whole.loc[:, ahead].all(axis=1)]
    return answers[answers["seed"].isin(seeds) & answers["context"].isin(ahead.index[ahead])]
