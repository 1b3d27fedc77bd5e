"""A stability in words: its value, what it generalises to, and how it stands to chance."""

from collections.abc import Mapping

import xarray as xr

from valstab.statistics.inference import Conclusion
from valstab.statistics.stability import MEASURE_NAMES, Measure

SIGNIFICANCE = 0.05
"""Largest p-value with which a stability counts as more than chance."""

MEANINGS: Mapping[Measure, str] = {
    "rank_order": "the order of people on a value, across topics",
    "ipsative": "the order of a person's values, across topics",
}
"""What each measure compares."""


def value(conclusion: Conclusion | None) -> str:
    """Return a stability as a number; `-` where there is none, or it says nothing."""
    if conclusion is None or conclusion.stability.why_not_reported:
        return "-"
    return f"{conclusion.stability.mean:.3f}"


def interval(conclusion: Conclusion | None) -> str:
    """Return the 95% interval of a stability; empty if there is none."""
    if value(conclusion) == "-" or conclusion is None or conclusion.why_no_interval:
        return ""
    return f"{conclusion.interval.low:.3f} to {conclusion.interval.high:.3f}"


def more_than_chance(conclusion: Conclusion) -> bool:
    """Return whether a stability is above what shuffled answers give, at 5%."""
    return not conclusion.stability.why_not_reported and conclusion.chance.p < SIGNIFICANCE


def notes(conclusion: Conclusion, *, without_personas: bool) -> list[str]:
    """Return what limits the reading of a stability, as clauses that begin with its name."""
    stability, chance = conclusion.stability, conclusion.chance
    name = f"{MEASURE_NAMES[stability.measure].lower()} stability"
    if stability.why_not_reported:
        return [f"{name} is {stability.why_not_reported}"]
    found = []
    if not more_than_chance(conclusion):
        found.append(
            f"{name} is not shown: chance alone reaches {chance.high:.3f} in one of twenty studies of this size "
            f"(p = {chance.p:.2g})"
        )
    if conclusion.why_no_interval:
        people = "repetitions" if without_personas else "people"
        found.append(f"{name} has no interval: {conclusion.why_no_interval.replace('people', people)}")
    if stability.undefined:
        counted = "left out" if stability.undefined_counts_as == "drop" else "counted as 0"
        found.append(
            f"{name}: {stability.undefined_fraction:.1%} of the correlations are undefined and {counted}, since "
            f"{stability.why_undefined}"
        )
    return found


def generalises_to(scores: xr.DataArray, *, without_personas: bool) -> str:
    """Return what the intervals stand for, with the design that they rest on."""
    people = "repetitions" if without_personas else "people"
    return f"95% intervals are for other {people}, topics and seeds like these ({design(scores, people)})"


def design(scores: xr.DataArray, people: str = "people") -> str:
    """Return the numbers of people, topics and seeds.

    Example:
        >>> design(xr.DataArray(dims=("seed", "context", "persona"), data=[[[0.0] * 12] * 5] * 2))
        '12 people, 5 topics, 2 seeds'
    """
    names = {"persona": people, "context": "topics", "seed": "seeds"}
    singular = {"people": "person"}
    return ", ".join(
        f"{scores.sizes[dimension]} {name if scores.sizes[dimension] != 1 else singular.get(name, name[:-1])}"
        for dimension, name in names.items()
    )
