"""Generate the conversations between the tested model and its interlocutor, a second instance of it (paper, 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from valstab.engines.base import Cache, Engine, GenerationRequest, Reply, Window
from valstab.hashing import content_hash, derive_seed
from valstab.inputs.population import Persona
from valstab.protocol.context_window import dropped_for_questions, dropped_for_reply
from valstab.protocol.plan import Plan, Session
from valstab.protocol.progress import Stage
from valstab.protocol.prompts import PROTOCOL_VERSION, TESTED_ROLES, language_key, reply_prompt, stop_pattern
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

    @property
    def visible_texts(self) -> tuple[str, ...]:
        """Texts that the questions are asked after."""
        return self.texts[self.n_dropped :]

    def record(self) -> dict[str, Any]:
        """Return the conversation as plain data: seed, context, persona, and messages with role and text."""
        seed, context, persona = self.session.labels
        messages = [
            {"role": TESTED_ROLES[i % 2], "text": str(text)}
            | ({"thought": text.thought} if isinstance(text, Reply) else {})
            for i, text in enumerate(self.texts)
        ]
        return {"seed": seed, "context": context, "persona": persona, "messages": messages}


@dataclass
class _Talk:
    """A conversation in the making."""

    session: Session
    texts: list[str]
    key: str = ""
    """The store's key of the message that is generated."""
    reused: bool = True
    n_truncated: int = 0


def converse(plan: Plan, engine: Engine, log: RecordLog, stage: Stage) -> list[Conversation]:
    """Return every conversation of the plan; generate and store the messages that `log` lacks.

    A message depends only on the texts before it and on the random stream of its seed, context, persona and number.
    It depends neither on the task nor on `n_messages`. Some conversations are held at a time, each at its own pace; the
    next one begins when one has ended. The stage counts messages.
    """
    window = window_if_truncating(plan, engine)
    talks = [_Talk(session, opening_messages(session)) for session in plan.sessions]

    def next_request(talk: _Talk) -> GenerationRequest | None:
        """Add what is stored, and return the request for the first message that is not; None at the end."""
        while len(talk.texts) < plan.n_texts(talk.session):
            n_dropped = dropped_for_reply(plan, talk.session, talk.texts, window)
            talk.n_truncated += n_dropped > 0
            talk.key = message_key(plan, talk.session, talk.texts, n_dropped)
            text = stored_message(log, talk.key)
            if text is None:
                talk.reused = False
                return reply_request(plan, talk.session, talk.texts, n_dropped)
            talk.texts.append(text)
            stage.skip(1)
        return None

    begun = ((talk, request) for talk in talks if (request := next_request(talk)))
    at_work = list(islice(begun, conversations_per_batch(plan.n_messages, plan.max_new_tokens, engine.cache)))
    while at_work:
        requests, left = [request for _, request in at_work], dict(enumerate(at_work))
        for number, generated in engine.generate(requests):
            talk, text = left.pop(number)[0], received_text(generated)
            log.put({talk.key: [text, text.thought] if isinstance(text, Reply) else text})
            talk.texts.append(text)
            stage.advance(1)
            request = next_request(talk)
            following = (talk, request) if request else next(begun, None)
            if following:
                left[len(requests)] = following
                requests.append(following[1])
        at_work = list(left.values())
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
        text = stored_message(log, message_key(plan, session, texts, dropped_for_reply(plan, session, texts, window)))
        if text is None:
            break
        texts.append(text)
    return texts


def reply_request(plan: Plan, session: Session, texts: Sequence[str], n_dropped: int = 0) -> GenerationRequest:
    """Return the request for the message that follows `texts`, without the oldest `n_dropped` in the prompt."""
    return GenerationRequest(
        prompt=reply_prompt(plan.chat_format, session.persona, texts[n_dropped:], language=plan.language),
        seed=derive_seed("message", *session.labels, len(texts) - 1),
        max_new_tokens=plan.max_new_tokens,
        stop=stop_pattern(plan.chat_format, session.persona, language=plan.language),
        max_thought_tokens=plan.message_thought_tokens,
    )


def stored_message(log: RecordLog, key: str) -> str | None:
    """Return a message from the log, a `Reply` if it was written after a thought; None if it is missing."""
    record = log.get(key)
    return Reply(*record) if isinstance(record, list) else record


def message_key(plan: Plan, session: Session, texts: Sequence[str], n_dropped: int) -> str:
    """Return the store's key of the message that follows `texts`: a hash of all that determines it but the engine."""
    return content_hash(
        [
            PROTOCOL_VERSION,
            plan.chat_format.name,
            session.persona.introduction,
            session.labels,
            plan.max_new_tokens,
            texts,
            *truncation_key(n_dropped),
            *thinking_key(plan.message_thought_tokens),
            *naming_key(session.persona),
            *language_key(plan.language),
        ]
    )


def naming_key(persona: Persona) -> tuple[str, ...]:
    """Return the part of a store key that keeps personas whose name stands in no prompt apart."""
    return () if persona.is_named else ("without a name",)


def thinking_key(max_thought_tokens: int | None) -> tuple[str, ...]:
    """Return the part of a store key that keeps the messages and answers of a model that thinks apart."""
    return () if max_thought_tokens is None else (f"after a thought of up to {max_thought_tokens} tokens",)


def truncation_key(n_dropped: int) -> tuple[str, ...]:
    """Return the part of a store key that keeps truncated conversations apart from whole ones."""
    return (f"without the oldest {n_dropped}",) if n_dropped else ()
