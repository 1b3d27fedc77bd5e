"""Check a run's actual prompts against the model's chat template, before any question and without the weights."""

import re
from collections.abc import Iterator, Sequence

from valstab.engines.base import EngineError, Prompt
from valstab.engines.prompts.assistant_turn import assistant_turn
from valstab.engines.prompts.chat_template import DATE, PROBE_TALK, SILENCE, ChatTemplate
from valstab.engines.prompts.thoughts import thought_format
from valstab.engines.prompts.tokenizer import PromptTokenizer
from valstab.errors import ConfigError, allowed

SWITCHES = ("enable_thinking", "thinking")
"""Arguments of chat templates that turn thinking off."""


OWN_ARGUMENTS = ("chat_template",)
"""Arguments that are not the template's: this one chooses one of several."""


def check_prompts(tokens: PromptTokenizer, prompts: Sequence[Prompt], *, thinks: bool = False) -> None:
    """Check that the model reads what the protocol says.

    Every argument is one that the chat template uses, thinking is off, each message stands in the text once, in its
    order, and the assistant's turn is opened as the template writes one. If the model is to think, its template must
    have markers of a thought, and leave it open.

    Args:
        tokens: the model's tokenizer.
        prompts: some of the run's prompts; those of base models are not checked.
        thinks: whether the model is to think.

    Raises:
        ConfigError: at the first setting to change.
        EngineError: if no setting helps.
    """
    prompts = [prompt for prompt in prompts if prompt.messages]
    if tokens.template is None or not prompts:
        for prompt in prompts[:1]:
            tokens.render(prompt)
        return
    _require_known_arguments(tokens.template)
    if thinks:
        _require_thinking(tokens, tokens.template, prompts[-1])
    else:
        _require_no_thinking(tokens.template)
    for prompt in prompts:
        _require_reminders(tokens, prompt)
        _require_all_once(tokens, prompt)
        if not thinks:
            _require_turn(tokens, prompt)


def describe_template(tokens: PromptTokenizer, *, thinks: bool = False) -> Iterator[str]:
    """Yield what was found in a chat template, and what is done to suit it, one line each.

    Args:
        tokens: the model's tokenizer.
        thinks: whether the model is to think.
    """
    template = tokens.template
    if template is None:
        return
    switches = [name for name in SWITCHES if name in template.variables]
    values = ", ".join(f"{name}={str(template.arguments.get(name, 'null')).lower()}" for name in switches)
    off = f"thinking: off, by {values}" if switches else "thinking: none"
    yield "thinking: before each answer" if thinks else off
    if template.is_dated:
        yield f"date: it writes today's; {DATE:%d %B %Y} is used"
    if template.shape.block_roles:
        yield f"content of {' and '.join(template.shape.block_roles)} messages: a list of blocks"
    if template.shape.silent_roles:
        yield f"empty {' and '.join(template.shape.silent_roles)} messages, which it refuses: {SILENCE}"
    missing = assistant_turn(template).missing
    if missing:
        yield f"the assistant's turn: opened with {missing.strip()} too, as before its own texts"


def thinking_switch(template: ChatTemplate) -> str | None:
    """Return the argument that turns thinking off, if the template has one and it makes a difference."""
    for name in SWITCHES:
        if name in template.variables:
            changed = template.write(PROBE_TALK, template.shape, more={name: False})
            if changed != template.write(PROBE_TALK, template.shape):
                return name
    return None


def _require_known_arguments(template: ChatTemplate) -> None:
    for name, value in template.arguments.items():
        if name not in template.variables.union(OWN_ARGUMENTS):
            options = allowed(name, template.parameters) if template.parameters else "it has none"
            raise ConfigError(f"model.template.{name}", value, f"the chat template has no such argument; {options}")


def _require_no_thinking(template: ChatTemplate) -> None:
    switch = thinking_switch(template)
    if switch is not None:
        key = f"model.template.{switch}"
        plus = "" if switch in template.arguments else "+"  # in Hydra's syntax, for a new key
        text = f"the model would think before it answers; set {plus}{key}=false, or answer=thinking"
        raise ConfigError(key, template.arguments.get(switch, "null"), text)
    thought = assistant_turn(template).fault
    if thought:
        raise EngineError(f"the model's chat template can't be answered at once: {thought}; set answer=thinking")


def _require_thinking(tokens: PromptTokenizer, template: ChatTemplate, prompt: Prompt) -> None:
    if thought_format(template) is None:
        raise ConfigError(
            "answer", "thinking", "the model's chat template has no markers of a thought; allowed: letter, sampled"
        )
    rendered = tokens.render_thought(prompt)
    closed = tokens.thoughts.closes.strip()
    if closed in rendered.rpartition(prompt.messages[-1].text.strip())[2]:
        switches = [name for name in SWITCHES if name in template.arguments]
        key = f"model.template.{switches[0]}" if switches else "answer"
        value = template.arguments[switches[0]] if switches else "thinking"
        remedy = f"set {key}=true" if switches else "set answer=letter"
        raise ConfigError(key, value, f"answer=thinking: the chat template closes the thought at once; {remedy}")


def _require_reminders(tokens: PromptTokenizer, prompt: Prompt) -> None:
    """Check that the chat template takes system messages where they stand within the dialogue, if there are any."""
    if all(message.role != "system" for message in prompt.messages[1:]):
        return
    try:
        tokens.render(prompt)
    except EngineError:
        raise ConfigError(
            "reminder.slot",
            "system",
            "the chat template refuses, moves or leaves out a system message within a conversation; allowed: user",
        ) from None


def _require_all_once(tokens: PromptTokenizer, prompt: Prompt) -> None:
    """Check that each message's text is in the rendered prompt as often as in the messages."""
    text = tokens.render(prompt)
    shown = [message.text.strip() for message in tokens.as_text(prompt.messages)]
    for message, said in zip(prompt.messages, shown, strict=True):
        # Whole words only: control tokens such as <|TOKEN|> contain an OK.
        whole = re.compile(rf"(?<!\w){re.escape(said)}(?!\w)")
        times, goal = len(whole.findall(text)), sum(len(whole.findall(each)) for each in shown)
        if said and times > goal:
            raise EngineError(
                f"the model's chat template writes a {message.role} message {times} times, not {goal}: {said[:40]}"
            )


def _require_turn(tokens: PromptTokenizer, prompt: Prompt) -> None:
    if tokens.template is None or not prompt.messages[-1].text.strip():
        return
    turn = assistant_turn(tokens.template, tokens.as_text(prompt.messages), prompt.text)
    if turn.fault:
        raise EngineError(f"the model's chat template can't be continued with an answer: {turn.fault}")
    if not tokens.render(prompt).endswith(f"{turn.opened}{turn.missing}{prompt.text}"):
        raise EngineError(
            "the model's chat template opens the assistant's turn differently after other dialogues: "
            f"{turn.missing.strip()!r} comes before an assistant's text"
        )
