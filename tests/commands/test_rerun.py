"""A run that is made again from its folder alone, and whether it is the same."""

import json
import shutil
from dataclasses import asdict

import mlflow
import pandas as pd
import pytest
from omegaconf import OmegaConf

from tests.support.composed import compose_run
from valstab.commands.rerun import main, rerun
from valstab.config.compose import load_config
from valstab.config.engines import OpenaiConfig
from valstab.errors import ConfigError
from valstab.inputs.files import DATA
from valstab.protocol.plan import make_plan
from valstab.results.repetition import changed_provenance, differences
from valstab.results.saved_inputs import read_saved
from valstab.results.write import write_config
from valstab.run import run

pytestmark = pytest.mark.usefixtures("without_pictures")

OWN = ("model=random", "population.personas=people.csv", "topics.openings=talk.yaml", "task.items=mine.csv")
SMALL = ("topics.names=[tea,rain]", "seeds=[0]", "n_messages=1")


@pytest.fixture(scope="module")
def first(launch_template):
    """Make a run with files of one's own, then delete these; return the folder that it was started in."""
    (launch_template / "people.csv").write_text("name,gender\nAnn,F\nBob,M\nCy,M\n", encoding="utf-8")
    (launch_template / "talk.yaml").write_text("tea: Let us talk of tea.\nrain: It rains.\n", encoding="utf-8")
    (launch_template / "mine.csv").write_bytes((DATA / "portraits.csv").read_bytes())
    config = compose_run(*OWN, *SMALL)
    run(config, make_plan(config), launch_template / "first" / "results", command="python -m valstab ...")
    for name in ("people.csv", "talk.yaml", "mine.csv"):
        (launch_template / name).unlink()
    return launch_template


@pytest.fixture
def made(first, launch_folder):
    """Return the folder of a copy of the run."""
    shutil.copytree(first, launch_folder, dirs_exist_ok=True)
    return launch_folder / "first"


def test_a_run_is_made_again_from_its_folder_alone_and_is_the_same(made, launch_folder, capsys):
    results = made / "results"
    names = sorted(file.relative_to(results).as_posix() for file in (results / "inputs").rglob("*.*"))
    assert names == ["inputs/items/mine.csv", "inputs/openings/talk.yaml", "inputs/personas/people.csv"]
    assert (results / "prompt.txt").read_text("utf-8").startswith("[system]\nYou are Ann")
    main([str(made), "--to", "again"])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "the same            6 conversations, 240 answers and all stabilities"
    )
    for name in ("answers.parquet", "conversations.jsonl", "profiles.csv", "stability.json", "prompt.txt"):
        assert (launch_folder / "again" / name).read_bytes() == (results / name).read_bytes()
    (again,) = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("reruns").experiment_id])
    assert again.data.tags["rerun_of"] == str(results)
    # The new folder can be run again in its turn, and none is overwritten.
    assert read_saved(launch_folder / "again").population.personas == str(
        launch_folder / "again/inputs/personas/people.csv"
    )
    with pytest.raises(SystemExit) as taken:
        main([str(made), "--to", "again"])
    assert "has the results of another run" in str(taken.value)


def test_what_differs_is_named(made, launch_folder):
    results = made / "results"
    said = (results / "conversations.jsonl").read_text("utf-8").split("\n")
    record = json.loads(said[4])
    record["messages"][-1]["text"] = "changed"
    said[4] = json.dumps(record, ensure_ascii=False)
    (results / "conversations.jsonl").write_text("\n".join(said), "utf-8")
    answers = pd.read_parquet(results / "answers.parquet")
    answers.loc[7, "score"] = 7 - answers.loc[7, "score"]
    answers.loc[9, "logprob_1"] += 0.25
    answers.to_parquet(results / "answers.parquet", index=False)
    made_by = json.loads((results / "provenance.json").read_text("utf-8"))
    made_by["versions"]["torch"] = "1.0"
    (results / "provenance.json").write_text(json.dumps(made_by), "utf-8")
    conversation, answer, *others = rerun(results, launch_folder / "again")
    assert conversation == "1 of 6 conversations, the first: seed 0, rain, Bob"
    assert answer.startswith("1 of 240 answers choose another option; log-probabilities differ by 0.25 nats at most")
    (torch,) = [line for line in others if "torch" in line]
    assert torch.startswith("made by versions torch: 1.0, now ")
    assert changed_provenance(launch_folder / "again", launch_folder / "again") == []


def test_stabilities_are_compared(made, launch_folder):
    copy = launch_folder / "copy"
    shutil.copytree(made / "results", copy)
    document = json.loads((copy / "stability.json").read_text("utf-8"))
    document |= {"rank_order": 0.5, "ipsative": None}
    (copy / "stability.json").write_text(json.dumps(document), "utf-8")
    (line,) = differences(copy, made / "results")
    assert line.startswith("stabilities: rank_order 0.5, now ")
    assert "; ipsative -, now " in line


def test_what_can_not_be_made_again_is_a_line(made, launch_folder):
    with pytest.raises(ConfigError, match="holds no results"):
        rerun(launch_folder / "nowhere", launch_folder / "new")
    items = made / "results" / "inputs" / "items" / "mine.csv"
    items.write_text(items.read_text("utf-8").replace("the room agrees", "the house agrees"), "utf-8")
    with pytest.raises(ConfigError, match="has other questions than"):
        rerun(made, launch_folder / "new")
    assert not (launch_folder / "new").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=random", "n_messages=0", "topics.names=null"),
        ("model=random", "engine=vllm_server", "engine.url=http://h/v1", "+engine.body.seed=1"),
        ("model=smollm2_135m", "engine.cache_gib=1.5", "+model.template.enable_thinking=false"),
        ("model=smollm2_135m", "engine=vllm"),
        ("model=control_drifts", "engine.shift=1"),
    ],
)
def test_a_configuration_comes_back_from_its_file(overrides, tmp_path):
    config = compose_run(*overrides)
    write_config(config, tmp_path)
    again = load_config(tmp_path / "config.yaml")
    assert asdict(again) == asdict(config)
    if overrides[1] == "engine=vllm_server":
        assert isinstance(again.engine, OpenaiConfig)


def test_a_configuration_of_another_version_is_a_line(tmp_path):
    write_config(compose_run("model=random"), tmp_path)
    file = tmp_path / "config.yaml"
    saved = OmegaConf.load(file)
    del saved["option_order"]  # an older version did not have it
    OmegaConf.save(saved, file)
    assert load_config(file).option_order == "random"
    for key in ("newer", "engine"):
        OmegaConf.save(OmegaConf.merge(saved, {key: {"setting": 1}}), file)
        with pytest.raises(ConfigError, match="is not the configuration of a run of this version"):
            load_config(file)
