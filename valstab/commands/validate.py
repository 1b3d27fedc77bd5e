"""Check a run's settings and files without a model: `python -m valstab validate task=... population=...`.

The settings are those of a run. The command prints what a run would read and ask, or the first mistake in one line.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator

import hydra
from omegaconf import DictConfig

from valstab.commands.start import exit_on_mistake, job_config, start
from valstab.config.options import CONFIG_FOLDER
from valstab.config.schema import Config
from valstab.engines.base import Prompt
from valstab.inputs.items import Item
from valstab.inputs.population import Persona
from valstab.inputs.task import Task
from valstab.inputs.topics import Context
from valstab.protocol.plan import Plan, Session, make_plan

PLACEHOLDER_REPLY = "(its reply)"
"""Placeholder for the model's message in the example."""


TWO = 2
"""Two personas or keys have only two orders, so their correlation is 1, -1 or undefined."""


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="validate")
def app(composed: DictConfig) -> None:
    """Print the report on a run's settings and files."""
    exit_on_mistake(lambda: sys.stdout.write(report(job_config(composed, Config)) + "\n"))


def report(config: Config) -> str:
    """Return a description of what a run of this configuration would read and ask.

    Raises:
        ConfigError: at the first invalid setting or file.
    """
    if config.model.format == "auto":
        # Only the checkpoint's chat template could show the format.
        config.model.format, config.model.system_prompt = "chat", True
    plan = make_plan(config)
    counts = {
        "seeds": len(plan.seeds),
        "topics": len(plan.contexts),
        "personas" if not plan.without_personas else "repetitions": len(plan.personas),
        "items": len(plan.task.items),
    }
    size = " x ".join(f"{count} {name if count > 1 else name[:-1]}" for name, count in counts.items())
    session = plan.sessions[0]
    sections = [
        _section("task", _task(plan.task)),
        _section("population", _population(config.population.name, plan.personas)),
        _section("topics", _topics(config.topics.name, plan.contexts)),
        _section("run", [f"{size} = {len(plan.sessions) * len(plan.task.items):,} questions"]),
        "\n".join(f"note: {note}" for note in notes(plan)),
        f"The first question to {session.persona.name}"
        + (f", after one message on {session.context.name}:" if session.context.opening else ":"),
        shown(_first_prompt(plan, session)),
    ]
    return "\n\n".join(filter(None, sections))


def notes(plan: Plan) -> Iterator[str]:
    """Yield notes on valid inputs that are probably mistakes, or that limit the conclusions."""
    for what, texts in (
        ("items", [item.text["F"] for item in plan.task.items]),
        ("personas", [persona.introduction for persona in plan.personas if persona.introduction]),
        ("topics", [context.opening for context in plan.contexts if context.opening]),
    ):
        for text, number in Counter(texts).items():
            if number > 1:
                yield f"{number} {what} have the same text: {text}"
    if len(plan.task.keys) == TWO:
        yield "with 2 keys, an ipsative correlation can only be 1, -1 or undefined"
    if len(plan.personas) == TWO and not plan.without_personas:
        yield "with 2 personas, a rank-order correlation can only be 1, -1 or undefined"
    if len(plan.contexts) == 1:
        yield "there is one context only, so there will be no stability between contexts"


def shown(prompt: Prompt) -> str:
    """Return a prompt as text for a person: each message after its role, without the model's chat template."""
    turns = [f"[{message.role}]\n{message.text}" for message in prompt.messages]
    return "\n\n".join([*turns, f"[assistant]\n{prompt.text}"]) if turns else prompt.text


def _first_prompt(plan: Plan, session: Session) -> Prompt:
    from valstab.protocol.ask import choice_requests, option_orders
    from valstab.protocol.converse import Conversation, opening_messages

    opening = opening_messages(session)
    conversation = Conversation(session, (*opening, PLACEHOLDER_REPLY) if opening else ())
    return choice_requests(plan, conversation, option_orders(plan.task, session))[0].prompt


def _task(task: Task) -> Iterator[str]:
    yield f"{task.name}: {len(task.items)} items of {task.wording}, SHA-256 {task.digest[:12]}"
    for key in task.keys:
        items = [item for item in task.items if item.key == key]
        yield f"{key}: {' '.join(map(_numbered, items))}"
    if any(item.reversed for item in task.items):
        yield "(r: reversed, its options count the other way round)"
    options = task.items[0].options["F"]
    yield f"options: {', '.join(f'{text} = {score:g}' for text, score in zip(options, task.scores, strict=True))}"
    yield "scores: mean of a key's items" + (", less the person's mean over all items" if task.centred else "")


def _numbered(item: Item) -> str:
    return f"{item.number}{'r' if item.reversed else ''}"


def _population(name: str, personas: tuple[Persona, ...]) -> Iterator[str]:
    genders = Counter(persona.gender for persona in personas)
    what = "personas" if personas[0].introduction else "repetitions without a persona"
    yield f"{name}: {len(personas)} {what}, {genders['F']} F and {genders['M']} M"
    if personas[0].introduction:
        yield f"the first: You are {personas[0].introduction}"


def _topics(name: str, contexts: tuple[Context, ...]) -> Iterator[str]:
    yield f"{name}: {len(contexts)}"
    for context in contexts:
        yield f"{context.name}: " + (
            f"an opening of {len(context.opening):,} characters" if context.opening else "none"
        )


def _section(title: str, lines: Iterable[str]) -> str:
    return ("\n" + " " * 12).join([f"{title:12}{first}" if i == 0 else first for i, first in enumerate(lines)])


def main() -> None:
    """Start the command."""
    start(app)
