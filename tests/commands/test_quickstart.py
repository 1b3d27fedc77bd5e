"""The main job on the embedded model, as a newcomer runs it."""

import json

import mlflow
import pandas as pd
import pytest

pytestmark = pytest.mark.slow
SMALL = ("population.limit=2", "topics.names=[joke,chess]", "seeds=[0]", "task=religion", "max_new_tokens=20")
"""4 conversations of 3 messages, and 20 questions."""


def results(folder):
    return sorted(folder.glob("outputs/*/*/results"))


def test_the_same_command_twice_gives_identical_results(valstab, launch_folder):
    for _ in range(2):
        command = valstab(*SMALL, "store.path=null")
        assert command.returncode == 0, command.stderr
    one, two = results(launch_folder)
    for name in ("answers.parquet", "conversations.jsonl", "profiles.csv", "stability.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_real_model_is_spared_what_it_did_before(valstab, launch_folder):
    first, again, longer = (valstab(*SMALL, *more) for more in ((), (), ("n_messages=5",)))
    assert [command.returncode for command in (first, again, longer)] == [0, 0, 0]
    assert "20 reused from the store" in again.stdout
    runs = mlflow.MlflowClient(f"sqlite:///{launch_folder}/mlflow.db").search_runs(["1"], order_by=["start_time"])
    counts = [[run.data.metrics[name] for name in ("reused_conversations", "reused_answers")] for run in runs]
    assert counts == [[0, 0], [4, 20], [0, 0]]
    tokens = [run.data.metrics["generated_tokens"] for run in runs]
    assert tokens[1] == 0
    assert tokens[2] > 0
    one, two, five = (
        [json.loads(line)["messages"] for line in (folder / "conversations.jsonl").open(encoding="utf-8")]
        for folder in results(launch_folder)
    )
    assert one == two == [messages[:4] for messages in five]


def test_quickstart_measures_a_real_model(valstab, launch_folder):
    command = valstab("+experiment=quickstart", "population.limit=3")
    assert command.returncode == 0, command.stderr
    for line in ("rank-order stability", "ipsative stability", "answer mass", "python -m valstab ui"):
        assert line in command.stdout
    (sweep,) = launch_folder.glob("multirun/*/*")
    table = pd.read_csv(sweep / "sweep.csv").set_index("model")
    assert table["status"].tolist() == ["FINISHED"] * 2
    # Only the control is known to be stable.
    assert table.loc["control_half", "ipsative"] > table.loc["control_half", "ipsative_chance"]
    folder = sweep / "0/results"
    answers = pd.read_parquet(folder / "answers.parquet")
    assert answers.groupby(["seed", "context", "persona"]).size().tolist() == [10] * (3 * 3)
    # The model does answer with letters, and not always the same.
    assert answers["answer_mass"].mean() > 0.9
    assert answers["letter"].nunique() > 1
    conversations = [json.loads(line) for line in (folder / "conversations.jsonl").open(encoding="utf-8")]
    assert all(len(conversation["messages"]) == 2 for conversation in conversations)
    first = {conversation["messages"][1]["text"] for conversation in conversations}
    assert len(first) > len(conversations) / 3
