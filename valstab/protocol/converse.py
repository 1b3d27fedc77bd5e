"""Generate the conversations between the tested model and its interlocutor, mostly a second instance (paper, 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from valstab.engines.base import Cache, Engine, GenerationRequest, Reply, Window
from valstab.hashing import content_hash, derive_seed
from valstab.inputs.population import Persona
from valstab.protocol.context_window import dropped_for_questions, dropped_for_reply
from valstab.protocol.plan import Plan, Session
from valstab.protocol.progress import Stage
from valstab.protocol.prompts import (
    PROTOCOL_VERSION,
    TESTED_ROLES,
    interlocutor_instruction,
    stop_pattern,
)
from valstab.protocol.records import received_text
from valstab.protocol.store import RecordLog

MAX_CONVERSATIONS_PER_BATCH = 128
"""Maximum number of conversations at a time, for an engine that sets no limit of its own."""


@dataclass(frozen=True)
class Conversation:
    """The texts of a session: the opening, then the generated messages. The neutral context has no texts."""

    session: Session
    texts: tuple[str, ...]
    reused: bool = False
    """Whether all messages came from the store."""
    n_dropped: int = 0
    """Number of oldest texts that its questions leave out, to fit the context window."""
    n_truncated: int = 0
    """Number of messages that were generated with some of the oldest texts left out."""

    def seen(self, plan: Plan) -> Sequence[str]:
        """Return the texts that the questions are asked after, as the tested model reads them."""
        return plan.seen(self.session.persona, self.texts)[self.n_dropped :]

    def record(self) -> dict[str, Any]:
        """Return the conversation as plain data: seed, context, persona, and messages with role and text."""
        seed, context, persona = self.session.labels
        messages = [
            {"role": TESTED_ROLES[i % 2], "text": str(text)}
            | ({"thought": text.thought} if isinstance(text, Reply) else {})
            for i, text in enumerate(self.texts)
        ]
        return {"seed": seed, "context": context, "persona": persona, "messages": messages}


class Speaker(NamedTuple):
    """One side of the conversations: a model, and the log of what it has said."""

    engine: Engine
    log: RecordLog


class _Turn(NamedTuple):
    """A message to be generated."""

    talk: "_Talk"
    request: GenerationRequest
    speaker: Speaker


@dataclass
class _Talk:
    """A conversation in the making."""

    session: Session
    texts: list[str]
    key: str = ""
    """The store's key of the message that is generated."""
    reused: bool = True
    n_truncated: int = 0


def converse(
    plan: Plan, engine: Engine, log: RecordLog, stage: Stage, interlocutor: Speaker | None = None
) -> list[Conversation]:
    """Return every conversation of the plan; generate and store the messages that the logs lack.

    A message depends only on the texts before it and on the random stream of its seed, context, persona and number.
    It depends neither on the task nor on `n_messages`. Some conversations are held at a time, each at its own pace; the
    next one begins when one has ended. The stage counts messages.

    Args:
        plan: the plan of the run.
        engine: the tested model.
        log: what it has said so far.
        stage: counts messages.
        interlocutor: another model that takes the interlocutor's part; None is the tested one.
    """
    tested = Speaker(engine, log)
    window = window_if_truncating(plan, engine)
    talks = [_Talk(session, opening_messages(session)) for session in plan.sessions]

    def next_turn(talk: _Talk) -> _Turn | None:
        """Add what is known, and return the first message that is not; None at the end."""
        while len(talk.texts) < plan.n_texts(talk.session):
            speaker = interlocutor if interlocutor and plan.is_other_model(len(talk.texts)) else tested
            n_dropped = dropped_for_reply(plan, talk.session, talk.texts, window_if_truncating(plan, speaker.engine))
            talk.n_truncated += n_dropped > 0
            talk.key = message_key(plan, talk.session, talk.texts, n_dropped)
            text = known_message(plan, talk.session, talk.texts, speaker.log, talk.key)
            if text is None:
                talk.reused = False
                return _Turn(talk, reply_request(plan, talk.session, talk.texts, n_dropped), speaker)
            talk.texts.append(text)
            stage.skip(1)
        return None

    begun = (turn for talk in talks if (turn := next_turn(talk)))
    at_work = list(islice(begun, conversations_per_batch(plan.n_messages, plan.max_new_tokens, engine.cache)))
    while at_work:
        speaker = at_work[0].speaker
        theirs = [turn for turn in at_work if turn.speaker is speaker]
        others = [turn for turn in at_work if turn.speaker is not speaker]
        requests, left = [turn.request for turn in theirs], dict(enumerate(theirs))
        for number, generated in speaker.engine.generate(requests):
            talk, text = left.pop(number).talk, received_text(generated)
            speaker.log.put({talk.key: [text, text.thought] if isinstance(text, Reply) else text})
            talk.texts.append(text)
            stage.advance(1)
            following = next_turn(talk) or next(begun, None)
            if following is None:
                continue
            if following.speaker is speaker:
                left[len(requests)] = following
                requests.append(following.request)
            else:
                others.append(following)
        at_work = [*others, *left.values()]
    return [
        Conversation(
            talk.session,
            tuple(talk.texts),
            reused=talk.session.opening is not None and talk.reused,
            n_dropped=dropped_for_questions(plan, talk.session, talk.texts, window),
            n_truncated=talk.n_truncated,
        )
        for talk in talks
    ]


def conversations_per_batch(n_messages: int, max_new_tokens: int, cache: Cache) -> int:
    """Return how many conversations to hold at a time: as many as the cache holds at full length, at least 1.

    With more, most prompts would be encoded again for each message.

    Args:
        n_messages: messages of a conversation.
        max_new_tokens: tokens of a message, at most.
        cache: the engine's cache.
    """
    length = n_messages * max_new_tokens
    max_rows = cache.rows or MAX_CONVERSATIONS_PER_BATCH
    return max(1, min(max_rows, cache.tokens // length)) if cache.tokens and length else max_rows


def window_if_truncating(plan: Plan, engine: Engine) -> Window | None:
    """Return the window that prompts are truncated to; None unless `overflow=truncate`."""
    return engine.window if plan.truncates else None


def opening_messages(session: Session) -> list[str]:
    """Return the first texts of a conversation: its opening, or none in the neutral context."""
    return [session.opening] if session.opening else []


def replay_stored(plan: Plan, session: Session, log: RecordLog, window: Window | None = None) -> list[str]:
    """Return the opening and the messages that follow it in `log`, up to the first that is missing."""
    texts = opening_messages(session)
    while len(texts) < plan.n_texts(session):
        key = message_key(plan, session, texts, dropped_for_reply(plan, session, texts, window))
        text = known_message(plan, session, texts, log, key)
        if text is None:
            break
        texts.append(text)
    return texts


def reply_request(plan: Plan, session: Session, texts: Sequence[str], n_dropped: int = 0) -> GenerationRequest:
    """Return the request for the message that follows `texts`, without the oldest `n_dropped` in the prompt."""
    return GenerationRequest(
        prompt=plan.reply_prompt(session, texts, n_dropped),
        seed=derive_seed("message", *session.labels, len(texts) - 1),
        max_new_tokens=plan.max_new_tokens,
        stop=stop_pattern(
            plan.format_after(len(texts)),
            session.persona,
            language=plan.language,
            interlocutor=None if len(texts) % 2 else session.interlocutor,
        ),
        max_thought_tokens=None if plan.is_other_model(len(texts)) else plan.message_thought_tokens,
    )


def known_message(plan: Plan, session: Session, texts: Sequence[str], log: RecordLog, key: str) -> str | None:
    """Return the message that follows `texts`: a person's recorded turn, or the log's record; None if it is missing."""
    return plan.recorded_turn(session, len(texts)) or stored_message(log, key)


def stored_message(log: RecordLog, key: str) -> str | None:
    """Return a message from the log, a `Reply` if it was written after a thought; None if it is missing."""
    record = log.get(key)
    return Reply(*record) if isinstance(record, list) else record


def message_key(plan: Plan, session: Session, texts: Sequence[str], n_dropped: int) -> str:
    """Return the store's key of the message that follows `texts`: a hash of all that determines it but the engine."""
    return content_hash(
        [
            PROTOCOL_VERSION,
            plan.format_after(len(texts)).name,
            session.persona.introduction,
            session.labels,
            plan.max_new_tokens,
            texts,
            *truncation_key(n_dropped),
            *thinking_key(None if plan.is_other_model(len(texts)) else plan.message_thought_tokens),
            *naming_key(session.persona),
            *plan.language_key,
            *interlocutor_key(plan, session, len(texts)),
            *(plan.seen_key(session.persona, len(texts), n_dropped) if len(texts) % 2 else ()),
        ]
    )


def interlocutor_key(plan: Plan, session: Session, n_texts: int) -> tuple[str, ...]:
    """Return the part of a store key that keeps the messages of interlocutors who are personas apart.

    It has all that such a message depends on besides: its instruction, and the name in its labels.
    """
    if n_texts % 2 or session.interlocutor is None:
        return ()
    chat_format = plan.format_after(n_texts)
    instruction = interlocutor_instruction(chat_format, session.persona, session.interlocutor, language=plan.language)
    return "by a persona", session.interlocutor.name, instruction


def naming_key(persona: Persona) -> tuple[str, ...]:
    """Return the part of a store key that keeps personas whose name stands in no prompt apart."""
    return () if persona.is_named else ("without a name",)


def thinking_key(max_thought_tokens: int | None) -> tuple[str, ...]:
    """Return the part of a store key that keeps the messages and answers of a model that thinks apart."""
    return () if max_thought_tokens is None else (f"after a thought of up to {max_thought_tokens} tokens",)


def truncation_key(n_dropped: int) -> tuple[str, ...]:
    """Return the part of a store key that keeps truncated conversations apart from whole ones."""
    return (f"without the oldest {n_dropped}",) if n_dropped else ()
