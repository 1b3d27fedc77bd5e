"""What a command sets in its process: what it prints and logs has no secrets, and nothing is reported to third parties.

Importing valstab, as in a notebook, sets none of it.
"""

import io
import logging
import os
import sys
from typing import Any, TextIO

from valstab.config.secrets import redact
from valstab.errors import printable

NO_TELEMETRY = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
}
"""Environment variables that switch off usage statistics of MLflow, Hugging Face, vLLM and Ray; yours come first."""


TRACKING_LOGIN = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME")
"""Environment variables with a login for MLflow's server. The requests package would prefer one from `~/.netrc`."""


class RedactedStream:
    """A text stream to which secrets are not written.

    Args:
        stream: gets the text, and has all other attributes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text without secrets, and return its length."""
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)


class RedactedRecord(logging.LogRecord):
    """A line of a log without secrets and control characters, whatever handler writes it."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the message."""
        return printable(redact(super().getMessage()))

    @property
    def exc_text(self) -> str | None:
        """The traceback as text, which logging's formatter sets."""
        return self._exc_text

    @exc_text.setter
    def exc_text(self, text: str | None) -> None:
        self._exc_text = text and printable(redact(text))


def guard_process() -> None:
    """Keep secrets out of this process's output and logs, and switch telemetry off. Another call changes nothing."""
    for name, value in NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    if any(name in os.environ for name in TRACKING_LOGIN):
        os.environ["NETRC"] = os.devnull
    logging.setLogRecordFactory(RedactedRecord)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the encoding lacks a character, such as ASCII
            setattr(sys, name, RedactedStream(stream))
