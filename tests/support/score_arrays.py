"""Arrays of scores that the tests share."""

import numpy as np
import xarray as xr


def labelled(values) -> xr.DataArray:
    """Label an array of the shape (seed, context, persona, key)."""
    array = np.asarray(values, dtype=float)
    names = ("seed", "context", "persona", "key")
    return xr.DataArray(
        array,
        dims=names,
        coords={name: [f"{name}{i}" for i in range(size)] for name, size in zip(names, array.shape, strict=True)},
    )


def random_scores(shape=(3, 4, 6, 5), *, seed=0) -> xr.DataArray:
    # Few distinct scores, so that there are ties.
    return labelled(np.random.default_rng(seed).integers(1, 5, size=shape))


# One seed, three contexts, three people, two keys. Orders of people on key 0: 123, 132, 321;
# on key 1: 123 in every context.
BY_HAND = labelled(
    [
        [
            [[1, 1], [2, 2], [3, 3]],
            [[1, 1], [3, 2], [2, 3]],
            [[3, 1], [2, 2], [1, 3]],
        ]
    ]
)


SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
"""Ratings of six targets (rows) by four judges (Shrout & Fleiss 1979, table 2): people and contexts here."""
