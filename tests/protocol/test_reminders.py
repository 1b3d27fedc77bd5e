"""Reminders of the persona: where they stand in the prompts, who reads them, and which records they change."""

from dataclasses import replace
from functools import cache

import pytest

from tests.support import chat_templates as templates
from tests.support.composed import compose_run
from tests.support.english import ENGLISH
from tests.support.scripted import PersonaEngine
from tests.support.tokenizers import tokenizer_of
from valstab.config.inputs import ReminderConfig
from valstab.engines.base import Prompt, Window
from valstab.engines.prompts.prompt_check import check_prompts
from valstab.engines.prompts.tokenizer import PromptTokenizer
from valstab.errors import ConfigError
from valstab.protocol.ask import answers_key, choice_requests, option_orders
from valstab.protocol.context_window import dropped_for_reply, longest_prompt, require_fit
from valstab.protocol.converse import Conversation, converse, message_key
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.prompts import language_key
from valstab.protocol.sample_prompts import sample_prompts
from valstab.protocol.store import RecordLog

SIZE = ("population.limit=1", "topics.names=[joke]", "seeds=[0]", "task=pvq_short", "n_messages=7")
TALK = ["Tell a joke.", "one", "two", "three", "four", "five", "six", "seven"]
YOU = "You are Gandalf from J. R. R. Tolkien's Middle-earth legendarium."
REMINDER = "Remember that you are Gandalf from J. R. R. Tolkien's Middle-earth legendarium."


@cache
def composed(*settings, model="smollm2_135m"):
    return compose_run(f"model={model}", *SIZE, *settings)


def plan_of(every=0, *, settings=(), slot="user", text=None, model="smollm2_135m", **others):
    """Return the plan of a run with reminders; `others` are fields of its configuration."""
    return make_plan(replace(composed(*settings, model=model), reminder=ReminderConfig(every, slot, text), **others))


def said(plan, texts):
    """Return the prompt for the next message, as pairs of role and text."""
    return [tuple(message) for message in plan.reply_prompt(plan.first, texts).messages]


def test_in_the_user_slot_it_begins_every_so_manyth_message():
    plan = plan_of(4)
    assert said(plan, TALK[:3]) == [("system", YOU), ("user", "Tell a joke."), ("assistant", "one"), ("user", "two")]
    assert said(plan, TALK[:7]) == [
        ("system", YOU),
        ("user", "Tell a joke."),
        ("assistant", "one"),
        ("user", "two"),
        ("assistant", "three"),
        ("user", f"{REMINDER}\n\nfour"),
        ("assistant", "five"),
        ("user", "six"),
    ]


def test_in_the_system_slot_it_is_a_message_before_it():
    plan = plan_of(4, slot="system")
    assert said(plan, TALK[:5])[-3:] == [("assistant", "three"), ("system", REMINDER), ("user", "four")]


def test_a_base_model_reads_it_in_a_line():
    plan = plan_of(2, slot="system", model="phi_2")
    assert plan.reply_prompt(plan.first, TALK[:3]).text.splitlines()[1:] == [
        "USER:Tell a joke.",
        "GANDALF:one",
        f"CONTEXT:{REMINDER}",
        "USER:two",
        "GANDALF:",
    ]
    plan = plan_of(2, model="phi_2")
    assert f"USER:{REMINDER}\n\ntwo\n" in plan.reply_prompt(plan.first, TALK[:3]).text


def test_the_interlocutor_sees_none():
    plan = plan_of(2)
    assert said(plan, TALK[:6]) == said(plan_of(), TALK[:6])


def test_a_question_follows_the_reminders_and_has_none_of_its_own():
    plan = plan_of(4)
    asked = choice_requests(plan, Conversation(plan.first, tuple(TALK)), option_orders(plan, plan.first))
    texts = [text for _, text in asked[0].prompt.messages]
    assert [REMINDER in text for text in texts] == [False] * 5 + [True] + [False] * 4


def test_a_reminder_goes_with_the_message_that_is_dropped():
    plan = plan_of(4, overflow="truncate", max_new_tokens=1)

    def count(prompt: Prompt) -> int:
        return len(prompt.messages)

    dropped = dropped_for_reply(plan, plan.first, TALK[:7], Window(4 + 1, count))
    assert dropped == 4
    assert [text for _, text in plan.reply_prompt(plan.first, TALK[:7], dropped).messages] == [
        *(YOU, f"{REMINDER}\n\nfour", "five", "six")
    ]
    assert REMINDER not in str(plan.reply_prompt(plan.first, TALK[:7], 6))


def test_records_change_from_the_message_on_that_follows_it():
    plain, reminded = plan_of(), plan_of(4)
    same = [
        message_key(plain, plain.first, TALK[:n], 0) == message_key(reminded, reminded.first, TALK[:n], 0)
        for n in range(1, 8)
    ]
    assert same == [True, True, True, True, False, True, False]  # those of even numbers are the interlocutor's
    for n_texts, is_same in ((0, True), (2, True), (4, True), (6, False), (8, False)):
        conversation = Conversation(plain.first, tuple(TALK[:n_texts]))
        assert (answers_key(plain, conversation) == answers_key(reminded, conversation)) == is_same
    # What is dropped is not read.
    assert message_key(plain, plain.first, TALK[:7], 6) == message_key(reminded, reminded.first, TALK[:7], 6)
    others = [plan_of(4, slot="system"), plan_of(4, text="Hey")]
    keys = {message_key(each, each.first, TALK[:5], 0) for each in (reminded, *others)}
    assert len(keys) == 3
    assert language_key(ENGLISH) == ()


def test_all_lengths_share_their_messages_and_reminders_change_those_after_them_alone():
    log, spoken = RecordLog(None), []

    class Counted(PersonaEngine):
        def generate(self, requests):
            for index, text in super().generate(requests):
                spoken.append(text)
                yield index, text

    engine, new = Counted(None, "none"), []
    for each in (plan_of(n_messages=1), plan_of(n_messages=3), plan_of(), plan_of(4)):
        before = len(spoken)
        converse(each, engine, log, Stage("conversing", "messages", 7))
        new.append(len(spoken) - before)
    # The fifth and the seventh message come after the reminder. The sixth answers the same texts as before.
    assert new == [1, 2, 4, 2]


def test_it_counts_in_the_context_window():
    def words(prompt: Prompt) -> int:
        return sum(len(text.split()) for _, text in prompt.messages)

    counted = {
        name: longest_prompt(plan, Window(10_000, words))
        for name, plan in (("plain", plan_of()), ("reminded", plan_of(2)))
    }
    assert counted["reminded"] - counted["plain"] == 3 * len(REMINDER.split())
    tight = Window(counted["plain"], words)
    require_fit(plan_of(), tight, "model")
    with pytest.raises(ConfigError, match="largest n_messages that always fits is 5"):
        require_fit(plan_of(2), tight, "model")


@pytest.mark.parametrize(
    ("settings", "reminder", "words"),
    [
        ([], {"every": 3}, r"^reminder\.every=3: must be even, since the interlocutor's message follows, or 0$"),
        ([], {"every": 2, "slot": "middle"}, r"^reminder\.slot=middle: .*allowed: user, system"),
        (["population=none", "topics.names=[joke]"], {"every": 2}, "and the population has none; allowed: 0"),
        (["model.system_prompt=false"], {"every": 2, "slot": "system"}, "have no system message; allowed: user"),
        ([], {"every": 2, "text": "{name}"}, r"\{name\} is unknown"),
        ([], {"every": 2, "text": " "}, "must have a text"),
    ],
)
def test_what_can_not_be_is_refused(settings, reminder, words):
    with pytest.raises(ConfigError, match=words):
        plan_of(settings=settings, **reminder)


def test_a_template_that_takes_no_system_message_in_between_is_refused_in_one_line():
    plan = plan_of(4, slot="system")
    check_prompts(PromptTokenizer(tokenizer_of(templates.CHATML), {}), list(sample_prompts(plan)))
    for template in (templates.MISTRAL_SYSTEM_FIRST, templates.GEMMA3):
        with pytest.raises(ConfigError, match=r"^reminder\.slot=system: .*within a conversation; allowed: user$"):
            check_prompts(PromptTokenizer(tokenizer_of(template), {}), list(sample_prompts(plan)))
    prompts = list(sample_prompts(plan_of(4)))
    assert sum(REMINDER in str(prompt) for prompt in prompts) == 2
    check_prompts(PromptTokenizer(tokenizer_of(templates.GEMMA3), {}), prompts)
