"""The experiment of the authors' leaderboard: on a random model of its full design, and small on the embedded one."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.support.composed import compose_run
from valstab.protocol.plan import make_plan
from valstab.run import run
from valstab.statistics.stability import rank_order

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures", "launch_folder")]

SEEDS = "seeds=[0,1,2,3,4,5]"
CHUNKS = [f"chunk_{number}" for number in range(5)]


def test_people_played_at_random_have_no_order_in_any_pair_of_contexts(tmp_path):
    parts = []
    for part in ("contexts", "svs"):
        config = compose_run("+experiment=leaderboard", "model=random", f"part={part}", SEEDS, "population.limit=12")
        parts.append(run(config, make_plan(config), tmp_path / part).scores)
    scores = xr.concat([each.transpose("seed", "context", "persona", "key") for each in parts], "context")
    assert scores.context.to_numpy().tolist() == ["no_conv", *CHUNKS, "chess", "grammar", "svs_no_conv"]
    stability = rank_order(scores)
    assert (~np.isnan(stability.pairs.to_numpy())).sum() / 2 == 36
    assert abs(stability.mean) < 2 * stability.se
    # The variance of one Spearman correlation of n people is 1 / (n - 1).
    expected = (1 / 11 / (6 * 36 * 10)) ** 0.5
    assert stability.se == pytest.approx(expected, rel=0.7)


def test_the_embedded_model_runs_all_kinds_of_contexts(valstab, launch_folder):
    values = compose_run().task.keys[:3]
    items = "".join(f"{number},{value},It is about {value}.\n" for number, value in enumerate(values, 1))
    (launch_folder / "few.csv").write_text(f"item,value,text\n{items}", encoding="utf-8")
    small = (
        "population.limit=2",
        "topics.names=[chunk_0,grammar]",
        "max_new_tokens=8",
        "task.n_items=3",
        "task.keys=null",
    )
    command = valstab("+experiment=leaderboard", *small, "task.items=few.csv")
    assert command.returncode == 0, command.stderr
    contexts, survey = sorted(launch_folder.glob("multirun/*/*/*/results"))
    talks = [json.loads(line) for line in (contexts / "conversations.jsonl").open(encoding="utf-8")]
    assert [(each["context"], len(each["messages"])) for each in talks] == [
        *[("no_conv", 0)] * 2,
        *[("chunk_0", 4)] * 2,
        *[("grammar", 4)] * 2,
    ]
    assert talks[2]["messages"][0] != talks[3]["messages"][0]
    answers = pd.read_parquet(survey / "answers.parquet")
    assert answers.context.unique().tolist() == ["svs_no_conv"]
    assert answers.score.between(-1, 7).all()
    assert answers.filter(like="logprob_").shape == (6, 9)
    methods = (contexts / "methods.md").read_text(encoding="utf-8")
    assert "simulated a human or, on grammar, another persona of the population" in methods
    assert "for each persona its own on chunk_0" in methods
    assert "in no_conv there was no conversation" in methods
