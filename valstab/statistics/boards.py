"""Orders of models by many columns: the cardinal and the ordinal board, and how much they depend on their columns.

A table of columns has a row for each model and a column for each measure, higher values being better. Pure functions.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd


def cardinal_scores(columns: pd.DataFrame) -> pd.Series:
    """Average the columns of each model. Missing ones (NaN) are left out."""
    return columns.mean(axis=1)


def win_rates(columns: pd.DataFrame) -> pd.Series:
    """Return the share of the other models that each model is above, averaged over the columns.

    An equal value counts as half a win, so that the rates of all models average to 0.5. NaN for a single model.
    """
    wins = columns.rank(axis=0) - 1
    others = columns.notna().sum() - 1
    return (wins / others.where(others > 0)).mean(axis=1)


def concordance(columns: pd.DataFrame) -> float:
    """Return Kendall's W: how far the columns have the models in the same order (Kendall & Babington Smith 1939).

    Columns with a missing value are left out. Equal values have average ranks, which W is corrected for.

    Returns:
        Between 0 (all orders cancel) and 1 (all columns have one order); NaN where no column tells models apart.
    """
    ranks = columns.dropna(axis=1).rank(axis=0).to_numpy()
    models, judges = ranks.shape
    equal = [np.unique(column, return_counts=True)[1] for column in ranks.T]
    ties = sum((counts**3 - counts).sum() for counts in equal)
    most = judges**2 * (models**3 - models) - judges * ties
    squares = ((ranks.sum(axis=1) - judges * (models + 1) / 2) ** 2).sum()
    return float(12 * squares / most) if most > 0 else math.nan


def cardinal_sensitivity(columns: pd.DataFrame, groups: Mapping[str, Sequence[str]]) -> float:
    """Return the largest change of a model's place on the cardinal board without one group of columns.

    Args:
        columns: at least two models.
        groups: the columns that are left out together, such as those of a context.

    Returns:
        Places, as a share of the number of models less 1: between 0 and 1. NaN where nothing can be left out.
    """
    rests = [columns.drop(columns=list(group)) for group in groups.values()]
    return _largest_change(columns, [rest for rest in rests if not rest.empty], cardinal_scores)


def ordinal_sensitivity(columns: pd.DataFrame) -> float:
    """Return the largest change of a model's place on the ordinal board without one other model.

    Places count among the models that stay. As `cardinal_sensitivity`; NaN for fewer than three models.
    """
    rests = [columns.drop(index=model) for model in columns.index] if len(columns) > 2 else []  # noqa: PLR2004
    return _largest_change(columns, rests, win_rates)


def _largest_change(
    columns: pd.DataFrame, rests: Sequence[pd.DataFrame], score: Callable[[pd.DataFrame], pd.Series]
) -> float:
    if not rests or len(columns) < 2:  # noqa: PLR2004
        return math.nan
    scores = score(columns)
    changes = [(scores[rest.index].rank() - score(rest).rank()).abs().max() for rest in rests]
    return float(max(changes)) / (len(columns) - 1)
