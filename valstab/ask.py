"""Ask every question after every conversation, and keep the answers (paper, sections 3.1 and B.4)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valstab.converse import Conversation, without
from valstab.engine import Choice, Engine
from valstab.plan import Encounter, Plan
from valstab.progress import Stage
from valstab.prompts import PROTOCOL_VERSION, letters, question_prompt, question_text
from valstab.running import RunningEstimate
from valstab.store import Shelf, record_key
from valstab.streams import stream_seed
from valstab.task import Item, Task

LABELS = ["seed", "context", "persona"]
"""The columns that tell an encounter's answers from others'."""


class Asked(NamedTuple):
    """The answers, one row a question, and how many of them were on the shelf."""

    answers: pd.DataFrame
    reused: int


def ask(
    plan: Plan,
    conversations: Sequence[Conversation],
    engine: Engine,
    shelf: Shelf,
    stage: Stage,
    *,
    retest: int = 0,
) -> Asked:
    """Ask all of the task's items after each conversation, each as if it were the only one.

    What the shelf has is not asked again. A `retest` (1, 2, ...) asks the same with other option orders.

    The answers are in the plan's order, with the columns seed, context, persona, item, letter, score, answer_mass,
    letters (the letter under which each option was offered) and logprob_1, logprob_2, ..., both in the order of the
    scale. Where an answer was read off sampled text its probabilities are unknown (NaN); where none could be read,
    the letter and the score are missing as well. The stage counts questions, and says which
    stability there is so far.
    """
    orders = [option_orders(plan.task, conversation.encounter, retest) for conversation in conversations]
    keys = [answers_key(plan, conversation, retest) for conversation in conversations]
    missing = [index for index, key in enumerate(keys) if shelf.get(key) is None]
    number = len(plan.task.items)
    reused = number * (len(conversations) - len(missing))
    answered: dict[int, NDArray[np.float64]] = {}

    def so_far() -> pd.DataFrame:
        places = sorted(answered)
        return _table(
            plan.task,
            [conversations[index].encounter for index in places],
            np.array([orders[index] for index in places]),
            np.array([answered[index] for index in places]),
        )

    running = RunningEstimate(so_far, plan.task, permutations=plan.permutations)

    def read(index: int) -> None:
        answered[index] = np.array(shelf.get(keys[index]))
        stage.note = running.text()

    for index in sorted(set(range(len(conversations))).difference(missing)):
        read(index)
    stage.skip(reused)
    questions = (choices_after(plan, conversations[index], orders[index], retest) for index in missing)
    for place, logprobs in engine.choose(questions):
        index = missing[place]
        shelf.put({keys[index]: logprobs.tolist()})
        read(index)
        stage.advance(number)
    return Asked(so_far(), reused)


def answers_key(plan: Plan, conversation: Conversation, retest: int = 0) -> str:
    """Give the key of the answers after a conversation: all that determines them, but for the engine."""
    encounter = conversation.encounter
    return record_key(
        [
            PROTOCOL_VERSION,
            plan.form.name,
            encounter.persona.introduction,
            encounter.persona.gender,
            encounter.labels,
            plan.task.name,
            plan.task.digest,
            conversation.texts,
            *_again(retest),
            *without(conversation.unseen),
        ]
    )


def option_orders(task: Task, encounter: Encounter, retest: int = 0) -> NDArray[np.intp]:
    """Draw for each item, independently, which option is offered under the first letter, the second, ...

    Returns:
        Places on the scale, from 0, with the shape (items, options).
    """
    seeds = (stream_seed("options", task.name, *encounter.labels, item.number, *_again(retest)) for item in task.items)
    return np.array([np.random.default_rng(seed).permutation(len(task.scores)) for seed in seeds])


def _again(retest: int) -> tuple[str, ...]:
    """Tell a retest's streams and keys apart from the test's, which have no such label."""
    return (f"retest {retest}",) if retest else ()


def choices_after(plan: Plan, conversation: Conversation, orders: NDArray[np.intp], retest: int = 0) -> list[Choice]:
    """Give the questions after a conversation, one an item, each with its order of the options."""
    encounter = conversation.encounter
    return [
        Choice(
            prompt=question_prompt(
                plan.form, encounter.persona, conversation.shown, _question(plan.task, item, encounter, order)
            ),
            options=letters(len(order)),
            seed=stream_seed(
                "answer", plan.task.name, plan.n_messages, *encounter.labels, item.number, *_again(retest)
            ),
        )
        for item, order in zip(plan.task.items, orders, strict=True)
    ]


def _question(task: Task, item: Item, encounter: Encounter, order: NDArray[np.intp]) -> str:
    gender = encounter.persona.gender
    options = item.options[gender]
    return question_text(task.description, item.text[gender], [options[i] for i in order])


def _table(
    task: Task, encounters: Sequence[Encounter], orders: NDArray[np.intp], logprobs: NDArray[np.float64]
) -> pd.DataFrame:
    """Lay the answers out, as `ask` says.

    Args:
        task: what was asked.
        encounters: after which.
        orders: the option under each letter, with the shape (encounters, items, options).
        logprobs: of each letter, with the same shape; infinite for one that was read off sampled text.
    """
    number, options = len(task.items), len(task.scores)
    orders, logprobs = orders.reshape(-1, options), logprobs.reshape(-1, options)
    offered = np.array(list(letters(options)))
    scores = np.tile([task.scores_of(item) for item in task.items], (len(encounters), 1))
    best = np.where(np.isnan(logprobs), -np.inf, logprobs).argmax(axis=1, keepdims=True)
    chosen = np.take_along_axis(orders, best, axis=1)
    is_read = ~np.isnan(logprobs).all(axis=1)
    is_sampled = np.isposinf(logprobs).any(axis=1)
    known = np.where(np.isposinf(logprobs), np.nan, logprobs)
    position = orders.argsort(axis=1)
    on_scale = np.take_along_axis(known, position, axis=1)
    labels = pd.DataFrame([encounter.labels for encounter in encounters], columns=LABELS)
    return (
        labels.loc[labels.index.repeat(number)]
        .assign(
            item=np.tile([item.number for item in task.items], len(encounters)),
            letter=np.array([*letters(options), None])[np.where(is_read, best.ravel(), options)],
            score=np.where(is_read, np.take_along_axis(scores, chosen, axis=1).ravel(), np.nan),
            answer_mass=np.where(is_read & ~is_sampled, np.nansum(np.exp(known), axis=1), np.nan),
            letters=offered[position].view(f"U{options}").ravel(),
            **{f"logprob_{scale}": on_scale[:, scale - 1] for scale in range(1, options + 1)},
        )
        .reset_index(drop=True)
    )
