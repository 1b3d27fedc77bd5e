"""Ask every question after every conversation, and keep the answers (paper, sections 3.1 and B.4)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

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
    running = RunningEstimate(plan.task, permutations=plan.permutations)
    rows: dict[int, list[dict[str, Any]]] = {}

    def read(index: int) -> None:
        logprobs = np.array(shelf.get(keys[index]))
        rows[index] = _answers(plan.task, conversations[index].encounter, orders[index], logprobs)
        running.add(rows[index])
        stage.note = running.text

    for index in sorted(set(range(len(conversations))).difference(missing)):
        read(index)
    stage.skip(reused)
    questions = (choices_after(plan, conversations[index], orders[index], retest) for index in missing)
    for place, logprobs in engine.choose(questions):
        index = missing[place]
        shelf.put({keys[index]: logprobs.tolist()})
        read(index)
        stage.advance(number)
    return Asked(pd.DataFrame([row for index in sorted(rows) for row in rows[index]]), reused)


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


def option_orders(task: Task, encounter: Encounter, retest: int = 0) -> list[NDArray[np.intp]]:
    """Draw for each item, independently, which option is offered under the first letter, the second, ..."""
    return [
        np.random.default_rng(
            stream_seed("options", task.name, *encounter.labels, item.number, *_again(retest))
        ).permutation(len(task.scores))
        for item in task.items
    ]


def _again(retest: int) -> tuple[str, ...]:
    """Tell a retest's streams and keys apart from the test's, which have no such label."""
    return (f"retest {retest}",) if retest else ()


def choices_after(
    plan: Plan, conversation: Conversation, orders: Sequence[NDArray[np.intp]], retest: int = 0
) -> list[Choice]:
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


def _answers(
    task: Task, encounter: Encounter, orders: Sequence[NDArray[np.intp]], logprobs: NDArray[np.float64]
) -> list[dict[str, Any]]:
    seed, context, persona = encounter.labels
    rows = []
    for item, order, of_letters in zip(task.items, orders, logprobs, strict=True):
        offered = letters(len(order))
        is_sampled = np.isposinf(of_letters).any()
        best = None if np.isnan(of_letters).all() else int(np.nanargmax(of_letters))
        known = np.where(np.isposinf(of_letters), np.nan, of_letters)
        position = np.argsort(order)
        rows.append(
            {
                "seed": seed,
                "context": context,
                "persona": persona,
                "item": item.number,
                "letter": None if best is None else offered[best],
                "score": np.nan if best is None else float(task.scores_of(item)[order[best]]),
                "answer_mass": np.nan if best is None or is_sampled else float(np.nansum(np.exp(known))),
                "letters": "".join(offered[i] for i in position),
                **{f"logprob_{scale}": float(known[i]) for scale, i in enumerate(position, 1)},
            }
        )
    return rows
