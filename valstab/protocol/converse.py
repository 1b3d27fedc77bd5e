"""Hold the conversations of the tested model, as a persona, with a second instance of it, as a human (paper, 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from valstab.engines.base import Cache, Engine, GenerationRequest, Window
from valstab.hashing import content_hash, derive_seed
from valstab.protocol.context_window import unseen_by_questions, unseen_by_speaker
from valstab.protocol.plan import Plan, Session
from valstab.protocol.progress import Stage
from valstab.protocol.prompts import PROTOCOL_VERSION, TESTED_ROLES, reply_prompt, stop_pattern
from valstab.protocol.store import RecordLog

MAX_CONVERSATIONS_PER_BATCH = 128
"""The most conversations that are held at the same time, where the engine does not say how many make a batch."""


@dataclass(frozen=True)
class Conversation:
    """What was said in an session: the opening, then the generated messages; nothing in the neutral context."""

    session: Session
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
        seed, context, persona = self.session.labels
        messages = [{"role": TESTED_ROLES[i % 2], "text": text} for i, text in enumerate(self.texts)]
        return {"seed": seed, "context": context, "persona": persona, "messages": messages}


def converse(plan: Plan, engine: Engine, shelf: RecordLog, stage: Stage) -> list[Conversation]:
    """Hold every conversation of the plan, as far as the shelf does not have it.

    A message depends on what was said before and on the random stream of its seed, context, persona and
    number alone: not on the task, nor on how long the conversation becomes. The stage counts messages.
    """
    sessions = plan.sessions
    together = conversations_per_batch(plan.n_messages, plan.max_new_tokens, engine.cache)
    conversations: list[Conversation] = []
    for start in range(0, len(sessions), together):
        conversations += _hold(plan, engine, shelf, stage, sessions[start : start + together])
    return conversations


def conversations_per_batch(n_messages: int, max_new_tokens: int, cache: Cache) -> int:
    """Say how many conversations are held at the same time: at most as many as one batch holds at their full length.

    Of more than that most would have to be encoded anew for each message.

    Args:
        n_messages: of a conversation.
        max_new_tokens: of a message.
        cache: the engine's.
    """
    length = n_messages * max_new_tokens
    most = cache.rows or MAX_CONVERSATIONS_PER_BATCH
    return max(1, min(most, cache.tokens // length)) if cache.tokens and length else most


def _hold(
    plan: Plan, engine: Engine, shelf: RecordLog, stage: Stage, sessions: Sequence[Session]
) -> list[Conversation]:
    """Hold some conversations, all of them one message further at a time, and store these messages together."""
    window = window_if_truncating(plan, engine)
    said = [opening_messages(session) for session in sessions]
    shortened = [0] * len(said)
    incomplete: set[int] = set()
    for _ in range(plan.n_messages):
        keys: dict[int, str] = {}
        requests = []
        for index, (session, texts) in enumerate(zip(sessions, said, strict=True)):
            unseen = unseen_by_speaker(plan, session, texts, window)
            shortened[index] += unseen > 0
            key = _message_key(plan, session, texts, unseen)
            text = shelf.get(key)
            if text is None:
                keys[index] = key
                requests.append(reply_request(plan, session, texts, unseen))
            else:
                texts.append(text)
                stage.skip(1)
        missing = list(keys)
        incomplete.update(missing)
        new: dict[str, str] = {}
        try:
            for place, text in engine.generate(requests):
                index = missing[place]
                new[keys[index]] = text
                said[index].append(text)
                stage.advance(1)
        finally:  # after Ctrl-C as well
            if new:
                shelf.put(new)
    return [
        Conversation(
            session,
            tuple(texts),
            reused=plan.n_messages > 0 and index not in incomplete,
            unseen=unseen_by_questions(plan, session, texts, window),
            shortened=shortened[index],
        )
        for index, (session, texts) in enumerate(zip(sessions, said, strict=True))
    ]


def window_if_truncating(plan: Plan, engine: Engine) -> Window | None:
    """Give what conversations are shortened to, if they are to be."""
    return engine.window if plan.truncates else None


def opening_messages(session: Session) -> list[str]:
    """Begin a conversation: with its opening, or in the neutral context with nothing."""
    return [session.context.opening] if session.context.opening else []


def replay_stored(
    plan: Plan, session: Session, shelf: RecordLog, texts: list[str], window: Window | None = None
) -> None:
    """Go on with a conversation as far as the shelf has it, in place."""
    while len(texts) <= plan.n_messages:
        key = _message_key(plan, session, texts, unseen_by_speaker(plan, session, texts, window))
        text = shelf.get(key)
        if text is None:
            return
        texts.append(text)


def reply_request(plan: Plan, session: Session, texts: Sequence[str], unseen: int = 0) -> GenerationRequest:
    """Ask for the message that follows an opening and the messages after it, the oldest ones `unseen`."""
    return GenerationRequest(
        prompt=reply_prompt(plan.form, session.persona, texts[unseen:]),
        seed=derive_seed("message", *session.labels, len(texts) - 1),
        max_new_tokens=plan.max_new_tokens,
        stop=stop_pattern(plan.form, session.persona),
    )


def _message_key(plan: Plan, session: Session, texts: Sequence[str], unseen: int) -> str:
    """Give the key of the next message: all that determines it, but for the engine."""
    return content_hash(
        [
            PROTOCOL_VERSION,
            plan.form.name,
            session.persona.introduction,
            session.labels,
            plan.max_new_tokens,
            texts,
            *truncation_key(unseen),
        ]
    )


def truncation_key(unseen: int) -> tuple[str, ...]:
    """Tell the keys of what followed a shortened conversation from those of what followed the whole."""
    return (f"without the oldest {unseen}",) if unseen else ()
