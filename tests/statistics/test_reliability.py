"""Noise ceilings, the correction for attenuation, and variance components, by hand and with known truth."""

import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.score_arrays import BY_HAND, SHROUT_FLEISS, labelled, random_scores
from valstab.statistics.reliability import corrected, dependability, generalisability, variance_components
from valstab.statistics.stability import ipsative, rank_order

# The three orders of BY_HAND, as three seeds of one context.
SEEDS = labelled(BY_HAND.transpose("context", "seed", "persona", "key"))


def test_the_seed_ceiling_by_hand():
    # As between the contexts of BY_HAND: -1/3 on one key, 1 on the other.
    found = corrected(SEEDS, "rank_order")["seed"]
    assert found.per_context.values == pytest.approx([1 / 3])
    assert found.ceiling.value == pytest.approx(1 / 3)


def test_the_seed_ceiling_is_stability_across_contexts_with_the_two_swapped():
    scores = random_scores((3, 4, 6, 5))
    swapped = labelled(scores.transpose("context", "seed", "persona", "key"))
    for measure, stability in (("rank_order", rank_order), ("ipsative", ipsative)):
        found = corrected(scores, measure)["seed"]
        assert found.ceiling.value == pytest.approx(stability(swapped).mean)
        assert found.per_context.values == pytest.approx(stability(swapped).per_seed.values)


def test_the_order_ceiling_by_hand():
    # Every context against the order 123: 1, 0.5 and -1 on the first key, 1 on the second.
    again = BY_HAND.isel(context=[0, 0, 0]).assign_coords(context=BY_HAND["context"])
    found = corrected(BY_HAND, "rank_order", again=again)["order"]
    assert found.per_context.values == pytest.approx([1, 0.75, 0])
    assert corrected(BY_HAND, "rank_order", again=BY_HAND)["order"].ceiling.value == 1
    # The personas' two keys: tied (left out), then in order or turned round.
    assert corrected(BY_HAND, "ipsative", again=BY_HAND, undefined="drop")["order"].ceiling.value == 1


def test_other_people_can_not_be_a_second_asking():
    others = BY_HAND.assign_coords(persona=["x", "y", "z"])
    with pytest.raises(ValueError, match="align"):
        corrected(BY_HAND, "rank_order", again=others)


# Two seeds, two contexts: the orders 123 and 123, then 132 and 123.
TWO_SEEDS = labelled([[[[1], [2], [3]], [[1], [2], [3]]], [[[1], [3], [2]], [[1], [2], [3]]]])


def test_correction_for_attenuation_by_hand():
    # r12 = (1 + 0.5) / 2; the ceilings are rho(123, 132) = 0.5 and rho(123, 123) = 1.
    found = corrected(TWO_SEEDS, "rank_order")["seed"]
    assert (found.stability.value, found.ceiling.value) == (pytest.approx(0.75), pytest.approx(0.75))
    assert found.per_context.values == pytest.approx([0.5, 1])
    assert found.corrected.value == pytest.approx(0.75 / math.sqrt(0.5))
    expected = [[math.nan, found.corrected.value], [found.corrected.value, math.nan]]
    assert found.pairs.values == pytest.approx(np.array(expected), nan_ok=True)


def test_correction_needs_ceilings_above_zero():
    # In the first context the second seed turns the order round.
    scores = TWO_SEEDS.copy()
    scores[1, 0, :, 0] = [3, 2, 1]
    found = corrected(scores, "rank_order")["seed"]
    assert found.per_context.values == pytest.approx([-1, 1])
    assert math.isnan(found.corrected.value)
    assert math.isnan(found.corrected.se)
    assert found.stability.value == 0


def test_there_are_as_many_ceilings_as_ways_to_ask_again():
    one_seed = TWO_SEEDS.isel(seed=[0])
    assert corrected(one_seed, "rank_order") == {}
    assert list(corrected(one_seed, "rank_order", again=one_seed)) == ["order"]
    both = corrected(TWO_SEEDS, "rank_order", again=TWO_SEEDS)
    assert list(both) == ["seed", "order"]
    # Asked again it answers the same: nothing to correct.
    assert both["order"].ceiling.value == 1
    assert both["order"].corrected.value == pytest.approx(both["order"].stability.value)


def test_correction_finds_the_truth_behind_the_noise():
    # Persona 1, persona by context 0.5, noise 1: between contexts r = 1/2.5, within one 1.5/2.5; rho is 6/pi asin(r/2).
    rng = np.random.default_rng(0)

    def part(variance, *shape):
        return math.sqrt(variance) * rng.normal(size=shape)

    stable = part(1, 1, 1, 30, 32) + part(0.5, 1, 3, 30, 32)
    scores, again = (labelled(stable + part(1, 3, 3, 30, 32)) for _ in range(2))
    r12, r11 = (6 / math.pi * math.asin(r / 2) for r in (1 / 2.5, 1.5 / 2.5))
    for found in corrected(scores, "rank_order", again=again).values():
        assert found.stability.value == pytest.approx(r12, abs=0.06)
        assert found.ceiling.value == pytest.approx(r11, abs=0.06)
        for share in (found.corrected, found.kept):
            assert share.value == pytest.approx(r12 / r11, abs=0.06)
            assert share.low < r12 / r11 < share.high
            assert 0 < share.se < 0.1
        assert found.cost.low > 0


def components(scores) -> dict[str, float]:
    table = variance_components(scores)
    return dict(zip(table["effect"], table["variance"], strict=True))


# Person means 1.5 and 6.5 (MS 25), context means 2.5 and 5.5 (MS 9), what is left is 1 or -1 (MS 4).
TINY = labelled([[[[1], [4]], [[2], [9]]]])


def test_variance_components_by_hand():
    table = variance_components(TINY)
    assert table["effect"].tolist() == ["persona", "context", "persona x context"]
    # (25 - 4) / 2, (9 - 4) / 2 and 4, of 17 in all.
    assert table["variance"].tolist() == pytest.approx([10.5, 2.5, 4])
    assert table["share"].tolist() == pytest.approx([10.5 / 17, 2.5 / 17, 4 / 17])
    assert not table["clipped"].any()


def test_generalisability_by_hand():
    table = variance_components(TINY)
    assert generalisability(table, {"context": 2}) == pytest.approx(10.5 / (10.5 + 4 / 2))
    assert generalisability(table, {"context": 8}) == pytest.approx(10.5 / (10.5 + 4 / 8))
    more = pd.DataFrame(
        {
            "effect": [
                "persona",
                "context",
                "seed",
                "context x seed",
                "persona x context",
                "persona x seed",
                "persona x context x seed",
            ],
            "variance": [3, 100, 100, 100, 2, 1, 4],
        }
    )
    # 3 / (3 + 2/4 + 1/5 + 4/20): what personas share changes no order of theirs.
    assert generalisability(more, {"context": 4, "seed": 5}) == pytest.approx(3 / 3.9)
    for sizes in ({"context": 4}, {"context": 4, "seed": 0}):
        with pytest.raises(ValueError, match="seed"):
            generalisability(more, sizes)
    more["variance"] = 0
    assert math.isnan(generalisability(more, {"context": 4, "seed": 5}))


def test_negative_estimates_become_zero_and_are_told():
    # Only the interaction: MS 0, 0 and 1, so -0.5 for persona and context.
    table = variance_components(labelled([[[[0], [1]], [[1], [0]]]]))
    assert table["variance"].tolist() == [0, 0, 1]
    assert table["share"].tolist() == [0, 0, 1]
    assert table["clipped"].tolist() == [True, True, False]


def test_no_variance_has_no_shares():
    table = variance_components(labelled(np.ones((2, 2, 3, 2))))
    assert table["variance"].tolist() == [0] * 7
    assert table["share"].isna().all()


def test_estimates_are_averaged_over_keys_before_they_are_clipped():
    # Key 0 is TINY; key 1 has -0.5, -0.5 and 1.
    both = labelled([[[[1, 0], [4, 1]], [[2, 1], [9, 0]]]])
    assert components(both) == pytest.approx({"persona": 5, "context": 1, "persona x context": 2.5})


def rest(y, factors) -> float:
    """Sum of squares that dummy variables of these combinations of factors leave, by least squares."""
    columns = [np.ones(len(y))]
    for names in factors:
        codes = pd.factorize(pd.MultiIndex.from_arrays(names) if len(names) > 1 else names[0])[0]
        columns += list(np.eye(codes.max() + 1)[codes].T)
    design = np.column_stack(columns)
    return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum())


def test_agrees_with_an_analysis_of_variance_by_least_squares():
    scores = labelled(np.random.default_rng(3).normal(size=(2, 3, 4, 1)) + np.arange(4)[:, None])
    s, c, p = (axis.ravel() for axis in np.indices((2, 3, 4)))
    y = scores.values.ravel()
    one = {"p": [p], "c": [c], "s": [s]}
    two = {"pc": [p, c], "ps": [p, s], "cs": [c, s]}
    ms = {name: (rest(y, []) - rest(y, [factor])) for name, factor in one.items()}
    ms = {name: ms[name] / (len(set(one[name][0])) - 1) for name in one}
    for name, factor in two.items():
        low = [one[name[0]], one[name[1]]]
        freedom = np.prod([len(set(each)) - 1 for each in factor])
        ms[name] = (rest(y, low) - rest(y, [*low, factor])) / freedom
    ms["pcs"] = rest(y, list(two.values())) / (3 * 2 * 1)
    expected = {
        "persona": (ms["p"] - ms["pc"] - ms["ps"] + ms["pcs"]) / 6,
        "context": (ms["c"] - ms["pc"] - ms["cs"] + ms["pcs"]) / 8,
        "seed": (ms["s"] - ms["ps"] - ms["cs"] + ms["pcs"]) / 12,
        "persona x context": (ms["pc"] - ms["pcs"]) / 2,
        "persona x seed": (ms["ps"] - ms["pcs"]) / 3,
        "context x seed": (ms["cs"] - ms["pcs"]) / 4,
        "persona x context x seed": ms["pcs"],
    }
    table = variance_components(scores)
    assert dict(zip(table["effect"], table["variance"], strict=True)) == pytest.approx(
        {name: max(0, value) for name, value in expected.items()}
    )
    assert table["clipped"].tolist() == [value < 0 for value in expected.values()]


def synthetic(variances, sizes, seed=0) -> xr.DataArray:
    """Draw scores that are the sum of independent normal effects with these variances; dimension key: replications."""
    rng = np.random.default_rng(seed)
    total = xr.DataArray(0.0)
    for effect, variance in variances.items():
        dims = ["key", *effect.split(" x ")]
        total = total + xr.DataArray(rng.normal(0, math.sqrt(variance), [sizes[dim] for dim in dims]), dims=dims)
    return total


def test_known_components_are_found():
    truth = {
        "persona": 1.0,
        "context": 0.4,
        "seed": 0.1,
        "persona x context": 0.5,
        "persona x seed": 0.2,
        "context x seed": 0.3,
        "persona x context x seed": 0.8,
    }
    # The mean of 200 replications: within 10 %, some three times its standard error.
    found = components(synthetic(truth, {"persona": 12, "context": 6, "seed": 6, "key": 200}))
    assert found == pytest.approx(truth, rel=0.1, abs=0.06)


def test_a_fourth_source_and_dimensions_with_one_level():
    truth = {
        "persona": 1.0,
        "persona x context": 0.5,
        "persona x order": 0.3,
        "persona x context x seed x order": 0.8,
    }
    scores = synthetic(truth, {"persona": 12, "context": 4, "seed": 3, "order": 3, "key": 100})
    found = components(scores)
    assert len(found) == 15
    assert {name: found[name] for name in truth} == pytest.approx(truth, rel=0.15)
    assert sum(found.values()) - sum(found[name] for name in truth) < 0.05
    assert list(components(scores.isel(seed=[0], order=[0]))) == ["persona", "context", "persona x context"]


def test_personas_with_missing_scores_are_left_out():
    holes = xr.concat([TINY, TINY.isel(persona=[0]).assign_coords(persona=["third"])], "persona")
    holes[0, 1, 2, 0] = math.nan
    assert components(holes) == components(TINY)
    with pytest.raises(ValueError, match="two personas"):
        variance_components(holes.isel(persona=[0, 2]))


tables = arrays(
    float, st.tuples(st.just(1), *[st.integers(2, 4)] * 2, st.just(1)), elements=st.integers(-9, 9).map(float)
)


@given(tables)
def test_generalisability_over_contexts_is_cronbachs_alpha(values):
    # Hoyt (1941): with the contexts as items of a test, they are the same number.
    contexts = values[0, :, :, 0]
    k, total = len(contexts), contexts.sum(axis=0).var(ddof=1)
    table = variance_components(labelled(values))
    assume(total > 0 and not table["clipped"].iloc[0])
    alpha = k / (k - 1) * (1 - contexts.var(axis=1, ddof=1).sum() / total)
    assert generalisability(table, {"context": k}) == pytest.approx(alpha, abs=1e-9)


def test_dependability_by_hand_and_as_published():
    # Of TINY: 10.5, and 2.5 + 4 as error, over two contexts half of it.
    components = variance_components(TINY)
    assert dependability(components, {"context": 1}) == pytest.approx(10.5 / 17)
    assert dependability(components, {"context": 2}) == pytest.approx(10.5 / 13.75)
    # Shrout & Fleiss (1979), tables 2 and 4: ICC(2,1) = .29 and ICC(2,4) = .62.
    published = variance_components(labelled(SHROUT_FLEISS.T[None, :, :, None]))
    assert dependability(published, {"context": 1}) == pytest.approx(0.29, abs=0.005)
    assert dependability(published, {"context": 4}) == pytest.approx(0.62, abs=0.005)
    with pytest.raises(ValueError, match="context"):
        dependability(components, {})
    assert math.isnan(dependability(variance_components(TINY * 0), {"context": 2}))
