"""Estimates of what a run will take, against work of known cost."""

from dataclasses import astuple

import numpy as np
import pytest

from tests.support.composed import compose_run
from valstab.dry_run.cost_model import DialogueLengths, GenerationWork, attended, fit, generation_work, predict
from valstab.dry_run.estimate import estimate
from valstab.dry_run.sampling import measure_conversations
from valstab.engines.base import Cache, Usage, Window
from valstab.engines.factory import load_engine
from valstab.protocol.ask import ask_all
from valstab.protocol.converse import converse
from valstab.protocol.open_answers import answer_openly
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog, Store
from valstab.run import run

TOKENS = 20
"""Tokens of each message of the engine below."""


def test_costs_are_found_again():
    costs = np.array([3e-2, 1e-3, 4e-4, 2e-8])
    random = np.random.default_rng(0)
    work = [GenerationWork(*row) for row in random.uniform([10, 100, 1e3, 1e5], [100, 5e3, 1e5, 1e8], (8, 4))]
    seconds = [float(np.array(each) @ costs) for each in work]
    assert fit(work, seconds) == pytest.approx(costs)
    assert predict(work, fit(work, seconds)) == pytest.approx(sum(seconds))


def test_costs_are_zero_where_unmeasured_and_never_negative():
    # The second message takes less time although it generates more: no cost of a token can be below zero.
    costs = fit([GenerationWork(10, 100, 0, 0), GenerationWork(10, 200, 0, 0)], [1.0, 0.9])
    assert costs.min() == 0
    assert costs[2:].tolist() == [0, 0]


def test_tokens_attend_to_all_before_them():
    # A prompt of 3 tokens, of which 2 are encoded now (from 1 to 3), then 2 generated (from 3 to 5).
    assert attended(3, 2, 2) == (9 - 1) / 2 + (25 - 9) / 2


def test_the_work_of_a_message():
    dialogue = DialogueLengths(first=(50, 60), replies=(10, 20), frame=5)
    # The tested model's second prompt: its first, both replies, and a frame around each.
    assert dialogue.prompt(2) == 50 + 10 + 20 + 2 * 5
    assert generation_work(dialogue, 0, rows=4, steps=15, cache_tokens=1000)[:3] == (15, 40, 200)
    # Kept: of each row as much is encoded as the longest of the other's messages, of 25 tokens, makes new.
    assert generation_work(dialogue, 2, rows=4, steps=25, cache_tokens=1000).encoded == 4 * (25 + 2 * 5)
    assert generation_work(dialogue, 2, rows=4, steps=15, cache_tokens=0).encoded == 4 * 90
    # Both speakers' prompts of 50 and 60 tokens fill the cache: half of them are kept.
    half = generation_work(dialogue, 2, rows=4, steps=25, cache_tokens=220)
    assert half.encoded == 4 * (35 + 90) / 2
    # 4 prompts of 90 tokens and their replies of 25 go in three batches of 220; if the longest had 180, in four.
    assert half.steps == 3 * 25
    assert generation_work(dialogue._replace(spread=2), 2, rows=4, steps=25, cache_tokens=220).steps == 4 * 25


def test_later_messages_are_as_long_as_the_last_known_of_their_speaker():
    dialogue = DialogueLengths(first=(50, 60), replies=(10, 20, 30), frame=5)
    assert [dialogue.reply(number) for number in range(6)] == [10, 20, 30, 20, 30, 20]
    assert dialogue.prompt(5) == 60 + 20 + 30 + 20 + 30 + 4 * 5


class ClockedEngine:
    """Engine with a known cost per forward pass, token and question."""

    def __init__(self, model=None, quantization="none"):
        self.usage = Usage()
        self.cache = Cache(tokens=10**6, token_bytes=1000)
        self.window = None
        self.identity = {"engine": "clocked"}
        self.properties = {}
        self.spent = 0.0
        self.prompts = []

    def generate(self, requests):
        self.prompts.append([request.prompt for request in requests])
        for index, request in enumerate(list(requests)):  # those that come meanwhile are the next call's
            tokens = min(TOKENS, request.max_new_tokens)
            self.usage.generated_tokens += tokens
            self.usage.encoded_tokens += sum(len(message.text.split()) for message in request.prompt.messages)
            self.spend(tokens * 1e-4)
            yield index, " ".join(["word"] * tokens)
        self.usage.steps += tokens
        self.spend(tokens * 1e-3)

    def score_options(self, dialogues):
        for index, choices in enumerate(dialogues):
            self.usage.encoded_tokens += 10 * len(choices)
            self.spend(1e-3 * len(choices))
            options = len(choices[0].options)
            yield index, np.full((len(choices), options), -np.log(options))

    def spend(self, seconds):
        self.spent += seconds


@pytest.fixture
def clocked(monkeypatch):
    engine = ClockedEngine()
    monkeypatch.setattr("valstab.run.load_engine", lambda config: engine)
    monkeypatch.setattr("time.perf_counter", lambda: engine.spent)
    return engine


@pytest.mark.slow
def test_a_run_takes_what_was_estimated(clocked, launch_folder):
    config = compose_run("population.limit=50", "topics.names=[joke,chess]", "seeds=[0,1]", "n_messages=5")
    plan = make_plan(config)
    found = estimate(plan, clocked, RecordLog(None), RecordLog(None))
    assert astuple(found)[:4] == (200, 8000, 0, 0)
    before = clocked.spent
    usage = Usage(**vars(clocked.usage))
    run(config, plan, launch_folder / "results")
    assert found.conversing_seconds + found.asking_seconds == pytest.approx(clocked.spent - before, rel=0.01)
    assert found.asking_seconds == pytest.approx(8.0)
    assert found.generated_tokens == clocked.usage.generated_tokens - usage.generated_tokens == 200 * 5 * TOKENS
    # All is in the store now.
    store = Store(launch_folder / ".valstab", clocked.identity)
    logs = store.log("conversations"), store.log("answers-pvq-n5")
    assert astuple(estimate(plan, clocked, *logs))[:6] == (0, 0, 200, 8000, 0, 0)
    # Of another task only the questions are missing.
    other = estimate(make_plan(compose_run(*OTHER_TASK)), clocked, store.log("conversations"), RecordLog(None))
    assert astuple(other)[:4] == (0, 200 * 5, 200, 0)
    assert other.conversing_seconds == 0


def test_reminders_are_spread_over_the_messages(clocked):
    clocked.window = Window(10**6, lambda prompt: sum(len(text.split()) for _, text in prompt.messages))
    settings = (
        "population.limit=1",
        "topics.names=[joke]",
        "seeds=[0]",
        "n_messages=11",
        "reminder.text=Be yourself now",
    )
    plain, reminded = (make_plan(compose_run(*settings, f"reminder.every={every}")) for every in (0, 4))
    frames = [measure_conversations(each, clocked, each.sessions).lengths.frame for each in (plain, reminded)]
    assert frames[1] - frames[0] == 3 / 4


def test_no_measured_prompt_starts_with_a_prompt_of_the_warm_up(clocked):
    estimate(make_plan(compose_run("population.limit=2", "seeds=[0]")), clocked, RecordLog(None), RecordLog(None))
    aside, measured = clocked.prompts[:2], clocked.prompts[2:]
    assert [len(call) for call in aside] == [4, 4]
    assert [len(call) for call in measured[:3]] == [10, 10, 10]
    for kept in (prompt for call in aside for prompt in call):
        for prompt in (prompt for call in measured for prompt in call):
            assert prompt.messages[: len(kept.messages)] != kept.messages


OTHER_TASK = ("population.limit=50", "topics.names=[joke,chess]", "seeds=[0,1]", "n_messages=5", "task=religion")


@pytest.mark.parametrize(
    "settings",
    [
        ("population.limit=6", "topics.names=[joke,chess,grammar]", "seeds=[0,1]"),
        pytest.param(
            ("population.limit=20", "topics=none", "conversation=none", "task=donation"), marks=pytest.mark.slow
        ),
    ],
)
def test_a_run_leaves_as_much_on_disk_as_was_estimated(launch_folder, settings):
    config = compose_run("model=random", *settings)
    plan = make_plan(config)
    found = estimate(plan, load_engine(config), RecordLog(None), RecordLog(None))
    run(config, plan, launch_folder / "results")
    files = [path for path in launch_folder.rglob("*") if path.is_file() and path.name != "mlflow.db"]
    assert found.disk_bytes == pytest.approx(sum(path.stat().st_size for path in files), rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ((), ("1,500 to generate, 0 in the store", "60,000 to ask, 0 in the store")),
        (("conversation=none", "topics=none"), ("0 to generate, 0 in the store", "12,000 to ask, 0 in the store")),
        (("+experiment=leaderboard",), ("350 to generate, 0 in the store", "16,000 to ask, 0 in the store")),
    ],
)
def test_a_dry_run_keeps_nothing(valstab, launch_folder, settings, sizes):
    command = valstab("dry_run=true", "model=random", *settings)
    assert command.returncode == 0, command.stderr
    assert all(size in command.stdout for size in sizes)
    assert not (launch_folder / "mlruns").exists()
    assert not list(launch_folder.glob("outputs/*/*/results"))
    assert not list(launch_folder.glob(".valstab/*/*/*.jsonl"))


def test_open_answers_and_their_ratings_are_estimated_apart(clocked):
    settings = ("task=dilemmas", "judge=same", "population.limit=4", "topics.names=[joke,chess]", "seeds=[0]")
    plan = make_plan(compose_run(*settings, "n_messages=1"))
    logs = [RecordLog(None) for _ in range(3)]
    found = estimate(plan, clocked, *logs)
    assert astuple(found)[:4] == (8, 80, 0, 0)
    assert found.generated_tokens == 8 * TOKENS + 80 * TOKENS
    talked = converse(plan, clocked, logs[0], Stage("", "", 0))
    said = answer_openly(plan, talked, clocked, logs[1], Stage("", "", 0))
    unrated = estimate(plan, clocked, *logs)
    assert astuple(unrated)[:4] == (0, 80, 8, 0)
    assert (unrated.encoded_tokens, unrated.generated_tokens) == (80 * 10, 0)
    assert unrated.asking_seconds == pytest.approx(80 * 1e-3)
    ask_all(plan, talked, clocked, logs[2], Stage("", "", 0), note=lambda _: "", said=said)
    assert astuple(estimate(plan, clocked, *logs))[:6] == (0, 0, 8, 80, 0, 0)
