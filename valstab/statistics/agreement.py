"""Agreement of a persona's scores between contexts, in points of the scale: intraclass correlations.

Ranks can't see a topic that moves everybody alike; absolute agreement can.
"""

from typing import NamedTuple

import xarray as xr

from valstab.statistics.correlation import RANK_DECIMALS


class Agreement(NamedTuple):
    """Intraclass correlations of single scores between contexts. Dimensions: seed, key. NaN where nothing varies."""

    absolute: xr.DataArray
    """ICC(A,1): do people get the same score in every context?"""
    consistency: xr.DataArray
    """ICC(C,1): the same, up to a shift of everybody's score by the context."""


def agreement(scores: xr.DataArray) -> Agreement:
    """Compute ICC(A,1) and ICC(C,1) of personas between contexts (McGraw & Wong 1996, table 4, two-way model).

    With the mean squares of n personas (R), k contexts (C) and their interaction (E):
    C,1 = (R - E) / (R + (k - 1) E) and A,1 = (R - E) / (R + (k - 1) E + k / n (C - E)).

    A persona without a score in some context is left out of that seed and key.

    Args:
        scores: dimensions seed, context, persona, key; at least two contexts and two personas.
    """
    # Rounded as for ranks: centring in floating point would give equal scores a spread.
    complete = scores.where(scores.notnull().all("context")).round(RANK_DECIMALS)
    k = scores.sizes["context"]
    n = complete.isel(context=0, drop=True).count("persona")
    people, contexts, mean = (complete.mean(over) for over in ("context", "persona", ("context", "persona")))
    left = complete - people - contexts + mean
    freedom = (n - 1).where(n > 1)
    of_people = k * ((people - mean) ** 2).sum("persona") / freedom
    of_contexts = n * ((contexts - mean) ** 2).sum("context") / (k - 1)
    of_rest = (left**2).sum(["context", "persona"]) / (freedom * (k - 1))
    relative = of_people + (k - 1) * of_rest
    absolute = relative + k / n.where(n > 0) * (of_contexts - of_rest)
    least = 10.0 ** (-2 * RANK_DECIMALS)
    dims = ("seed", "key")
    return Agreement(
        absolute=((of_people - of_rest) / absolute.where(absolute > least)).transpose(*dims),
        consistency=((of_people - of_rest) / relative.where(relative > least)).transpose(*dims),
    )
