"""Structure of the values in one context: is it the one that theory (Schwartz 1992) expects?

Pure functions of the answers of several people in one context. The measures are those of the leaderboard of the paper's
authors (`docs/measures.md`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from valstab.statistics.correlation import correlate_rows
from valstab.statistics.factor_analysis import Fit, fit_factors, why_no_fit
from valstab.statistics.psychometrics import SCHWARTZ_CIRCLE

HIGHER_ORDER_VALUES: Mapping[str, tuple[str, ...]] = {
    "conservation": ("Security", "Conformity", "Tradition"),
    "openness to change": ("Self-Direction", "Stimulation", "Hedonism"),
    "self-transcendence": ("Benevolence", "Universalism"),
    "self-enhancement": ("Achievement", "Power"),
}
"""The four higher-order values, each with its values. Each has a factor model of its own."""


INNER_VALUE = "Conformity"
"""The value that stands nearer to the centre of the circle, before Tradition."""


MDS_STEPS = 300
"""Largest number of steps of multidimensional scaling."""


MDS_TOLERANCE = 1e-6
"""Change of the stress in a step, relative to the distances, at which the scaling ends."""


Dissimilarity = Literal["rows", "correlation"]
"""How far apart two items are: the Euclidean distance between their rows of correlations, or 1 - rho."""


class Structure(NamedTuple):
    """How well the answers in one context have the structure that theory expects."""

    cfi: float
    """Mean comparative fit index of the four factor models, between 0 and 1; 1 is best."""
    srmr: float
    """Mean standardised root mean square residual; 0 is best."""
    rmsea: float
    """Mean root mean square error of approximation; 0 is best."""
    stress: float
    """Normalised stress of the items in two dimensions, between 0 and 1; 0 is best."""
    alpha: float
    """Mean Cronbach's alpha of the values, of answers centred on each person's mean."""
    loading: float
    """Mean size of the standardised loadings of the models that are fitted; NaN without any."""
    models: Mapping[str, Fit]
    """The factor model of each higher-order value."""


def why_no_structure(people: int, keys: Sequence[str]) -> str:
    """Return why a context has no structure, as a clause; empty if it has one.

    Args:
        people: how many answered every item.
        keys: the value of each item.
    """
    values = {value for several in HIGHER_ORDER_VALUES.values() for value in several}
    if not values <= set(keys):
        return f"there are no items of {', '.join(sorted(values - set(keys)))}"
    reasons = (why_no_fit(people, _places(keys, several)[1]) for several in HIGHER_ORDER_VALUES.values())
    return next((reason for reason in reasons if reason), "")


def structure(answers: NDArray[np.float64], keys: Sequence[str]) -> Structure:
    """Compute the structure of the values in one context.

    Args:
        answers: scores of the answers, not centred. Shape: (people, items). People with a missing answer are left out.
        keys: the value of each item. Items of other keys count in a person's mean only.

    Raises:
        ValueError: if `why_no_structure` has a reason.
    """
    complete = answers[~np.isnan(answers).any(axis=1)]
    reason = why_no_structure(len(complete), keys)
    if reason:
        raise ValueError(reason)
    models = {}
    for name, values in HIGHER_ORDER_VALUES.items():
        items, factors = _places(keys, values)
        models[name] = fit_factors(complete[:, items], factors)
    fits = list(models.values())
    loadings = np.concatenate([np.abs(fit.loadings) for fit in fits if not fit.why_not_fitted] or [np.array([np.nan])])
    return Structure(
        cfi=float(np.mean([fit.cfi for fit in fits])),
        srmr=float(np.mean([fit.srmr for fit in fits])),
        rmsea=float(np.mean([fit.rmsea for fit in fits])),
        stress=stress(complete, keys),
        alpha=mean_alpha(complete, keys),
        loading=float(loadings.mean()),
        models=models,
    )


def stress(answers: NDArray[np.float64], keys: Sequence[str], dissimilarity: Dissimilarity = "rows") -> float:
    """Compute the normalised stress of items in two dimensions, by non-metric multidimensional scaling (Kruskal 1964).

    It starts from the places of the items' values on Schwartz's circle, so that it needs no random draws.

    Args:
        answers: without missing ones. Shape: (people, items).
        keys: the value of each item. Items of other keys are left out.
        dissimilarity: how far apart two items are; Spearman's rho over people counts as 0 where it is undefined.

    Returns:
        Stress-1, between 0 (the order of the distances is kept) and 1.
    """
    from sklearn.manifold import smacof

    places = value_places()
    items = [item for item, key in enumerate(keys) if key in places]
    rho = np.nan_to_num(correlate_rows(answers[:, items].T))
    np.fill_diagonal(rho, 1.0)
    apart = np.linalg.norm(rho[:, np.newaxis] - rho[np.newaxis], axis=-1) if dissimilarity == "rows" else 1 - rho
    _, found = smacof(
        (apart + apart.T) / 2,
        metric=False,
        n_components=2,
        init=np.array([places[keys[item]] for item in items]),
        n_init=1,
        max_iter=MDS_STEPS,
        eps=MDS_TOLERANCE,
        normalized_stress=True,
    )
    return float(found)


def value_places() -> dict[str, tuple[float, float]]:
    """Return the place of each value on Schwartz's circle of radius 1; Conformity is halfway to the centre."""
    return {
        key: (radius * math.cos(angle), radius * math.sin(angle))
        for place, keys in enumerate(SCHWARTZ_CIRCLE)
        for angle in [2 * math.pi * place / len(SCHWARTZ_CIRCLE)]
        for key in keys
        for radius in [0.5 if key == INNER_VALUE else 1.0]
    }


def mean_alpha(answers: NDArray[np.float64], keys: Sequence[str]) -> float:
    """Average Cronbach's alpha over the values, of answers centred on each person's mean over all items.

    Args:
        answers: without missing ones. Shape: (people, items).
        keys: the value of each item. Items of other keys count in a person's mean only.

    Returns:
        At most 1; NaN if people differ in the sum of no value.
    """
    centred = answers - answers.mean(axis=1, keepdims=True)
    alphas = []
    for key in value_places():
        own = centred[:, [item for item, of_item in enumerate(keys) if of_item == key]]
        number, total = own.shape[1], own.sum(axis=1).var(ddof=1)
        if number > 1 and total > MIN_VARIANCE:
            alphas.append(number / (number - 1) * (1 - own.var(axis=0, ddof=1).sum() / total))
    return float(np.mean(alphas)) if alphas else math.nan


MIN_VARIANCE = 1e-12
"""Variances below this are rounding errors."""


def _places(keys: Sequence[str], values: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the items of some values, and the number of each item's value."""
    items = [item for item, key in enumerate(keys) if key in values]
    return items, [list(values).index(keys[item]) for item in items]
