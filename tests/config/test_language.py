"""Prompts in other languages than the paper's English: what models read, the store's keys, and what is refused."""

from dataclasses import replace

import pytest

from tests.support.composed import compose_run
from tests.support.english import ENGLISH
from valstab.config.check import check_config
from valstab.engines.base import Message, Prompt
from valstab.errors import ConfigError
from valstab.inputs.population import Persona
from valstab.protocol.ask import answers_key, option_orders
from valstab.protocol.converse import Conversation, message_key
from valstab.protocol.plan import make_plan
from valstab.protocol.prompts import ChatFormat, language_key, question_prompt, reply_prompt, stop_pattern

GERMAN, CHINESE = (compose_run(f"language={name}").language for name in ("german", "chinese"))
HANNA = Persona("Hanna", "F", "Hanna, eine Bäckerin aus Bremen.")
XIAOLAN = Persona("小兰", "F", "小兰，杭州的一名面包师。")
NOBODY = Persona("permutation_01", "M")


def chat(*messages, text=""):
    return Prompt(tuple(Message(role, said) for role, said in messages), text)


def test_a_german_persona_is_asked():
    asked = question_prompt(ChatFormat.SYSTEM, HANNA, ["Regnet es?", "Ja."], "Frage?", language=GERMAN)
    assert asked == chat(
        ("system", "Du bist Hanna, eine Bäckerin aus Bremen."),
        ("user", "Regnet es?"),
        ("assistant", "Ja."),
        ("user", "Frage?"),
        text="Antwort: (",
    )
    alone = question_prompt(ChatFormat.NO_SYSTEM, HANNA, [], "Frage?", language=GERMAN)
    assert alone == chat(("user", "Du bist Hanna, eine Bäckerin aus Bremen.\n\nFrage?"), text="Antwort: (")
    base = question_prompt(ChatFormat.BASE, HANNA, ["Regnet es?", "Ja."], "Frage?", language=GERMAN)
    assert base.text == (
        "KONTEXT:Es folgt ein Gespräch mit Hanna, eine Bäckerin aus Bremen.\n"
        "NUTZER:Regnet es?\nHANNA:Ja.\nNUTZER:Frage?\nHANNA:Antwort: ("
    )


def test_an_introduction_is_worded_as_set_in_each_format():
    settings = ("language.you_are='I am {introduction} Be kind.'", "language.base_persona='{introduction} speaks.'")
    said, alone = (
        [
            question_prompt(one, HANNA, texts, "How?", language=compose_run(*settings).language)
            for one in (ChatFormat.SYSTEM, ChatFormat.NO_SYSTEM, ChatFormat.BASE)
        ]
        for texts in (["Hm?", "Yes."], [])
    )
    first = "I am Hanna, eine Bäckerin aus Bremen. Be kind."
    talk = (("user", "Hm?"), ("assistant", "Yes."), ("user", "How?"))
    assert said[0] == chat(("system", first), *talk, text="Answer: (")
    assert said[1] == chat(("user", first), ("assistant", "OK"), *talk, text="Answer: (")
    assert said[2].text == (
        "CONTEXT:Hanna, eine Bäckerin aus Bremen. speaks.\nUSER:Hm?\nHANNA:Yes.\nUSER:How?\nHANNA:Answer: ("
    )
    assert alone[1] == chat(("user", f"{first}\n\nHow?"), text="Answer: (")


def test_the_german_set_changes_the_words_alone():
    german = (
        "language=german",
        "task=pvq_short_german",
        "topics=paper_german",
        "population=fictional_characters_german",
    )
    plans = [
        make_plan(compose_run("model=random", "population.limit=3", "seeds=[0]", *settings))
        for settings in (("task=pvq_short",), german)
    ]
    english, other = plans
    assert [each.labels for each in other.sessions] == [each.labels for each in english.sessions]
    assert [each.name for each in other.contexts] == ["poem", "joke", "history", "chess", "grammar"]
    assert not {each.opening for each in other.contexts} & {each.opening for each in english.contexts} - {"1. e4"}
    assert other.personas[0].introduction == "Gandalf aus J. R. R. Tolkiens Mittelerde-Legendarium."
    for session in english.sessions[:6]:
        assert (option_orders(other, session) == option_orders(english, session)).all()
    keys = [[answers_key(plan, Conversation(session, ())) for session in plan.sessions] for plan in plans]
    assert not {*keys[0]} & {*keys[1]}


def test_a_chinese_interlocutor_speaks():
    talk = ["你那里也一直下雨吗？", "是的。"]
    instruction = "你在模拟一个使用聊天机器人的人。这个聊天机器人正在扮演小兰。你的每次回复只能是一句话。"
    assert reply_prompt(ChatFormat.NO_SYSTEM, XIAOLAN, talk, language=CHINESE) == chat(
        ("user", instruction), ("assistant", talk[0]), ("user", talk[1])
    )
    assert reply_prompt(ChatFormat.BASE, XIAOLAN, talk, language=CHINESE).text == (
        "背景:以下是一个人与聊天机器人的对话。这个聊天机器人正在扮演小兰。这个人的每次回复只能是一句话。\n"
        f"人类:{talk[0]}\n小兰 (聊天机器人):{talk[1]}\n人类:"
    )
    assert reply_prompt(ChatFormat.SYSTEM, NOBODY, talk, language=CHINESE).messages[0].text == (
        "你在模拟一个使用聊天机器人的人。你的每次回复只能是一句话。"
    )
    assert question_prompt(ChatFormat.NO_SYSTEM, XIAOLAN, talk, "问题？", language=CHINESE) == chat(
        ("user", "你是小兰，杭州的一名面包师。"),
        ("assistant", "好的"),
        ("user", talk[0]),
        ("assistant", talk[1]),
        ("user", "问题？"),
        text="答案：(",
    )


def test_a_base_model_s_message_ends_at_a_label_of_its_language():
    assert stop_pattern(ChatFormat.BASE, HANNA, language=GERMAN) == (
        r"\n(?:KONTEXT|NUTZER|HANNA|HANNA\ ?\(CHATBOT\)|MENSCH):"
    )


def test_keys_are_of_the_texts_and_english_has_those_of_old_stores():
    assert language_key(ENGLISH) == ()
    assert language_key(replace(ENGLISH, name="british")) == ()
    others = [GERMAN, CHINESE, replace(ENGLISH, acknowledgment="Okay"), replace(ENGLISH, user_label="HUMAN")]
    assert len({language_key(language) for language in others}) == len(others)
    plan = make_plan(compose_run("population.limit=2", "topics.names=[joke]", "seeds=[3]"))
    session, texts = plan.sessions[0], ("Tell me a joke.", "No.")
    for german in [replace(plan, language=GERMAN)]:
        assert message_key(german, session, texts, 0) != message_key(plan, session, texts, 0)
        assert answers_key(german, Conversation(session, texts)) != answers_key(plan, Conversation(session, texts))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("language.answer=???", "language.you_are=???"), r"language=english: lacks you_are, answer$"),
        (("language.answer='Answer:'",), r"language\.answer=Answer:: must end with \(, as Answer: \( does"),
        (("language.you_are='You are a person.'",), r"must have \{introduction\} once, and no other field"),
        (("language.pretending='It is {name}, {name}. '",), r"language\.pretending=.* must have \{name\} once"),
        (("language.user_label='{name}'",), r"language\.user_label=\{name\}: must have no field in braces"),
        (("language.acknowledgment=''",), r"language\.acknowledgment=: must have a text"),
    ],
)
def test_a_language_that_lacks_something(settings, message):
    with pytest.raises(ConfigError, match=message):
        check_config(compose_run(*settings))
