"""Ask every question after every conversation, and keep the answers (paper, sections 3.1 and B.4)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valstab.engines.base import ChoiceRequest, Engine
from valstab.hashing import content_hash, derive_seed
from valstab.inputs.items import Item
from valstab.inputs.task import Task
from valstab.protocol.converse import Conversation, truncation_key
from valstab.protocol.plan import Plan, Session
from valstab.protocol.progress import Stage
from valstab.protocol.prompts import PROTOCOL_VERSION, letters, question_prompt, question_text
from valstab.protocol.store import RecordLog

SESSION_COLUMNS = ["seed", "context", "persona"]
"""The columns that tell an session's answers from others'."""


Note = Callable[[Callable[[], pd.DataFrame]], str]
"""Returns the stage's note, given a function that returns the answers so far."""


class AskResult(NamedTuple):
    """The answers, one row a question, and how many of them came from the store."""

    answers: pd.DataFrame
    reused: int


class AllAnswers(NamedTuple):
    """The answers, those of all retests with their number in the column `retest`, and how many came from the store."""

    answers: pd.DataFrame
    retests: pd.DataFrame | None
    reused: int


def ask_all(
    plan: Plan,
    conversations: Sequence[Conversation],
    engine: Engine,
    log: RecordLog,
    stage: Stage,
    *,
    note: Note,
) -> AllAnswers:
    """Ask every question of the plan, then those of each retest."""
    answers, reused = ask(plan, conversations, engine, log, stage, note=note)
    retests = []
    for retest in range(1, plan.retests + 1):
        again, known = ask(plan, conversations, engine, log, stage, retest=retest, note=note)
        retests.append(again.assign(retest=retest))
        reused += known
    return AllAnswers(answers, pd.concat(retests, ignore_index=True) if retests else None, reused)


def ask(
    plan: Plan,
    conversations: Sequence[Conversation],
    engine: Engine,
    log: RecordLog,
    stage: Stage,
    *,
    retest: int = 0,
    note: Note = lambda _: "",
) -> AskResult:
    """Ask all of the task's items after each conversation, each as if it were the only one.

    What the store has is not asked again. A `retest` (1, 2, ...) asks the same with other option orders.

    The answers are in the plan's order, with the columns seed, context, persona, item, letter, score, answer_mass,
    letters (the letter under which each option was offered) and logprob_1, logprob_2, ..., both in the order of the
    scale. Where an answer was read off sampled text its probabilities are unknown (NaN); where none could be read,
    the letter and the score are missing as well. The stage counts questions, and says which
    stability there is so far.
    """
    orders = [option_orders(plan.task, conversation.session, retest) for conversation in conversations]
    keys = [answers_key(plan, conversation, retest) for conversation in conversations]
    missing = [index for index, key in enumerate(keys) if log.get(key) is None]
    number = len(plan.task.items)
    reused = number * (len(conversations) - len(missing))
    answered: dict[int, NDArray[np.float64]] = {}

    def so_far() -> pd.DataFrame:
        places = sorted(answered)
        return _table(
            plan.task,
            [conversations[index].session for index in places],
            np.array([orders[index] for index in places]),
            np.array([answered[index] for index in places]),
        )

    def read(index: int) -> None:
        answered[index] = np.array(log.get(keys[index]))
        stage.note = note(so_far)

    for index in sorted(set(range(len(conversations))).difference(missing)):
        read(index)
    stage.skip(reused)
    questions = (choices_after(plan, conversations[index], orders[index], retest) for index in missing)
    for place, logprobs in engine.score_options(questions):
        index = missing[place]
        log.put({keys[index]: logprobs.tolist()})
        read(index)
        stage.advance(number)
    return AskResult(so_far(), reused)


def answers_key(plan: Plan, conversation: Conversation, retest: int = 0) -> str:
    """Give the key of the answers after a conversation: all that determines them, but for the engine."""
    session = conversation.session
    return content_hash(
        [
            PROTOCOL_VERSION,
            plan.form.name,
            session.persona.introduction,
            session.persona.gender,
            session.labels,
            plan.task.name,
            plan.task.digest,
            conversation.texts,
            *_again(retest),
            *truncation_key(conversation.unseen),
        ]
    )


def option_orders(task: Task, session: Session, retest: int = 0) -> NDArray[np.intp]:
    """Draw for each item, independently, which option is offered under the first letter, the second, ...

    Returns:
        Places on the scale, from 0, with the shape (items, options).
    """
    seeds = (derive_seed("options", task.name, *session.labels, item.number, *_again(retest)) for item in task.items)
    return np.array([np.random.default_rng(seed).permutation(len(task.scores)) for seed in seeds])


def _again(retest: int) -> tuple[str, ...]:
    """Tell a retest's streams and keys apart from the test's, which have no such label."""
    return (f"retest {retest}",) if retest else ()


def choices_after(
    plan: Plan, conversation: Conversation, orders: NDArray[np.intp], retest: int = 0
) -> list[ChoiceRequest]:
    """Give the questions after a conversation, one an item, each with its order of the options."""
    session = conversation.session
    return [
        ChoiceRequest(
            prompt=question_prompt(
                plan.form, session.persona, conversation.shown, _question(plan.task, item, session, order)
            ),
            options=letters(len(order)),
            seed=derive_seed("answer", plan.task.name, plan.n_messages, *session.labels, item.number, *_again(retest)),
        )
        for item, order in zip(plan.task.items, orders, strict=True)
    ]


def _question(task: Task, item: Item, session: Session, order: NDArray[np.intp]) -> str:
    gender = session.persona.gender
    options = item.options[gender]
    return question_text(task.description, item.text[gender], [options[i] for i in order])


def _table(
    task: Task, sessions: Sequence[Session], orders: NDArray[np.intp], logprobs: NDArray[np.float64]
) -> pd.DataFrame:
    """Lay the answers out, as `ask` says.

    Args:
        task: what was asked.
        sessions: after which.
        orders: the option under each letter, with the shape (sessions, items, options).
        logprobs: of each letter, with the same shape; infinite for one that was read off sampled text.
    """
    number, options = len(task.items), len(task.scores)
    orders, logprobs = orders.reshape(-1, options), logprobs.reshape(-1, options)
    offered = np.array(list(letters(options)))
    scores = np.tile([task.scores_of(item) for item in task.items], (len(sessions), 1))
    best = np.where(np.isnan(logprobs), -np.inf, logprobs).argmax(axis=1, keepdims=True)
    chosen = np.take_along_axis(orders, best, axis=1)
    is_read = ~np.isnan(logprobs).all(axis=1)
    is_sampled = np.isposinf(logprobs).any(axis=1)
    known = np.where(np.isposinf(logprobs), np.nan, logprobs)
    position = orders.argsort(axis=1)
    on_scale = np.take_along_axis(known, position, axis=1)
    labels = pd.DataFrame([session.labels for session in sessions], columns=SESSION_COLUMNS)
    return (
        labels.loc[labels.index.repeat(number)]
        .assign(
            item=np.tile([item.number for item in task.items], len(sessions)),
            letter=np.array([*letters(options), None])[np.where(is_read, best.ravel(), options)],
            score=np.where(is_read, np.take_along_axis(scores, chosen, axis=1).ravel(), np.nan),
            answer_mass=np.where(is_read & ~is_sampled, np.nansum(np.exp(known), axis=1), np.nan),
            letters=offered[position].view(f"U{options}").ravel(),
            **{f"logprob_{scale}": on_scale[:, scale - 1] for scale in range(1, options + 1)},
        )
        .reset_index(drop=True)
    )
