"""Factor models against published values and other implementations; stress, alpha and boards against definitions."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from tests.support.composed import compose_run
from valstab.inputs.task import load_task
from valstab.statistics.boards import (
    cardinal_scores,
    cardinal_sensitivity,
    concordance,
    ordinal_sensitivity,
    win_rates,
)
from valstab.statistics.factor_analysis import fit_factors
from valstab.statistics.psychometrics import cronbach_alpha
from valstab.statistics.structure import HIGHER_ORDER_VALUES, mean_alpha, stress, structure, value_places

PVQ = load_task(compose_run("task=pvq").task)
KEYS = [item.key for item in PVQ.items]

HOLZINGER_SWINEFORD = np.array([
    [1.358370, 0.407371, 0.579899, 0.504835, 0.440616, 0.454808, 0.084765, 0.263838, 0.458339],
    [0.407371, 1.381784, 0.451064, 0.208923, 0.211091, 0.247545, -0.096751, 0.109659, 0.244009],
    [0.579899, 0.451064, 1.274865, 0.208170, 0.112296, 0.244109, 0.088342, 0.212323, 0.373853],
    [0.504835, 0.208923, 0.208170, 1.350665, 1.097753, 0.895516, 0.219743, 0.125593, 0.243363],
    [0.440616, 0.211091, 0.112296, 1.097753, 1.659786, 1.014524, 0.143000, 0.180605, 0.295241],
    [0.454808, 0.247545, 0.244109, 0.895516, 1.014524, 1.196358, 0.144078, 0.165431, 0.235997],
    [0.084765, -0.096751, 0.088342, 0.219743, 0.143000, 0.144078, 1.183139, 0.535245, 0.373297],
    [0.263838, 0.109659, 0.212323, 0.125593, 0.180605, 0.165431, 0.535245, 1.021983, 0.457317],
    [0.458339, 0.244009, 0.373853, 0.243363, 0.295241, 0.235997, 0.373297, 0.457317, 1.015004],
])  # fmt: skip
"""Covariances of nine tests of 301 pupils (Holzinger & Swineford 1939), the standard example of lavaan (Rosseel 2012)."""


def with_covariance(covariance, people):
    """Return random scores that have exactly these covariances (with n, not n - 1)."""
    drawn = np.random.default_rng(0).normal(size=(people, len(covariance)))
    drawn -= drawn.mean(axis=0)
    white = np.linalg.cholesky(drawn.T @ drawn / people)
    return drawn @ np.linalg.inv(white).T @ np.linalg.cholesky(covariance).T


def two_factors():
    """Return the answers of 50 people to seven items of six options, of two factors that correlate to 0.6."""
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(50, 2))
    factors[:, 1] = 0.6 * factors[:, 0] + 0.8 * factors[:, 1]
    items = 0.7 * factors[:, [0, 0, 0, 0, 1, 1, 1]] + 0.7 * rng.normal(size=(50, 7))
    return np.clip(np.round(1.3 * items + 3.5), 1, 6)


def beyond_one():
    """Return covariances that two factors with a correlation of 1.1 and loadings of 0.7 imply."""
    same = np.equal.outer([0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1])
    return np.where(np.eye(7) == 1, 1.0, np.where(same, 0.49, 0.49 * 1.1))


def answers(taste, *, people=50, seed=0):
    """Return answers to the PVQ: values around the circle by each person's place on it, times `taste`, and noise."""
    rng = np.random.default_rng(seed)
    places = np.array([value_places()[key] for key in KEYS])
    own = rng.normal(size=(people, 2))
    return np.clip(np.round(3.5 + taste * own @ places.T + rng.normal(size=(people, len(KEYS)))), 1, 6)


def test_the_standard_example_has_lavaans_values():
    fit = fit_factors(with_covariance(HOLZINGER_SWINEFORD, 301), [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert fit.chi2 == pytest.approx(85.306, abs=5e-4)
    assert (fit.df, fit.why_not_fitted) == (24, "")
    assert [round(index, 3) for index in (fit.cfi, fit.rmsea, fit.srmr)] == [0.931, 0.092, 0.065]
    expected = [0.772, 0.424, 0.581, 0.852, 0.855, 0.838, 0.570, 0.723, 0.665]
    np.testing.assert_allclose(fit.loadings, expected, atol=5e-4)
    np.testing.assert_allclose(fit.factor_correlations[np.triu_indices(3, 1)], [0.459, 0.471, 0.283], atol=6e-4)


def test_a_small_example_has_the_values_of_semopy():
    """Recorded with semopy 2.3.11: chi2, that of the independence model, CFI, standardised loadings and covariance."""
    fit = fit_factors(two_factors(), [0, 0, 0, 0, 1, 1, 1])
    assert (fit.df, fit.chi2) == (13, pytest.approx(15.848857, abs=1e-4))
    assert fit.cfi == pytest.approx(0.967777, abs=1e-5)
    expected = [0.756530, 0.657179, 0.705906, 0.720049, 0.673025, 0.667840, 0.590828]
    np.testing.assert_allclose(fit.loadings, expected, atol=1e-3)
    assert fit.factor_correlations[0, 1] == pytest.approx(0.584492, abs=1e-3)


def test_chi2_is_the_ratio_of_likelihoods_of_the_raw_scores():
    """A second implementation: the density of each person's scores, maximised without derivatives of its own."""
    items = two_factors()
    saturated = multivariate_normal(items.mean(axis=0), np.cov(items.T, bias=True)).logpdf(items).sum()

    def lack(parameters):
        loadings = np.zeros((7, 2))
        loadings[:4, 0], loadings[4:, 1] = parameters[:4], parameters[4:7]
        factors = np.array([[1, parameters[14]], [parameters[14], 1]])
        covariance = loadings @ factors @ loadings.T + np.diag(parameters[7:14])
        return 2 * (saturated - multivariate_normal(items.mean(axis=0), covariance).logpdf(items).sum())

    found = minimize(lack, [*[0.8] * 7, *[0.6] * 7, 0.5], method="L-BFGS-B", options={"maxfun": 5000})
    assert fit_factors(items, [0, 0, 0, 0, 1, 1, 1]).chi2 == pytest.approx(found.fun, abs=1e-3)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        (np.column_stack([two_factors()[:, :6], np.full(50, 3.0)]), "everybody answered an item alike"),
        (np.column_stack([two_factors()[:, :6], two_factors()[:, 0]]), "items are linearly dependent"),
        (with_covariance(beyond_one(), 50), "two factors correlate to 1 or more"),
    ],
)
def test_a_model_that_is_not_fitted_has_the_worst_values(items, reason):
    fit = fit_factors(items, [0, 0, 0, 0, 1, 1, 1])
    assert (fit.cfi, fit.rmsea, fit.srmr, fit.why_not_fitted) == (0, 1, 1, reason)


def test_too_few_people_are_refused():
    with pytest.raises(ValueError, match="28 people are fewer than the 29 parameters of a model"):
        structure(answers(1.0, people=28), KEYS)
    with pytest.raises(ValueError, match="there are no items of Power"):
        structure(answers(1.0), [key if key != "Power" else "" for key in KEYS])


def test_answers_of_the_theorys_structure_fit_it_better_than_random_ones():
    of_theory, random = structure(answers(1.5), KEYS), structure(answers(0.0), KEYS)
    assert set(of_theory.models) == set(HIGHER_ORDER_VALUES)
    assert of_theory.cfi > random.cfi
    assert 0 < of_theory.stress < random.stress < 1
    assert random.alpha < 0.3 < of_theory.alpha
    fits = random.models.values()
    assert random.cfi == pytest.approx(np.mean([fit.cfi for fit in fits]))
    assert random.srmr == pytest.approx(np.mean([fit.srmr for fit in fits]))


def test_people_without_an_answer_are_left_out_of_the_structure():
    complete = answers(1.0)
    more = np.vstack([complete, np.where(np.arange(len(KEYS)) == 3, np.nan, complete[:2] * 0 + 1)])
    assert structure(more, KEYS).stress == structure(complete, KEYS).stress


@pytest.mark.parametrize("dissimilarity", ["rows", "correlation"])
def test_stress_depends_on_the_order_of_answers_alone(dissimilarity):
    given = answers(1.0)
    once = stress(given, KEYS, dissimilarity)
    assert stress(np.exp(given), KEYS, dissimilarity) == pytest.approx(once)
    assert stress(given[:, ::-1], KEYS[::-1], dissimilarity) == pytest.approx(once, abs=1e-3)


def test_alpha_is_the_mean_of_centred_answers():
    given = answers(1.0)
    index = pd.MultiIndex.from_product(
        [[0], ["topic"], range(50), range(1, 41)], names=["seed", "context", "persona", "item"]
    )
    table = pd.DataFrame({"score": given.ravel()}, index=index).reset_index()
    assert mean_alpha(given, KEYS) == pytest.approx(cronbach_alpha(table, PVQ, centred=True).mean())


MODELS = pd.DataFrame({"a": [0.9, 0.5, 0.1], "b": [0.8, 0.6, 0.7], "c": [0.0, 0.2, 0.2]}, index=["x", "y", "z"])


def test_boards_by_hand():
    assert cardinal_scores(MODELS).round(4).tolist() == [0.5667, 0.4333, 0.3333]
    # x wins 2, 2 and 0 of 2; y wins 1, 0 and one and a half; z wins 0, 1 and one and a half.
    assert win_rates(MODELS).tolist() == pytest.approx([4 / 6, 2.5 / 6, 2.5 / 6])
    # Rank sums 7, 5.5, 5.5 about 6: squares 1.5; 12 * 1.5 / (9 * 24 - 3 * 6).
    assert concordance(MODELS) == pytest.approx(18 / 198)


def test_columns_agree_wholly_or_not_at_all():
    same = pd.DataFrame({"a": [1, 2, 3], "b": [2, 4, 9]})
    assert concordance(same) == 1
    assert concordance(same.assign(b=[9, 4, 2])) == 0
    assert math.isnan(concordance(same * 0))


def test_sensitivity_is_the_largest_change_of_place():
    # Without c the order is as before: 0.85, 0.55, 0.4. Without a it is 0.4, 0.4, 0.45: the last is the first of three.
    assert cardinal_sensitivity(MODELS, {"c": ["c"]}) == 0
    assert cardinal_sensitivity(MODELS, {"a": ["a"], "c": ["c"]}) == 1
    assert ordinal_sensitivity(MODELS) == 0
    # x wins 3 of 5 columns, y 3 halves and 2; without z, x wins 3 of 5 and y 2.
    orders = pd.DataFrame({name: [3, 2, 1] if name in "abc" else [1, 3, 2] for name in "abcde"}, index=["x", "y", "z"])
    assert ordinal_sensitivity(orders) == 0.5
    assert math.isnan(ordinal_sensitivity(MODELS.iloc[:2]))


def test_random_models_win_half_of_the_time_and_have_no_order():
    columns = pd.DataFrame(np.random.default_rng(1).normal(size=(12, 40)))
    assert win_rates(columns).mean() == pytest.approx(0.5)
    assert win_rates(columns).between(0.3, 0.7).all()
    assert concordance(columns) < 0.1
