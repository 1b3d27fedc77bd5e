"""What is printed of simulated boards whose truth is known: each claim is false in at most 5% of them."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import binom, spearmanr

from tests.support import synthetic
from valstab.analysis.runs import Runs
from valstab.compare import diagnostics, tables
from valstab.compare.diagnostic_sentences import describe_diagnostics
from valstab.compare.sentences import describe_behaviour, describe_board, describe_length, describe_models
from valstab.compare.stabilities import Stabilities, stabilities
from valstab.statistics.inference import expected_rho
from valstab.statistics.jackknife import estimate, interval, jackknifed_stability, p_against
from valstab.statistics.resampling import StabilitySpec

DESIGNS = ((5, 3, 1), (5, 4, 2), (6, 3, 2), (8, 3, 1), (10, 3, 2))
"""Numbers of people, topics and seeds."""

KEYS = 3
CORRELATION = 0.4
"""Of people between topics, in models that are stable."""

RANK_ORDER = StabilitySpec("rank_order", "zero", without_personas=False)


class Board(NamedTuple):
    """Simulated models on the same people, topics and seeds."""

    chance: tuple[str, ...]
    """Those that answer at random; the others are equally stable."""
    runs: Runs
    found: Stabilities


def models(
    rng: np.random.Generator,
    correlations: list[float],
    *,
    design: tuple[int, int, int] | None = None,
    moved: float | None = None,
) -> Iterator[xr.DataArray]:
    """Draw normal scores of models with these correlations of people between topics; people and topics are shared.

    Topics move people with the variance `moved`. With a correlation of 0 the scores are rounded, so that there are ties.
    """
    personas, contexts, seeds = design or DESIGNS[rng.integers(len(DESIGNS))]
    moved = rng.choice([0.0, 0.3]) if moved is None else moved
    shared = rng.normal(size=(personas, KEYS)), rng.normal(size=(contexts, personas, KEYS))
    names = {
        "seed": list(range(seeds)),
        "context": [f"t{i}" for i in range(contexts)],
        "persona": [f"p{i}" for i in range(personas)],
        "key": [f"k{i}" for i in range(KEYS)],
    }
    for correlation in correlations:
        stable, topic = ((part + rng.normal(size=part.shape)) / math.sqrt(2) for part in shared)
        noise = rng.normal(size=(seeds, contexts, personas, KEYS))
        parts = (correlation, stable), (moved * (correlation > 0), topic)
        left = 1 - sum(variance for variance, _ in parts)
        scores = sum(math.sqrt(variance) * part for variance, part in (*parts, (left, noise)))
        yield xr.DataArray(scores if correlation else scores.round(1), names, synthetic.NAMES)


def boards(number: int, seed: int, share: float) -> Iterator[Board]:
    """Draw boards of two or three models; each model answers at random with a probability of `share`."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        correlations = [0.0 if rng.random() < share else CORRELATION for _ in range(rng.integers(2, 4))]
        labels = [f"m{i}" for i in range(len(correlations))]
        runs = Runs(tuple(map(synthetic.run, labels, models(rng, correlations))))
        chance = tuple(label for label, correlation in zip(labels, correlations, strict=True) if not correlation)
        yield Board(chance, runs, stabilities(runs, "rank_order", "zero", resamples=99))


def false_claims(board: Board) -> set[str]:
    """Return the kinds of false claims among everything that is said of a board."""
    stable = {run.label for run in board.runs} - set(board.chance)
    table, tests = board.found.ranked()
    references = {} if board.chance else {"truth": CORRELATION}
    said = describe_models(board.found, "rank_order", references)
    differ = tests.loc[tests["significant"], ["one", "other"]].isin(stable)
    lengths = board.found.table.assign(label="m", n_messages=range(1, len(table) + 1))
    checks = {
        "leads": "most stable" in describe_board("", table, tests) and (len(stable) != 1),
        "highest is stable": "more stable than chance" in said[0] and said[0].split(" ")[0] in board.chance,
        "differ": bool((differ["one"] == differ["other"]).any()),
        "human": any(f"{place} it: " in sentence for sentence in said for place in ("below", "above")),
        "length": len(stable) in {0, len(table)}
        and "beyond chance" in describe_length(replace(board.found, table=lengths), "stability")[0],
        "appraised as stable": any(
            f"{chance} (n=3)" in sentence and "it is more stable than chance" in sentence
            for sentence in describe_diagnostics(appraised(board.found.table), "stability")
            for chance in board.chance
        ),
    }
    return {name for name, false in checks.items() if false}


def appraised(table: pd.DataFrame) -> diagnostics.Diagnostics:
    """Return an appraisal of stabilities alone."""
    nothing = dict.fromkeys(diagnostics.Diagnostics.__dataclass_fields__, pd.DataFrame())
    return diagnostics.Diagnostics(**{**nothing, "stability": table})


def most(number: int) -> int:
    """Return the count that claims with a chance of 5% exceed with a probability of 1%."""
    return int(binom.ppf(0.99, number, 0.05))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "share"), [(250, 1.0), (150, 0.0), (100, 0.5)])
def test_what_is_said_of_a_board_is_seldom_false(number, share):
    counts = Counter(claim for board in boards(number, int(10 * share), share) for claim in false_claims(board))
    assert all(count <= most(number) for count in counts.values()), counts


@pytest.mark.slow
def test_what_is_true_of_a_board_is_said():
    rng = np.random.default_rng(0)
    said = Counter()
    for _ in range(8):
        scores = models(rng, [0.9, 0.3, 0.9], design=(20, 5, 2), moved=0.0)
        runs = Runs(tuple(map(synthetic.run, ("high", "low", "again"), scores)))
        found = stabilities(Runs(runs.runs[:2]), "rank_order", "zero", resamples=99)
        all_of_it = " ".join(describe_models(found, "rank_order", {"humans": 0.6}))
        lengths = found.table.assign(label="m", n_messages=[1, 2])
        said["leads"] += "high (0." in all_of_it and "is the most stable" in all_of_it
        said["humans"] += "below it: low; above it: high." in all_of_it
        said["length"] += "beyond chance" in describe_length(replace(found, table=lengths), "stability")[0]
    assert all(count >= 7 for count in said.values()), said
    assert len(said) == 3


@pytest.mark.slow
def test_topics_that_do_nothing_are_seldom_said_to_cost_something():
    rng = np.random.default_rng(1)
    counts = Counter()
    for number in range(60):
        # Half of the models answer at random: they have no ceiling either.
        correlation, design = CORRELATION * (number % 2), DESIGNS[1:3][number % 4 // 2]
        (scores,) = models(rng, [correlation], design=design, moved=0.0)
        run = synthetic.run("m", scores)
        found = stabilities([run], "rank_order", "zero", resamples=99)
        row = diagnostics.noise_ceilings(run, "rank_order")
        if not correlation:
            row |= diagnostics.structure(run, "rank_order")
        said = describe_diagnostics(appraised(found.table.assign(**row)), "stability")
        counts["keeps"] += any("a change of topic keeps" in sentence for sentence in said)
        if not correlation:
            counts["ceiling"] += row["ceiling_low"] > 0
            counts["generalisable"] += any("generalisability" in sentence for sentence in said)
    assert counts["keeps"] <= most(60)
    assert max(counts["ceiling"], counts["generalisable"]) <= most(30)


@pytest.mark.slow
def test_coins_are_seldom_said_to_follow_values_that_have_nothing_to_do_with_them():
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(60):
        values, coins = models(rng, [0.0, 0.0])
        coins = coins.assign_coords(key=["elf", "orc", "human"])
        both = Runs((synthetic.run("m", values), synthetic.run("m", coins, task="donation")))
        (said, *_) = describe_behaviour(tables.correlations_with_behaviour(both, []))
        found += not said.startswith("m: not told from 0")
    assert found <= most(60)


def test_the_mean_correlation_among_few_people():
    # Of two people rho is 1 or -1: the chance of the same order is 1/2 + arcsin(r) / pi (Sheppard 1898).
    assert expected_rho(0.5, 2) == pytest.approx(2 * (1 / 2 + 1 / 6) - 1)
    # Among all people: 6 / pi arcsin(r / 2) (Pearson 1907).
    assert expected_rho(0.5, 10**9) == pytest.approx(6 / math.pi * math.asin(0.25))
    pairs = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=(1500, 6))
    rho = [spearmanr(pair[:, 0], pair[:, 1]).statistic for pair in pairs]
    assert expected_rho(0.7, 6) == pytest.approx(np.mean(rho), abs=4 * np.std(rho) / math.sqrt(1500))


def test_p_against_a_correlation_is_that_of_the_interval():
    found = interval(estimate(jackknifed_stability(synthetic.scores(personas=8), RANK_ORDER)), correlation=True)
    for limit in (found.low, found.high):
        assert p_against(found, limit) == pytest.approx(0.05)
    assert p_against(found, found.value) == 1
    assert p_against(found._replace(se=math.nan), 0.0) == 1


def test_below_humans_is_below_what_they_would_have_among_as_few_people():
    run = synthetic.run("m", synthetic.scores(persona=1, noise=1.2, contexts=4, personas=6, seeds=2))
    found = stabilities([run], "rank_order", "zero", resamples=9)
    mean = found.table["mean"].item()
    # A correlation that six people bring down to about this stability is nowhere near told from it.
    (row,) = found.beside({"near": mean + 0.08}, "rank_order").to_dict("records")
    assert expected_rho(row["reference"], 6) == row["expected"] < row["reference"]
    assert row["place"] == ""
    heights = {"low": -0.9, "high": 0.99}
    both = found.beside(heights, "rank_order").set_index("name")
    assert both["place"].to_dict() == {"low": "above", "high": "below"}
    assert found.beside(heights, "ipsative")["expected"].tolist() == [-0.9, 0.99]
