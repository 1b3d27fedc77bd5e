"""Items, circle and answer mass, by hand and by independent methods."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from tests.support.score_arrays import labelled
from valstab.inputs.items import Item
from valstab.inputs.task import Task
from valstab.statistics.psychometrics import (
    SCHWARTZ_CIRCLE,
    MassSpread,
    answer_mass,
    circular_structure,
    cronbach_alpha,
    mass_spread,
)


def task(keys: str) -> Task:
    """A task with one item for each letter, of that key."""
    items = tuple(Item(number, key, {}, {}) for number, key in enumerate(keys, 1))
    return Task("made", None, items, tuple(dict.fromkeys(keys)), (1.0, 2.0), centred=True, wording="made")


def answered(*contexts) -> pd.DataFrame:
    """Answers with one seed: for each context the scores of personas (rows) on items (columns)."""
    return pd.DataFrame(
        [
            {"seed": 0, "context": f"c{c}", "persona": f"p{p}", "item": i, "score": score}
            for c, rows in enumerate(contexts)
            for p, row in enumerate(rows)
            for i, score in enumerate(row, 1)
        ]
    )


def test_alpha_by_hand():
    # Items 1 2 3 and 1 3 2 have variance 1 each, their sum 2 5 5 variance 3: 2 (1 - 2/3). The same item twice has 1.
    answers = answered([[1, 1, 9], [2, 3, 9], [3, 2, 9]], [[1, 1, 9], [2, 2, 9], [3, 3, 9]])
    alpha = cronbach_alpha(answers, task("aab"))
    assert alpha.to_dict() == pytest.approx({"a": (2 / 3 + 1) / 2})  # b has one item


def test_alpha_of_centred_answers_by_hand():
    # Who says more to everything: raw items go together perfectly. Less the persons' means 3, 5, 6, the first two items
    # are -1 0 1 and 0 1 -1: variance 1 each, of their sum 1.
    answers = answered([[2, 3, 4], [5, 6, 4], [7, 5, 6]])
    assert cronbach_alpha(answers, task("aab"), centred=True)["a"] == pytest.approx(2 * (1 - 2 / 1))
    agreeing = answered([[1, 1, 2], [3, 3, 4], [6, 6, 7]])
    assert cronbach_alpha(agreeing, task("aab"))["a"] == pytest.approx(1)
    assert math.isnan(cronbach_alpha(agreeing, task("aab"), centred=True)["a"])


def test_alpha_is_undefined_without_differences():
    answers = answered([[1, 2], [2, 1], [1, 2]])  # everybody's sum is 3
    assert cronbach_alpha(answers, task("aa")).isna().all()
    # Where it is defined elsewhere, that counts.
    both = answered([[1, 2], [2, 1], [1, 2]], [[1, 1], [2, 2], [3, 3]])
    assert cronbach_alpha(both, task("aa"))["a"] == pytest.approx(1)


def test_alpha_leaves_out_whoever_left_out_an_item():
    rows = [[1, 1], [2, 3], [3, 2]]
    full = cronbach_alpha(answered(rows), task("aa"))
    assert cronbach_alpha(answered([*rows, [5, math.nan]]), task("aa")).equals(full)
    assert cronbach_alpha(answered([[1, 1], [5, math.nan]]), task("aa")).isna().all()


@given(st.lists(st.lists(st.integers(1, 6), min_size=3, max_size=3), min_size=4, max_size=8))
def test_alpha_agrees_with_the_formula_of_covariances(rows):
    # k² mean covariance of different items / sum of the whole covariance matrix.
    matrix = np.cov(np.array(rows).T)
    alpha = cronbach_alpha(answered(rows), task("aaa"))["a"]
    if matrix.sum() < 1e-9:
        assert math.isnan(alpha)
    else:
        assert alpha == pytest.approx(9 * matrix[np.triu_indices(3, 1)].mean() / matrix.sum())


KEYS = [key for place in SCHWARTZ_CIRCLE for key in place]
ANGLES = [2 * math.pi * place / 9 for place, keys in enumerate(SCHWARTZ_CIRCLE) for _ in keys]


def keyed(values, keys=KEYS) -> xr.DataArray:
    return labelled(values).assign_coords(key=keys)


def test_the_circle_has_the_ten_values_of_the_questionnaire():
    assert len(set(KEYS)) == 10
    assert (SCHWARTZ_CIRCLE[0], SCHWARTZ_CIRCLE[-1], SCHWARTZ_CIRCLE[2]) == (
        ("Universalism",),
        ("Self-Direction",),
        ("Conformity", "Tradition"),
    )


def test_people_on_a_circle_show_it():
    towards = np.random.default_rng(0).uniform(0, 2 * math.pi, 300)
    scores = keyed(np.cos(towards[:, None] - np.array(ANGLES))[None, None])
    found = circular_structure(scores, resamples=999)
    assert found.fit > 0.95
    assert found.p == 1 / 1000
    # In any order of the keys.
    turned = circular_structure(scores.isel(key=[3, 1, 4, 0, 5, 9, 2, 6, 8, 7]), resamples=9)
    assert turned.fit == pytest.approx(found.fit)


def test_fit_agrees_with_one_correlation_at_a_time():
    scores = keyed(np.random.default_rng(1).normal(size=(2, 3, 12, 10)))
    found = circular_structure(scores)
    distances, unlike = [], []
    for a, b in itertools.combinations(range(10), 2):
        r = [spearmanr(c[:, a], c[:, b]).statistic for s in scores.values for c in s]
        assert found.correlations.values[a, b] == pytest.approx(np.mean(r))
        unlike.append(1 - np.mean(r))
        steps = round(abs(ANGLES[a] - ANGLES[b]) * 9 / (2 * math.pi))
        distances.append(min(steps, 9 - steps))
    assert found.fit == pytest.approx(pearsonr(distances, unlike).statistic)
    assert 0.05 < found.p < 0.95


def test_p_of_four_values_by_hand():
    # Opposites have r -1, neighbours 0: a perfect square, which 8 of the 24 placements keep.
    square = keyed([[[[1, 0, -1, 0], [0, 1, 0, -1], [-1, 0, 1, 0], [0, -1, 0, 1]]]], list("abcd"))
    found = circular_structure(square, tuple((key,) for key in "abcd"))
    assert found.fit == pytest.approx(1)
    assert found.p == pytest.approx(1 / 3, abs=0.025)


def test_other_keys_have_no_circle_and_constant_values_no_fit():
    scores = keyed(np.random.default_rng(1).normal(size=(1, 1, 12, 10)))
    assert circular_structure(labelled(scores.values)) is None
    assert circular_structure(scores.isel(key=range(9))) is None
    assert math.isnan(circular_structure(scores.where(scores["key"] != "Power", 0.0)).fit)


def test_answer_mass_by_hand():
    answers = pd.DataFrame({"answer_mass": [*np.linspace(0, 1, 21), math.nan]})
    expected = {"minimum": 0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "under_half": 10 / 21}
    assert answer_mass(answers).to_dict() == pytest.approx(expected)
    assert answer_mass(answers.iloc[-1:]).isna().all()


def test_mass_spread():
    assert mass_spread([0.05, 0.45, 0.55, 1.0000001, np.nan], 0.5, bins=2) == MassSpread((0.5, 0.5), 0.5)
    assert mass_spread([0.5], 0.5, bins=2) == MassSpread((0.0, 1.0), 0.0)
    assert mass_spread([np.nan], 0.5) is None
