"""Fit conversations to the model's context window: refuse a plan that may not fit, or drop the oldest texts.

Rule of `overflow=truncate`: the instruction and the question always stay. Of the texts, opening included, the oldest
are dropped in pairs, so that roles keep alternating and the first role stays the same, until the prompt fits together
with the longest possible message (or answer). All questions after a conversation are asked after the same texts.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from valstab.engines.base import Prompt, Window
from valstab.errors import ConfigError
from valstab.inputs.genders import Gender
from valstab.inputs.population import Persona
from valstab.protocol.plan import Plan, Session
from valstab.protocol.prompts import judge_prompt, question_prompt, question_text, reply_prompt

RESERVED_ANSWER_TOKENS = 8
"""Tokens reserved for an answer: its letter, and what another order of the options may add to the question."""


MARKER_TOKENS = 16
"""Tokens reserved for the markers of a thought."""


FIRST_INTERLOCUTOR_MESSAGES = 3
"""Smallest (odd) number of messages that includes one of the interlocutor's."""


PLACEHOLDER_MESSAGE = "word"
"""Text of a message whose length is not known; `max_new_tokens` are added to the count for each."""


def require_fit(plan: Plan, window: Window | None, model: str) -> None:
    """Check that all prompts of a plan fit the context window, before anything is generated.

    Every message is assumed to have `max_new_tokens` tokens.

    Args:
        plan: the plan of the run.
        window: the model's context window; None if it is unknown or unlimited.
        model: the model's name, for the error.

    Raises:
        ConfigError: if a prompt may not fit, with the largest `n_messages` that always fits. With
            `overflow=truncate`, only if the texts that are never dropped may not fit.
    """
    if window is None:
        return
    limit = f"but {model} can read {window.tokens:,}"
    longest = _LongestPrompts(plan, window)
    if plan.truncates or not plan.n_messages:
        least = longest.truncated_tokens()
        if least > window.tokens:
            key, value = ("overflow", "truncate") if plan.truncates else ("n_messages", 0)
            raise ConfigError(key, value, f"the parts that are never left out may have up to {least:,} tokens, {limit}")
        return
    tokens = longest.tokens(plan.n_messages)
    if tokens > window.tokens:
        fewer = range(1, plan.n_messages, 2)
        fitting = bisect_right(fewer, window.tokens, key=longest.tokens)
        largest = (
            f"the largest n_messages that always fits is {fewer[fitting - 1]}"
            if fitting
            else "not even n_messages=1 always fits"
        )
        raise ConfigError(
            "n_messages",
            plan.n_messages,
            f"a conversation with its question may have up to {tokens:,} tokens, {limit}; {largest}; or "
            "overflow=truncate leaves its oldest messages out",
        )


def require_interlocutor_fit(plan: Plan, window: Window | None, model: str) -> None:
    """Check that all prompts of another model, the interlocutor, fit its context window.

    Args:
        plan: the plan of the run.
        window: the interlocutor's context window; None if it is unknown or unlimited.
        model: the interlocutor's name, for the error.

    Raises:
        ConfigError: if a prompt may not fit.
    """
    if window is None or plan.truncates or plan.n_messages < FIRST_INTERLOCUTOR_MESSAGES:
        return
    tokens = _LongestPrompts(plan, window).interlocutor_tokens(plan.n_messages)
    if tokens > window.tokens:
        raise ConfigError(
            "n_messages",
            plan.n_messages,
            f"a conversation may have up to {tokens:,} tokens, but the interlocutor {model} can read "
            f"{window.tokens:,}; "
            "take fewer, or overflow=truncate leaves the oldest messages out",
        )


def require_judge_fit(plan: Plan, window: Window | None, judge: str) -> None:
    """Check that a judge can read the longest answers with the rubric.

    Args:
        plan: the plan of the run.
        window: the judge's context window; None if it is unknown or unlimited.
        judge: the judge's name, for the error.

    Raises:
        ConfigError: if a prompt may not fit.
    """
    rubric, chat_format = plan.task.rubric, plan.judge_format
    if window is None or rubric is None or chat_format is None:
        return
    questions = (
        question_text(None, rubric.question(item, text, PLACEHOLDER_MESSAGE), item.options[gender], plan.option_labels)
        for item in plan.task.items
        for gender, text in item.text.items()
    )
    longest = max(window.count(judge_prompt(chat_format, text, language=plan.language)) for text in questions)
    tokens = longest + plan.task.max_answer_tokens + RESERVED_ANSWER_TOKENS
    if tokens > window.tokens:
        raise ConfigError(
            "task.max_answer_tokens",
            plan.task.max_answer_tokens,
            f"an answer with its rubric may have up to {tokens:,} tokens, but the judge {judge} can read "
            f"{window.tokens:,}",
        )


def longest_prompt(plan: Plan, window: Window) -> int:
    """Return the maximum number of tokens of a prompt and its continuation, if nothing is dropped."""
    return _LongestPrompts(plan, window).tokens(plan.n_messages)


def dropped_for_reply(plan: Plan, session: Session, texts: Sequence[str], window: Window | None) -> int:
    """Return how many of the oldest texts to drop so that the next message fits; 0 without a window."""
    return _n_dropped(
        lambda number: plan.reply_prompt(session, texts, number),
        texts,
        window,
        reserved_tokens=plan.max_new_tokens + _reserved(plan.message_thought_tokens),
        min_visible=2 - len(texts) % 2,
    )


def dropped_for_questions(plan: Plan, session: Session, texts: Sequence[str], window: Window | None) -> int:
    """Return how many of the oldest texts to drop so that the longest question fits; 0 without a window."""
    if window is None:
        return 0
    question = _longest_question(plan, session.persona.gender, window)
    seen = plan.seen(session.persona, texts)
    return _n_dropped(
        lambda n: question_prompt(plan.chat_format, session.persona, seen[n:], question, language=plan.language),
        texts,
        window,
        reserved_tokens=_answer_tokens(plan) + _reserved(plan.answer_thought_tokens),
        min_visible=0,
    )


def _n_dropped(
    prompt: Callable[[int], Prompt],
    texts: Sequence[str],
    window: Window | None,
    *,
    reserved_tokens: int,
    min_visible: int,
) -> int:
    if window is None:
        return 0
    numbers = range(0, len(texts) - min_visible + 1, 2)

    def fits(number: int) -> bool:
        return window.count(prompt(number)) + reserved_tokens <= window.tokens

    return 0 if fits(0) else numbers[bisect_left(numbers, x=True, hi=len(numbers) - 1, key=fits)]


def _longest_question(plan: Plan, gender: Gender, window: Window) -> str:
    is_open = plan.task.rubric is not None
    questions = (
        question_text(
            plan.task.description, item.text[gender], () if is_open else item.options[gender], plan.option_labels
        )
        for item in plan.task.items
    )

    def length(text: str) -> int:
        return window.count(question_prompt(plan.chat_format, plan.personas[0], (), text, language=plan.language))

    return max(questions, key=length)


def _answer_tokens(plan: Plan) -> int:
    """Return the tokens reserved for an answer; a token of an option's text has one byte at least."""
    if plan.task.rubric:
        return plan.task.max_answer_tokens
    texts = [text for item in plan.task.items for options in item.options.values() for text in options]
    return RESERVED_ANSWER_TOKENS + (max(len(text.encode()) for text in texts) if plan.option_labels == "words" else 0)


def _reserved(max_thought_tokens: int | None) -> int:
    """Return the tokens reserved for a thought and its markers."""
    return 0 if max_thought_tokens is None else max_thought_tokens + MARKER_TOKENS


def _dialogue_turns(plan: Plan, gender: Gender) -> list[str]:
    """Return questions and answers of the longest dialogue before its last question; none where items stand alone."""
    items = [plan.task.items[place] for place in max(plan.task.dialogues.values(), key=len, default=[])]
    shorts = [item.short[gender] for item in items] if plan.task.anchors else []
    asked = [(anchor, shorts, "numbers") for anchor in plan.task.anchors if items]
    asked += [(item.text[gender], list(item.options[gender]), plan.option_labels) for item in items[:-1]]
    turns = []
    for text, options, labels in asked:
        longest = max(options, key=len)
        turns += [question_text(None, text, options, labels), f"{plan.language.answer}{len(options)}) {longest}"]
    return turns


class _LongestPrompts:
    """Token counts of a plan's longest prompts, each with its continuation."""

    def __init__(self, plan: Plan, window: Window) -> None:
        self._plan, self._count = plan, window.count
        self._pairs = list(dict.fromkeys((each.persona, each.interlocutor) for each in plan.sessions))
        genders = {persona.gender for persona in plan.personas}
        self._questions = {gender: _longest_question(plan, gender, window) for gender in genders}
        openings = [opening for context in plan.contexts for opening in context.openings]
        openings.sort(
            key=lambda text: window.count(
                reply_prompt(plan.chat_format, plan.personas[0], [text], language=plan.language)
            )
        )
        self._opening = openings[-1:]

    def tokens(self, n_messages: int) -> int:
        """Return the tokens after `n_messages` messages: of a question, or of the interlocutor's last message."""
        longest = max(self._question_tokens(persona, n_messages) for persona in self._plan.personas)
        if n_messages < FIRST_INTERLOCUTOR_MESSAGES or self._plan.interlocutor_format is not None:
            return longest
        return max(longest, self.interlocutor_tokens(n_messages))

    def interlocutor_tokens(self, n_messages: int) -> int:
        """Return the tokens of the interlocutor's last of `n_messages` messages."""
        return max(self._reply_tokens(*pair, self._opening, n_messages - 2) for pair in self._pairs)

    def truncated_tokens(self) -> int:
        """Return the tokens after all droppable texts are dropped: of a question, or of a reply to 1 or 2 texts."""
        starts = ((self._opening, 0), (self._opening, 1), ([], 1), ([], 2)) if self._opening else ()
        return max(
            max([self._question_tokens(pair[0], 0), *(self._reply_tokens(*pair, *start) for start in starts)])
            for pair in self._pairs
        )

    def _question_tokens(self, persona: Persona, n_messages: int) -> int:
        texts = [*self._opening, *[PLACEHOLDER_MESSAGE] * n_messages] if n_messages else []
        texts = [*self._plan.seen(persona, texts), *_dialogue_turns(self._plan, persona.gender)]
        prompt = question_prompt(
            self._plan.chat_format, persona, texts, self._questions[persona.gender], language=self._plan.language
        )
        reserved = _answer_tokens(self._plan) + _reserved(self._plan.answer_thought_tokens)
        return self._count(prompt) + n_messages * self._plan.max_new_tokens + reserved

    def _reply_tokens(
        self, persona: Persona, interlocutor: Persona | None, opening: Sequence[str], n_messages: int
    ) -> int:
        texts = [*opening, *[PLACEHOLDER_MESSAGE] * n_messages]
        if self._plan.reminder and not opening and len(texts) % 2:  # any message that is left may have one
            texts[0] = self._plan.reminder.before(persona, texts[0])
        prompt = reply_prompt(
            self._plan.format_after(len(texts)),
            persona,
            texts,
            language=self._plan.language,
            interlocutor=interlocutor,
        )
        reserved = _reserved(self._plan.message_thought_tokens)
        return self._count(prompt) + (n_messages + 1) * self._plan.max_new_tokens + reserved
