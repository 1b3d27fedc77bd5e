"""Sampled answers: frequencies in place of probabilities, and more of them only add."""

import numpy as np
import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.config.schema import ModelConfig
from valstab.engines.random import RandomEngine
from valstab.errors import ConfigError
from valstab.protocol.answers import answer_all, is_stored
from valstab.protocol.ask import ask, choice_requests, option_orders
from valstab.protocol.converse import Conversation
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
    requests = choice_requests(plan, conversation, option_orders(plan.task, conversation.session))
    engine = RandomEngine(ModelConfig(name="random"), "none")
    ((_, answers, _),) = answer_all(engine, log, ["key"], lambda _: requests, 400)
    options = len(plan.task.scores)
    deviations = (np.exp(answers.logprobs) - 1 / options) / np.sqrt((1 - 1 / options) / options / 400)
    assert np.abs(deviations).max() < 3.5
    assert len({tuple(row) for row in answers.logprobs.tolist()}) == len(requests)
    assert is_stored(log, "key", 400)
    assert not is_stored(log, "key", 401)
    assert not is_stored(log, "key", 0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("answer=letters", r"answer=letters: did you mean letter\? - allowed: letter, sampled"),
        ("answer_samples=0", "answer_samples=0: must be at least 1"),
    ],
)
def test_a_setting_that_is_not_allowed(setting, message):
    with pytest.raises(ConfigError, match=message):
        plan_of(setting)
