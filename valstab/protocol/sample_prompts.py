"""Make some of a run's prompts in advance, with made messages, to check and to show them."""

from collections.abc import Iterator, Sequence

from valstab.engines.base import Engine, Prompt
from valstab.protocol.ask import choice_requests, option_orders
from valstab.protocol.converse import Conversation, opening_messages
from valstab.protocol.dialogue import Dialogues
from valstab.protocol.open_answers import open_request
from valstab.protocol.plan import Plan, Session

MADE_ANSWER = "(its answer)"
"""A text that stands for an answer in the model's own words."""


MADE_MESSAGES = ("(its reply)", "(the interlocutor's reply)", "(its second reply)")
"""Messages that stand for generated ones."""


def sample_prompts(plan: Plan) -> Iterator[Prompt]:
    """Yield prompts of the plan's first conversation: of each message while there are made ones, and of a question.

    The question is asked after one message, and after as many as there are.
    """
    session = plan.first
    texts = opening_messages(session)
    made = MADE_MESSAGES[: plan.n_messages] if texts else ()
    for message in made:
        if not plan.is_other_model(len(texts)):
            yield plan.reply_prompt(session, texts)
        texts.append(message)
    yield first_question(plan, session, n_messages=min(1, len(made)))
    if len(made) > 1:
        yield first_question(plan, session, n_messages=len(made))
    yield from _reminded_prompts(plan, session)


def _reminded_prompts(plan: Plan, session: Session) -> Iterator[Prompt]:
    """Yield the prompt of the first message after a reminder, and of a question after it, if there are any."""
    if plan.reminder is None or not session.opening or plan.n_messages <= plan.reminder.every:
        return
    made = [f"(message {number})" for number in range(1, plan.reminder.every + 2)]
    yield plan.reply_prompt(session, [*opening_messages(session), *made[:-1]])
    yield _asked_after(plan, Conversation(session, (*opening_messages(session), *made)))


def interlocutor_prompts(plan: Plan) -> Iterator[Prompt]:
    """Yield prompts of another model, the interlocutor, in the plan's first conversation; none if it is the same."""
    session = plan.first
    texts = [*opening_messages(session), *MADE_MESSAGES[: plan.n_messages]]
    for number in range(2, len(texts)):
        if plan.is_other_model(number):
            yield plan.reply_prompt(session, texts[:number])


def rating_prompts(plan: Plan) -> list[Prompt]:
    """Return the prompts by which a judge rates made answers to a task with a rubric, in the plan's first session."""
    conversation = Conversation(plan.first, ())
    said = [MADE_ANSWER] * len(plan.task.items)
    return [each.prompt for each in choice_requests(plan, conversation, option_orders(plan, plan.first), said=said)]


def first_question(plan: Plan, session: Session, n_messages: int = 1) -> Prompt:
    """Return the prompt of a session's first question, after `n_messages` made messages."""
    opening = opening_messages(session)
    conversation = Conversation(session, (*opening, *MADE_MESSAGES[:n_messages]) if opening else ())
    return _asked_after(plan, conversation)


def rendered_question(plan: Plan, engine: Engine, conversations: Sequence[Conversation]) -> str | None:
    """Return the first question as the model read it; None if the engine renders no chat template itself."""
    tokens = getattr(engine, "tokens", None)
    if tokens is None:
        return None
    text: str = tokens.render_start(_asked_first(plan, conversations), plan.answer_thought_tokens)
    return text


def question_as_messages(plan: Plan, conversations: Sequence[Conversation]) -> str:
    """Return the first question as text for a person, without the model's chat template."""
    return as_messages(_asked_first(plan, conversations))


def as_messages(prompt: Prompt) -> str:
    """Return a prompt as text for a person: each message after its role, without the model's chat template."""
    turns = [f"[{message.role}]\n{message.text}" for message in prompt.messages]
    return "\n\n".join([*turns, f"[assistant]\n{prompt.text}"]) if turns else prompt.text


def _asked_first(plan: Plan, conversations: Sequence[Conversation]) -> Prompt:
    return _asked_after(plan, conversations[0])


def _asked_after(plan: Plan, conversation: Conversation) -> Prompt:
    """Return the prompt of the first question after a conversation."""
    orders = option_orders(plan, conversation.session)
    if plan.task.rubric:
        return open_request(plan, conversation, plan.task.items[0]).prompt
    if plan.task.dialogues:
        return Dialogues(plan, [conversation], [""], lambda _: orders).first_prompt()
    return choice_requests(plan, conversation, orders)[0].prompt
