"""Every stability again, from saved answers alone."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.protocol.plan import make_plan
from valstab.run import run

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.mark.slow
def test_rescoring_gives_the_runs_own_numbers_and_nothing_else(valstab, launch_folder):
    config = compose_run("model=random", "population.limit=6", "seeds=[0,1]")
    run(config, make_plan(config), launch_folder / "results")
    answers = launch_folder / "results" / "answers.parquet"
    result = valstab(f"answers={answers}", "task=pvq", module="valstab.rescore")
    assert result.stderr == ""
    assert result.stdout == (launch_folder / "results" / "stability.json").read_text(encoding="utf-8")


@pytest.mark.slow
def test_five_columns_are_enough(valstab, launch_folder):
    random = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [range(5), [f"topic{i}" for i in range(5)], [f"persona{i}" for i in range(60)], range(1, 41)],
        names=["seed", "context", "persona", "item"],
    )
    table = pd.DataFrame({"score": random.integers(1, 7, len(index))}, index=index).reset_index()
    table.to_parquet(launch_folder / "mine.parquet")
    result = valstab("answers=mine.parquet", module="valstab.rescore")
    document = json.loads(result.stdout)
    assert document["queries"] == 60_000
    assert abs(document["rank_order"]) < 0.05
    assert document["answer_mass"] is None
    assert sorted(path.name for path in launch_folder.iterdir()) == ["mine.parquet", "mlflow.db"]


@pytest.mark.slow
def test_undefined_correlations_can_be_left_out(valstab, launch_folder):
    index = pd.MultiIndex.from_product(
        [[0], ["a", "b", "c", "d"], ["x", "y"], range(1, 6)], names=["seed", "context", "persona", "item"]
    )
    # x and y are alike in context d, in order in the others: of six correlations three are 1, three are undefined.
    table = index.to_frame(index=False).assign(score=[*[1] * 5, *[2] * 5] * 3 + [3] * 10)
    table.to_parquet(launch_folder / "mine.parquet")
    arguments = ("answers=mine.parquet", "task=religion")
    assert json.loads(valstab(*arguments, module="valstab.rescore").stdout)["rank_order"] == 0.5
    document = json.loads(valstab(*arguments, "undefined=drop", module="valstab.rescore").stdout)
    assert (document["rank_order"], document["rank_order_undefined_fraction"]) == (1, 0.5)
    reason = "everybody got the same score on a value in one of the contexts (50.0%)"
    assert document["why_undefined"] == {"rank_order": reason}


@pytest.mark.slow
def test_a_stability_of_which_most_is_undefined_is_no_number(valstab, launch_folder):
    index = pd.MultiIndex.from_product(
        [[0], ["a", "b"], ["x", "y"], range(1, 6)], names=["seed", "context", "persona", "item"]
    )
    table = index.to_frame(index=False).assign(score=3)
    table.to_parquet(launch_folder / "mine.parquet")
    document = json.loads(valstab("answers=mine.parquet", "task=religion", module="valstab.rescore").stdout)
    numbers = ("rank_order", "rank_order_se", "rank_order_low", "rank_order_chance", "rank_order_p")
    assert [document[name] for name in numbers] == [None] * 5
    assert document["rank_order_undefined_fraction"] == 1
    assert document["why_undefined"]["rank_order"].endswith("in one of the contexts (100%)")
