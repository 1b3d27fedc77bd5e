"""Results of the published code in all of its layouts, against the definitions computed by plain loops."""

import json
import math
from itertools import combinations, pairwise

import numpy as np
import pytest

from tests.support.composed import compose_run
from valstab.analysis.load import load_runs
from valstab.inputs.task import load_task
from valstab.statistics.psychometrics import cronbach_alpha
from valstab.statistics.stability import (
    ipsative,
    neutral_order,
    neutral_profile,
    neutral_similarity,
    rank_order,
    value_behaviour,
)

LETTERS = "ABCDEF"
PVQ, DONATION = (load_task(compose_run(f"task={name}").task) for name in ("pvq", "donation"))
LAYOUTS = ("names", "descriptions")


def write(folder, options, *, engine, task, name, people, layout, theme, seed, n_messages):
    """Write the results.json of one context and seed: `options` has a row of options (from 1) a person."""
    scores = np.array(task.scores)[options - 1]
    key_items = {key: [i for i, item in enumerate(task.items) if item.key == key] for key in task.keys}
    if layout == "names":
        population = people
        kind = {"simulated_population_type": "permutations" if people[0] is None else "tolkien_characters"}
    else:
        described = [None if each is None else f"{each}, of Middle-earth" for each in people]
        population = [
            {"name": each or "CHATBOT", "description": text, "gender": "M"}
            for each, text in zip(people, described, strict=True)
        ]
        kind = {"simulated_population_config": "personas/tolkien_characters/personas.json"}
    args = {
        "engine": engine,
        "simulated_conversation_theme": theme,
        "permute_options_seed": seed,
        "simulated_conversation_n_messages": n_messages,
        **kind,
    }
    content = {
        "args": args,
        "params": args,
        "simulated_population": population,
        "per_simulated_participant_metrics": [
            {name: {key: float(np.mean(row[items])) for key, items in key_items.items()}} for row in scores
        ],
        "answers": [{name: [[LETTERS[o % 6], int(o)] for o in row]} for row in options],
    }
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")


def scored(options, task, *, exact):
    """Return a list of scores for each person: floats as the published code computes them, or whole 120ths."""
    rows = np.array(task.scores, dtype=int)[options - 1]
    items = [[i for i, item in enumerate(task.items) if item.key == key] for key in task.keys]
    if not exact:
        return [[float(row[of_key].mean() - (row.mean() * task.centred)) for of_key in items] for row in rows]
    means = [int(row.sum()) * 3 * task.centred for row in rows]  # 3 = 120 / 40 items
    return [
        [int(row[of_key].sum()) * 120 // len(of_key) - mean for of_key in items]
        for row, mean in zip(rows, means, strict=True)
    ]


def ranked(values):
    return [sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values]


def rho(one, other):
    """Spearman's rho; 0 where a side is constant."""
    one, other = ([rank - (len(side) + 1) / 2 for rank in ranked(side)] for side in (one, other))
    squares = sum(rank**2 for rank in one) * sum(rank**2 for rank in other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / math.sqrt(squares) if squares else 0.0


def column(rows, place):
    return [row[place] for row in rows]


def alpha(options, items):
    """Cronbach's alpha over persons of answers centred on each person's mean; None where their sum does not vary."""
    centred = options[:, items] - options.mean(axis=1)[:, None]
    total = centred.sum(axis=1).var(ddof=1)
    k = len(items)
    return None if total < 1e-15 else k / (k - 1) * (1 - centred.var(axis=0, ddof=1).sum() / total)


class Data:
    """Random results of one model: values and coins after conversations, values without, and repetitions."""

    def __init__(self, folder, number):
        """Draw and write them, small: there are many."""
        rng = np.random.default_rng(number)
        self.model = f"model{number}"
        self.layout = LAYOUTS[number % 2]
        self.people = [f"Person {i}" for i in range(rng.integers(3, 8))]
        self.contexts = [f"topic{i}" for i in range(rng.integers(2, 5))]
        self.seeds = list(range(1, rng.integers(2, 4)))
        taste = rng.integers(1, 7, size=(len(self.people), 100))

        def drawn(task):
            noise = rng.integers(-2, 3, size=(len(self.people), len(task.items)))
            return np.clip(taste[:, : len(task.items)] + noise, 1, len(task.scores))

        grid = [(seed, context) for seed in self.seeds for context in self.contexts]
        self.values = {each: drawn(PVQ) for each in grid}
        self.coins = {each: drawn(DONATION) for each in grid}
        self.neutral = {seed: drawn(PVQ) for seed in self.seeds}
        self.repetitions = drawn(PVQ)
        tasks = [("values", self.values, PVQ, "pvq_auto"), ("coins", self.coins, DONATION, "tolkien_donation")]
        for place, of_one, task, name in tasks:
            for (seed, context), options in of_one.items():
                self._write(folder / place / f"{context}_{seed}", options, task, name, context, seed, 3)
        for seed, options in self.neutral.items():
            self._write(folder / "neutral" / str(seed), options, PVQ, "pvq_auto", None, seed, 0)
        nobody = [None] * len(self.people)
        self._write(folder / "nobody", self.repetitions, PVQ, "pvq_auto", None, 1, 0, nobody)

    def _write(self, folder, options, task, name, theme, seed, n_messages, people=None):
        write(
            folder, options, engine=self.model, task=task, name=name, people=people or self.people, layout=self.layout,
            theme=theme, seed=f"{seed}_seed", n_messages=n_messages,
        )  # fmt: skip

    def reference(self, *, exact):
        """Return the stabilities of each seed by plain loops over the definitions."""
        values = {each: scored(options, PVQ, exact=exact) for each, options in self.values.items()}
        coins = {each: scored(options, DONATION, exact=exact) for each, options in self.coins.items()}
        neutral = {seed: scored(options, PVQ, exact=exact) for seed, options in self.neutral.items()}
        nobody = scored(self.repetitions, PVQ, exact=exact)
        profile = np.mean([ranked(row) for row in nobody], axis=0).tolist()
        people, keys, races = range(len(self.people)), range(len(PVQ.keys)), range(len(DONATION.keys))
        pairs = list(combinations(self.contexts, 2))
        found = {name: [] for name in ("rank_order", "ipsative", "behaviour", "profile", "order")}
        for seed in self.seeds:
            at = {context: values[seed, context] for context in self.contexts}
            found["rank_order"].append(
                np.mean([[rho(column(at[a], k), column(at[b], k)) for a, b in pairs] for k in keys])
            )
            found["ipsative"].append(np.mean([[rho(at[a][p], at[b][p]) for a, b in pairs] for p in people]))
            found["behaviour"].append(
                [
                    np.mean(
                        [rho(column(at[c], k), column(coins[seed, c], race)) for c in self.contexts for race in races]
                    )
                    for k in keys
                ]
            )
            found["profile"].append(np.mean([rho(at[c][p], profile) for c in self.contexts for p in people]))
            found["order"].append(
                np.mean([rho(column(at[c], k), column(neutral[seed], k)) for c in self.contexts for k in keys])
            )
        return found


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_random_results_agree_with_the_definitions(part, tmp_path):
    every = [Data(tmp_path / str(number), number) for number in range(25 * part, 25 * (part + 1))]
    for exact, rounding in ((True, "nine_decimals"), (False, "none")):
        runs = load_runs(folders=[tmp_path], rounding=rounding)
        for data in every:
            kinds = {
                (run.task.name, run.n_messages, run.without_personas): run
                for run in runs
                if run.settings["model.name"] == data.model
            }
            values, coins = (kinds[task, 3, False].scores for task in ("pvq", "donation"))
            neutral, nobody = (kinds["pvq", 0, without].scores for without in (False, True))
            expected = data.reference(exact=exact)
            found = {
                "rank_order": rank_order(values).samples,
                "ipsative": ipsative(values).samples,
                "behaviour": value_behaviour(values, coins),
                "profile": neutral_similarity(values, neutral_profile(nobody)),
                "order": neutral_order(values, neutral),
            }
            for name, each in found.items():
                np.testing.assert_allclose(each.to_numpy(), expected[name], rtol=0, atol=1e-12, err_msg=name)
            alphas = cronbach_alpha(kinds["pvq", 3, False].answers, PVQ, centred=True)
            for key in PVQ.keys:
                items = [i for i, item in enumerate(PVQ.items) if item.key == key]
                of_each = [alpha(options, items) for options in data.values.values()]
                defined = [each for each in of_each if each is not None]
                assert alphas[key] == pytest.approx(np.mean(defined), abs=1e-12, rel=1e-12)


def test_without_rounding_scores_that_are_equal_in_exact_arithmetic_are_ranked(tmp_path):
    """The same score is 1/3 - 7/40 - ... for two persons, of which floating point makes two numbers."""
    data = Data(tmp_path, 3)
    default, unrounded = ([*load_runs(folders=[tmp_path], rounding=each)] for each in ("nine_decimals", "none"))
    differ = 0
    for one, other in zip(default, unrounded, strict=True):
        assert other.rounding == "none"
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-7)
        flat = np.sort(other.scores.to_numpy().ravel())
        assert all(gap == 0 or gap > 1.9e-9 for gap in (b - a for a, b in pairwise(flat)))
        differ += len(np.unique(other.scores)) - len(np.unique(one.scores.round(9)))
    assert data.seeds
    assert differ > 0
