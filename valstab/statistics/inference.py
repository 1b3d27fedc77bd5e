"""What chance gives, and which models differ: the null distribution of a stability, and tests between models.

Pure functions. The same arguments return the same numbers: random draws depend on `seed` only. Formulas and their
reading: `docs/measures.md`.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from string import ascii_letters
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from valstab.statistics.jackknife import (
    MIN_SPREAD,
    Interval,
    Jackknifed,
    contrast,
    estimate,
    interval,
    stabilities_without,
    why_no_interval,
)
from valstab.statistics.resampling import ALPHA, FREE, Exchange, StabilitySpec, mean_stability, nan_std, shuffled
from valstab.statistics.stability import Measure, Stability, Undefined, stability


class Null(NamedTuple):
    """Null distribution: mean, SD and 95th percentile of the stability of shuffled scores, and the p-value."""

    mean: float
    sd: float
    high: float
    p: float


class Conclusion(NamedTuple):
    """A stability and what it generalises to."""

    stability: Stability
    study: Jackknifed
    """The stability without each person, topic and seed: `interval` comes from it, and tests between models do."""
    interval: Interval
    """95%, for other people, topics and seeds like these."""
    chance: Null
    why_no_interval: str
    """Why there is no interval, as a clause; empty if there is one."""

    def withhold(self, reason: str) -> "Conclusion":
        """Return the conclusion with a stability that is not reported for a reason, a clause; if empty, it is."""
        return self._replace(stability=replace(self.stability, withheld=reason))


def conclude(
    scores: xr.DataArray, spec: StabilitySpec, *, exchange: Exchange = FREE, resamples: int = 199
) -> Conclusion:
    """Compute a stability, its interval, and what chance gives.

    Args:
        scores: dimensions seed, context, persona, key.
        spec: which stability.
        exchange: what chance may exchange.
        resamples: number of shuffles for the null distribution.
    """
    whole = stability(scores, spec.measure, spec.undefined, without_personas=spec.without_personas)
    study = Jackknifed(whole.mean, stabilities_without(scores, spec))
    found = interval(estimate(study), correlation=True)
    return Conclusion(
        stability=whole,
        study=study,
        interval=found,
        chance=_null(whole.mean, scores, spec, exchange, resamples=resamples, seed=0),
        why_no_interval=why_no_interval(scores, without_personas=spec.without_personas)
        or ("nothing varies" if math.isnan(found.se) else ""),
    )


def permutation_null(
    scores: xr.DataArray,
    measure: Measure,
    *,
    without_personas: bool = False,
    undefined: Undefined = "zero",
    resamples: int = 1000,
    seed: int = 0,
    exchange: Exchange = FREE,
) -> Null:
    """Test a stability against chance by permutation (Phipson & Smyth 2010).

    Rank-order: shuffles the personas in each seed and context independently, each with all its keys. Ipsative:
    shuffles the keys in each seed, context and persona independently. Both preserve the values and their ties. Where
    personas differ in more than who they are, or are not independent, `exchange` says so.

    Args:
        scores: dimensions seed, context, persona, key.
        measure: which stability.
        without_personas: whether the personas are repetitions without a persona.
        undefined: what an undefined correlation counts as.
        resamples: number of shuffles.
        seed: of the random draws.
        exchange: what chance may do; by default it exchanges all personas, each by itself.

    Returns:
        The null distribution's mean, SD and 95th percentile, and p = (1 + shuffles at least as stable as the
        observed scores) / (1 + resamples); all NaN where the stability is NaN, or `exchange` can't reject anything.
    """
    spec = StabilitySpec(measure, undefined, without_personas)
    return _null(mean_stability(scores, spec), scores, spec, exchange, resamples=resamples, seed=seed)


Pairs = Iterable[tuple[str, str]]
"""Names of models to test against each other, two at a time."""


def differences(studies: Mapping[str, Jackknifed], *, pairs: Pairs | None = None, alpha: float = ALPHA) -> pd.DataFrame:
    """Test pairs of models for other people, topics and seeds, adjusted for all of these (Benjamini & Hochberg 1995).

    The difference of two stabilities is jackknifed: models with the same people (topics, seeds) lose the same one at
    a time, so that what they share cancels.

    Args:
        studies: for each model, by name, its jackknifed stability.
        pairs: those to test; None tests each two models.
        alpha: the false discovery rate at which a difference is significant.

    Returns:
        One row for each pair, in their order or that of `studies`: one, other, difference (one minus other),
        low, high (95%), df, p, p_adjusted, significant. A pair that can't be tested has no interval and p 1, and counts
        in the adjustment.
    """
    rows = []
    for one, other in itertools.combinations(studies, 2) if pairs is None else pairs:
        found = interval(contrast([studies[one], studies[other]], [1.0, -1.0]))
        rows.append((one, other, found.value, found.low, found.high, found.df, found.p))
    tests = pd.DataFrame(rows, columns=["one", "other", "difference", "low", "high", "df", "p"])
    return _adjusted(tests, alpha)


def expected_rho(correlation: float, people: int) -> float:
    """Return the mean Spearman correlation of samples of people with normal scores (Moran 1948, Biometrika 35).

    With fewer people it is lower: of 0.569 among all people 0.551 is left among many, 0.513 among 12, 0.468 among 5.

    Args:
        correlation: Pearson's, among all people.
        people: their number in a sample, at least 2.
    """
    return 6 / (math.pi * (people + 1)) * (math.asin(correlation) + (people - 2) * math.asin(correlation / 2))


def pairwise_tests(
    samples: Mapping[str, ArrayLike], *, pairs: Pairs | None = None, paired: bool = False, alpha: float = ALPHA
) -> pd.DataFrame:
    """Test pairs of models by the paper's t-test, adjusted over all of these (appendix E; Benjamini & Hochberg 1995).

    The samples are seeds (or repetitions), so that a difference holds for the same people and topics only; for others
    see `differences`. Missing samples (NaN) are left out. Models with fewer than two samples, or whose samples don't
    vary, can't be tested: t is NaN and p 1. The pair still counts in the adjustment.

    Args:
        samples: for each model, by name, the samples behind its mean: `Stability.samples`.
        pairs: those to test; None tests each two models.
        paired: whether the samples of all models belong together in their order, such as of the same seeds.
        alpha: the false discovery rate at which a difference is significant.

    Returns:
        One row for each pair, in their order or that of `samples`: one, other, difference (of the means, one minus
        other), t, df, p, p_adjusted, significant.

    Raises:
        ValueError: if paired samples differ in number.
    """
    arrays = {name: np.asarray(values, dtype=float).ravel() for name, values in samples.items()}
    rows = [
        (one, other, *_test(arrays[one], arrays[other], paired=paired))
        for one, other in (itertools.combinations(arrays, 2) if pairs is None else pairs)
    ]
    tests = pd.DataFrame(rows, columns=["one", "other", "difference", "t", "df", "p"])
    return _adjusted(tests, alpha)


def significance_groups(means: Mapping[str, float], tests: pd.DataFrame) -> dict[str, str]:
    """Return letters for models: two share a letter if, and only if, they don't differ significantly (Piepho 2004).

    The highest mean has the letter `a`. No letter is redundant.

    Args:
        means: each model's stability, by name.
        tests: as `differences` or `pairwise_tests` return them, of the same names.

    Returns:
        Each model's letters, by name, in the order of `means`.
    """
    ranked = sorted(means, key=lambda name: -math.inf if math.isnan(means[name]) else means[name], reverse=True)
    differ = tests.loc[tests["significant"].astype(bool), ["one", "other"]].itertuples(index=False, name=None)
    groups = [frozenset(ranked)]
    for pair in differ:
        # Insert: split a group that has both. Absorb: drop a group that is part of another.
        split = {
            kept for group in groups for kept in ([group - {name} for name in pair] if group >= set(pair) else [group])
        }
        groups = [group for group in split if not any(group < other for other in split)]
    place = {name: index for index, name in enumerate(ranked)}
    groups = _needed_groups(sorted(groups, key=lambda group: sorted(place[name] for name in group)))
    return {name: "".join(_letter(i) for i, group in enumerate(groups) if name in group) for name in means}


def _null(
    observed: float, scores: xr.DataArray, spec: StabilitySpec, exchange: Exchange, *, resamples: int, seed: int
) -> Null:
    if math.isnan(observed) or not exchange.can_reject(scores):
        return Null(math.nan, math.nan, math.nan, math.nan)
    chance = shuffled(scores, spec, resamples, seed, exchange)
    return Null(
        mean=float(np.nanmean(chance)),
        sd=nan_std(chance),
        high=float(np.nanquantile(chance, 0.95)),
        p=(1 + int((chance >= observed - MIN_SPREAD).sum())) / (1 + resamples),
    )


def _test(one: NDArray[np.float64], other: NDArray[np.float64], *, paired: bool) -> tuple[float, float, float, float]:
    """Return the difference of the means, t, its degrees of freedom, and p."""
    if paired:
        if len(one) != len(other):
            raise ValueError(f"paired samples must be equally many, not {len(one)} and {len(other)}")
        both = ~np.isnan(one) & ~np.isnan(other)
        one, other = one[both], other[both]
    else:
        one, other = one[~np.isnan(one)], other[~np.isnan(other)]
    if not len(one) or not len(other):
        return math.nan, math.nan, 0.0, 1.0
    difference = float(one.mean() - other.mean())
    if min(len(one), len(other)) < 2:  # noqa: PLR2004
        return difference, math.nan, 0.0, 1.0
    varied = (one - other).std() if paired else max(one.std(), other.std())
    df = float(len(one) - 1 if paired else len(one) + len(other) - 2)
    if varied < MIN_SPREAD:
        return difference, math.nan, df, 1.0
    if paired:
        of_pairs = scipy.stats.ttest_rel(one, other)
        return difference, float(of_pairs.statistic), df, float(of_pairs.pvalue)
    # From moments: SciPy warns of each sample that does not vary.
    moments = [(float(each.mean()), float(each.std(ddof=1)), len(each)) for each in (one, other)]
    found = scipy.stats.ttest_ind_from_stats(*moments[0], *moments[1])
    return difference, float(found.statistic), df, float(found.pvalue)


def _adjusted(tests: pd.DataFrame, alpha: float) -> pd.DataFrame:
    tests["p_adjusted"] = scipy.stats.false_discovery_control(tests["p"].to_numpy(dtype=float)) if len(tests) else []
    tests["significant"] = tests["p_adjusted"] <= alpha
    return tests


def _needed_groups(groups: list[frozenset[str]]) -> list[frozenset[str]]:
    """Drop redundant groups, the smallest first: all their pairs and members are in other groups too."""
    kept = list(groups)
    for group in sorted(groups, key=len):
        others = [other for other in kept if other != group]
        pairs = itertools.combinations_with_replacement(group, 2)
        if all(any(other >= set(pair) for other in others) for pair in pairs):
            kept = others
    return kept


def _letter(index: int) -> str:
    return ascii_letters[index] if index < len(ascii_letters) else f"({index + 1})"
