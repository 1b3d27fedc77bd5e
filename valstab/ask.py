"""Ask every question after every conversation, and keep the answers (paper, sections 3.1 and B.4)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valstab.converse import Conversation
from valstab.engine import Choice, Engine, EngineError
from valstab.plan import Encounter, Plan
from valstab.prompts import letters, question_prompt, question_text
from valstab.streams import stream_seed
from valstab.task import Item, Task

ANSWER_COLUMNS = ("seed", "context", "persona", "item", "letter", "score", "answer_mass")


def ask(
    plan: Plan, conversations: Sequence[Conversation], engine: Engine, advance: Callable[[int], None]
) -> pd.DataFrame:
    """Ask all of the task's items after each conversation, each as if it were the only one.

    Returns one row a question, in the plan's order: `ANSWER_COLUMNS`, `letters` (the letter under which each
    option was offered) and `logprob_1`, `logprob_2`, ..., both in the order of the scale. `advance` is called
    with the number of questions answered.

    Raises:
        EngineError: if the model gives a probability that is not a number.
    """
    orders = [_option_orders(plan.task, conversation.encounter) for conversation in conversations]
    rows: list[list[dict[str, Any]]] = [[] for _ in conversations]
    for index, logprobs in engine.choose(_choices(plan, conversations, orders)):
        if np.isnan(logprobs).any():
            seed, context, persona = conversations[index].encounter.labels
            raise EngineError(f"the model gave no probabilities (NaN) for {persona}, {context}, seed {seed}")
        rows[index] = _answers(plan.task, conversations[index].encounter, orders[index], logprobs)
        advance(len(rows[index]))
    return pd.DataFrame([row for answers in rows for row in answers])


def _option_orders(task: Task, encounter: Encounter) -> list[NDArray[np.intp]]:
    """Draw for each item, independently, which option is offered under the first letter, the second, ..."""
    return [
        np.random.default_rng(stream_seed("options", task.name, *encounter.labels, item.number)).permutation(
            len(task.scores)
        )
        for item in task.items
    ]


def _choices(
    plan: Plan, conversations: Sequence[Conversation], orders: Sequence[Sequence[NDArray[np.intp]]]
) -> Iterator[list[Choice]]:
    for conversation, item_orders in zip(conversations, orders, strict=True):
        yield [
            Choice(
                prompt=question_prompt(
                    plan.form,
                    conversation.encounter.persona,
                    conversation.texts,
                    _question(plan.task, item, conversation.encounter, order),
                ),
                options=letters(len(order)),
                seed=stream_seed(
                    "answer", plan.task.name, plan.n_messages, *conversation.encounter.labels, item.number
                ),
            )
            for item, order in zip(plan.task.items, item_orders, strict=True)
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
        best = int(np.argmax(of_letters))
        position = np.argsort(order)
        rows.append(
            {
                "seed": seed,
                "context": context,
                "persona": persona,
                "item": item.number,
                "letter": offered[best],
                "score": float(task.scores[order[best]]),
                "answer_mass": float(np.exp(of_letters).sum()),
                "letters": "".join(offered[i] for i in position),
                **{f"logprob_{scale}": float(of_letters[i]) for scale, i in enumerate(position, 1)},
            }
        )
    return rows
