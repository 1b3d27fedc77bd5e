"""Items in dialogues: anchors first, then ratings with earlier answers in view."""

import re

import numpy as np
import pytest

from tests.support.composed import compose_run
from tests.support.scripted import PersonaEngine
from valstab.engines.base import Window
from valstab.errors import ConfigError
from valstab.protocol.ask import ask
from valstab.protocol.context_window import require_fit
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.sample_prompts import sample_prompts
from valstab.protocol.store import RecordLog

VALUES = compose_run().task.keys
FILE = "item,list,value,text\n" + "".join(
    f"{number},{1 if number <= 4 else 2},{value},{value}\n" for number, value in enumerate(VALUES, 1)
)
"""Items 1 to 4 (Conformity, Tradition, Benevolence, Universalism) are list 1, the other six list 2."""


class Chooser(PersonaEngine):
    """Picks the first value of the alphabet as the most important, the last as the most opposed, and rates 3."""

    def __init__(self):
        super().__init__(None, "none")
        self.prompts = []

    def _answer(self, choice):
        self.prompts.append(choice.prompt)
        question = choice.prompt.messages[-1].text
        offered = dict(re.findall(r"^\((\w+)\) (.*)$", question, re.MULTILINE))
        if "matters most" in question:
            wanted = min(offered.values())
        elif "opposed to or" in question:
            wanted = max(offered.values())
        else:
            wanted = "3, important"
        return [np.log(0.9 if offered[label] == wanted else 0.1 / len(offered)) for label in choice.options]


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    file = tmp_path_factory.mktemp("survey") / "few.csv"
    file.write_text(FILE, encoding="utf-8")
    return ("model=random", "task=svs", f"task.items={file}", "task.n_items=10", "task.dialogue=list")


def plan_of(settings, *more):
    return make_plan(
        compose_run(*settings, "population.limit=2", "conversation=none", "topics=none", "seeds=[0]", *more)
    )


def asked(plan, log):
    engine = Chooser()
    conversations = [Conversation(session, ()) for session in plan.sessions]
    return engine, ask(plan, conversations, engine, log, Stage("", "", 0))


def test_the_anchors_get_the_ends_of_the_scale_and_the_others_are_rated(survey):
    plan, log = plan_of(survey), RecordLog(None)
    engine, result = asked(plan, log)
    answers = result.answers.set_index(["persona", "item"])
    ends = {3: 7, 4: -1, 8: 7, 6: -1}  # Benevolence, Universalism; Achievement, Stimulation
    for persona in ("Gandalf", "Gollum"):
        assert answers.loc[persona].score.to_dict() == {item: ends.get(item, 3) for item in range(1, 11)}
    # An anchor has no probabilities; that of a rating is over all nine options.
    assert answers.answer_mass.isna().groupby("item").all().to_dict() == {item: item in ends for item in range(1, 11)}
    assert np.exp(answers.loc["Gandalf"].loc[1].filter(like="logprob").astype(float)).max() == pytest.approx(0.9)
    assert len(engine.prompts) == 2 * ((2 + 2) + (2 + 4))
    again, repeated = asked(plan, log)
    assert (again.prompts, repeated.reused) == ([], 20)
    assert repeated.answers.equals(result.answers)


def test_earlier_questions_and_answers_stay_in_view(survey):
    engine, _ = asked(plan_of(survey), RecordLog(None))
    last = next(each for each in engine.prompts if "Tradition?" in each.messages[-1].text)
    roles, texts = zip(*last.messages, strict=True)
    assert roles == ("system", *["user", "assistant"] * 3, "user")
    assert re.fullmatch(r"Answer: \([A-D]\) Benevolence", texts[2])
    assert re.fullmatch(r"Answer: \([A-D]\) Universalism", texts[4])
    assert texts[5].startswith("Now rate the rest of the values.\n\nHow important is this to you")
    assert "Conformity?" in texts[5]
    assert re.fullmatch(r"Answer: \([A-I]\) 3, important", texts[6])
    assert texts[7].startswith("How important is this to you")
    assert not any("Power" in text for text in texts)  # of the other list
    assert texts[1].startswith("Here we name some values")


def test_the_prompt_that_is_shown_is_that_of_the_first_question(survey):
    plan = plan_of(survey)
    engine, _ = asked(plan, RecordLog(None))
    assert list(sample_prompts(plan)) == engine.prompts[:1]
    rated = plan_of(survey, "task.anchors=[]")
    assert "Conformity?" in next(sample_prompts(rated)).messages[-1].text


def test_dialogues_have_answers_and_digests_of_their_own(survey):
    together, apart = plan_of(survey), plan_of(survey[:-1])
    assert together.task.digest != apart.task.digest
    assert not apart.task.dialogues
    assert not apart.task.anchors


def test_the_value_survey_s_lists_have_more_items_than_letters():
    plan = plan_of(("model=random", "task=svs", "task.dialogue=list"), "population.limit=1")
    assert [len(places) for places in plan.task.dialogues.values()] == [30, 27]
    engine, result = asked(plan, RecordLog(None))
    assert result.answers.score.value_counts().to_dict() == {3: 53, 7: 2, -1: 2}
    assert {each.messages[-1].text.count("\n(30) ") for each in engine.prompts} == {0, 1}
    with pytest.raises(ConfigError, match="the numbers of the items of an anchor"):
        plan_of(("model=gpt5", "answer=letter", "task=svs", "task.dialogue=list", "engine.top_logprobs=5"))


def test_the_context_window_has_room_for_a_whole_dialogue(survey):
    plan = plan_of(survey)
    engine, _ = asked(plan, RecordLog(None))

    def count(prompt):
        return sum(len(text.split()) for _, text in prompt.messages)

    longest = max(map(count, engine.prompts))
    # The last question is counted with the description and the longest options.
    require_fit(plan, Window(longest + 120, count), "chooser")
    with pytest.raises(ConfigError, match="but chooser can read"):
        require_fit(plan, Window(longest - 1, count), "chooser")


@pytest.mark.parametrize("order", ["file", "reversed", "random"])
def test_all_items_of_a_questionnaire_are_one_dialogue_in_the_order_that_is_set(order):
    plan = plan_of(("model=random", "task=pvq_short", "task.dialogue=all"), f"item_order={order}")
    log = RecordLog(None)
    engine, result = asked(plan, log)
    number = {item.text["M"]: item.number for item in plan.task.items}  # Gandalf and Gollum are he
    turns = [
        [number[re.search(r"^(.+)\n\(A\) ", message.text, re.MULTILINE)[1]] for message in prompt.messages[1::2]]
        for prompt in engine.prompts
    ]
    first, second = turns[-2:]
    one_by_one = sorted(len(each) for each in turns)
    assert one_by_one == sorted([*range(1, 11)] * 2)
    assert all(each in (first[: len(each)], second[: len(each)]) for each in turns)
    orders = {"file": [*range(1, 11)], "reversed": [*range(10, 0, -1)]}
    if order in orders:
        assert first == second == orders[order]
    else:
        assert first != second
        assert sorted(first) == sorted(second) == [*range(1, 11)]
    assert all(prompt.messages[3].text.count(plan.task.description) == 0 for prompt in engine.prompts[2:])
    assert next(sample_prompts(plan)) == engine.prompts[0]
    again, repeated = asked(plan, log)
    assert (again.prompts, repeated.reused) == ([], 20)
    assert repeated.answers.equals(result.answers)


def test_another_order_of_items_asks_again_but_draws_the_same_orders_of_options():
    log, settings = RecordLog(None), ("model=random", "task=pvq_short", "task.dialogue=all")
    _, forwards = asked(plan_of(settings), log)
    engine, backwards = asked(plan_of(settings, "item_order=reversed"), log)
    assert (len(engine.prompts), backwards.reused) == (20, 0)
    assert backwards.answers.letters.tolist() == forwards.answers.letters.tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("task.dialogue=page",), "is no column of"),
        (("task.dialogue=null", "item_order=random"), "needs task.dialogue"),
        (("task.anchors=[a,b,c]",), "may be two"),
        (("overflow=truncate",), "leaves no dialogue whole"),
    ],
)
def test_dialogues_that_do_not_fit(survey, settings, message):
    with pytest.raises(ConfigError, match=message):
        plan_of((*survey, *settings))
