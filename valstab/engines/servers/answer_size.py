"""Limit how much of a server's answer is read."""

from collections.abc import AsyncIterator
from typing import Any

MAX_ANSWER_BYTES = 16 << 20
"""Maximum size of an answer to a request, in bytes."""


MAX_FILE_BYTES = 2 << 30
"""Maximum size of a file with the answers of a batch, in bytes."""


class UnreadableAnswerError(Exception):
    """An answer that is not read to its end."""


async def limit_size(response: Any) -> None:
    """Let an HTTP response end with an error where it is too large.

    This is a hook that httpx calls before it reads the response.

    Args:
        response: of httpx.

    Raises:
        UnreadableAnswerError: if it is compressed, since its size is then unknown.
    """
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise UnreadableAnswerError(f"Content-Encoding {encoding}, which was not asked for")
    limit = MAX_FILE_BYTES if response.request.url.path.endswith("/content") else MAX_ANSWER_BYTES
    response.stream = _limited(response.stream, limit)


def _limited(stream: Any, limit: int) -> Any:
    """Return a stream of the same class, which httpx insists on, that ends with an error after so many bytes."""

    class Limited(type(stream)):  # type: ignore[misc]
        def __init__(self) -> None:
            pass

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for part in stream:
                size += len(part)
                if size > limit:
                    raise UnreadableAnswerError(f"more than {limit:,} bytes")
                yield part

        async def aclose(self) -> None:
            await stream.aclose()

    return Limited()
