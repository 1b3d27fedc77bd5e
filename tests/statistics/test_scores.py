"""From answers to scores."""

import itertools

import numpy as np
import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.errors import ConfigError
from valstab.inputs.task import load_task
from valstab.statistics.scores import score


def answers(task, value, seeds=(0,), contexts=("joke", "chess"), personas=("Ada", "Bob")):
    """Answer every item with `value(seed, context, persona, item)`."""
    rows = itertools.product(seeds, contexts, personas, [item.number for item in task.items])
    return pd.DataFrame(
        [(*row, float(value(*row))) for row in rows], columns=["seed", "context", "persona", "item", "score"]
    )


@pytest.fixture(scope="module")
def pvq():
    return load_task(compose_run().task)


def test_a_value_is_its_items_mean_minus_the_mean_over_all_forty_items(pvq):
    # Power has the items 2, 17 and 39. One person answers 6 to these and 1 to the other 37: the mean over all 40
    # answers is (3 * 6 + 37) / 40 = 1.375, not the mean of the ten values, (6 + 9) / 10 = 1.5.
    scores = score(answers(pvq, lambda seed, context, persona, item: 6 if item in {2, 17, 39} else 1), pvq)
    person = scores.sel(seed=0, context="joke", persona="Ada")
    assert person.sel(key="Power").item() == pytest.approx(4.625)
    assert person.sel(key="Security").item() == pytest.approx(-0.375)


def test_centring_is_within_a_person_and_a_context(pvq):
    level = {("Ada", "joke"): 1, ("Ada", "chess"): 3, ("Bob", "joke"): 5, ("Bob", "chess"): 6}
    scores = score(answers(pvq, lambda seed, context, persona, item: level[persona, context]), pvq)
    assert not scores.any()


def test_coins_are_averaged_by_race_and_not_centred():
    donation = load_task(compose_run("task=donation").task)
    # The items 1 to 20 are elves, 21 to 40 dwarves.
    scores = score(
        answers(donation, lambda seed, context, persona, item: 10 if item <= 20 else 2 * (item == 21)), donation
    )
    person = scores.isel(seed=0, context=0, persona=0)
    assert person.sel(key="elf").item() == 10
    assert person.sel(key="dwarf").item() == pytest.approx(0.1)
    assert person.sel(key="orc").item() == 0


def test_labels_come_in_order_of_appearance_and_rows_in_any(pvq):
    random = np.random.default_rng(0)
    table = answers(pvq, lambda *_: random.integers(1, 7), seeds=(3, 1), contexts=("poem", "joke", "chess"))
    scores = score(table, pvq)
    assert scores.dims == ("seed", "context", "persona", "key")
    assert scores["seed"].values.tolist() == [3, 1]
    assert scores["context"].values.tolist() == ["poem", "joke", "chess"]
    assert scores["key"].values.tolist() == list(pvq.keys)
    shuffled = score(table.sample(frac=1, random_state=1), pvq)
    assert shuffled.sel(scores.coords).equals(scores)


def test_answers_that_could_not_be_read_are_left_out(pvq):
    table = answers(pvq, lambda *_: 3)
    # Ada, joke: item 7 is a 6, and of Conformity's other items (16, 28, 36) two have no answer; Power has none at all.
    place = {item: item - 1 for item in (7, 16, 28, 2, 17, 39)}
    table["score"] = table["score"].astype(float)
    table.loc[place[7], "score"] = 6
    table.loc[[place[item] for item in (16, 28, 2, 17, 39)], "score"] = np.nan
    scores = score(table, pvq).sel(seed=0, context="joke", persona="Ada")
    mean = (34 * 3 + 6) / 35
    assert float(scores.sel(key="Conformity")) == pytest.approx((6 + 3) / 2 - mean)
    assert float(scores.sel(key="Tradition")) == pytest.approx(3 - mean)
    assert np.isnan(scores.sel(key="Power"))


def test_answers_that_are_not_complete_are_refused(pvq):
    table = answers(pvq, lambda *_: 3)
    with pytest.raises(ConfigError, match=r"\(seed 0, joke, Bob, item 40\): is missing"):
        score(table.drop(index=79), pvq)
    with pytest.raises(ConfigError, match=r"\(seed 0, joke, Ada, item 2\): is there twice"):
        score(pd.concat([table, table.iloc[[1]]]), pvq)
    for wrong in ([np.inf] * 160, ["3"] * 160, [True] * 160):
        with pytest.raises(ConfigError, match="score: must be finite numbers"):
            score(table.assign(score=wrong), pvq)
    with pytest.raises(ConfigError, match="there must be at least one"):
        score(table.iloc[:0], pvq)
    with pytest.raises(ConfigError, match="persona: may not be empty"):
        score(table.assign(persona=[None, *table["persona"][1:]]), pvq)
    with pytest.raises(ConfigError, match="item 41: is unknown; pvq has the items 1 to 40"):
        score(table.assign(item=table["item"].replace(40, 41)), pvq)
