"""Uncertainty of a stability: intervals, the null distribution, tests between models, and required sample sizes.

Pure functions of scores with the dimensions seed, context, persona, key (`valstab.statistics.stability`). The same
arguments return the same numbers: random draws depend on `seed` only. Formulas and their reading: `docs/measures.md`.
"""

import itertools
import math
from collections.abc import Mapping
from string import ascii_letters
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from valstab.statistics.power import MIN_P, effect_size, levels_needed, samples_needed
from valstab.statistics.resampling import FREE, Exchange, Over, StabilitySpec, nan_std, resampled, shuffled
from valstab.statistics.stability import Measure, Undefined, stability


class Interval(NamedTuple):
    """A percentile bootstrap interval and the bootstrap standard error; all NaN with too few levels to resample."""

    low: float
    high: float
    se: float


class Null(NamedTuple):
    """Null distribution: mean, SD and 95th percentile of the stability of shuffled scores, and the p-value."""

    mean: float
    sd: float
    high: float
    p: float


class RequiredN(NamedTuple):
    """Number of each needed to separate two models, with the others fixed; None where no number is enough."""

    personas: int | None
    contexts: int | None
    seeds: int | None


def bootstrap(
    scores: xr.DataArray,
    measure: Measure,
    over: Over,
    *,
    undefined: Undefined = "zero",
    without_personas: bool = False,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Estimate how a stability varies over personas, contexts or seeds (Efron & Tibshirani 1993, ch. 13).

    One dimension is resampled with replacement, the others stay as they are. A context that is drawn twice is not
    paired with itself; resamples without two different contexts, and without any defined correlation, are left out.

    Args:
        scores: dimensions seed, context, persona, key.
        measure: which stability.
        over: the dimension to resample.
        undefined: what an undefined correlation counts as.
        without_personas: whether the personas are repetitions without a persona.
        resamples: how many.
        confidence: the interval's probability, between 0 and 1.
        seed: of the random draws.

    Returns:
        The interval; all NaN below 2 personas, 3 contexts or 2 seeds.
    """
    drawn = resampled(scores, StabilitySpec(measure, undefined, without_personas), over, resamples, seed)
    if np.isnan(drawn).all():
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high), nan_std(drawn))


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
        exchange: which personas chance may exchange; by default all, each by itself.

    Returns:
        The null distribution's mean, SD and 95th percentile, and p = (1 + shuffles at least as stable as the
        observed scores) / (1 + resamples); all NaN where the stability is NaN.
    """
    observed = stability(scores, measure, undefined, without_personas=without_personas).mean
    if math.isnan(observed):
        return Null(math.nan, math.nan, math.nan, math.nan)
    chance = shuffled(scores, StabilitySpec(measure, undefined, without_personas), resamples, seed, exchange)
    return Null(
        mean=float(np.nanmean(chance)),
        sd=nan_std(chance),
        high=float(np.nanquantile(chance, 0.95)),
        p=(1 + int((chance >= observed - MIN_P).sum())) / (1 + resamples),
    )


def pairwise_tests(samples: Mapping[str, ArrayLike], *, paired: bool = False, alpha: float = 0.05) -> pd.DataFrame:
    """Test every pair of models by Student's t, adjusted over all pairs (paper, appendix E; Benjamini & Hochberg 1995).

    Missing samples (NaN) are left out. Samples without variance give t infinite and p 0 if the means differ, and t 0
    and p 1 if they are equal. A model with fewer than two samples is not tested: t is NaN, df 0 and p 1. The pair
    still counts in the adjustment.

    Args:
        samples: for each model, by name, the samples behind its mean: `Stability.samples`.
        paired: whether the samples of all models belong together in their order, such as of the same seeds.
        alpha: the false discovery rate at which a difference is significant.

    Returns:
        One row for each pair, in the order of `samples`: one, other, difference (of the means, one minus other), t,
        df, p, p_adjusted, significant.

    Raises:
        ValueError: if paired samples differ in number.
    """
    arrays = {name: np.asarray(values, dtype=float).ravel() for name, values in samples.items()}
    rows = [
        (one, other, *_test(arrays[one], arrays[other], paired=paired))
        for one, other in itertools.combinations(arrays, 2)
    ]
    tests = pd.DataFrame(rows, columns=["one", "other", "difference", "t", "df", "p"])
    tests["p_adjusted"] = stats.false_discovery_control(tests["p"].to_numpy(dtype=float)) if rows else []
    tests["significant"] = tests["p_adjusted"] <= alpha
    return tests


def significance_groups(means: Mapping[str, float], tests: pd.DataFrame) -> dict[str, str]:
    """Return letters for models: two share a letter if, and only if, they don't differ significantly (Piepho 2004).

    The highest mean has the letter `a`. No letter is redundant.

    Args:
        means: each model's stability, by name.
        tests: as `pairwise_tests` returns them, of the same names.

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


def required_n(
    one: xr.DataArray,
    other: xr.DataArray,
    measure: Measure,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    undefined: Undefined = "zero",
    without_personas: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> RequiredN:
    """Estimate how many personas, contexts or seeds separate two models, if the true difference is the observed one.

    Seeds: the smallest number for which the paper's test (appendix E; two-sided, unadjusted) has the power, by
    `samples_needed`. Without personas the samples are repetitions x seeds, and both numbers follow from n.

    Personas and contexts: the bootstrap standard error s of the difference d shrinks with the square root of their
    number n, so that n (s z / d)^2 are needed, z = z(1 - alpha/2) + z(power). Models with the same personas (contexts)
    are resampled alike, so that their shared variance cancels.

    Returns:
        The numbers, at least 2. Contexts and personas are None where the models don't differ or there are too few
        to resample. Seeds are None where the models don't differ, a model has fewer than two samples, or more than
        `power.MOST_SAMPLES` are needed.
    """
    observed = [stability(scores, measure, undefined, without_personas=without_personas) for scores in (one, other)]
    difference = observed[0].mean - observed[1].mean

    def levels(over: Over) -> int | None:
        spec = StabilitySpec(measure, undefined, without_personas)
        drawn = [resampled(scores, spec, over, resamples, seed) for scores in (one, other)]
        if one[over].equals(other[over]):
            error = nan_std(drawn[0] - drawn[1])
        else:
            error = math.hypot(nan_std(drawn[0]), nan_std(drawn[1]))
        number = max(one.sizes[over], other.sizes[over])
        return levels_needed(number, error, difference, power, alpha)

    values = [each.samples.to_numpy().ravel() for each in observed]
    of_test = samples_needed(effect_size(*values), power, alpha)
    contexts = levels("context")
    if without_personas and measure == "ipsative":
        repetitions, seeds = (min(one.sizes[name], other.sizes[name]) for name in ("persona", "seed"))
        return RequiredN(
            personas=None if of_test is None else max(2, math.ceil(of_test / seeds)),
            contexts=contexts,
            seeds=None if of_test is None else math.ceil(of_test / repetitions),
        )
    return RequiredN(personas=levels("persona"), contexts=contexts, seeds=of_test)


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
    if varied < MIN_P:
        same = abs(difference) < MIN_P
        return difference, 0.0 if same else math.copysign(math.inf, difference), df, float(same)
    if paired:
        of_pairs = stats.ttest_rel(one, other)
        return difference, float(of_pairs.statistic), df, float(of_pairs.pvalue)
    # From moments: SciPy warns of each sample that does not vary.
    moments = [(float(each.mean()), float(each.std(ddof=1)), len(each)) for each in (one, other)]
    found = stats.ttest_ind_from_stats(*moments[0], *moments[1])
    return difference, float(found.statistic), df, float(found.pvalue)


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
