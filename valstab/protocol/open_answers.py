"""Answers in the model's own words, and the questions by which a judge rates them.

The tested model is asked each item after the conversation, without options. A judge reads one answer at a time, with
the item and the task's rubric: neither a persona nor the conversation, and not the persona's name.
"""

import re
from collections.abc import Sequence

from valstab.engines.base import Engine, GenerationRequest, Prompt, Reply
from valstab.hashing import content_hash, derive_seed
from valstab.inputs.items import Item
from valstab.inputs.population import Persona
from valstab.protocol.converse import Conversation, naming_key, stored_message, truncation_key
from valstab.protocol.plan import Plan
from valstab.protocol.progress import Stage
from valstab.protocol.prompts import (
    PROTOCOL_VERSION,
    judge_prompt,
    open_prompt,
    question_text,
    stop_pattern,
)
from valstab.protocol.records import received_text
from valstab.protocol.store import RecordLog

ANSWERS_PER_CALL = 1024
"""Maximum number of answers that are requested at a time."""


HIDDEN_NAME = "[name]"
"""What a judge reads in the place of the persona's name."""


def answer_openly(
    plan: Plan, conversations: Sequence[Conversation], engine: Engine, log: RecordLog, stage: Stage
) -> list[list[list[str]]]:
    """Return the answers to all items after each conversation; generate and store those that the log lacks.

    An answer depends only on the conversation, the item and the random stream of its session, item and retest; it
    depends neither on the rubric nor on the judge.

    Returns:
        The texts. Shape: (1 + retests, conversations, items).
    """
    places = [
        (retest, number, item)
        for retest in range(1 + plan.retests)
        for number in range(len(conversations))
        for item in plan.task.items
    ]
    keys = [open_key(plan, conversations[number], item, retest) for retest, number, item in places]
    missing = [place for place, key in enumerate(keys) if stored_message(log, key) is None]
    stage.skip(len(keys) - len(missing))
    for start in range(0, len(missing), ANSWERS_PER_CALL):
        some = missing[start : start + ANSWERS_PER_CALL]
        requests = [
            open_request(plan, conversations[number], item, retest)
            for retest, number, item in (places[place] for place in some)
        ]
        for index, generated in engine.generate(requests):
            text = received_text(generated)
            log.put({keys[some[index]]: [text, text.thought] if isinstance(text, Reply) else text})
            stage.advance(1)
    texts = iter([str(stored_message(log, key)) for key in keys])
    return [[[next(texts) for _ in plan.task.items] for _ in conversations] for _ in range(1 + plan.retests)]


def stored_open_answers(plan: Plan, conversation: Conversation, log: RecordLog, retest: int = 0) -> list[str] | None:
    """Return the answers to all items after a conversation from the log; None if one is missing."""
    texts = [stored_message(log, open_key(plan, conversation, item, retest)) for item in plan.task.items]
    return None if None in texts else [str(text) for text in texts]


def open_request(plan: Plan, conversation: Conversation, item: Item, retest: int = 0) -> GenerationRequest:
    """Return the request for the answer to an item after a conversation."""
    session = conversation.session
    return GenerationRequest(
        prompt=open_prompt(
            plan.chat_format,
            session.persona,
            conversation.seen(plan),
            open_question(plan, item, session.persona),
            language=plan.language,
        ),
        seed=derive_seed("open answer", plan.task.name, *session.labels, len(conversation.texts), item.number, retest),
        max_new_tokens=plan.task.max_answer_tokens,
        stop=stop_pattern(plan.chat_format, session.persona, language=plan.language),
    )


def open_question(plan: Plan, item: Item, persona: Persona) -> str:
    """Return the text of an item without options, after the task's description."""
    return question_text(plan.task.description, item.text[persona.gender], ())


def open_key(plan: Plan, conversation: Conversation, item: Item, retest: int = 0) -> str:
    """Return the store's key of an answer: a hash of all that determines it but the engine."""
    session = conversation.session
    return content_hash(
        [
            PROTOCOL_VERSION,
            "open answer",
            plan.chat_format.name,
            session.persona.introduction,
            session.labels,
            plan.task.name,
            plan.task.max_answer_tokens,
            item.number,
            open_question(plan, item, session.persona),
            conversation.texts,
            retest,
            *truncation_key(conversation.n_dropped),
            *naming_key(session.persona),
            *plan.language_key,
            *plan.seen_key(session.persona, len(conversation.texts), conversation.n_dropped),
        ]
    )


def without_name(text: str, persona: Persona) -> str:
    """Return a text without the persona's whole name, which may not be shown to a judge."""
    if not persona.is_named:
        return text
    return re.sub(rf"(?<!\w){re.escape(persona.name)}(?!\w)", HIDDEN_NAME, text, flags=re.IGNORECASE)


def judge_prompts(plan: Plan, persona: Persona, offered: Sequence[Sequence[str]], texts: Sequence[str]) -> list[Prompt]:
    """Return the prompts by which a judge rates a persona's answers, one for each item.

    Args:
        plan: the plan of the run; its task has a rubric.
        persona: the persona.
        offered: the options of each item, in the order of their labels.
        texts: the answer to each item.

    Raises:
        ValueError: if the task has no rubric.
    """
    rubric, chat_format = plan.task.rubric, plan.judge_format
    if rubric is None or chat_format is None:
        raise ValueError(f"{plan.task.name} has no rubric")
    questions = (
        rubric.question(item, item.text[persona.gender], without_name(text, persona))
        for item, text in zip(plan.task.items, texts, strict=True)
    )
    return [
        judge_prompt(chat_format, question_text(None, question, options, plan.option_labels), language=plan.language)
        for question, options in zip(questions, offered, strict=True)
    ]


def judged_key(plan: Plan, key: str, texts: Sequence[str]) -> str:
    """Return the store's key of a judge's ratings of the answers after a conversation.

    Args:
        plan: the plan of the run.
        key: that of the answers to the same items, if the model chose the options itself.
        texts: the answer to each item.
    """
    return content_hash([key, "judged", plan.judge_format and plan.judge_format.name, list(texts)])
