"""Ask every question after every conversation and store the answers (paper, sections 3.1 and B.4)."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valstab.engines.base import ChoiceRequest, Engine
from valstab.engines.labels import padded
from valstab.hashing import content_hash, derive_seeds
from valstab.inputs.task import Task
from valstab.protocol.answers import Answers, answer_all
from valstab.protocol.converse import Conversation, naming_key, thinking_key, truncation_key
from valstab.protocol.dialogue import Dialogues
from valstab.protocol.open_answers import judge_prompts, judged_key
from valstab.protocol.plan import Plan, Session
from valstab.protocol.progress import Stage
from valstab.protocol.prompts import PROTOCOL_VERSION, option_labels, question_prompts, question_text
from valstab.protocol.store import RecordLog
from valstab.random_streams import random_streams

SESSION_COLUMNS = ["seed", "context", "persona"]
"""Columns that name the session of an answer."""


Note = Callable[[Callable[[], pd.DataFrame]], str]
"""Returns the stage's note, given a function that returns the answers so far."""


class AskResult(NamedTuple):
    """Answers of one test or retest."""

    answers: pd.DataFrame
    """One row per question, as `ask` describes."""
    reused: int
    """Number of answers that came from the store."""


class AllAnswers(NamedTuple):
    """Answers of the test and of all retests."""

    answers: pd.DataFrame
    retests: pd.DataFrame | None
    """The same columns, and the retest's number (1, 2, ...) in the column `retest`; None without retests."""
    reused: int
    """Number of answers that came from the store, retests included."""


def ask_all(
    plan: Plan,
    conversations: Sequence[Conversation],
    engine: Engine,
    log: RecordLog,
    stage: Stage,
    *,
    note: Note,
    said: Sequence[Sequence[Sequence[str]]] = (),
) -> AllAnswers:
    """Ask every question of the plan, then the same in each retest; `said` is what `answer_openly` returns."""
    results = [
        ask(plan, conversations, engine, log, stage, retest=retest, note=note, said=said[retest] if said else ())
        for retest in range(1 + plan.retests)
    ]
    retests = [each.answers.assign(retest=number) for number, each in enumerate(results) if number]
    return AllAnswers(
        results[0].answers,
        pd.concat(retests, ignore_index=True) if retests else None,
        sum(each.reused for each in results),
    )


def ask(
    plan: Plan,
    conversations: Sequence[Conversation],
    engine: Engine,
    log: RecordLog,
    stage: Stage,
    *,
    retest: int = 0,
    note: Note = lambda _: "",
    said: Sequence[Sequence[str]] = (),
) -> AskResult:
    """Ask all items of the task after each conversation, each by itself or, if the task says so, in dialogues.

    Answers in `log` are not asked again. A `retest` (1, 2, ...) repeats the items with other option orders.

    The answers are in the plan's order, with the columns seed, context, persona, gender (of the wording), item, letter,
    score, answer_mass (the total probability of the offered letters), reading (how it was read, one of
    `valstab.engines.received.READINGS`), letters (the letter that offered each option; see
    `valstab.statistics.position.offered_labels`) and logprob_1, logprob_2, ... (in nats). The last two are in the order
    of the scale. Letters may be numbers (`option_labels`). The frequencies of sampled
    answers take the place of probabilities. A single answer read from text has no probabilities (NaN). An unreadable
    answer has neither a letter nor a score. A model that thinks also has a column thought. The stage counts questions;
    its note is made by `note` from the answers so far.

    With answers in the model's own words (`said`, for each conversation one text an item), the engine and its log are
    a judge's, which has read these: they are a column open_answer.
    """
    keys = [answers_key(plan, conversation, retest) for conversation in conversations]
    if said:
        keys = [judged_key(plan, key, texts) for key, texts in zip(keys, said, strict=True)]
    n_items = len(plan.task.items)
    answers_of: dict[int, Answers] = {}

    @cache
    def orders(index: int) -> NDArray[np.int16]:
        return option_orders(plan, conversations[index].session, retest)

    def requests(index: int) -> list[ChoiceRequest]:
        return choice_requests(plan, conversations[index], orders(index), retest, said[index] if said else ())

    def so_far() -> pd.DataFrame:
        places = sorted(answers_of)
        return _table(
            plan,
            [conversations[index].session for index in places],
            np.array([orders(index) for index in places]),
            [answers_of[index] for index in places],
        )

    reused = 0
    if plan.task.dialogues:
        answered = Dialogues(plan, conversations, keys, orders, retest).ask(engine, log)
    else:
        answered = answer_all(plan, engine, log, keys, requests)
    for number, answers, is_reused in answered:
        answers_of[number] = answers
        stage.note = note(so_far)
        if is_reused:
            reused += n_items
            stage.skip(n_items)
        else:
            stage.advance(n_items)
    table = so_far()
    return AskResult(table.assign(open_answer=[*chain(*said)]) if said else table, reused)


def answers_key(plan: Plan, conversation: Conversation, retest: int = 0) -> str:
    """Return the store's key of the answers after a conversation: a hash of all that determines them but the engine."""
    session = conversation.session
    return content_hash(
        [
            PROTOCOL_VERSION,
            plan.chat_format.name,
            session.persona.introduction,
            session.persona.gender,
            session.labels,
            plan.task.name,
            plan.task.digest,
            conversation.texts,
            *_retest_label(retest),
            *truncation_key(conversation.n_dropped),
            *thinking_key(plan.answer_thought_tokens),
            *naming_key(session.persona),
            *([plan.task.they_digest] if session.persona.gender == "X" else []),
            *_options_key(plan),
            *plan.language_key,
            *plan.seen_key(session.persona, len(conversation.texts), conversation.n_dropped),
        ]
    )


def _options_key(plan: Plan) -> tuple[str, ...]:
    """Return the part of a store key that keeps other orders and labels of options than random letters apart."""
    usual = (plan.option_order, plan.option_labels) == ("random", "letters")
    return () if usual else (f"{plan.option_order} order, {plan.option_labels}",)


def option_orders(plan: Plan, session: Session, retest: int = 0) -> NDArray[np.int16]:
    """Return the order of the options for each item; a random one is drawn independently and uniformly.

    Returns:
        For each item and letter, the offered option's position on the scale (0-based). Shape: (items, options). After
        the options of an item that has fewer, the other positions of the scale follow.
    """
    task, scale = plan.task, np.arange(len(plan.task.scores), dtype=np.int16)
    orders = np.tile(scale, (len(task.items), 1))
    if plan.option_order == "reversed":
        for order, item in zip(orders, task.items, strict=True):
            order[: item.n_options] = scale[: item.n_options][::-1]
    elif plan.option_order == "random":
        seeds = derive_seeds(("options", task.name, *session.labels), _endings(task, retest))
        for order, item, stream in zip(orders, task.items, random_streams(seeds), strict=True):
            order[: item.n_options] = stream.permutation(item.n_options)
    return orders


def _endings(task: Task, retest: int) -> list[tuple[int | str, ...]]:
    """Return the last labels of each item's random streams."""
    return [(item.number, *_retest_label(retest)) for item in task.items]


def _retest_label(retest: int) -> tuple[str, ...]:
    """Return the label that keeps a retest's random streams and store keys apart; the test itself has none."""
    return (f"retest {retest}",) if retest else ()


def choice_requests(
    plan: Plan, conversation: Conversation, orders: NDArray[np.int16], retest: int = 0, said: Sequence[str] = ()
) -> list[ChoiceRequest]:
    """Return the requests for all items after a conversation; to a judge, if the model has `said` something to each.

    Args:
        plan: the plan of the run.
        conversation: the conversation that the items follow.
        orders: as `option_orders` returns them.
        retest: number of the retest, 0 for the test.
        said: the model's answer to each item in its own words.
    """
    session, gender = conversation.session, conversation.session.persona.gender
    task, kind = plan.task, plan.option_labels
    offered = [
        [item.options[gender][place] for place in order[: item.n_options]]
        for item, order in zip(task.items, orders.tolist(), strict=True)
    ]
    if said:
        prompts = judge_prompts(plan, session.persona, offered, said)
    else:
        questions = (
            question_text(task.description, item.text[gender], options, kind)
            for item, options in zip(task.items, offered, strict=True)
        )
        prompts = question_prompts(
            plan.chat_format, session.persona, conversation.seen(plan), questions, language=plan.language
        )
    seeds = derive_seeds(("answer", task.name, plan.n_messages, *session.labels), _endings(task, retest))
    return [
        ChoiceRequest(prompt, option_labels(kind, options), seed)
        for prompt, options, seed in zip(prompts, offered, seeds, strict=True)
    ]


def _offered(names: NDArray[Any], position: NDArray[np.int16], numbers: NDArray[np.intp]) -> NDArray[Any]:
    """Return each question's labels, as `valstab.statistics.position.offered_labels` reads them.

    Args:
        names: the labels of the letters.
        position: the letter that offers each option of the scale, 0-based. Shape: (questions, options).
        numbers: how many options each question has.
    """
    separator = " " if any(len(name) > 1 for name in names) else ""
    # There are few different orders among many questions, and each is written once.
    rows = pd.DataFrame(np.column_stack([position, numbers.astype(position.dtype)]))
    which = rows.groupby(list(rows), sort=False).ngroup().to_numpy()
    written = [separator.join(names[row[:number]]) for *row, number in rows.drop_duplicates().to_numpy().tolist()]
    return np.array(written, dtype=object)[which]


def _table(
    plan: Plan, sessions: Sequence[Session], orders: NDArray[np.int16], answers: Sequence[Answers]
) -> pd.DataFrame:
    """Return the table of answers that `ask` describes.

    Args:
        plan: the plan of the run.
        sessions: one per conversation.
        orders: option under each letter, as a 0-based position on the scale. Shape: (sessions, items, options).
        answers: one per conversation. A log-probability of +inf marks an answer read from text, NaN what is unknown.
    """
    task, n_items, options = plan.task, len(plan.task.items), len(plan.task.scores)
    orders = orders.reshape(-1, options)
    logprobs = np.array([each.logprobs for each in answers]).reshape(-1, options)
    best = np.array([each.chosen for each in answers], dtype=np.intp).reshape(-1, 1)
    # Options that are their own labels are recorded by their places.
    kind = "letters" if plan.option_labels == "letters" else "numbers"
    names = np.array([*option_labels(kind, [""] * options), None])
    scores = padded([task.scores_of(item) for item in task.items])
    chosen = np.take_along_axis(orders, best, axis=1).reshape(-1, n_items)
    is_read = ~np.isnan(logprobs).all(axis=1)
    is_from_text = np.isposinf(logprobs)
    is_sampled = is_from_text.any(axis=1)
    logprobs[is_from_text] = np.nan
    mass = np.nansum(np.exp(logprobs), axis=1)
    position = orders.argsort(axis=1).astype(orders.dtype)
    # A large study has millions of questions: nothing that is as large as all log-probabilities is kept beside them.
    on_scale = np.take_along_axis(logprobs, position, axis=1)
    del logprobs
    labels = pd.DataFrame([session.labels for session in sessions], columns=SESSION_COLUMNS)
    labels["gender"] = [session.persona.gender for session in sessions]
    thoughts = [thought for each in answers if each.thoughts is not None for thought in each.thoughts]
    return (
        labels.loc[labels.index.repeat(n_items)]
        .assign(
            item=np.tile([item.number for item in task.items], len(sessions)),
            letter=names[np.where(is_read, best.ravel(), options)],
            score=np.where(is_read, scores[np.arange(n_items), chosen].ravel(), np.nan),
            answer_mass=np.where(is_read & ~is_sampled, mass, np.nan),
            reading=[reading for each in answers for reading in each.readings],
            letters=_offered(names[:-1], position, np.tile([item.n_options for item in task.items], len(sessions))),
            **{f"logprob_{scale}": on_scale[:, scale - 1] for scale in range(1, options + 1)},
            **({"thought": thoughts} if thoughts else {}),
        )
        .reset_index(drop=True)
    )
