"""Whether all that is said fits what a model can read at once, and what it is not shown where it does not.

Rule of `overflow=truncate`: the instruction and the question stay whole; of the texts, the opening among them, the
oldest are left out, two at a time, so that roles still alternate and begin with the opening's, until the prompt with
the longest message (or the answer) fits. All questions after a conversation are shown the same of it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from valstab.engines.base import Prompt, Window
from valstab.errors import ConfigError
from valstab.inputs.population import Gender, Persona
from valstab.protocol.plan import Plan, Session
from valstab.protocol.prompts import question_prompt, question_text, reply_prompt

ANSWER_TOKENS = 8
"""Room for a question's answer: its letter, and what another order of the options may add to the question."""


MIN_MESSAGES_OF_BOTH = 3
"""The fewest messages with one of the interlocutor's among them."""


PLACEHOLDER_MESSAGE = "word"
"""Stands for a message where its length is counted; the message's own tokens are added to it."""


def require_fit(plan: Plan, window: Window | None, model: str) -> None:
    """Refuse a plan whose conversations may become longer than a model's window; nothing is said for that.

    Every message is taken to have all of its `max_new_tokens`.

    Raises:
        ConfigError: if they may, with the largest `n_messages` that surely fits; with `overflow=truncate`, if not
            even what is never left out fits.
    """
    if window is None:
        return
    limit = f"but {model} can read {window.tokens:,}"
    if plan.truncates or not plan.n_messages:
        least = _Lengths(plan, window).least()
        if least > window.tokens:
            key, value = ("overflow", "truncate") if plan.truncates else ("n_messages", 0)
            raise ConfigError(key, value, f"what is never left out may have up to {least:,} tokens, {limit}")
        return
    lengths = _Lengths(plan, window)
    most = lengths.of(plan.n_messages)
    if most > window.tokens:
        fewer = range(1, plan.n_messages, 2)
        fitting = bisect_right(fewer, window.tokens, key=lengths.of)
        largest = f"the largest that surely fits is {fewer[fitting - 1]}" if fitting else "not even 1 surely fits"
        raise ConfigError(
            "n_messages",
            plan.n_messages,
            f"a conversation with its question may have up to {most:,} tokens, {limit}; {largest}; or "
            "overflow=truncate leaves its oldest messages out",
        )


def longest_prompt(plan: Plan, window: Window) -> int:
    """Give the most tokens that a prompt with what follows it may have, if nothing is left out."""
    return _Lengths(plan, window).of(plan.n_messages)


def unseen_by_speaker(plan: Plan, session: Session, texts: Sequence[str], window: Window | None) -> int:
    """Count the oldest texts that the next speaker is not shown, so that a message fits; 0 without a window."""
    return _left_out(
        lambda shown: reply_prompt(plan.form, session.persona, shown),
        texts,
        window,
        room=plan.max_new_tokens,
        kept=2 - len(texts) % 2,
    )


def unseen_by_questions(plan: Plan, session: Session, texts: Sequence[str], window: Window | None) -> int:
    """Count the oldest texts that no question is shown, so that the longest fits; 0 without a window."""
    if window is None:
        return 0
    question = _longest_question(plan, session.persona.gender, window)
    return _left_out(
        lambda shown: question_prompt(plan.form, session.persona, shown, question),
        texts,
        window,
        room=ANSWER_TOKENS,
        kept=0,
    )


def _left_out(
    prompt: Callable[[Sequence[str]], Prompt], texts: Sequence[str], window: Window | None, *, room: int, kept: int
) -> int:
    if window is None:
        return 0
    numbers = range(0, len(texts) - kept + 1, 2)

    def fits(number: int) -> bool:
        return window.count(prompt(texts[number:])) + room <= window.tokens

    return 0 if fits(0) else numbers[bisect_left(numbers, x=True, hi=len(numbers) - 1, key=fits)]


def _longest_question(plan: Plan, gender: Gender, window: Window) -> str:
    questions = (question_text(plan.task.description, i.text[gender], i.options[gender]) for i in plan.task.items)
    return max(questions, key=lambda text: window.count(question_prompt(plan.form, plan.personas[0], (), text)))


class _Lengths:
    """The tokens of a plan's longest prompts, with what follows them."""

    def __init__(self, plan: Plan, window: Window) -> None:
        self._plan, self._count = plan, window.count
        genders = {persona.gender for persona in plan.personas}
        self._questions = {gender: _longest_question(plan, gender, window) for gender in genders}
        openings = [context.opening for context in plan.contexts if context.opening]
        openings.sort(key=lambda text: window.count(reply_prompt(plan.form, plan.personas[0], [text])))
        self._opening = openings[-1:]

    def of(self, n_messages: int) -> int:
        """Count with so many messages: of a question, or of the interlocutor's last reply."""
        most = max(self._question(persona, n_messages) for persona in self._plan.personas)
        if n_messages < MIN_MESSAGES_OF_BOTH:
            return most
        return max(most, *(self._reply(persona, self._opening, n_messages - 2) for persona in self._plan.personas))

    def least(self) -> int:
        """Count where all is left out that may be: of a question alone, or of a reply to the last one or two texts."""
        starts = ((self._opening, 0), (self._opening, 1), ([], 1), ([], 2)) if self._opening else ()
        return max(
            max([self._question(persona, 0), *(self._reply(persona, *start) for start in starts)])
            for persona in self._plan.personas
        )

    def _question(self, persona: Persona, said: int) -> int:
        texts = [*self._opening, *[PLACEHOLDER_MESSAGE] * said] if said else []
        prompt = question_prompt(self._plan.form, persona, texts, self._questions[persona.gender])
        return self._count(prompt) + said * self._plan.max_new_tokens + ANSWER_TOKENS

    def _reply(self, persona: Persona, opening: Sequence[str], said: int) -> int:
        prompt = reply_prompt(self._plan.form, persona, [*opening, *[PLACEHOLDER_MESSAGE] * said])
        return self._count(prompt) + (said + 1) * self._plan.max_new_tokens
