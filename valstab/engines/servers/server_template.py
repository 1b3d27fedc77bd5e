"""Check what a server's chat template makes of the messages, where the server can show it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from valstab.engines.base import EngineError

Post = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Sends a body to a path of the server's, and returns the JSON document of the answer."""


TEMPLATE_FIELDS = ("model", "messages", "chat_template_kwargs", "continue_final_message", "add_generation_prompt")
"""Fields of a request that its prompt depends on."""


SHOWN_CHARACTERS = 40
"""Number of characters of a message that an error shows."""


async def render(renderer: str, request: Mapping[str, Any], post: Post) -> str:
    """Return the prompt that a server makes of a chat request.

    Args:
        renderer: the kind of server: `vllm` or `llama_cpp`.
        request: the body of the request.
        post: sends to the server.
    """
    body = {name: request[name] for name in TEMPLATE_FIELDS if name in request}
    if renderer == "llama_cpp":
        return str((await post("/apply-template", body))["prompt"])
    tokens = (await post("/tokenize", body))["tokens"]
    return str((await post("/detokenize", {"model": request["model"], "tokens": tokens}))["prompt"])


def check_rendered(text: str, messages: Sequence[Mapping[str, str]]) -> None:
    """Check that a rendered prompt has every message in its order, and ends with a last message of the model's.

    White space does not count.

    Args:
        text: the rendered prompt.
        messages: those of the request, each with `role` and `content`.

    Raises:
        EngineError: at the first message that is not there, is moved, or is closed although it is to be continued.
    """
    text = _plain(text)
    place = 0
    for message in messages:
        said = _plain(message["content"])
        found = text.find(said, place)
        if found < 0:
            is_moved = said in text
            # Of messages out of order it is the system message that templates move.
            wrong = messages[0] if is_moved else message
            raise EngineError(
                f"the server's chat template {'moves' if is_moved else 'leaves out'} the {wrong['role']} message "
                f"({wrong['content'][:SHOWN_CHARACTERS]}...): {_remedy(wrong['role'])}"
            )
        place = found + len(said)
    if messages[-1]["role"] == "assistant" and text[place:]:
        raise EngineError(
            f"the server's chat template ends the model's message {messages[-1]['content']} instead of continuing it: "
            "set engine.answer_prefix=question"
        )


def _remedy(role: str) -> str:
    if role == "system":
        return "set model.system_prompt=false"
    return "start the server with another chat template"


def _plain(text: str) -> str:
    return "".join(text.split())
