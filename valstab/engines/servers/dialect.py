"""The dialects of OpenAI-compatible servers: how a request is written, and what to set where a server refuses one."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from valstab.engines.base import Prompt


class Body(NamedTuple):
    """The body of a request without the model's name."""

    content: dict[str, Any]
    """`messages`, or `prompt` for a base model."""
    fields: dict[str, Any]
    """All other fields."""


@dataclass(frozen=True)
class Dialect:
    """How a server's requests are written; the fields are those of `valstab.config.engines.OpenaiConfig`."""

    answer_prefix: str = "continue"
    limit_field: str = "max_tokens"
    thinking_tokens: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)
    template: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the server's chat template."""
    structured_choice: str | None = None

    def write(self, prompt: Prompt, tokens: int, settings: Mapping[str, Any]) -> Body:
        """Return the body of a request for at most so many tokens.

        Args:
            prompt: what the model reads.
            tokens: the limit, the thought included.
            settings: how tokens are sampled and listed; fields of `body` replace or remove them.
        """
        fields = {**settings, self.limit_field: tokens}
        if not prompt.messages:
            return Body({"prompt": prompt.text}, self._own(fields))
        messages = [{"role": message.role, "content": message.text} for message in prompt.messages]
        if prompt.text and self.answer_prefix == "question":
            messages[-1]["content"] += f"\n\n{prompt.text}"
        elif prompt.text:
            messages.append({"role": "assistant", "content": prompt.text})
            if self.answer_prefix == "continue":
                fields |= {"continue_final_message": True, "add_generation_prompt": False}
        if self.template:
            fields["chat_template_kwargs"] = dict(self.template)
        return Body({"messages": messages}, self._own(fields))

    def choice_fields(self, options: Sequence[str]) -> dict[str, Any]:
        """Return the fields with which the server restricts a text to one of the labels, if it can."""
        if not options or self.structured_choice is None:
            return {}
        letters = list(options)
        if self.structured_choice == "vllm":
            return {"structured_outputs": {"choice": letters}}
        if self.structured_choice == "llama_cpp":
            return {"grammar": "root ::= " + " | ".join(json.dumps(each, ensure_ascii=False) for each in letters)}
        schema = {
            "type": "object",
            "required": ["letter"],
            "additionalProperties": False,
            "properties": {"letter": {"type": "string", "enum": letters}},
        }
        return {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            }
        }

    def read_choice(self, text: str) -> str:
        """Return the letter of a text that `choice_fields` restricted; any other text as it is."""
        try:
            return str(json.loads(text)["letter"])
        except (ValueError, KeyError, TypeError):
            return text

    def _own(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields with those of `body`, without those that are null there."""
        return {name: value for name, value in {**fields, **self.body}.items() if value is not None}


KEY_STATUSES = (401, 403)
"""HTTP statuses of a request with a key that is wrong, missing or without rights."""


NOT_FOUND = 404
"""HTTP status of an address that the server does not know."""


REFUSED_MESSAGES = (
    (r"context (?:length|size|window)|too long", "take a smaller n_messages, or a server with a longer context"),
    (
        r"prefill|(?:last|final) (?:message|role)|must alternate|assistant messages at the end",
        "engine.answer_prefix=question sends no message of the model last",
    ),
    (r"no endpoints found", "set engine.top_logprobs=0, or ++engine.body.provider.require_parameters=false"),
    (
        r"system (?:role|message|prompt)|'system'|developer instruction",
        "model.system_prompt=false sends no such message",
    ),
    (r"non-?empty|(?:not|cannot) be empty|at least 1 character", "model.system_prompt=false sends no empty message"),
    (r"model\b.*\b(?:not found|not exist)|no such model", "model.path must be the server's name of the model"),
)
"""What refusals say of the messages, as regular expressions, and what to do."""


REMEDIES = {
    "max_tokens": "set engine.limit_field=max_completion_tokens",
    "max_completion_tokens": "set engine.limit_field=max_tokens",
    **dict.fromkeys(("logprobs", "top_logprobs"), "set engine.top_logprobs=0, or a smaller number"),
    **dict.fromkeys(
        ("continue_final_message", "add_generation_prompt"), "set engine.answer_prefix=message or question"
    ),
    "chat_template_kwargs": "set model.template={}",
}
"""What to do where a server refuses a field; any other field can be left out."""


def remedy(text: str, parameter: str | None, sent: Collection[str]) -> str:
    """Return what to do after a server has refused a request, with the field it refuses; empty if that is unclear.

    Args:
        text: what the server says.
        parameter: the field that it names apart from its text, if it does.
        sent: the fields of the request.
    """
    for pattern, what in REFUSED_MESSAGES:
        if re.search(pattern, text, re.IGNORECASE) and "continue_final_message" not in text:
            return what
    places = {name: found.start() for name in sent if (found := re.search(rf"\b{re.escape(name)}\b", text))}
    name = parameter if parameter in sent else min(places, key=lambda each: places[each], default=None)
    if name is None:
        return ""
    return f"{name}: {REMEDIES.get(name, f'++engine.body.{name}=null leaves it out')}"
