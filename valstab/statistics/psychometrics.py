"""Quality of the answers: internal consistency, circular structure and answer mass.

Pure functions of a run's answers (`valstab.protocol.ask.ask`) or scores (`valstab.statistics.scores.score`).
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from valstab.inputs.task import Task
from valstab.statistics.correlation import RANK_DECIMALS, spearman

SCHWARTZ_CIRCLE: tuple[tuple[str, ...], ...] = (
    ("Universalism",),
    ("Benevolence",),
    ("Conformity", "Tradition"),
    ("Security",),
    ("Power",),
    ("Achievement",),
    ("Hedonism",),
    ("Stimulation",),
    ("Self-Direction",),
)
"""The places of the ten values around the circle, in order (Schwartz 1992); the last is next to the first."""


LOW_ANSWER_MASS = 0.5
"""Answer mass (a probability) below which a model mostly does not answer with a letter."""


CONTEXT_COLUMNS = ["seed", "context"]
"""Columns that name a context with one seed."""


class MassSpread(NamedTuple):
    """Distribution over the questions of the answer mass, the probability on the offered letters."""

    shares: tuple[float, ...]
    """Share of the questions in each bin; the bins are equally wide, from 0 to 1."""
    low: float
    """Share of the questions under the limit."""


class CircularStructure(NamedTuple):
    """How well the correlations between values follow the circle."""

    fit: float
    """Pearson correlation, over pairs of values, of the distance on the circle with 1 - r."""
    p: float
    """p-value: (1 + random placements that fit at least as well) / (1 + random placements)."""
    correlations: xr.DataArray
    """Correlation of each two values. Dimensions: key, other."""


def cronbach_alpha(answers: pd.DataFrame, task: Task, *, centred: bool = False) -> pd.Series:
    """Compute Cronbach's alpha of each key over personas (Cronbach 1951).

    k / (k - 1) * (1 - sum of the items' variances / variance of their sum), for each seed and context over the personas
    who answered all k items.

    Args:
        answers: with the columns seed, context, persona, item, score.
        task: which item belongs to which key.
        centred: whether to subtract each person's mean over all items first, as the scores of a centred task do. Raw
            scores share a person's general agreeing.

    Returns:
        The mean over the seeds and contexts where it is defined, by key, of the keys with more than one item. It is
        undefined (NaN) where personas don't differ in the sum, or fewer than two answered all items.
    """
    items = {key: [item.number for item in task.items if item.key == key] for key in task.keys}
    several = {key: numbers for key, numbers in items.items() if len(numbers) > 1}
    table = answers.pivot_table(
        index=[*CONTEXT_COLUMNS, "persona"], columns="item", values="score", dropna=False, sort=False
    )
    if centred:
        table = table.sub(table.reindex(columns=task.centring_items).mean(axis=1), axis=0).round(RANK_DECIMALS)
    alphas = {
        key: table.reindex(columns=numbers).groupby(level=CONTEXT_COLUMNS, sort=False).apply(_alpha).mean()
        for key, numbers in several.items()
    }
    return pd.Series(alphas, name="alpha", dtype=float).rename_axis("key")


def circular_structure(
    scores: xr.DataArray,
    order: tuple[tuple[str, ...], ...] = SCHWARTZ_CIRCLE,
    *,
    resamples: int = 5000,
    seed: int = 0,
) -> CircularStructure | None:
    """Test how well values form Schwartz's circle: neighbours on it should correlate most (Schwartz 1992).

    r is Spearman's, over personas, the mean over the seeds and contexts where it is defined. p is from a permutation
    test of the labels (Hubert & Arabie 1987): (1 + placements that fit at least as well) / (1 + resamples).

    Args:
        scores: dimensions seed, context, persona, key.
        order: the places around the circle, each with the keys that stand there.
        resamples: random placements.
        seed: of these.

    Returns:
        None where the keys are not those of `order`; fit and p are NaN where some r is nowhere defined.
    """
    place = {key: position for position, keys in enumerate(order) for key in keys}
    keys = [str(key) for key in scores["key"].to_numpy()]
    if sorted(keys) != sorted(place):
        return None
    rho = spearman(scores, scores.rename(key="other"), "persona").mean(["seed", "context"]).transpose("key", "other")
    apart = np.abs(np.subtract.outer([place[key] for key in keys], [place[key] for key in keys]))
    distance = np.minimum(apart, len(order) - apart).astype(float)
    pair = np.triu_indices(len(keys), k=1)
    unlike = 1 - rho.to_numpy()[pair]
    if np.isnan(unlike).any() or np.ptp(unlike) == 0:
        return CircularStructure(math.nan, math.nan, rho)
    rng = np.random.default_rng(seed)
    places = np.concatenate(
        [[np.arange(len(keys))], rng.permuted(np.tile(np.arange(len(keys)), (resamples, 1)), axis=1)]
    )
    placed = distance[places[:, pair[0]], places[:, pair[1]]]
    fits = _standardised(placed) @ _standardised(unlike) / len(unlike)
    as_well = int((fits[1:] >= fits[0] - 1e-12).sum())
    return CircularStructure(float(fits[0]), (1 + as_well) / (1 + resamples), rho)


def answer_mass(answers: pd.DataFrame) -> pd.Series:
    """Summarise the probability on the offered letters. It is low where the model did not answer.

    Returns:
        Its minimum, 5%, 25%, median, 75%, 95%, and under_half (the share below 0.5); NaN if nothing is known.
    """
    known = answers["answer_mass"].dropna().astype(float)
    names = {"minimum": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95}
    quantiles = {name: known.quantile(level) for name, level in names.items()}
    return pd.Series({**quantiles, "under_half": (known < LOW_ANSWER_MASS).mean()}, name="answer_mass", dtype=float)


def mass_spread(mass: ArrayLike, low: float, bins: int = 10) -> MassSpread | None:
    """Return a histogram of the answer mass without unknown ones (NaN); None if all are unknown.

    Args:
        mass: probabilities, shape (questions,); rounding may take them a little above 1.
        low: probability under which the answer mass counts as low.
        bins: how many.
    """
    values = np.asarray(mass, dtype=float)
    values = np.clip(values[np.isfinite(values)], 0, 1)
    if not values.size:
        return None
    counts, _ = np.histogram(values, bins=bins, range=(0, 1))
    return MassSpread(tuple((counts / values.size).tolist()), float((values < low).mean()))


def _alpha(items: pd.DataFrame) -> float:
    answered = items.dropna().to_numpy(dtype=float)
    number, k = answered.shape
    if number < 2:  # noqa: PLR2004
        return math.nan
    total = answered.sum(axis=1).var(ddof=1)
    return float(k / (k - 1) * (1 - answered.var(axis=0, ddof=1).sum() / total)) if total > 0 else math.nan


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift and scale rows to mean 0 and population SD 1."""
    centred: NDArray[np.float64] = values - values.mean(axis=-1, keepdims=True)
    spread: NDArray[np.float64] = centred.std(axis=-1, keepdims=True)
    return centred / spread
