"""The letter's and the option's share in the answers, by hand and where it is known which of them decides."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare, norm

from valstab.statistics.position import position_bias, position_effect


def lettered(*rows) -> pd.DataFrame:
    """Answers of (chosen letter, letters of the options, probability of each option)."""
    return pd.DataFrame(
        [
            {"letter": letter, "letters": letters, **{f"logprob_{i}": math.log(p) for i, p in enumerate(given, 1)}}
            for letter, letters, given in rows
        ]
    )


FOUR = lettered(("A", "AB", (0.8, 0.2)), ("A", "BA", (0.3, 0.6)), ("A", "AB", (0.5, 0.4)), ("B", "BA", (0.7, 0.1)))


def test_position_bias_by_hand():
    a, b = position_bias(FOUR).to_dict("records")
    # A: 3 of 4 where 2 are expected. Chi-square 1/2 + 1/2 = 1 with one degree of freedom, p = 0.3173.
    assert (a["letter"], a["share"], a["expected"], a["difference"]) == ("A", 0.75, 0.5, 0.25)
    assert (b["letter"], b["share"], b["expected"], b["difference"]) == ("B", 0.25, 0.5, -0.25)
    assert a["p"] == b["p"] == pytest.approx(0.31731, abs=1e-5)
    # A stood for the first option, the second, the first, the second.
    assert a["probability"] == pytest.approx((0.8 + 0.6 + 0.5 + 0.1) / 4)
    assert b["probability"] == pytest.approx((0.2 + 0.3 + 0.4 + 0.7) / 4)


def test_chance_is_uniform_over_what_was_offered():
    two = lettered(("B", "BA", (0.5, 0.5))).assign(logprob_3=math.nan)
    three = lettered(("C", "CAB", (0.6, 0.3, 0.1)))
    table = position_bias(pd.concat([two, three])).set_index("letter")
    assert table["expected"].to_dict() == pytest.approx({"A": 5 / 12, "B": 5 / 12, "C": 1 / 6})
    assert table["share"].to_dict() == {"A": 0, "B": 0.5, "C": 0.5}
    assert table["probability"].to_dict() == pytest.approx({"A": 0.4, "B": 0.3, "C": 0.6})


def test_p_is_that_of_the_normal_test_of_a_share():
    rng = np.random.default_rng(0)
    letters = rng.choice(list("ABCDEF"), size=600, p=[0.3, 0.14, 0.14, 0.14, 0.14, 0.14])
    answers = lettered(*((letter, "FACEBD", [1 / 6] * 6) for letter in letters))
    table = position_bias(answers).set_index("letter")
    for letter in "ABCDEF":
        z = ((letters == letter).sum() - 100) / math.sqrt(600 * 1 / 6 * 5 / 6)
        assert table.loc[letter, "p"] == pytest.approx(2 * norm.sf(abs(z)))
    assert table.loc["A", "p"] < 1e-6


def test_unread_answers_are_left_out_and_unknown_probabilities_stay_unknown():
    unread = lettered(("A", "AB", (1, 1))).assign(letter=None, logprob_1=math.nan, logprob_2=math.nan)
    assert position_bias(pd.concat([FOUR, unread])).equals(position_bias(FOUR))
    (a, _) = position_bias(unread).to_dict("records")
    assert [a["letter"], *map(math.isnan, list(a.values())[1:])] == ["A", *[True] * 5]
    sampled = FOUR.assign(logprob_1=math.nan, logprob_2=math.nan)
    assert position_bias(sampled)["share"].tolist() == [0.75, 0.25]
    assert position_bias(sampled)["probability"].isna().all()


def asked(choose, *, options=6, shape=(2, 3, 6, 8), random=0) -> pd.DataFrame:
    """Answers in the shape (seed, context, persona, item).

    `choose` maps the generator, and the letter (0-based) of each option, of the shape (..., options), to the option.
    """
    rng = np.random.default_rng(random)
    names = ["seed", "context", "persona", "item"]
    answers = pd.MultiIndex.from_product([range(size) for size in shape], names=names).to_frame(index=False)
    letter_of = rng.permuted(np.broadcast_to(np.arange(options), (*shape, options)), axis=-1)
    option = np.broadcast_to(choose(rng, letter_of), shape)
    alphabet = np.array(list("ABCDEF"))
    answers["letters"] = ["".join(row) for row in alphabet[letter_of].reshape(-1, options)]
    answers["letter"] = alphabet[np.take_along_axis(letter_of, option[..., None], axis=-1)].ravel()
    return answers


def at_random(rng, letter_of):
    return rng.integers(letter_of.shape[-1], size=letter_of.shape[:-1])


def by_content(rng, letter_of):
    """Each persona answers an item the same in every context, with every seed."""
    return rng.integers(letter_of.shape[-1], size=letter_of.shape[2:4])


def of_three_letters(rng, letter_of):
    """One of the first three letters, whatever stands there."""
    wanted = rng.integers(3, size=letter_of.shape[:-1])
    return (letter_of == wanted[..., None]).argmax(axis=-1)


def same_for_all(rng, letter_of):
    """Everybody answers an item the same."""
    return rng.integers(letter_of.shape[-1], size=letter_of.shape[3])


def test_the_effect_by_hand():
    # One persona and item in two contexts with two seeds: AA and AB in letters; options 1 2 and 1 1.
    answers = pd.DataFrame(
        {
            "persona": "p",
            "item": 1,
            "context": ["c", "c", "d", "d"],
            "letter": ["A", "A", "A", "B"],
            "letters": ["AB", "BA", "AB", "BA"],
        }
    )
    effect = position_effect(answers)
    assert effect[:3] == (0.5, 0.5, 0.5)
    # Of the 16 ways in which 4 letters fall, 10 are at least as uneven as 3 and 1.
    assert effect.p == pytest.approx(10 / 16, abs=0.02)
    # One seed: the pairs are of contexts. One context: nothing is asked twice.
    assert position_effect(answers.iloc[[1, 3]])[:3] == (0, 0, 0.5)
    assert math.isnan(position_effect(answers.iloc[[0]]).same_letter)
    assert not position_effect(answers.iloc[[0]]).dominates
    assert all(map(math.isnan, position_effect(answers.assign(letter=None))))


@pytest.mark.parametrize("shape", [(2, 3, 12, 20), (1, 3, 12, 20), (1, 1, 60, 20)])
def test_shares_where_the_letter_or_the_option_decides(shape):
    letters = position_effect(asked(of_three_letters, shape=shape))
    assert letters.dominates
    assert letters.p == 1 / 10_000
    assert letters.same_letter == pytest.approx(1 / 3, abs=0.04)
    assert letters.same_option == pytest.approx(1 / 6, abs=0.04)
    for options in (2, 6):
        content = position_effect(asked(same_for_all, options=options, shape=shape))
        assert content.same_option == 1
        assert content.same_letter == pytest.approx(1 / options, abs=0.04)
        assert not content.dominates


def test_the_excess_is_the_square_of_cramers_v():
    # Of one item and many answers the share of equal letters is Σp², and chi-square / (n (k - 1)) is V².
    answers = asked(of_three_letters, shape=(1, 1, 3000, 1))
    effect = position_effect(answers, resamples=9)
    v2 = chisquare(answers["letter"].value_counts().reindex(list("ABCDEF"), fill_value=0)).statistic / (3000 * 5)
    assert (effect.same_letter - effect.chance) / (1 - effect.chance) == pytest.approx(v2, abs=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("options", [2, 6])
@pytest.mark.parametrize("choose", [at_random, by_content, same_for_all])
def test_answers_that_ignore_the_letter_seldom_seem_to_follow_it(choose, options):
    effects = [position_effect(asked(choose, options=options, random=run), resamples=499) for run in range(100)]
    # Of 100 at 5%, more than 10 are found with probability 0.01.
    assert sum(effect.p < 0.05 for effect in effects) <= 10
    assert sum(effect.dominates for effect in effects) <= (10 if choose is at_random else 0)


@pytest.mark.parametrize("options", [2, 6])
def test_a_letter_preferred_by_half_the_answers_is_found_beside_content(options):
    def mostly_first(share):
        def choose(rng, letter_of):
            first = (letter_of == 0).argmax(axis=-1)
            return np.where(rng.random(first.shape) < share, first, by_content(rng, letter_of))

        return choose

    strong, weak = (position_effect(asked(mostly_first(share), options=options)) for share in (0.8, 0.2))
    assert strong.dominates
    assert not weak.dominates
    # Both are there: the smaller one is seen, but is not said to be the larger.
    assert weak.same_option > weak.same_letter
