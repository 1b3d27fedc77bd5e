"""Drift within a conversation: curves worked out by hand, known half-lives, and what chance gives."""

from functools import partial
from itertools import permutations

import numpy as np
import pytest
import xarray as xr
from scipy.special import ndtr
from scipy.stats import spearmanr

from valstab.statistics.drift import Curve, along, at, chance, curve_means, curves, decay_rate, half_life, rate_of
from valstab.statistics.jackknife import Interval, estimate, interval, jackknife

FIRST, TOPICS, NEUTRAL = Curve("rank_order", "first"), Curve("rank_order", "topics"), Curve("ipsative", "neutral")
LENGTHS = [0, 1, 3, 7, 11, 23, 43]


def labelled(values, lengths) -> xr.DataArray:
    """Return values of the shape (length, order, seed, context, persona, key) with labels."""
    dims = ("length", "order", "seed", "context", "persona", "key")
    return xr.DataArray(values, {"length": lengths, "persona": list("abcdefghijkl")[: values.shape[4]]}, dims)


def world(half_life: float, *, people=12, contexts=3, items=40, seed=0) -> xr.DataArray:
    """Answer as `valstab.engines.control` does, twice: the share of the variance that stays halves in `half_life`."""
    rng = np.random.default_rng(seed)
    stays = rng.standard_normal((people, items))
    scores = np.empty((len(LENGTHS), 2, 1, contexts, people, 10))
    for row, length in enumerate(LENGTHS):
        kept = 2 ** (-length / half_life)
        for context in range(contexts):
            varies = rng.standard_normal((people, items))
            answers = np.floor(ndtr(np.sqrt(kept) * stays + np.sqrt(1 - kept) * varies) * 6)
            scores[row, :, 0, context] = answers.reshape(people, 10, -1).mean(-1)
    return labelled(scores, LENGTHS)


def test_lengths_are_compared_between_different_orders():
    rng = np.random.default_rng(1)
    scores = labelled(rng.normal(size=(2, 2, 1, 1, 6, 1)), [1, 3])
    found = along(scores, FIRST).isel(seed=0, context=0, key=0)
    x = scores.isel(seed=0, context=0, key=0).to_numpy()
    rho = lambda one, other: spearmanr(one, other).statistic  # noqa: E731
    assert found.sel(length=1).item() == pytest.approx(rho(x[0, 0], x[0, 1]))
    assert found.sel(length=3).item() == pytest.approx((rho(x[0, 0], x[1, 1]) + rho(x[0, 1], x[1, 0])) / 2)
    once = along(scores.isel(order=[0]), FIRST).isel(seed=0, context=0, key=0)
    assert np.isnan(once.sel(length=1))
    assert once.sel(length=3).item() == pytest.approx(rho(x[0, 0], x[1, 0]))


def test_a_preference_for_letters_looks_like_stability_in_one_order_only():
    rng = np.random.default_rng(2)
    by_order = rng.normal(size=(1, 2, 1, 5, 12, 10))  # what the first letter of each question says
    scores = labelled(np.repeat(by_order, 3, axis=0), [1, 3, 7])
    once, twice = (curve_means(some, [FIRST]) for some in (scores.isel(order=[0]), scores))
    assert once[at(FIRST, 7)] == pytest.approx(1)
    assert twice[at(FIRST, 7)] == pytest.approx(0, abs=0.15)


def test_previous_is_the_next_shorter_conversation():
    scores = labelled(np.random.default_rng(3).normal(size=(4, 1, 1, 1, 1, 5)), [0, 1, 3, 7])
    found = along(scores, Curve("ipsative", "previous")).squeeze()
    x = scores.squeeze().to_numpy()
    assert found["length"].to_numpy().tolist() == [3, 7]
    expected = [spearmanr(x[1], x[2]).statistic, spearmanr(x[2], x[3]).statistic]
    np.testing.assert_allclose(found, expected)


def test_points_from_the_neutral_profile():
    neutral, asked_again = [1.0, 2.0, 3.0], [1.0, 2.0, 3.6]
    later, later_again = [2.0, 2.0, 3.0], [1.0, 2.0, 6.0]
    values = np.array([[neutral, asked_again], [later, later_again]]).reshape(2, 2, 1, 1, 1, 3)
    found = along(labelled(values, [0, 1]), Curve("points", "neutral")).squeeze()
    # Between the two neutral ones 0.2; later ones are 1, 3, 1.6 and 2.4 off in sum, over three keys.
    np.testing.assert_allclose(found, [0.2, (1 + 3 + 1.6 + 2.4) / 4 / 3])


def test_a_decay_is_fitted():
    assert decay_rate({n: 0.7 * 2 ** (-n / 8) for n in (3, 7, 11, 43)}) == pytest.approx(1 / 8, abs=1e-5)
    assert decay_rate({n: 0.1 * 2 ** (n / 20) for n in (1, 7, 43)}) == pytest.approx(-1 / 20, abs=1e-5)
    assert decay_rate({1: 0.4, 3: 0.4, 7: 0.4}) == 0
    assert np.isnan(decay_rate({3: 0.5}))


@pytest.mark.parametrize(
    ("rate", "expected"),
    [((0.125, 0.1, 0.2), (8, 5, 10)), ((0.05, -0.1, 0.2), (20, 5, np.inf)), ((-0.1, -0.2, -0.05), (np.inf,) * 3)],
)
def test_a_half_life_is_the_inverse_of_a_rate(rate, expected):
    found = half_life(Interval(*rate, se=0.1, df=5, p=0.5))
    assert tuple(found) == pytest.approx(expected)


def test_the_half_lives_of_a_known_world_are_found():
    # Two answers share the root of the product of their shares: towards the first length it halves in 2 x 8 messages.
    known = {FIRST: 16, TOPICS: 8, NEUTRAL: 16}
    scores = world(8)
    studies = jackknife(scores, partial(curve_means, some=list(known)))
    for curve, truth in known.items():
        found = half_life(interval(estimate(studies[rate_of(curve)])))
        assert found.low < truth < found.high < np.inf, curve
        assert chance(scores, curve, resamples=99)[3].p == 0.01


def test_an_answer_at_random_has_no_stability_at_any_length():
    scores = labelled(np.random.default_rng(4).normal(size=(5, 2, 1, 3, 12, 6)), [0, 1, 3, 7, 11])
    nulls = [null.p for curve in curves(scores) for null in chance(scores, curve, resamples=199).values()]
    assert len(nulls) == 2 * (4 + 3 + 5 + 4) + 5
    assert min(nulls) > 0.05 / len(nulls)
    assert np.mean(nulls) == pytest.approx(0.5, abs=0.15)


def test_chance_exchanges_people_with_all_that_they_answered():
    scores = labelled(np.random.default_rng(5).normal(size=(2, 2, 1, 2, 4, 3)), [1, 3])
    later = scores.sel(length=[3])
    exchanged = [
        xr.concat(
            [scores.sel(length=[1]), later.isel(persona=list(order)).assign_coords(persona=later["persona"])], "length"
        )
        for order in permutations(range(4))
    ]
    possible = [curve_means(each, [FIRST])[at(FIRST, 3)] for each in exchanged]
    null = chance(scores, FIRST, resamples=4000)[3]
    assert null.mean == pytest.approx(np.mean(possible), abs=0.01)
    assert null.p == pytest.approx(np.mean(np.array(possible) >= possible[0] - 1e-9), abs=0.03)
    alike = chance(scores, FIRST, strata=["M", "F", "M", "F"], resamples=4000)[3]
    within = [
        value for value, order in zip(possible, permutations(range(4)), strict=True) if {order[0], order[2]} == {0, 2}
    ]
    assert alike.mean == pytest.approx(np.mean(within), abs=0.01)


def test_a_curve_that_needs_what_is_not_there_is_left_out():
    scores = world(8).sel(length=[1, 3])
    alone = scores.isel(context=[0], persona=[0])
    assert curves(alone) == [Curve("ipsative", "first"), Curve("ipsative", "previous")]
    assert len(curves(scores)) == 6
