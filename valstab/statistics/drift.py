"""Drift within a conversation: how profiles change with the messages before a question (`docs/drift.md`).

`scores` has the dimensions length, order, seed, context, persona and key. A length is a number of messages of the same
conversations; 0 is without any, the neutral profile, which is the same in all contexts. Levels of order are repetitions
of all questions with other option orders. A question has the same orders at every length, so lengths are compared
between different orders, where there are several: else a preference for a letter would look like a stability. The point
of a curve at its own reference is then what asking again gives, and without a second order there is none.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from valstab.statistics.correlation import centred_ranks, spearman
from valstab.statistics.inference import Null, permutation_null
from valstab.statistics.jackknife import MIN_SPREAD, Interval
from valstab.statistics.resampling import Exchange
from valstab.statistics.stability import AXES, Measure, Undefined, correlations, fill_undefined, mean_over_pairs

Reference = Literal["first", "previous", "neutral", "topics"]
"""What the profile after a number of messages is compared with: after the fewest messages, after the next fewer ones,
without a conversation, or in other contexts after as many."""

NEUTRAL = 0
"""Length without a conversation."""

MAX_RATE = 1.0
"""Largest rate of a decay, in halvings a message, and largest rate of a rise."""

RATES = 401
"""Number of rates from which the best is refined."""


class Curve(NamedTuple):
    """A quantity over length: a stability towards a reference, or (`points`) a mean absolute difference of scores."""

    kind: Measure | Literal["points"]
    reference: Reference

    @property
    def decays(self) -> bool:
        """Whether a half-life is fitted."""
        return self.kind != "points" and self.reference != "previous"


class HalfLife(NamedTuple):
    """Messages in which a stability halves, with its interval; infinite for one that does not fall."""

    value: float
    low: float
    high: float


def curves(scores: xr.DataArray) -> list[Curve]:
    """Return the curves that scores allow: some need a neutral profile, several contexts, people or keys."""
    references: list[Reference] = ["first", "previous"]
    references += ["neutral"] if NEUTRAL in scores["length"] else []
    references += ["topics"] if scores.sizes["context"] > 1 else []
    measures: list[Measure] = [measure for measure in AXES if scores.sizes[AXES[measure].over] > 1]
    found = [Curve(measure, reference) for measure in measures for reference in references]
    return found + ([Curve("points", "neutral")] if "neutral" in references else [])


def along(scores: xr.DataArray, curve: Curve, undefined: Undefined = "zero") -> xr.DataArray:
    """Compute a curve.

    Returns:
        Correlations between -1 and 1, or differences in points of the scale. Dimensions: length, seed, the curve's unit
        and, but for `topics`, context. NaN at the reference itself if there is one order only.
    """
    asked, beside, counts = _sides(scores, curve.reference)
    if curve.kind != "points" and curve.reference == "topics":
        return mean_over_pairs(fill_undefined(correlations(asked, curve.kind), undefined)).mean("order")
    if curve.kind == "points":
        values = abs(asked - beside).mean("key")
    else:
        values = fill_undefined(spearman(asked, beside, AXES[curve.kind].over), undefined)
    mean: xr.DataArray = values.where(counts).mean(["order", "other"])
    return mean


def curve_means(scores: xr.DataArray, some: Sequence[Curve], undefined: Undefined = "zero") -> dict[str, float]:
    """Compute the mean of curves at each length, and how fast they decay, by the names of `at` and `rate_of`."""
    found: dict[str, float] = {}
    for curve in some:
        values = along(scores, curve, undefined)
        mean = values.mean([name for name in values.dims if name != "length"])
        found |= _with_rate(curve, mean["length"].to_numpy().tolist(), mean.to_numpy().tolist())
    return found


def persona_means(scores: xr.DataArray, some: Sequence[Curve], undefined: Undefined = "zero") -> dict[str, float]:
    """Compute the same of each persona, for curves that each has: the names begin with `PERSONA/`."""
    found: dict[str, float] = {}
    for curve in some:
        values = along(scores, curve, undefined)
        means = values.mean([name for name in values.dims if name not in {"length", "persona"}])
        lengths, rows = means["length"].to_numpy().tolist(), means.transpose("persona", "length").to_numpy().tolist()
        for persona, row in zip(scores["persona"].to_numpy(), rows, strict=True):
            own = _with_rate(curve, lengths, row)
            found |= {f"{persona}/{name}": value for name, value in own.items()}
    return found


def fitted_lengths(curve: Curve, lengths: Sequence[int]) -> list[int]:
    """Return the lengths that the decay of a curve is fitted to: those of conversations, but not the reference itself.

    Asking again shares all of that very conversation, so the point at the reference is not on the curve of the others.
    """
    talks = [length for length in lengths if length != NEUTRAL]
    return talks[1:] if curve.reference == "first" else talks


def at(curve: Curve, length: int) -> str:
    """Return the name of a curve's mean after a number of messages."""
    return f"{curve.kind}/{curve.reference}/{length}"


def rate_of(curve: Curve) -> str:
    """Return the name of a curve's rate of decay."""
    return f"{curve.kind}/{curve.reference}/rate"


def decay_rate(heights: Mapping[int, float]) -> float:
    """Fit an exponential decay by least squares.

    Args:
        heights: a stability after each number of messages.

    Returns:
        Halvings a message, from -`MAX_RATE` (a rise) to `MAX_RATE`; NaN with fewer than two heights.
    """
    lengths, values = np.array(list(heights), dtype=float), np.array(list(heights.values()))
    if len(values) < 2 or np.isnan(values).any():  # noqa: PLR2004
        return float("nan")
    if np.ptp(values) < MIN_SPREAD:
        return 0.0

    def misfit(rates: NDArray[np.float64]) -> NDArray[np.float64]:
        shapes = 2 ** (-np.atleast_1d(rates)[:, None] * (lengths - lengths.min()))
        squares: NDArray[np.float64] = -((shapes @ values) ** 2) / (shapes**2).sum(axis=1)
        return squares  # with the best height at the start

    rates = np.linspace(-MAX_RATE, MAX_RATE, RATES)
    best = int(misfit(rates).argmin())
    around = rates[max(best - 1, 0)], rates[min(best + 1, RATES - 1)]
    return float(minimize_scalar(lambda rate: misfit(rate).item(), bounds=around, method="bounded").x)


def half_life(rate: Interval) -> HalfLife:
    """Return the half-life that belongs to a rate of decay (halvings a message), with its interval."""
    with np.errstate(divide="ignore"):
        return HalfLife(*(1 / np.maximum([rate.value, rate.high, rate.low], 0.0)).tolist())


def chance(
    scores: xr.DataArray, curve: Curve, *, strata: Sequence[str] | None = None, resamples: int = 1000, seed: int = 0
) -> dict[int, Null]:
    """Return what chance gives a curve's mean at each length, by permutation (Phipson & Smyth 2010).

    Rank-order: people are exchanged, each with all answers after so many messages, against those of the reference.
    Otherwise the keys of each persona are. So nothing but the tie to the reference is lost. Of differences in points,
    which a tie makes small, `high` is the 5th percentile.

    Args:
        scores: as everywhere here.
        curve: which.
        strata: a label for each persona: only those with the same label are exchanged.
        resamples: number of shuffles.
        seed: of the random draws.

    Returns:
        The null distribution for each length at which there is a mean.
    """
    if curve.reference == "topics" and curve.kind != "points":
        talks, exchange = _sides(scores, "topics")[0].isel(order=0), Exchange(strata)
        return {
            length: permutation_null(
                talks.sel(length=length), curve.kind, resamples=resamples, seed=seed, exchange=exchange
            )
            for length in talks["length"].to_numpy().tolist()
        }
    ties = _ties(scores, curve)
    labels = np.asarray(strata) if strata is not None and curve.kind == "rank_order" else np.zeros(ties.shape[-1])
    return _nulls(ties, labels, curve, resamples, seed)


def chance_of_personas(
    scores: xr.DataArray, curve: Curve, *, resamples: int = 1000, seed: int = 0
) -> dict[str, dict[int, Null]]:
    """Return what chance gives a curve of each persona, whose keys are exchanged: see `chance`."""
    ties = _ties(scores, curve)
    labels = np.zeros(ties.shape[-1])
    return {
        str(persona): _nulls(ties.isel(persona=[place]), labels, curve, resamples, seed)
        for place, persona in enumerate(scores["persona"].to_numpy())
    }


def _with_rate(curve: Curve, lengths: Sequence[int], heights: Sequence[float]) -> dict[str, float]:
    """Return the heights of a curve by name, and its rate of decay if it has one."""
    of_length = dict(zip(lengths, heights, strict=True))
    found = {at(curve, length): height for length, height in of_length.items()}
    if curve.decays:
        found[rate_of(curve)] = decay_rate({n: of_length[n] for n in fitted_lengths(curve, lengths)})
    return found


def _nulls(ties: xr.DataArray, labels: NDArray[Any], curve: Curve, resamples: int, seed: int) -> dict[int, Null]:
    """Return the null distribution at each length with a mean, from `_ties` and the labels of those exchanged."""
    shuffles = _shuffles(np.random.default_rng(seed), (resamples, ties.shape[1]), labels)
    return {
        int(length): _null(each, shuffles, at_least=curve.kind != "points")
        for length, each in zip(ties["length"].to_numpy(), ties.to_numpy(), strict=True)
        if not np.isnan(each).any()
    }


def _null(ties: NDArray[np.float64], shuffles: NDArray[np.intp], *, at_least: bool) -> Null:
    """Return the null distribution of the mean over sets of the sum of ties between partners.

    Args:
        ties: of each two levels. Shape: (sets, levels, levels).
        shuffles: the partner of each level. Shape: (resamples, sets, levels).
        at_least: whether a tie makes the sum large, else small.
    """
    sets, levels = (np.arange(size) for size in ties.shape[:2])
    found = ties[sets[:, None], levels, shuffles].sum(axis=-1).mean(axis=-1)
    observed = float(np.trace(ties, axis1=1, axis2=2).mean())
    extreme = found >= observed - MIN_SPREAD if at_least else found <= observed + MIN_SPREAD
    return Null(
        mean=float(found.mean()),
        sd=float(found.std(ddof=1)),
        high=float(np.quantile(found, 0.95 if at_least else 0.05)),
        p=(1 + int(extreme.sum())) / (1 + len(found)),
    )


def _ties(scores: xr.DataArray, curve: Curve) -> xr.DataArray:
    """Return the part that each two levels have in a curve's mean, if they are partners.

    Returns:
        Dimensions: length, persona (one for rank-order, where the levels are the people), and the levels of both sides.
        NaN for a length without a mean.
    """
    asked, beside, counts = _sides(scores, curve.reference)
    over = "key" if curve.kind == "points" else AXES[curve.kind].over
    if curve.kind == "points":
        each = abs(asked - beside.rename({over: "partner"})) / asked.sizes[over]
        ties = each.where(counts).mean(["order", "other", "seed", "context"])
    else:
        ranked = [
            xr.apply_ufunc(_unit_ranks, side, input_core_dims=[[over]], output_core_dims=[[over]])
            for side in (asked, beside)
        ]
        shared = [name for name in ("order", "other", "seed", "context", AXES["rank_order"].unit) if name != over]
        number = counts.sum(["order", "other"]) * np.prod([asked.sizes[name] for name in shared[2:]])
        products = xr.dot(ranked[0], ranked[1].rename({over: "partner"}), counts.astype(float), dim=shared)
        ties = products / number.where(number > 0)
    of_sets: xr.DataArray = ties if over == "key" else ties.expand_dims("set")
    return of_sets.transpose("length", ..., over, "partner")


def _sides(scores: xr.DataArray, reference: Reference) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Return the scores at each length, those beside them (orders as "other"), and which orders are compared."""
    plain = scores.drop_vars([name for name in scores.coords if name != "length"])  # labels cost most of the time
    asked = plain if reference == "neutral" else plain.isel(length=scores["length"].to_numpy() != NEUTRAL)
    lengths, orders = asked["length"].to_numpy(), scores.sizes["order"]
    if reference == "previous":
        beside = asked.isel(length=slice(-1)).assign_coords(length=lengths[1:])
        asked, elsewhere = asked.isel(length=slice(1, None)), lengths[1:] > lengths[:-1]
    else:
        beside, elsewhere = asked.isel(length=0, drop=True), lengths > lengths[0]
    counts = np.broadcast_to(~np.eye(orders, dtype=bool), (len(elsewhere), orders, orders))
    if reference == "neutral" or orders == 1:
        counts = counts | elsewhere[:, None, None]
    return asked, beside.rename(order="other"), xr.DataArray(counts, dims=("length", "order", "other"))


def _unit_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return centred ranks along the last axis, of length one; those of a constant are 0."""
    centred = centred_ranks(values)
    size = np.sqrt((centred**2).sum(axis=-1, keepdims=True))
    scaled: NDArray[np.float64] = np.divide(centred, size, out=np.zeros_like(centred), where=size > 0)
    return scaled


def _shuffles(rng: np.random.Generator, size: tuple[int, ...], labels: NDArray[Any]) -> NDArray[np.intp]:
    """Draw partners for each level among those with the same label. Shape: (*size, levels)."""
    partners = np.broadcast_to(np.arange(len(labels)), (*size, len(labels))).copy()
    for label in np.unique(labels):
        partners[..., labels == label] = rng.permuted(partners[..., labels == label], axis=-1)
    return partners
