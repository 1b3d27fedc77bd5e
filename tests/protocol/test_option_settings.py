"""Orders and labels of options as settings: what is asked, and what is recorded."""

import numpy as np
import pytest

from tests.support.composed import compose_run
from valstab.config.schema import ModelConfig
from valstab.engines.labels import padded
from valstab.engines.random import RandomEngine
from valstab.errors import ConfigError
from valstab.protocol.ask import ask, choice_requests, option_orders
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog
from valstab.statistics.position import offered_labels, orders_vary, position_effect

SMALL = ("model=random", "population.limit=2", "topics.names=[joke]", "seeds=[0]", "task=religion")
SCALE = ["None", "a few hours per year", "a few hours per month", "a few hours per week", "a few hours per day"]


def plan_of(*settings):
    return make_plan(compose_run(*SMALL, *settings))


def first_request(plan):
    session = plan.sessions[0]
    return choice_requests(plan, Conversation(session, ("Hi.", "Ho.")), option_orders(plan, session))[0]


def lines(plan):
    return first_request(plan).prompt.messages[-1].text.splitlines()[1:]


def asked(plan, engine):
    conversations = [Conversation(session, ("Hi.", "Ho.")) for session in plan.sessions]
    return ask(plan, conversations, engine, RecordLog(None), Stage("", "", 0)).answers


class PlaceEngine(RandomEngine):
    """Chooses the option at one place, with a probability of 0.6."""

    def __init__(self, place):
        super().__init__(ModelConfig(name="random"), "none")
        self.place = place

    def score_options(self, dialogues):
        for index, choices in enumerate(dialogues):
            numbers = [len(choice.options) for choice in choices]
            rows = [np.where(np.arange(number) == self.place, 0.6, 0.3 / number) for number in numbers]
            yield index, np.log(padded(rows))

    def sample_options(self, dialogues):
        for index, choices in enumerate(dialogues):
            yield index, [[choice.options[self.place]] * len(choice.seeds) for choice in choices]


def test_a_fixed_order_is_the_scale_s_and_the_reversed_one_its_reverse():
    assert lines(plan_of("option_order=fixed")) == [
        f"({letter}) {text}" for letter, text in zip("ABCDE", SCALE, strict=True)
    ]
    assert lines(plan_of("option_order=reversed")) == [
        f"({letter}) {text}" for letter, text in zip("ABCDE", SCALE[::-1], strict=True)
    ]


def test_numbers_and_words_name_the_options():
    numbered = plan_of("option_order=fixed", "option_labels=numbers")
    assert lines(numbered) == [f"({number}) {text}" for number, text in enumerate(SCALE, 1)]
    assert list(first_request(numbered).options) == ["1", "2", "3", "4", "5"]
    worded = plan_of("option_order=reversed", "option_labels=words")
    assert lines(worded) == [f"({text})" for text in SCALE[::-1]]
    assert list(first_request(worded).options) == SCALE[::-1]


def test_labels_leave_random_orders_as_they_are():
    plain, numbered = plan_of(), plan_of("option_labels=numbers")
    session = plain.sessions[1]
    assert (option_orders(plain, session) == option_orders(numbered, session)).all()


@pytest.mark.parametrize("how", ["letter", "sampled"])
@pytest.mark.parametrize(("labels", "third", "letters"), [("letters", "C", "EDCBA"), ("words", "3", "54321")])
def test_the_place_that_is_chosen_and_those_of_the_scale_are_recorded(how, labels, third, letters):
    plan = plan_of("option_order=reversed", f"option_labels={labels}", f"answer={how}", "answer_samples=2")
    answers = asked(plan, PlaceEngine(2))
    assert set(answers["letter"]) == {third}
    assert set(answers["letters"]) == {letters}
    assert set(answers["score"]) == {3.0}
    # The second place from the end of the scale has the second option of the scale.
    two = asked(plan, PlaceEngine(3))
    assert set(two["score"]) == {2.0}
    if how == "letter":
        assert np.exp(two["logprob_2"]).tolist() == pytest.approx([0.6] * len(two))


def many(tmp_path, number):
    """A task whose options are more than the letters."""
    (tmp_path / "many.csv").write_text("item,key\n1,x\n2,y\n3,z\n")
    options = ",".join(f"year {place}" for place in range(number))
    return (
        f"task.items={tmp_path / 'many.csv'}",
        "task.n_items=3",
        "task.text=When?",
        "task.keys=null",
        f"task.options=[{options}]",
        f"task.scores={list(range(number))}",
    )


def test_more_options_than_letters(tmp_path):
    settings = many(tmp_path, 30)
    with pytest.raises(
        ConfigError, match="option_labels=letters: 26 letters can't name 30 options; set option_labels=numbers"
    ):
        plan_of(*settings)
    plan = plan_of(*settings, "option_labels=numbers", "option_order=fixed")
    assert lines(plan)[-1] == "(30) year 29"
    answers = asked(plan, PlaceEngine(29))
    assert set(answers["score"]) == {29.0}
    assert set(answers["letter"]) == {"30"}
    assert set(answers["letters"]) == {" ".join(map(str, range(1, 31)))}


def test_orders_of_longer_labels_vary_and_their_effect_is_found(tmp_path):
    plan = plan_of(*many(tmp_path, 12), "option_labels=numbers", "population.limit=12", "topics.names=[joke,chess]")
    answers = asked(plan, PlaceEngine(10))
    assert orders_vary(answers)
    effect = position_effect(answers, resamples=99)
    assert (effect.same_letter, effect.chance, effect.dominates) == (1.0, pytest.approx(1 / 12), True)
    fixed = asked(plan_of(*many(tmp_path, 12), "option_labels=numbers", "option_order=fixed"), PlaceEngine(10))
    assert not orders_vary(fixed)


def test_labels_of_an_answer():
    assert offered_labels("BAC") == ("B", "A", "C")
    assert offered_labels("2 10 1") == ("2", "10", "1")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("option_order=shuffled",), "option_order=shuffled: allowed: random, fixed, reversed"),
        (("option_labels=roman",), "option_labels=roman: allowed: letters, numbers, words"),
        (
            ("option_order=fixed", "retests=1"),
            "retests=1: repeats the questions in other orders: needs option_order=random",
        ),
        (
            ("engine=vllm_server", "model=phi_4", "option_labels=words"),
            "reads the first token only, and labels have several characters; "
            "set answer=sampled or engine.top_logprobs=0, which read the text, or option_labels=letters",
        ),
        (("engine=vllm", "model=phi_2", "option_labels=words"), "set answer=sampled, which read the text"),
        (
            ("option_labels=words", "task.options=[Yes,yes]", "task.scores=[0,1]"),
            "two options have the same text: Yes, yes",
        ),
    ],
)
def test_what_can_t_be_asked(settings, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        plan_of(*settings)


def test_numbers_up_to_nine_are_one_token():
    assert plan_of("engine=vllm_server", "model=phi_4", "option_labels=numbers").option_labels == "numbers"
