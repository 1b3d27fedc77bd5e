"""Check a run's settings and files without a model: `python -m valstab validate task=... population=...`.

The settings are those of a run. The command prints what a run would read and ask, or the first mistake in one line.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from textwrap import shorten
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from valstab.commands.start import exit_on_mistake, job_config, start
from valstab.config.inputs import PopulationConfig, TaskConfig
from valstab.config.options import CONFIG_FOLDER
from valstab.config.schema import Config
from valstab.engines.base import EngineError, Prompt
from valstab.engines.prompts.chat_format import has_chat_template, load_tokenizer, resolve_chat_format
from valstab.inputs.files import locate
from valstab.inputs.genders import PRONOUNS
from valstab.inputs.items import GENDERS, Item, read_item_table
from valstab.inputs.population import read_population_table
from valstab.inputs.task import Task
from valstab.inputs.topics import Context
from valstab.protocol.design import shortcomings
from valstab.protocol.plan import Plan, make_plan
from valstab.protocol.prompts import instruction_of

if TYPE_CHECKING:
    from valstab.engines.prompts.tokenizer import PromptTokenizer

MAX_SHOWN = 300
"""Characters of an introduction or an item that are shown outside a prompt."""


SERVER = "its chat template is not known here, so prompts are shown without it"
"""The note on the prompts of a model behind a server."""


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="validate")
def app(composed: DictConfig) -> None:
    """Print the report on a run's settings and files."""
    exit_on_mistake(lambda: sys.stdout.write(report(job_config(composed, Config)) + "\n"))


def report(config: Config) -> str:
    """Return a description of what a run of this configuration would read and ask.

    Raises:
        ConfigError: at the first invalid setting or file.
    """
    make_plan(config)  # a mistake in a file is answered before the tokenizer is read, which takes seconds
    tokens, model = read_model(config)
    plan = make_plan(config)
    counts = {
        "seeds": len(plan.seeds),
        "topics": len(plan.contexts),
        "personas" if not plan.without_personas else "repetitions": len(plan.personas),
        "items": len(plan.task.items),
    }
    size = " x ".join(f"{count} {name if count > 1 else name[:-1]}" for name, count in counts.items())
    sections = [
        _section("task", _task(config.task, plan.task)),
        _section("population", _population(config.population, plan)),
        _section("topics", _topics(config.topics.name, plan.contexts)),
        _section("run", [f"{size} = {len(plan.sessions) * len(plan.task.items):,} questions"]),
        _section("model", model),
        "\n".join(f"note: {note}" for note in notes(plan)),
    ]
    return "\n\n".join(filter(None, [*sections, *_prompts(plan, tokens)]))


def _prompts(plan: Plan, tokens: "PromptTokenizer | None") -> Iterator[str]:
    """Yield the first prompts of a plan as the model reads them, each after a title, and check them before."""
    # Only now, since the first of these imports pandas.
    from valstab.protocol.converse import opening_messages, reply_request
    from valstab.protocol.sample_prompts import as_messages, first_question, rating_prompts, sample_prompts

    def show(prompt: Prompt, max_thought_tokens: int | None) -> str:
        return as_messages(prompt) if tokens is None else tokens.render_start(prompt, max_thought_tokens)

    if tokens is not None:
        from valstab.engines.prompts.prompt_check import check_prompts

        check_prompts(tokens, list(sample_prompts(plan)), thinks=plan.answer_thought_tokens is not None)
    session = plan.first
    persona, topic = session.persona.name, session.context.name
    if session.opening:
        yield f"What {persona} reads before the first message on {topic}:"
        request = reply_request(plan, session, opening_messages(session))
        yield show(request.prompt, request.max_thought_tokens)
    yield f"The first question to {persona}" + (f", after one message on {topic}:" if session.opening else ":")
    yield show(first_question(plan, session), plan.answer_thought_tokens)
    if plan.task.rubric:
        yield "What the judge reads of the answer:"
        yield as_messages(rating_prompts(plan)[0])


def read_model(config: Config) -> tuple["PromptTokenizer | None", list[str]]:
    """Return the tokenizer of a model with a chat template, and what is known of its prompts, line by line.

    The configuration's model gets the format that is found. Where it can't be found, the model is assumed to have a
    chat template with a system slot.

    Raises:
        ConfigError: if `model=auto` has no path.
    """
    given = config.model
    try:
        config.model = resolve_chat_format(config)
        reads = config.model.format == "chat" and has_chat_template(config)
        tokens = load_tokenizer(config.model) if reads else None
    except EngineError as error:
        form = "chat" if given.format == "auto" else given.format
        config.model = replace(given, format=form, system_prompt=given.system_prompt is not False)
        return None, [f"{given.name}: prompts are shown without its chat template", str(error)]
    model = config.model
    found = "found in its tokenizer" if given.format == "auto" else "as set"
    lines = [f"{model.name}: {model.format} format, {found}"]
    if model.format == "chat":
        notes = [SERVER]
        if tokens is not None:
            from valstab.engines.prompts.prompt_check import describe_template

            notes = list(describe_template(tokens, thinks=config.answer == "thinking"))
        why = "as set" if given.system_prompt is not None else "as its chat template has it"
        place = "a system message" if model.system_prompt else "a user message"
        lines += [f"the persona is in {place}, {why}", *notes]
    return tokens, lines


def notes(plan: Plan) -> Iterator[str]:
    """Yield notes on valid inputs that are probably mistakes, or that limit the conclusions."""
    for what, texts in (
        ("items", [item.text["F"] for item in plan.task.items]),
        ("personas", [persona.introduction for persona in plan.personas if persona.introduction]),
        ("topics", [opening for context in plan.contexts for opening in context.openings]),
    ):
        for text, number in Counter(texts).items():
            if number > 1:
                yield f"{number} {what} have the same text: {shorten(text, MAX_SHOWN, placeholder=' ...')}"
    if len(plan.task.option_counts) > 1 and not plan.task.rescaled:
        yield (
            "scores are raw, and items differ in their number of options: those with more weigh more in a key's mean; "
            "task.rescaled=true gives all the same range"
        )
    yield from shortcomings(plan)


def _task(config: TaskConfig, task: Task) -> Iterator[str]:
    yield f"{task.name}: {len(task.items)} items of {task.wording}, SHA-256 {task.digest[:12]}"
    path = locate("task.items", config.items)
    if path.is_file():
        table = read_item_table(path, config)
        yield f"read as {table.describe()}" + ("" if "item" in table.rows[0] else "; items are numbered by row")
    for key in task.keys:
        items = [item for item in task.items if item.key == key]
        yield f"{key}: {' '.join(map(_numbered, items))}"
    n_reversed = sum(item.reversed for item in task.items)
    yield f"reversed items: {n_reversed or 'none'}" + (
        " (r), whose options count the other way round" if n_reversed else ""
    )
    if fillers := [str(item.number) for item in task.items if item.is_filler]:
        yield f"asked but not scored: {' '.join(fillers)}"
    if len(task.option_counts) > 1:
        yield f"items have {task.option_counts[0]} to {task.option_counts[-1]} options of their own; those of item 1:"
    if config.rubric:
        yield f"answered in its own words, of up to {task.max_answer_tokens} tokens, and rated by {config.rubric}"
    options = zip(task.items[0].options["F"], task.scores_of(replace(task.items[0], reversed=False)), strict=True)
    yield f"options: {', '.join(f'{text} = {score:g}' for text, score in options)}"
    yield "scores: mean of a key's items" + (", each from 0 to 1" if task.rescaled else "") + _centring(task)


def _centring(task: Task) -> str:
    if not task.centred:
        return ""
    return ", less the person's mean over all " + ("items" if task.centred_on == "all" else "scored items")


def _numbered(item: Item) -> str:
    return f"{item.number}{'r' if item.reversed else ''}"


def _population(config: PopulationConfig, plan: Plan) -> Iterator[str]:
    personas = plan.personas
    genders = Counter(persona.gender for persona in personas)
    what = "personas" if personas[0].introduction else "repetitions without a persona"
    *others, last = [f"{genders[gender]} {gender}" for gender in PRONOUNS if genders[gender] or gender in GENDERS]
    yield f"{config.name}: {len(personas)} {what}, {', '.join(others)} and {last}"
    if not plan.without_personas:
        yield f"read as {read_population_table(config).describe()}"
        first = instruction_of(personas[0].introduction or "", plan.language)
        yield f"the first: {shorten(first, MAX_SHOWN, placeholder=' ...')}"


def _topics(name: str, contexts: tuple[Context, ...]) -> Iterator[str]:
    yield f"{name}: {len(contexts)}"
    for context in contexts:
        yield f"{context.name}: {_openings(context)}"


def _openings(context: Context) -> str:
    lengths = sorted(map(len, context.openings))
    if context.own_openings:
        return f"{len(lengths)} openings, each persona its own, of {lengths[0]:,} to {lengths[-1]:,} characters"
    return f"an opening of {lengths[0]:,} characters" if lengths else "none"


def _section(title: str, lines: Iterable[str]) -> str:
    return ("\n" + " " * 12).join([f"{title:12}{first}" if i == 0 else first for i, first in enumerate(lines)])


def main() -> None:
    """Start the command."""
    start(app)
