"""Structure of an inventory of traits: do the items of a key load on a factor of their own, and no others?

It is the structure that is expected of personality inventories, five factors for the Big Five. Values form a circle
instead (`valstab.statistics.psychometrics.circular_structure`), which factors can't show.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valstab.inputs.task import Task
from valstab.statistics.psychometrics import CONTEXT_COLUMNS

MIN_KEYS = 2
"""Smallest number of keys of which a structure is expected."""


MIN_PEOPLE = 3
"""Smallest number of people whose answers correlate to more than 1 and -1."""


class Congruence(NamedTuple):
    """How well as many factors as there are keys fit the keys."""

    of_keys: pd.Series
    """Tucker's congruence of each key's factor with the key, by key: 1 is best; from 0.85 on factors count as similar,
    from 0.95 on as equal (Lorenzo-Seva & ten Berge 2006)."""
    mean: float
    """Its mean over the keys."""
    p: float
    """p-value: (1 + random keys of the same sizes that fit at least as well) / (1 + random keys)."""


def factor_congruence(answers: pd.DataFrame, task: Task, *, resamples: int = 999, seed: int = 0) -> Congruence | None:
    """Compare the factors of items with the keys, by a targeted rotation (McCrae et al. 1996, Procrustes).

    The first principal components of the items' correlations over people, as many as keys, are rotated orthogonally to
    the target, in which an item has 1 on its own key and 0 on others. Correlations are means over seeds and contexts. A
    rotation to a target always fits somewhat, so that chance is what items dealt to the keys at random reach.

    Args:
        answers: with the columns seed, context, persona, item, score; reversed items are scored in reverse.
        task: which item belongs to which key.
        resamples: random keys.
        seed: of these.

    Returns:
        None with fewer than two keys or three people, or where nobody differs in any item of some key.
    """
    key_of = {item.number: item.key for item in task.items if not item.is_filler}
    if len(task.keys) < MIN_KEYS or answers["persona"].nunique() < MIN_PEOPLE:
        return None
    correlations = _correlations(answers, list(key_of))
    differing = ~np.isnan(correlations.diagonal())
    keys = np.array([key for key, has in zip(key_of.values(), differing, strict=True) if has])
    target = (keys[:, np.newaxis] == np.array(task.keys)).astype(float)
    if not target.any(axis=0).all():
        return None
    loadings = _loadings(np.nan_to_num(correlations[np.ix_(differing, differing)]), len(task.keys))
    rng = np.random.default_rng(seed)
    targets = np.stack([target, *(rng.permutation(target) for _ in range(resamples))])
    found = _congruences(loadings, targets)
    means = found.mean(axis=1)
    as_well = int((means[1:] >= means[0] - 1e-12).sum())
    of_keys = pd.Series(found[0], index=pd.Index(task.keys, name="key"), name="congruence")
    return Congruence(of_keys, float(means[0]), (1 + as_well) / (1 + resamples))


def _correlations(answers: pd.DataFrame, items: list[int]) -> NDArray[np.float64]:
    """Return the mean correlations of items over people within a seed and context, NaN where none is defined."""
    table = answers.pivot_table(index=[*CONTEXT_COLUMNS, "persona"], columns="item", values="score", sort=False)
    parts = [
        part.to_numpy()
        for _, group in table.reindex(columns=items).groupby(level=CONTEXT_COLUMNS, sort=False)
        for part in [group.corr()]
    ]
    known = np.sum([~np.isnan(part) for part in parts], axis=0)
    total = np.sum([np.nan_to_num(part) for part in parts], axis=0)
    return np.where(known > 0, total / np.maximum(known, 1), np.nan)


def _loadings(correlations: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """Return the items' loadings on the first principal components, shape (items, number)."""
    values, vectors = np.linalg.eigh(correlations)
    loadings: NDArray[np.float64] = vectors[:, -number:] * np.sqrt(np.clip(values[-number:], 0, None))
    return loadings


def _congruences(loadings: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Tucker's congruence of rotated loadings with each target, shape (targets, keys); 0 without loadings."""
    left, _, right = np.linalg.svd(loadings.T @ targets)
    rotated = loadings @ (left @ right)
    sizes = np.linalg.norm(rotated, axis=1) * np.linalg.norm(targets, axis=1)
    found: NDArray[np.float64] = (rotated * targets).sum(axis=1) / np.where(sizes > 0, sizes, 1.0)
    return found
