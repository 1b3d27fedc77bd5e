"""Factors of items, against those that the keys say."""

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import orthogonal_procrustes

from tests.support.composed import compose_run
from valstab.inputs.task import load_task
from valstab.statistics.congruence import factor_congruence


@pytest.fixture(scope="module")
def big_five():
    return load_task(compose_run("task=ipip_50").task)


def answers(values):
    """Return the table of answers of the shape (contexts, people, items)."""
    contexts, people, items = values.shape
    index = pd.MultiIndex.from_product([[0], range(contexts), range(people), range(1, items + 1)])
    return pd.DataFrame(values.reshape(-1, 1), index, ["score"]).rename_axis(
        ["seed", "context", "persona", "item"]
    ).reset_index()  # fmt: skip


def simulated(task, rng, *, loading, people=60, contexts=3):
    """Answer from five independent traits, of which each item has one, and in another context by the same traits."""
    traits = rng.standard_normal((people, len(task.keys)))
    own = traits[:, [task.keys.index(item.key) for item in task.items]]
    noise = rng.standard_normal((contexts, people, len(task.items)))
    return answers(np.clip(np.round(3 + loading * own + np.sqrt(1 - loading**2) * noise), 1, 5))


def test_five_traits_are_recovered_as_five_factors(big_five):
    found = factor_congruence(simulated(big_five, np.random.default_rng(0), loading=0.6, people=200), big_five)
    assert found.p == 0.001
    assert found.of_keys.index.tolist() == list(big_five.keys)
    assert (found.of_keys > 0.95).all()


def test_one_habit_of_agreeing_is_not_taken_for_five_traits(big_five):
    # Everybody agrees as much with any item: the reversed half of the items correlates negatively with the others.
    rng = np.random.default_rng(0)
    agreeing = rng.standard_normal((1, 60, 1)) + rng.standard_normal((3, 60, 50))
    sign = np.array([-1 if item.reversed else 1 for item in big_five.items])
    found = factor_congruence(answers(sign * agreeing), big_five)
    assert found.mean < 0.7
    assert found.p > 0.05


def test_the_rotation_is_procrustes_and_the_congruence_is_tucker_s(big_five):
    table = simulated(big_five, np.random.default_rng(1), loading=0.4, people=20, contexts=1)
    wide = table.pivot_table(index="persona", columns="item", values="score").to_numpy()
    values, vectors = np.linalg.eigh(np.corrcoef(wide.T))
    loadings = (vectors * np.sqrt(np.clip(values, 0, None)))[:, ::-1][:, :5]
    target = np.array([[float(item.key == key) for key in big_five.keys] for item in big_five.items])
    rotation, _ = orthogonal_procrustes(loadings, target)
    turned = loadings @ rotation
    expected = [
        turned[:, k] @ target[:, k] / np.sqrt((turned[:, k] ** 2).sum() * (target[:, k] ** 2).sum()) for k in range(5)
    ]
    found = factor_congruence(table, big_five, resamples=0)
    assert found.of_keys.to_list() == pytest.approx(expected)


def test_nothing_is_said_where_nobody_differs(big_five):
    table = simulated(big_five, np.random.default_rng(1), loading=0.6, people=10, contexts=1)
    assert factor_congruence(table.assign(score=3.0), big_five) is None
    assert factor_congruence(table[table["persona"] < 2], big_five) is None
    constant = table.assign(score=table["score"].where(table["item"] != 1, 3.0))
    assert factor_congruence(constant, big_five).of_keys.notna().all()


@pytest.mark.slow
def test_random_answers_are_at_chance(big_five):
    rng = np.random.default_rng(0)
    p = [
        factor_congruence(simulated(big_five, rng, loading=0.0, people=20, contexts=2), big_five, resamples=99).p
        for _ in range(200)
    ]
    # Of 200 uniform p-values, 10 are expected at 0.05; 20 or more have a probability below 0.003 (binomial).
    assert np.sum(np.array(p) <= 0.05) < 20
    assert np.mean(p) == pytest.approx(0.5, abs=0.07)
