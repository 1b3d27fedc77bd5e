"""One run, divided among workers by seeds and contexts, comes together as one."""

import mlflow
import pytest

from valstab.cli import composed
from valstab.config import ConfigError
from valstab.parts import together
from valstab.plan import make_plan
from valstab.run import run

SMALL = ("model=random", "population.limit=3", "topics.names=[joke,chess,poem]", "seeds=[4,9]", "retests=1")
FILES = ("answers.parquet", "retests.parquet", "conversations.jsonl", "profiles.csv", "stability.json")


def test_parts_share_out_seeds_and_contexts():
    whole = make_plan(composed(*SMALL)).encounters
    parts = [make_plan(composed(*SMALL, "parts=4", f"part={number}")).encounters for number in range(1, 5)]
    assert sorted(each.labels for part in parts for each in part) == sorted(each.labels for each in whole)
    places = [{(each.seed, each.context.name) for each in part} for part in parts]
    # Six pairs of seed and context, dealt out in turn.
    assert places == [{(4, "joke"), (9, "chess")}, {(4, "chess"), (9, "poem")}, {(4, "poem")}, {(9, "joke")}]


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_a_divided_run_is_the_undivided_one_byte_for_byte(launcher, valstab, launch_folder):
    alone = valstab(*SMALL, "store.path=null")
    assert alone.returncode == 0, alone.stderr
    divided = valstab("-m", *SMALL, "parts=3", "part=range(1,4)", f"hydra/launcher={launcher}", "store.path=null")
    assert divided.returncode == 0, divided.stderr
    assert "3 FINISHED" in divided.stdout
    (one,) = launch_folder.glob("outputs/*/*/results")
    (other,) = launch_folder.glob("multirun/*/*/whole")
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    client = mlflow.MlflowClient(f"sqlite:///{launch_folder}/mlflow.db")
    runs = client.search_runs(["1"], "metrics.queries > 0", order_by=["attributes.start_time"])
    assert [each.info.run_name for each in runs] == ["random · fictional_characters · pvq · n=3"] * 2
    undivided, whole = runs
    for name in ("rank_order", "rank_order_se", "ipsative", "queries", "generated_tokens", "reused_answers"):
        assert whole.data.metrics[name] == undivided.data.metrics[name]
    # The parts and the whole belong to the sweep's run.
    parent = whole.data.tags["mlflow.parentRunId"]
    family = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert sorted(each.info.run_name.partition(" · part ")[2] for each in family) == ["", "1 of 3", "2 of 3", "3 of 3"]


def test_several_divided_runs_in_one_sweep(valstab, launch_folder):
    command = valstab("-m", *SMALL, "n_messages=1,3", "parts=2", "part=1,2")
    assert command.returncode == 0, command.stderr
    names = sorted(path.name for path in launch_folder.glob("multirun/*/*/whole*/"))
    assert names == ["whole_1", "whole_2"]


def test_a_missing_part_is_named(launch_folder):
    config = composed(*SMALL, "parts=2", "part=1")
    run(config, make_plan(config), launch_folder / "one")
    with pytest.raises(ConfigError, match=r"no part has \(4, 'chess', 'Gandalf'\); there are 1"):
        together(make_plan(composed(*SMALL)), [launch_folder / "one"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["parts=0"], "parts=0: must be at least 1"),
        (["parts=2"], r"part=null: must be 1 to 2; all: -m part=range\(1,3\)"),
        (["parts=2", "part=3"], r"part=3: must be 1 to 2 \(parts\)"),
        (["parts=7", "part=1"], "parts=7: must be at most 6, the number of seeds times contexts"),
    ],
)
def test_a_division_that_can_not_be_made(overrides, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(composed(*SMALL, *overrides))
