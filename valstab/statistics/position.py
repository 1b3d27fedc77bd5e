"""Dependence of the answers on the letter, beside that on the option under it.

Options stand under random letters: what an answer owes to its letter (its position) shows apart from what it owes to
its content. Pure functions of a run's answers (`valstab.protocol.ask.ask`).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtrc

from valstab.statistics.resampling import ALPHA

CELLS = (("persona", "item", "context"), ("persona", "item"), ("item",))
"""Columns of the answers that should agree, narrowest first."""


Offer = tuple[str, ...]
"""The labels of a question's options, in the order of the scale."""


@lru_cache(maxsize=1 << 16)
def offered_labels(letters: str) -> Offer:
    """Return the label that offered each option of a question, from its cell in the column letters.

    Labels of one character stand beside each other, longer ones with a space between.

    Example:
        >>> offered_labels("BCA"), offered_labels("10 2 1")
        (('B', 'C', 'A'), ('10', '2', '1'))
    """
    return tuple(letters.split(" ") if " " in letters else letters)


def orders_vary(answers: pd.DataFrame) -> bool:
    """Return whether questions with the same number of options have them in different orders.

    Otherwise a preference for a place can't be told from one for an option.

    Args:
        answers: with the column letters.
    """
    orders = {offered_labels(str(letters)) for letters in answers["letters"].unique()}
    return len(orders) > len({len(order) for order in orders})


class PositionEffect(NamedTuple):
    """How often two answers to the same agree in the letter and in the option; NaN where nothing is asked twice."""

    same_letter: float
    """Share of the pairs of answers with the same letter, between 0 and 1."""
    same_option: float
    """Share of the pairs with the same option."""
    chance: float
    """What both are for random answers: 1 / number of options."""
    p: float
    """p-value of the letters' shares, if answers did not depend on the letter; NaN without answers."""

    @property
    def dominates(self) -> bool:
        """Whether answers depend on the letter beyond chance, and more than on the option."""
        return self.p <= ALPHA and self.same_letter > self.same_option


def position_effect(answers: pd.DataFrame, *, resamples: int = 9999, seed: int = 0) -> PositionEffect:
    """Compare how far answers follow the letter with how far they follow the option (Zheng et al. 2024).

    The pairs are of the same persona, item and context with other seeds; where there is one seed, of the same persona
    and item; where these are asked once, of the same item. The normalised excess over chance of such a share,
    (share - chance) / (1 - chance), estimates the square of Cramér's V against equal shares without bias.

    p is of a permutation test: for answers that don't depend on the letter, redrawing every question's order gives
    each letter the same chance. The statistic is chi-square over the letters.

    Args:
        answers: with the columns persona, item, context, letter, letters. Those without a letter are left out.
        resamples: how often orders are redrawn.
        seed: of these.
    """
    given = answers[answers["letter"].notna()]
    if given.empty:
        return PositionEffect(math.nan, math.nan, math.nan, math.nan)
    offers, which = _offers(given)
    options = [offers[offer].index(letter) for offer, letter in zip(which.tolist(), given["letter"], strict=True)]
    table = given.assign(option=options, chance=np.array([1 / len(offer) for offer in offers])[which])
    p = _p_of_letters(given["letter"].astype(str), offers, which, resamples, seed)
    for columns in CELLS:
        cell = table.groupby(list(columns), sort=False)
        sizes = cell.size()
        pairs = sizes * (sizes - 1)
        if pairs.sum():
            letter, option = (_same_pairs(table, [*columns, name]) / pairs.sum() for name in ("letter", "option"))
            return PositionEffect(letter, option, float((cell["chance"].mean() * pairs).sum() / pairs.sum()), p)
    return PositionEffect(math.nan, math.nan, math.nan, p)


def position_bias(answers: pd.DataFrame) -> pd.DataFrame:
    """Compare how often each letter is chosen with chance; options stand under random letters.

    Args:
        answers: with the columns letter, letters and logprob_1, logprob_2, ... Those without a letter are left out.

    Returns:
        One row for each letter that was offered: letter, share (of the answers), expected (under uniform choice of what
        was offered), difference, p (chi-square test of the share, 1 degree of freedom; orders are drawn for each
        question, so it holds however answers depend on the content), probability (mean, where it is known, of the
        letter where it was offered). NaN where there are no answers.
    """
    offers, which = _offers(answers)
    alphabet = _alphabet(offers)
    probabilities = _letter_probabilities(answers, offers, which, alphabet)
    given = answers["letter"].notna().to_numpy()
    number = int(given.sum())
    rows = []
    for letter in alphabet:
        chosen = int((answers["letter"] == letter).sum())
        chance = pd.Series(np.array([(letter in offer) / len(offer) for offer in offers])[which[given]])
        share = chosen / number if number else math.nan
        expected = float(chance.mean())
        by_chance = float(chance.sum())
        p = math.nan
        if 0 < by_chance < number:
            deviation = (chosen - by_chance) ** 2
            p = float(chdtrc(1, deviation / by_chance + deviation / (number - by_chance)))
        rows.append((letter, share, expected, share - expected, p, probabilities[letter]))
    return pd.DataFrame(rows, columns=["letter", "share", "expected", "difference", "p", "probability"])


def _letter_probabilities(
    answers: pd.DataFrame, offers: Sequence[Offer], which: NDArray[np.intp], alphabet: list[str]
) -> dict[str, float]:
    """Average each letter's probability; `letters` says under which letter each option of the scale stood."""
    columns = sorted(
        (name for name in answers if str(name).startswith("logprob_")), key=lambda name: int(str(name).split("_")[1])
    )
    probabilities = np.exp(answers[columns].to_numpy(dtype=float))
    widest = len(columns)
    if not widest:
        return dict.fromkeys(alphabet, math.nan)
    under = np.array([(offer + ("",) * widest)[:widest] for offer in offers]).reshape(-1, widest)
    known = ~np.isnan(probabilities)
    found = {letter: probabilities[(under == letter)[which] & known] for letter in alphabet}
    return {letter: float(values.mean()) if len(values) else math.nan for letter, values in found.items()}


def _offers(answers: pd.DataFrame) -> tuple[list[Offer], NDArray[np.intp]]:
    """Return the different orders of labels, in the order of the answers, and the number of each answer's.

    There are few among many answers: 720 orders of six options.
    """
    which, cells = pd.factorize(answers["letters"].astype(str), use_na_sentinel=False)
    return [offered_labels(str(cell)) for cell in cells], which


def _alphabet(offers: Iterable[Offer]) -> list[str]:
    """Return all labels that were offered, in order: A, B, ... or 1, 2, ..., 10, ..."""
    return sorted({label for offer in offers for label in offer}, key=lambda label: (len(label), label))


def _same_pairs(table: pd.DataFrame, columns: list[str]) -> float:
    """Count the ordered pairs of rows that agree in some columns."""
    sizes = table.groupby(columns, sort=False).size()
    return float((sizes * (sizes - 1)).sum())


def _p_of_letters(
    chosen: pd.Series, offers: Sequence[Offer], which: NDArray[np.intp], resamples: int, seed: int
) -> float:
    """Test whether the chosen letters are uniform draws from the offered ones."""
    rng = np.random.default_rng(seed)
    alphabet = _alphabet(offers)
    # Chance has no order: a random draw for each set of labels, in the order of the answers.
    numbers: Counter[frozenset[str]] = Counter()
    for offer, number in zip(offers, np.bincount(which, minlength=len(offers)).tolist(), strict=True):
        numbers[frozenset(offer)] += number
    observed = chosen.value_counts().reindex(alphabet, fill_value=0).to_numpy(dtype=float)
    expected, drawn = np.zeros(len(alphabet)), np.zeros((resamples, len(alphabet)))
    for labels, number in numbers.items():
        probability = np.isin(alphabet, list(labels)) / len(labels)
        expected += number * probability
        drawn += rng.multinomial(number, probability, size=resamples)
    distance, by_chance = (((counts - expected) ** 2 / expected).sum(axis=-1) for counts in (observed, drawn))
    return float((1 + (by_chance >= distance - 1e-9).sum()) / (1 + resamples))
