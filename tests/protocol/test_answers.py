"""Sampled answers: frequencies in place of probabilities, and more of them only add."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.config.schema import ModelConfig
from valstab.engines.base import Reply
from valstab.engines.random import RandomEngine
from valstab.errors import ConfigError
from valstab.protocol.answers import answer_all, is_stored
from valstab.protocol.ask import ask, choice_requests, option_orders
from valstab.protocol.converse import Conversation, converse
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog

SMALL = ("model=random", "population.limit=2", "topics.names=[joke]", "seeds=[0]", "task=religion")
TEXTS = ("Tell me a joke.", "No.")


def plan_of(*settings):
    return make_plan(compose_run(*SMALL, "answer=sampled", *settings))


class LetterEngine(RandomEngine):
    """Gives each question's answers in the order of a text, and counts them."""

    def __init__(self, answers):
        super().__init__(ModelConfig(name="random"), "none")
        self.answers, self.asked = answers, 0

    def sample_options(self, dialogues):
        for index, choices in enumerate(dialogues):
            self.asked += sum(len(choice.seeds) for choice in choices)
            yield index, [self.answers[: len(choice.seeds)] for choice in choices]


def asked(plan, engine, log):
    conversations = [Conversation(session, TEXTS) for session in plan.sessions]
    return ask(plan, conversations, engine, log, Stage("", "", 0))


def test_frequencies_take_the_place_of_probabilities():
    plan = plan_of("answer_samples=8")
    answers, _ = asked(plan, LetterEngine("CBBCAB?C"), RecordLog(None))
    assert answers["letter"].tolist() == ["C"] * 10  # as often as B, but first
    assert answers["answer_mass"].tolist() == [pytest.approx(7 / 8)] * 10
    options = len(plan.task.scores)
    frequency = {"A": 1 / 8, "B": 3 / 8, "C": 3 / 8}
    for row in answers.itertuples(index=False):
        shares = [np.exp(getattr(row, f"logprob_{scale}")) for scale in range(1, options + 1)]
        assert shares == pytest.approx([frequency.get(letter, 0) for letter in row.letters])
        assert row.score == plan.task.scores_of(plan.task.items[row.item - 1])[row.letters.index("C")]


def test_an_item_without_a_readable_answer_has_none():
    answers, _ = asked(plan_of("answer_samples=2"), LetterEngine("??"), RecordLog(None))
    assert answers["letter"].isna().all()
    assert answers["score"].isna().all()
    assert answers["logprob_1"].isna().all()


def test_more_samples_only_add():
    engine, log = LetterEngine("AABB"), RecordLog(None)
    first, reused = asked(plan_of("answer_samples=3"), engine, log)
    assert (engine.asked, reused) == (2 * 5 * 3, 0)
    assert np.exp(first["logprob_1"][first["letters"].str[0] == "A"]).tolist() == pytest.approx(
        [2 / 3] * sum(first["letters"].str[0] == "A")
    )
    _, reused = asked(plan_of("answer_samples=5"), engine, log)
    assert (engine.asked, reused) == (2 * 5 * 5, 0)
    again, reused = asked(plan_of("answer_samples=3"), engine, log)
    assert (engine.asked, reused) == (2 * 5 * 5, 2 * 5)
    pd.testing.assert_frame_equal(first, again)


def test_samples_have_random_numbers_of_their_own_and_exact_answers_other_records():
    plan, log = plan_of("answer_samples=400"), RecordLog(None)
    conversation = Conversation(plan.sessions[0], TEXTS)
    requests = choice_requests(plan, conversation, option_orders(plan, conversation.session))
    engine = RandomEngine(ModelConfig(name="random"), "none")
    ((_, answers, _),) = answer_all(plan, engine, log, ["key"], lambda _: requests)
    options = len(plan.task.scores)
    deviations = (np.exp(answers.logprobs) - 1 / options) / np.sqrt((1 - 1 / options) / options / 400)
    assert np.abs(deviations).max() < 3.5
    assert len({tuple(row) for row in answers.logprobs.tolist()}) == len(requests)
    assert is_stored(plan, log, "key")
    assert not is_stored(replace(plan, answer_samples=401), log, "key")
    assert not is_stored(replace(plan, answer_samples=0), log, "key")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("answer=letters", r"answer=letters: did you mean letter\? - allowed: letter, thinking, sampled"),
        ("answer_samples=0", "answer_samples=0: must be at least 1"),
    ],
)
def test_a_setting_that_is_not_allowed(setting, message):
    with pytest.raises(ConfigError, match=message):
        plan_of(setting)


class MusingEngine(RandomEngine):
    """Thinks before messages and answers, and keeps what it was asked."""

    def __init__(self):
        super().__init__(ModelConfig(name="random"), "none")
        self.requests, self.thoughts = [], 0

    def generate(self, requests):
        for index, request in enumerate(requests):
            self.requests.append(request)
            yield index, Reply(f"said {request.seed}", f"thought {request.seed}" if request.max_thought_tokens else "")

    def think_options(self, dialogues):
        for index, _, logprobs in super().think_options(dialogues):
            self.thoughts += len(logprobs)
            yield index, [f"reason {item}" for item in range(len(logprobs))], logprobs


@pytest.mark.parametrize("thinks", [True, False])
def test_thoughts_are_kept_and_not_passed_on(thinks):
    settings = ("answer=thinking", "max_thought_tokens=50", f"thinking_messages={str(thinks).lower()}")
    plan = make_plan(compose_run(*SMALL, "n_messages=3", *settings))
    engine, messages, answers = MusingEngine(), RecordLog(None), RecordLog(None)
    conversations = converse(plan, engine, messages, Stage("", "", 0))
    table, reused = ask(plan, conversations, engine, answers, Stage("", "", 0))
    assert {request.max_thought_tokens for request in engine.requests} == {50 if thinks else 0}
    assert "thought" not in "".join(message.text for request in engine.requests for message in request.prompt.messages)
    (_, first, *_) = conversations[0].record()["messages"]
    assert first["thought"] == ("thought" + first["text"].removeprefix("said") if thinks else "")
    assert table["thought"].tolist() == [f"reason {item}" for item in range(5)] * 2
    assert (engine.thoughts, reused) == (2 * 5, 0)
    # All again from the store.
    n_requests = len(engine.requests)
    same = converse(plan, engine, messages, Stage("", "", 0))
    assert [each.record() for each in same] == [each.record() for each in conversations]
    again, reused = ask(plan, same, engine, answers, Stage("", "", 0))
    assert (len(engine.requests), engine.thoughts, reused) == (n_requests, 2 * 5, 2 * 5)
    pd.testing.assert_frame_equal(again, table)
    # Without thoughts the records are others.
    quick = make_plan(compose_run(*SMALL, "n_messages=3"))
    assert not any(each.reused for each in converse(quick, engine, messages, Stage("", "", 0)))
    assert ask(quick, same, engine, answers, Stage("", "", 0)).reused == 0
