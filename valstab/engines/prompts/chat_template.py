"""Render dialogues with a tokenizer's chat template, at a fixed date and with every message shown."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from jinja2 import Template, meta, nodes
from jinja2.exceptions import TemplateError

from valstab.engines.base import EngineError, Message
from valstab.engines.prompts.bounded import TooSlowError, bounded

DATE = datetime(2024, 7, 26, tzinfo=UTC)
"""The date in prompts of templates that write today's: with the real one, a run over midnight would mix two prompts.

It is the default of Llama 3.1's template.
"""


OTHER_DATE = datetime(2031, 12, 3, 4, 5, tzinfo=UTC)
"""A date to see whether a template writes one."""


SILENCE = "..."
"""The text of an empty message, for a template that refuses an empty one."""


BLOCK_ROLES = ((), ("system",), ("user", "assistant"), ("system", "user", "assistant"))
"""The roles whose content may have to be a list of blocks, in the order in which they are tried."""


PROBE_SYSTEM = Message("system", "You are Gandalf.")
PROBE_DIALOGUE = (Message("user", ""), Message("assistant", "Hello."), Message("user", "Who are you?"))
"""A dialogue as the interlocutor sees it, to try a chat template on."""


PROBE_TALK = (
    *(Message("user", "Vorwort"), Message("assistant", "Zimtstern"), Message("user", "Quellwasser")),
    *(Message("assistant", "Ypsilon"), Message("user", "Jahrmarkt")),
)
"""A dialogue with words that no chat template contains."""


COMMON_VARIABLES = frozenset(
    {"messages", "add_generation_prompt", "bos_token", "eos_token", "raise_exception", "strftime_now", "namespace"}
)
"""Variables of chat templates that no setting gives a value."""


TEMPLATE_ERRORS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""Errors of a template's own code."""


class EndlessTemplateError(EngineError):
    """A chat template that loops or grows, in whatever way its messages are given."""


class Shape(NamedTuple):
    """How a template wants its messages."""

    system_slot: bool
    """Whether it shows a system message, before a dialogue that the user opens."""
    block_roles: tuple[str, ...] = ()
    """Roles whose content is a list of blocks."""
    silent_roles: tuple[str, ...] = ()
    """Roles whose empty messages it refuses."""


PLAIN = Shape(True)
NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})


class ChatTemplate:
    """A tokenizer's chat template.

    Args:
        tokenizer: of transformers, with a chat template.
        arguments: further arguments of the template.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any]) -> None:
        self._tokenizer = tokenizer
        self.arguments = dict(arguments)

    @cached_property
    def source(self) -> str:
        """The text of the template; of several named ones, that of `default`.

        Raises:
            EngineError: if there is no default.
        """
        try:
            return str(self._tokenizer.get_chat_template(self.arguments.get("chat_template")))
        except ValueError as error:
            names = ", ".join(self._tokenizer.chat_template)
            raise EngineError(
                "the model has several chat templates and no default: set +model.template.chat_template to one of "
                f"{names}"
            ) from error

    @cached_property
    def variables(self) -> frozenset[str]:
        """Names that the template takes from its arguments."""
        return frozenset(meta.find_undeclared_variables(self._tree))

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The variables that are probably meant as arguments: not those that the template only sets itself."""
        names = list(self._tree.find_all(nodes.Name))
        tests = self._tree.find_all(nodes.Test)
        own = {name.name for name in names if name.ctx == "store"}
        asked = {test.node.name for test in tests if test.name == "defined" and isinstance(test.node, nodes.Name)}
        return tuple(sorted((self.variables - own | self.variables & asked) - COMMON_VARIABLES))

    @cached_property
    def literals(self) -> tuple[str, ...]:
        """All texts in the template: what it writes as it is, and the strings in its expressions."""
        written = [node.data for node in self._tree.find_all(nodes.TemplateData)]
        return (
            *written,
            *(str(node.value) for node in self._tree.find_all(nodes.Const) if isinstance(node.value, str)),
        )

    @cached_property
    def is_dated(self) -> bool:
        """Whether the template writes today's date, which is replaced by `DATE`."""
        return self._is_timed and self.write(PROBE_TALK) != self.write(PROBE_TALK, date=OTHER_DATE)

    @cached_property
    def shape(self) -> Shape:
        """How the template wants its messages, found by trying."""
        shapes = [Shape(True, roles) for roles in BLOCK_ROLES] + [Shape(False, roles) for roles in BLOCK_ROLES[::2]]
        found = next((shape for shape in shapes if self._shows_all(shape)), Shape(False))
        silent = []
        for i, message in enumerate(PROBE_TALK[:2]):
            emptied = [*PROBE_TALK[:i], message._replace(text=""), *PROBE_TALK[i + 1 :]]
            if self._attempt(PROBE_TALK, found) is not None and self._attempt(emptied, found) is None:
                silent.append(message.role)
        return found._replace(silent_roles=tuple(silent))

    def render(self, messages: Sequence[Message], *, opens: bool = True) -> str:
        """Return a dialogue as the template writes it, all messages in their order.

        Args:
            messages: the dialogue.
            opens: whether the template opens the assistant's turn after it.

        Raises:
            EngineError: if the template refuses the dialogue, or leaves a message out or moves it.
        """
        text = self.write(messages, self.shape, opens=opens)
        shown = [message._replace(text=_text(message, self.shape)) for message in messages]
        lost = next(_lost(shown, text), None)
        if lost is not None:
            moves_system = messages[0].role == "system" and shown[0].text.strip() in text
            what = "moves the system message" if moves_system else f"leaves out a {lost.role} message"
            raise EngineError(f"the model's chat template {what}{_advice(messages)}")
        return text

    def write(
        self,
        messages: Sequence[Message],
        shape: Shape = PLAIN,
        *,
        opens: bool = True,
        date: datetime = DATE,
        more: Mapping[str, Any] = NO_ARGUMENTS,
    ) -> str:
        """Return what the template makes of a dialogue, unchecked.

        Args:
            messages: the dialogue.
            shape: how the messages are given to the template.
            opens: whether the template opens the assistant's turn after it.
            date: the date that the template takes for today's.
            more: further arguments of the template.

        Raises:
            EngineError: if the template refuses the dialogue.
        """
        plain = [{"role": message.role, "content": _content(message, shape)} for message in messages]
        arguments = {**self.arguments, **more}
        try:
            with bounded():
                if not self._is_timed:
                    settings = {"tokenize": False, "add_generation_prompt": opens, **arguments}
                    return str(self._tokenizer.apply_chat_template(plain, **settings))
                named = {**self._tokenizer.special_tokens_map, "strftime_now": date.strftime, **arguments}
                named.pop("chat_template", None)
                return self._compiled.render(
                    messages=plain, tools=None, documents=None, add_generation_prompt=opens, **named
                )
        except MemoryError:
            raise EndlessTemplateError("the model's chat template grows without end, and is stopped") from None
        except TooSlowError as error:
            raise EndlessTemplateError(f"the model's chat template does not end ({error}), and is stopped") from None
        except TEMPLATE_ERRORS as error:
            raise EngineError(f"the model's chat template refuses a dialogue ({error}){_advice(messages)}") from error

    @cached_property
    def _is_timed(self) -> bool:
        return "strftime_now" in self.source

    @cached_property
    def _compiled(self) -> Template:
        # Only now, since torch takes seconds to import.
        from valstab.engines.private_interfaces import compiled_template

        return compiled_template(self.source)

    @cached_property
    def _tree(self) -> nodes.Template:
        try:
            return self._compiled.environment.parse(self.source)
        except TEMPLATE_ERRORS as error:
            raise EngineError(f"the model's chat template refuses a dialogue ({error})") from error

    def _shows_all(self, shape: Shape) -> bool:
        """Return whether the template shows all messages of dialogues, with a system message if there is a slot."""
        head = (PROBE_SYSTEM,) if shape.system_slot else ()
        dialogues = ((*head, *dialogue) for dialogue in (PROBE_DIALOGUE, PROBE_TALK))
        rendered = ((dialogue, self._attempt(dialogue, shape)) for dialogue in dialogues)
        return all(text is not None and not any(_lost(dialogue, text)) for dialogue, text in rendered)

    def _attempt(self, messages: Sequence[Message], shape: Shape) -> str | None:
        try:
            return self.write(messages, shape)
        except EndlessTemplateError:
            raise
        except EngineError:
            return None


def _lost(messages: Sequence[Message], text: str) -> Iterator[Message]:
    """Yield the messages that do not follow the earlier ones in a rendered text, white space around them apart."""
    place = 0
    for message in messages:
        found = text.find(message.text.strip(), place)
        if found < 0:
            yield message
        else:
            place = found + len(message.text.strip())


def _text(message: Message, shape: Shape) -> str:
    return SILENCE if message.role in shape.silent_roles and not message.text.strip() else message.text


def _content(message: Message, shape: Shape) -> str | list[dict[str, str]]:
    text = _text(message, shape)
    return [{"type": "text", "text": text}] if message.role in shape.block_roles else text


def _advice(messages: Sequence[Message]) -> str:
    """Return what may help against an error of a chat template."""
    return "; it may have no system slot: try model.system_prompt=false" if messages[0].role == "system" else ""
