"""Stability of scores, as pure functions of labelled arrays (`docs/protocol.md`; paper, section 3.2).

`scores` always has the dimensions seed, context, persona, key, as `valstab.statistics.scores.score` returns
them. A correlation is Spearman's rho (`valstab.statistics.correlation`). It is undefined (NaN) where a side is
constant. Correlations leave out missing scores (NaN).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr

from valstab.statistics.correlation import correlate_levels, ranks, spearman

Undefined = Literal["zero", "drop"]


Measure = Literal["rank_order", "ipsative"]


MEASURE_NAMES: Mapping[Measure, str] = {"rank_order": "Rank-order", "ipsative": "Ipsative"}
"""Name of each measure, as it stands before "stability"."""


MAX_UNDEFINED_FRACTION = 0.5
"""Largest share of undefined correlations with which a stability is reported as a number."""


class Axes(NamedTuple):
    """The dimension that a measure correlates over, and the dimension of its units: one correlation for each."""

    over: str
    unit: str


AXES: Mapping[Measure, Axes] = {"rank_order": Axes("persona", "key"), "ipsative": Axes("key", "persona")}


@dataclass(frozen=True)
class Stability:
    """A stability with its parts. What can't be computed is NaN: any mean without two contexts, `se` of one sample."""

    measure: Measure
    undefined_counts_as: Undefined
    mean: float
    se: float
    """Standard error: SD (ddof=1) over the samples, over the square root of their number."""
    samples: xr.DataArray
    """Stabilities whose mean is `mean`. Dimension: seed, or seed and persona (without personas)."""
    per_seed: xr.DataArray
    """Dimension: seed."""
    pairs: xr.DataArray
    """Mean for each two contexts, symmetric, NaN on the diagonal. Dimensions: context, other."""
    per_unit: xr.DataArray
    """Mean of each key (rank-order) or persona (ipsative). Dimension: key or persona."""
    per_unit_se: xr.DataArray
    """Standard error over the seeds of `per_unit`."""
    correlations: int
    """How many correlations there are."""
    undefined: int
    """How many of them are undefined."""
    unanswered: int
    """How many of them are undefined since fewer than two scores have a partner; the others have a constant side."""
    withheld: str = ""
    """Why the data are not fit for a stability, as a clause, such as too many unread answers; empty if they are."""

    @property
    def undefined_fraction(self) -> float:
        """Share of the correlations that are undefined, between 0 and 1."""
        return self.undefined / self.correlations

    @property
    def why_undefined(self) -> str:
        """Why correlations are undefined, as a clause with shares; empty if none is."""
        constant = {
            "rank_order": "everybody got the same score on a value in one of the contexts",
            "ipsative": "all values of a person got the same score in one of the contexts",
        }[self.measure]
        counts = {constant: self.undefined - self.unanswered, "answers are missing": self.unanswered}
        reasons = [f"{reason} ({_share(number / self.correlations)})" for reason, number in counts.items() if number]
        return " or ".join(reasons)

    @property
    def why_not_reported(self) -> str:
        """Why the mean says nothing, as a clause; empty if it may be reported.

        The data are not fit (`withheld`), or more than half of the correlations are undefined.
        """
        if self.withheld:
            return f"not reported: {self.withheld}"
        if self.undefined_fraction <= MAX_UNDEFINED_FRACTION:
            return ""
        return f"not defined: {self.why_undefined}"


def rank_order(scores: xr.DataArray, undefined: Undefined = "zero") -> Stability:
    """Rank-order stability: does the order of people on a value survive a change of topic?

    For each seed, the mean over keys of the mean over pairs of contexts of rho over personas. The samples are the
    seeds; the units are the keys.
    """
    return stability(scores, "rank_order", undefined)


def rank_order_within(scores: xr.DataArray, strata: Sequence[str], undefined: Undefined = "zero") -> float:
    """Rank-order stability among personas with the same label, such as the gender of the questionnaire's wording.

    The mean over labels with at least two personas, weighted by n - 1: the variance of rho among n people without any
    order is 1 / (n - 1).

    Args:
        scores: dimensions seed, context, persona, key.
        strata: a label for each persona.
        undefined: what an undefined correlation counts as.

    Returns:
        The weighted mean; NaN where no two personas have the same label.
    """
    labels = np.asarray(strata)
    groups = [scores.isel(persona=labels == label) for label in np.unique(labels)]
    several = [group for group in groups if group.sizes["persona"] > 1]
    if not several:
        return float("nan")
    means = [rank_order(group, undefined).mean for group in several]
    return float(np.average(means, weights=[group.sizes["persona"] - 1 for group in several]))


def ipsative(scores: xr.DataArray, undefined: Undefined = "zero", *, without_personas: bool = False) -> Stability:
    """Ipsative stability: does the order of a person's own values survive a change of topic?

    For each persona, the mean over pairs of contexts of rho over keys; then the mean over personas. The
    samples are the seeds, or with `without_personas` (no personas) the repetitions; the units are the personas.
    """
    return stability(scores, "ipsative", undefined, without_personas=without_personas)


def neutral_profile(scores: xr.DataArray) -> xr.DataArray:
    """Average the rank of each key within each repetition of a neutral run: no persona, no conversation (paper D.2).

    Returns the mean ranks, with the dimension key.
    """
    ranked: xr.DataArray = xr.apply_ufunc(ranks, scores, input_core_dims=[["key"]], output_core_dims=[["key"]])
    return ranked.mean(["seed", "context", "persona"])


def neutral_similarity(scores: xr.DataArray, profile: xr.DataArray, undefined: Undefined = "zero") -> xr.DataArray:
    """Correlate each person's keys with the neutral `profile` (paper D.2).

    Returns:
        The mean over personas and contexts, with the dimension seed.
    """
    return fill_undefined(spearman(scores, profile, "key"), undefined).mean(["persona", "context"])


def neutral_order(scores: xr.DataArray, neutral: xr.DataArray, undefined: Undefined = "zero") -> xr.DataArray:
    """Correlate over personas each context with the one without conversation (paper D.3, equation 2).

    Args:
        scores: scores after conversations.
        neutral: scores of the same personas and seeds without any; its one context is the neutral one.
        undefined: what an undefined correlation counts as.

    Returns:
        The mean over keys and contexts, with the dimension seed.
    """
    rho = spearman(scores, neutral.isel(context=0, drop=True), "persona")
    return fill_undefined(rho, undefined).mean(["key", "context"])


def value_behaviour(values: xr.DataArray, behaviour: xr.DataArray, undefined: Undefined = "zero") -> xr.DataArray:
    """Correlate over personas a value with a behaviour after a conversation on the same topic (paper 4.6).

    Where the task's keys are the values themselves, each value is correlated with its own key only.

    Args:
        values: scores on the questionnaire.
        behaviour: scores of the same seeds, contexts and personas on a task, for instance coins given to each race.
        undefined: what an undefined correlation counts as.

    Returns:
        The mean over contexts and, of other keys, over the task's keys. Dimensions: seed, key (of the questionnaire).
    """
    keys = values["key"].to_numpy().tolist()
    if set(keys) <= set(behaviour["key"].to_numpy().tolist()):
        behaviour = behaviour.sel(key=keys)
        return (
            fill_undefined(spearman(values, behaviour, "persona"), undefined).mean("context").transpose("seed", "key")
        )
    rho = spearman(values, behaviour.rename(key="behaviour"), "persona")
    return fill_undefined(rho, undefined).mean(["behaviour", "context"]).transpose("seed", "key")


def stability(
    scores: xr.DataArray, measure: Measure, undefined: Undefined = "zero", *, without_personas: bool = False
) -> Stability:
    """Compute a stability by the name of its measure: see `rank_order` and `ipsative`."""
    unit = AXES[measure].unit
    rho = correlations(scores, measure)
    pairs = fill_undefined(rho, undefined).where(_differ(rho))
    per_unit_seed = pairs.mean(["context", "other"])
    per_sample = sample_means(per_unit_seed, measure, without_personas=without_personas)
    n = scores.sizes["context"]
    unknown = rho.isnull() & _differ(rho)
    missing = unknown & unanswered(scores, measure) if unknown.any() else unknown
    return Stability(
        measure=measure,
        undefined_counts_as=undefined,
        mean=float(per_sample.mean()),
        se=float(_standard_error(per_sample)),
        samples=per_sample,
        per_seed=per_unit_seed.mean(unit),
        pairs=pairs.mean(["seed", unit]),
        per_unit=per_unit_seed.mean("seed"),
        per_unit_se=_standard_error(per_unit_seed, "seed"),
        correlations=rho.sizes["seed"] * rho.sizes[unit] * n * (n - 1) // 2,
        undefined=int(unknown.sum()) // 2,
        unanswered=int(missing.sum()) // 2,
    )


def applicable_measures(scores: xr.DataArray, *, without_personas: bool = False) -> tuple[Measure, ...]:
    """Return the measures that apply to the scores.

    Rank-order needs several personas (not repetitions), ipsative several keys, and both a second context.
    """
    has_meaning = {
        "rank_order": scores.sizes["persona"] > 1 and not without_personas,
        "ipsative": scores.sizes["key"] > 1,
    }
    return tuple(measure for measure in AXES if has_meaning[measure] and scores.sizes["context"] > 1)


def correlations(scores: xr.DataArray, measure: Measure) -> xr.DataArray:
    """Correlate each two contexts of every unit.

    Returns:
        rho, symmetric, NaN where it is undefined and on the diagonal. Dimensions: those of `scores` without the one
        that the measure correlates over, the last two context and "other".
    """
    return correlate_levels(scores, "context", AXES[measure].over)


def unanswered(scores: xr.DataArray, measure: Measure) -> xr.DataArray:
    """Return for each two contexts of every unit whether fewer than two scores are there in both.

    Dimensions: context, other, and the others of `scores` without the one that the measure correlates over.
    """
    known = scores.notnull().astype(int)
    both: xr.DataArray = xr.dot(known, known.rename(context="other"), dim=AXES[measure].over)
    return both < 2  # noqa: PLR2004


def mean_over_pairs(rho: xr.DataArray, across: str = "context") -> xr.DataArray:
    """Average the correlations over the pairs of different contexts (or seeds)."""
    return rho.where(_differ(rho, across)).mean([across, "other"])


def sample_means(per_unit: xr.DataArray, measure: Measure, *, without_personas: bool = False) -> xr.DataArray:
    """Average the stabilities of units to the samples: seeds, or repetitions without personas."""
    return per_unit if without_personas and measure == "ipsative" else per_unit.mean(AXES[measure].unit)


def fill_undefined(rho: xr.DataArray, undefined: Undefined) -> xr.DataArray:
    """Replace undefined correlations by 0 ("zero"), or leave them NaN, so that means leave them out ("drop")."""
    return rho.fillna(0.0) if undefined == "zero" else rho


def _share(share: float) -> str:
    """Return a share in percent; one that is not all does not read as all."""
    percent = f"{share:.1%}" if share < 1 else "100%"
    return "99.9%" if percent == "100.0%" else percent


def _differ(rho: xr.DataArray, across: str = "context") -> xr.DataArray:
    return xr.DataArray(~np.eye(rho.sizes[across], dtype=bool), dims=(across, "other"))


def _standard_error(samples: xr.DataArray, dim: str | None = None) -> xr.DataArray:
    number = samples.count(dim)
    # One sample has no spread: where() first, since NumPy warns of it.
    return samples.where(number > 1).std(dim, ddof=1) / number**0.5
