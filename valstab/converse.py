"""Hold the conversations of the tested model, as a persona, with a second instance of it, as a human (paper, 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from valstab.engine import Continuation, Engine
from valstab.plan import Encounter, Plan
from valstab.progress import Stage
from valstab.prompts import PROTOCOL_VERSION, TESTED_ROLES, reply_prompt, stop_pattern
from valstab.store import Shelf, record_key
from valstab.streams import stream_seed

HELD_TOGETHER = 128
"""Conversations that are held at the same time, and stored when all of them are complete."""


@dataclass(frozen=True)
class Conversation:
    """What was said in an encounter: the opening, then the generated messages; nothing in the neutral context."""

    encounter: Encounter
    texts: tuple[str, ...]
    reused: bool = False
    """Whether all of it was on the shelf."""

    def record(self) -> dict[str, Any]:
        """Give the conversation as plain data: seed, context, persona, and messages with role and text."""
        seed, context, persona = self.encounter.labels
        messages = [{"role": TESTED_ROLES[i % 2], "text": text} for i, text in enumerate(self.texts)]
        return {"seed": seed, "context": context, "persona": persona, "messages": messages}


def converse(plan: Plan, engine: Engine, shelf: Shelf, stage: Stage) -> list[Conversation]:
    """Hold every conversation of the plan, as far as the shelf does not have it.

    A message depends on what was said before and on the random stream of its seed, context, persona and
    number alone: not on the task, nor on how long the conversation becomes. The stage counts messages.
    """
    encounters = plan.encounters
    conversations: list[Conversation] = []
    for start in range(0, len(encounters), HELD_TOGETHER):
        conversations += _hold(plan, engine, shelf, stage, encounters[start : start + HELD_TOGETHER])
    return conversations


def _hold(
    plan: Plan, engine: Engine, shelf: Shelf, stage: Stage, encounters: Sequence[Encounter]
) -> list[Conversation]:
    """Hold some conversations, all of them one message further at a time, and store them at the end."""
    said = [opened(encounter) for encounter in encounters]
    new: dict[str, str] = {}
    incomplete: set[int] = set()
    try:
        for number in range(plan.n_messages):
            reached = [index for index, texts in enumerate(said) if len(texts) == number + 1]
            for index in reached:
                stage.skip(recall(plan, encounters[index], shelf, said[index]))
            missing = [index for index in reached if len(said[index]) == number + 1]
            incomplete.update(missing)
            requests = [reply_request(plan, encounters[index], said[index]) for index in missing]
            for place, text in engine.continue_dialogues(requests):
                index = missing[place]
                new[_message_key(plan, encounters[index], said[index])] = text
                said[index].append(text)
                stage.advance(1)
    finally:  # after Ctrl-C as well
        if new:
            shelf.put(new)
    return [
        Conversation(encounter, tuple(texts), reused=plan.n_messages > 0 and index not in incomplete)
        for index, (encounter, texts) in enumerate(zip(encounters, said, strict=True))
    ]


def opened(encounter: Encounter) -> list[str]:
    """Begin a conversation: with its opening, or in the neutral context with nothing."""
    return [encounter.context.opening] if encounter.context.opening else []


def recall(plan: Plan, encounter: Encounter, shelf: Shelf, texts: list[str]) -> int:
    """Go on with a conversation as far as the shelf has it, in place; give the number of messages added."""
    before = len(texts)
    while len(texts) <= plan.n_messages and (text := shelf.get(_message_key(plan, encounter, texts))) is not None:
        texts.append(text)
    return len(texts) - before


def reply_request(plan: Plan, encounter: Encounter, texts: Sequence[str]) -> Continuation:
    """Ask for the message that follows an opening and the messages after it."""
    return Continuation(
        prompt=reply_prompt(plan.form, encounter.persona, texts),
        seed=stream_seed("message", *encounter.labels, len(texts) - 1),
        max_new_tokens=plan.max_new_tokens,
        stop=stop_pattern(plan.form, encounter.persona),
    )


def _message_key(plan: Plan, encounter: Encounter, texts: Sequence[str]) -> str:
    """Give the key of the next message: all that determines it, but for the engine."""
    return record_key(
        [
            PROTOCOL_VERSION,
            plan.form.name,
            encounter.persona.introduction,
            encounter.labels,
            plan.max_new_tokens,
            texts,
        ]
    )
