"""Hold the conversations of the tested model, as a persona, with a second instance of it, as a human (paper, 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from valstab.engine import Cache, Continuation, Engine, Window
from valstab.plan import Encounter, Plan
from valstab.progress import Stage
from valstab.prompts import PROTOCOL_VERSION, TESTED_ROLES, reply_prompt, stop_pattern
from valstab.store import Shelf, record_key
from valstab.streams import stream_seed
from valstab.window import unseen_by_questions, unseen_by_speaker

MOST_TOGETHER = 128
"""The most conversations that are held at the same time, where the engine does not say how many make a batch."""


@dataclass(frozen=True)
class Conversation:
    """What was said in an encounter: the opening, then the generated messages; nothing in the neutral context."""

    encounter: Encounter
    texts: tuple[str, ...]
    reused: bool = False
    """Whether all of it was on the shelf."""
    unseen: int = 0
    """How many of its oldest texts the questions after it leave out, since not all fit what the model can read."""
    shortened: int = 0
    """How many of its messages were said with some of the oldest texts left out."""

    @property
    def shown(self) -> tuple[str, ...]:
        """The texts that questions after it follow."""
        return self.texts[self.unseen :]

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
    together = held_together(plan.n_messages, plan.max_new_tokens, engine.cache)
    conversations: list[Conversation] = []
    for start in range(0, len(encounters), together):
        conversations += _hold(plan, engine, shelf, stage, encounters[start : start + together])
    return conversations


def held_together(n_messages: int, max_new_tokens: int, cache: Cache) -> int:
    """Say how many conversations are held at the same time: at most as many as one batch holds at their full length.

    Of more than that most would have to be encoded anew for each message.

    Args:
        n_messages: of a conversation.
        max_new_tokens: of a message.
        cache: the engine's.
    """
    length = n_messages * max_new_tokens
    most = cache.rows or MOST_TOGETHER
    return max(1, min(most, cache.tokens // length)) if cache.tokens and length else most


def _hold(
    plan: Plan, engine: Engine, shelf: Shelf, stage: Stage, encounters: Sequence[Encounter]
) -> list[Conversation]:
    """Hold some conversations, all of them one message further at a time, and store these messages together."""
    window = window_of(plan, engine)
    said = [opened(encounter) for encounter in encounters]
    shortened = [0] * len(said)
    incomplete: set[int] = set()
    for _ in range(plan.n_messages):
        keys: dict[int, str] = {}
        requests = []
        for index, (encounter, texts) in enumerate(zip(encounters, said, strict=True)):
            unseen = unseen_by_speaker(plan, encounter, texts, window)
            shortened[index] += unseen > 0
            key = _message_key(plan, encounter, texts, unseen)
            text = shelf.get(key)
            if text is None:
                keys[index] = key
                requests.append(reply_request(plan, encounter, texts, unseen))
            else:
                texts.append(text)
                stage.skip(1)
        missing = list(keys)
        incomplete.update(missing)
        new: dict[str, str] = {}
        try:
            for place, text in engine.continue_dialogues(requests):
                index = missing[place]
                new[keys[index]] = text
                said[index].append(text)
                stage.advance(1)
        finally:  # after Ctrl-C as well
            if new:
                shelf.put(new)
    return [
        Conversation(
            encounter,
            tuple(texts),
            reused=plan.n_messages > 0 and index not in incomplete,
            unseen=unseen_by_questions(plan, encounter, texts, window),
            shortened=shortened[index],
        )
        for index, (encounter, texts) in enumerate(zip(encounters, said, strict=True))
    ]


def window_of(plan: Plan, engine: Engine) -> Window | None:
    """Give what conversations are shortened to, if they are to be."""
    return engine.window if plan.truncates else None


def opened(encounter: Encounter) -> list[str]:
    """Begin a conversation: with its opening, or in the neutral context with nothing."""
    return [encounter.context.opening] if encounter.context.opening else []


def recall(plan: Plan, encounter: Encounter, shelf: Shelf, texts: list[str], window: Window | None = None) -> None:
    """Go on with a conversation as far as the shelf has it, in place."""
    while len(texts) <= plan.n_messages:
        key = _message_key(plan, encounter, texts, unseen_by_speaker(plan, encounter, texts, window))
        text = shelf.get(key)
        if text is None:
            return
        texts.append(text)


def reply_request(plan: Plan, encounter: Encounter, texts: Sequence[str], unseen: int = 0) -> Continuation:
    """Ask for the message that follows an opening and the messages after it, the oldest ones `unseen`."""
    return Continuation(
        prompt=reply_prompt(plan.form, encounter.persona, texts[unseen:]),
        seed=stream_seed("message", *encounter.labels, len(texts) - 1),
        max_new_tokens=plan.max_new_tokens,
        stop=stop_pattern(plan.form, encounter.persona),
    )


def _message_key(plan: Plan, encounter: Encounter, texts: Sequence[str], unseen: int) -> str:
    """Give the key of the next message: all that determines it, but for the engine."""
    return record_key(
        [
            PROTOCOL_VERSION,
            plan.form.name,
            encounter.persona.introduction,
            encounter.labels,
            plan.max_new_tokens,
            texts,
            *without(unseen),
        ]
    )


def without(unseen: int) -> tuple[str, ...]:
    """Tell the keys of what followed a shortened conversation from those of what followed the whole."""
    return (f"without the oldest {unseen}",) if unseen else ()
