"""Ask the items of a list in one dialogue, in which earlier answers stay in view, as value surveys are filled in.

A dialogue begins with the task's anchors: which item of the list matters most, and which is opposed. These two get the
ends of the scale, and the others are rated one after the other (Schwartz, 1992).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from valstab.engines.base import ChoiceRequest, Engine, Prompt
from valstab.hashing import content_hash, derive_seed
from valstab.inputs.task import Task
from valstab.protocol.answers import Answered, Answers, answer_all
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import MAX_LETTERS, Plan
from valstab.protocol.prompts import option_labels, question_prompt, question_text
from valstab.protocol.store import RecordLog


@dataclass
class _Question:
    """One question of a dialogue: about an item, or which item is an anchor."""

    text: str
    options: list[str]
    labels: Sequence[str]
    order: NDArray[np.int16]
    """What each label offers: a place on the scale, or in the list. Shape: (options,)."""
    seed: int


@dataclass
class _Dialogue:
    """One list of items after one conversation, in the making."""

    number: int
    """Number of the conversation."""
    name: str
    """Name of the list."""
    places: list[int]
    """Places of the list's items in the task."""
    left: list[int] = field(default_factory=list)
    """Those that are not rated yet."""
    turns: list[str] = field(default_factory=list)
    """Earlier questions and answers, in turn."""


class Dialogues:
    """The dialogues of all lists after some conversations.

    Args:
        plan: how and what is asked.
        conversations: the conversations that questions follow.
        keys: the store's key of each conversation's answers.
        orders: returns the option under each letter for the items after a conversation. Shape: (items, options).
        retest: number of the retest, 0 for the test.
    """

    def __init__(
        self,
        plan: Plan,
        conversations: Sequence[Conversation],
        keys: Sequence[str],
        orders: Callable[[int], NDArray[np.int16]],
        retest: int = 0,
    ) -> None:
        self._plan, self._conversations, self._keys, self._orders = plan, conversations, keys, orders
        self._retest = retest
        size = len(conversations), len(plan.task.items), len(plan.task.scores)
        self._logprobs = np.full(size, np.nan)
        self._chosen = np.zeros(size[:2], dtype=np.intp)
        self._readings = [["missing"] * size[1] for _ in conversations]
        self._thoughts: list[list[str]] = [[""] * size[1] for _ in conversations]
        self._reused = [True] * size[0]
        self._dialogues = [
            _Dialogue(number, name, places, left=self._order(number, name, places))
            for number in range(size[0])
            for name, places in plan.task.dialogues.items()
        ]

    def ask(self, engine: Engine, log: RecordLog) -> Iterator[Answered]:
        """Ask in rounds of one question for each dialogue, and yield the answers after each conversation."""
        for which in range(len(self._plan.task.anchors)):
            self._round(engine, log, self._dialogues, partial(self._anchor, which))
        while at_work := [each for each in self._dialogues if each.left]:
            self._round(engine, log, at_work, self._rating)
        thinks = self._plan.answer_thought_tokens is not None
        for number, reused in enumerate(self._reused):
            answers = Answers(
                self._logprobs[number],
                self._chosen[number],
                self._readings[number],
                self._thoughts[number] if thinks else None,
            )
            yield Answered(number, answers, reused)

    def _order(self, number: int, name: str, places: Sequence[int]) -> list[int]:
        """Return the places of a list's items in the order in which they are rated after a conversation."""
        if self._plan.item_order == "random":
            session = self._conversations[number].session
            seed = derive_seed("items", self._plan.task.name, name, *session.labels, self._retest)
            return [places[each] for each in np.random.default_rng(seed).permutation(len(places))]
        return list(places[::-1]) if self._plan.item_order == "reversed" else list(places)

    def first_prompt(self) -> Prompt:
        """Return the prompt of the first question after the first conversation."""
        first = self._dialogues[0]
        question, _ = self._anchor(0, first) if self._plan.task.anchors else self._rating(first)
        return self._request(first, question).prompt

    def _round(
        self,
        engine: Engine,
        log: RecordLog,
        dialogues: Sequence[_Dialogue],
        next_question: Callable[[_Dialogue], tuple[_Question, Callable[[Answers], None]]],
    ) -> None:
        """Ask one question in each dialogue, and add the question and its answer to it."""
        asked = [(each, *next_question(each)) for each in dialogues]
        for size in sorted({len(question.labels) for _, question, _ in asked}):
            alike = [turn for turn in asked if len(turn[1].labels) == size]
            step = replace(self._plan, task=_task_of_one(self._plan.task, size))
            keys = [
                content_hash([self._keys[each.number], "in a dialogue", each.name, each.turns, question.text])
                for each, question, _ in alike
            ]
            requests = [[self._request(each, question)] for each, question, _ in alike]
            for place, answers, reused in answer_all(step, engine, log, keys, requests.__getitem__):
                dialogue, question, note = alike[place]
                self._reused[dialogue.number] &= reused
                note(answers)
                if _is_read(answers):
                    dialogue.turns += [question.text, self._answer(question, int(answers.chosen[0]))]

    def _answer(self, question: _Question, chosen: int) -> str:
        """Return an answer as the model's message."""
        shown = "" if self._plan.option_labels == "words" else f" {question.options[chosen]}"
        return f"{self._plan.language.answer}{question.labels[chosen]}){shown}"

    def _request(self, dialogue: _Dialogue, question: _Question) -> ChoiceRequest:
        conversation = self._conversations[dialogue.number]
        prompt = question_prompt(
            self._plan.chat_format,
            conversation.session.persona,
            [*conversation.seen(self._plan), *dialogue.turns],
            question.text,
            language=self._plan.language,
        )
        return ChoiceRequest(prompt, question.labels, question.seed)

    def _anchor(self, which: int, dialogue: _Dialogue) -> tuple[_Question, Callable[[Answers], None]]:
        """Return the question which item of a list is at the upper end of the scale (0), or at the lower one (1)."""
        task, session = self._plan.task, self._conversations[dialogue.number].session
        seed = derive_seed("anchor", task.name, dialogue.name, which, *session.labels, self._retest)
        order = np.random.default_rng(seed).permutation(len(dialogue.places)).astype(np.int16)
        options = [task.items[dialogue.places[place]].short[session.persona.gender] for place in order]
        kind = self._plan.option_labels if len(options) <= MAX_LETTERS else "numbers"
        text = question_text(None if dialogue.turns else task.description, task.anchors[which], options, kind)
        question = _Question(text, options, option_labels(kind, options), order, seed)

        def note(answers: Answers) -> None:
            place = dialogue.places[order[answers.chosen[0]]]
            if _is_read(answers) and place in dialogue.left:
                dialogue.left.remove(place)
                end = task.items[place].n_options - 1 if which == 0 else 0
                letter = int(np.flatnonzero(self._orders(dialogue.number)[place] == end)[0])
                row = np.full(len(task.scores), np.nan)
                row[letter] = np.inf  # known, without probabilities
                self._put(dialogue.number, place, row, letter, answers)

        return question, note

    def _rating(self, dialogue: _Dialogue) -> tuple[_Question, Callable[[Answers], None]]:
        """Return the question about the next item of a list."""
        task, session = self._plan.task, self._conversations[dialogue.number].session
        place, gender = dialogue.left[0], session.persona.gender
        item, order = task.items[place], self._orders(dialogue.number)[place]
        options = [item.options[gender][each] for each in order[: item.n_options]]
        intro = task.rest if dialogue.turns and len(dialogue.turns) <= 2 * len(task.anchors) else None
        description = intro if dialogue.turns else task.description
        seed = derive_seed("rating", task.name, item.number, *session.labels, self._retest)
        kind = self._plan.option_labels
        text = question_text(description, item.text[gender], options, kind)

        def note(answers: Answers) -> None:
            dialogue.left.remove(place)
            row = np.full(len(task.scores), np.nan)
            row[: item.n_options] = answers.logprobs[0][: item.n_options]
            self._put(dialogue.number, place, row, int(answers.chosen[0]), answers)

        return _Question(text, options, option_labels(kind, options), order, seed), note

    def _put(self, number: int, place: int, row: NDArray[np.float64], letter: int, answers: Answers) -> None:
        self._logprobs[number, place], self._chosen[number, place] = row, letter
        self._readings[number][place] = answers.readings[0]
        if answers.thoughts is not None:
            self._thoughts[number][place] = answers.thoughts[0]


def _is_read(answers: Answers) -> bool:
    return not bool(np.isnan(answers.logprobs[0]).all())


def _task_of_one(task: Task, n_options: int) -> Task:
    """Return the task of a single question, as answers are read by its size."""
    return replace(task, items=task.items[:1], scores=tuple(map(float, range(n_options))))
