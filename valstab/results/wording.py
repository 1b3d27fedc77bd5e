"""A stability in words: its value, what it generalises to, and how it stands to chance."""

from collections.abc import Mapping

import xarray as xr

from valstab.statistics.inference import Conclusion
from valstab.statistics.jackknife import level_names
from valstab.statistics.resampling import ALPHA
from valstab.statistics.stability import MEASURE_NAMES, Measure

MEANINGS: Mapping[Measure, str] = {
    "rank_order": "the order of people on a value, across topics",
    "ipsative": "the order of a person's values, across topics",
}
"""What each measure compares."""


MIN_SAMPLES = 3
"""Smallest number of samples for which their standard error is shown: two say next to nothing of their spread."""


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
    return not conclusion.stability.why_not_reported and conclusion.chance.p <= ALPHA


def notes(conclusion: Conclusion) -> list[str]:
    """Return what limits the reading of a stability, as clauses that begin with its name."""
    stability, chance = conclusion.stability, conclusion.chance
    name = f"{MEASURE_NAMES[stability.measure].lower()} stability"
    if stability.why_not_reported:
        return [f"{name} is {stability.why_not_reported}"]
    found = []
    if not more_than_chance(conclusion):
        found.append(
            f"{name} is not beyond chance: chance alone reaches {chance.high:.3f} in one of twenty studies of this "
            f"size (p = {chance.p:.2g})"
        )
    if conclusion.why_no_interval:
        found.append(f"{name} has no interval: {conclusion.why_no_interval}")
    if stability.undefined:
        counted = "left out" if stability.undefined_counts_as == "drop" else "counted as 0"
        found.append(
            f"{name}: {stability.undefined_fraction:.1%} of the correlations are undefined and {counted}, since "
            f"{stability.why_undefined}"
        )
    return found


def generalises_to(scores: xr.DataArray, *, without_personas: bool) -> str:
    """Return what intervals and tests generalise to, with the design that they rest on."""
    people, topics, seeds = (several for _, several in level_names(without_personas=without_personas).values())
    of_what = design(scores, without_personas=without_personas)
    return f"for other {people}, {topics} and {seeds} like these ({of_what})"


def design(scores: xr.DataArray, *, without_personas: bool) -> str:
    """Return the numbers of people (or repetitions), topics and seeds.

    Example:
        >>> design(xr.DataArray(dims=("seed", "context", "persona"), data=[[[0.0] * 12] * 5]), without_personas=False)
        '12 people, 5 topics, 1 seed'
    """
    names = level_names(without_personas=without_personas)
    return ", ".join(f"{scores.sizes[name]} {names[name][scores.sizes[name] != 1]}" for name in names)
