"""What a study of some size can show, from assumed effects and before it runs, by simulation."""

import math
from typing import NamedTuple

import numpy as np
import xarray as xr

from valstab.statistics.jackknife import contrast, interval, jackknifed_stability, why_no_interval
from valstab.statistics.resampling import ALPHA, StabilitySpec

RANK_ORDER = StabilitySpec("rank_order", "zero", without_personas=False)


class Design(NamedTuple):
    """Numbers of levels in a study."""

    personas: int
    contexts: int
    seeds: int
    keys: int = 10


class Precision(NamedTuple):
    """What studies of a design show."""

    mean: float
    """The mean rank-order stability. Among few people it is lower than among many."""
    half_width: float
    """The median half of the 95% interval's width."""
    power: float
    """The share of studies that tell the stability from that of the other model."""


def expected_precision(
    design: Design, stability: float, ceiling: float, other: float, *, studies: int = 100, seed: int = 0
) -> Precision:
    """Simulate studies of two models, and return what they show.

    Scores are normal: a part of the person, a part of the person in the context (both differ between the models), and
    noise. The same people and topics are asked of both models, by the same seeds.

    Args:
        design: numbers of personas, contexts, seeds and keys.
        stability: correlation over people between two contexts, of one model, from 0 to `ceiling`.
        ceiling: correlation over people of two seeds in the same context, from `stability` to 1.
        other: correlation between two contexts of the other model, from 0 to `ceiling`.
        studies: number of simulated studies; the power's standard error is at most 0.5 / sqrt(studies).
        seed: of the random draws.

    Raises:
        ValueError: if a correlation is out of its range, or the design is too small for an interval.
    """
    if not 0 <= min(stability, other) <= max(stability, other) <= ceiling <= 1:
        raise ValueError("stability and other must be from 0 to ceiling, and ceiling at most 1")
    rng = np.random.default_rng(seed)
    means, widths, found = [], [], 0
    for _ in range(studies):
        both = [simulated_scores(design, each, ceiling, rng) for each in (stability, other)]
        if reason := why_no_interval(both[0]):
            raise ValueError(f"no interval: {reason}")
        one, second = (jackknifed_stability(scores, RANK_ORDER) for scores in both)
        of_one = interval(contrast([one], [1.0]), correlation=True)
        means.append(of_one.value)
        widths.append((of_one.high - of_one.low) / 2)
        found += interval(contrast([one, second], [1.0, -1.0])).p <= ALPHA
    return Precision(float(np.mean(means)), float(np.median(widths)), found / studies)


def simulated_scores(design: Design, stability: float, ceiling: float, rng: np.random.Generator) -> xr.DataArray:
    """Draw normal scores with given correlations over people.

    Args:
        design: numbers of levels.
        stability: between two contexts.
        ceiling: between two seeds in the same context.
        rng: the source of random numbers.

    Returns:
        The scores, with the dimensions seed, context, persona, key.
    """
    personas, contexts, seeds, keys = design
    parts = [
        (stability, (1, 1, personas, keys)),
        (ceiling - stability, (1, contexts, personas, keys)),
        (1 - ceiling, (seeds, contexts, personas, keys)),
    ]
    values = sum(math.sqrt(variance) * rng.normal(size=shape) for variance, shape in parts)
    names = ("seed", "context", "persona", "key")
    sizes = (seeds, contexts, personas, keys)
    return xr.DataArray(values, {name: np.arange(size) for name, size in zip(names, sizes, strict=True)}, names)
