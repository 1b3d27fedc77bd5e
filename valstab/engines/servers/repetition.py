"""When a request to a server is repeated, and after which pause.

Nothing here waits: `valstab.engines.servers.openai_client` does.
"""

import math
import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

REPEATED_STATUSES = (408, 409, 429)
"""HTTP statuses after which a request is repeated, besides `SERVER_ERROR` and above."""


SERVER_ERROR = 500
"""Lowest HTTP status of a server error."""


FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Pauses before the first repetition and before late ones, in seconds, where the server does not ask for another."""


JITTER = 0.25
"""Largest share by which a pause is shortened at random, so that requests that failed together come apart."""


def may_pass(status: int) -> bool:
    """Return whether a request that ended with this HTTP status may succeed later."""
    return status in REPEATED_STATUSES or status >= SERVER_ERROR


def pause_before(repetition: int, headers: Mapping[str, str]) -> float:
    """Return the pause before a repetition in seconds: what the server asks for, otherwise longer each time.

    Args:
        repetition: its number, from 1.
        headers: those of the answer that failed, by names in lower case.
    """
    asked = retry_after(headers)
    if asked is not None:
        return asked
    pause = min(FIRST_PAUSE * 2.0 ** min(repetition - 1, 10), LONGEST_PAUSE)
    return pause * (1 - JITTER * random.random())  # noqa: S311


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait, by `Retry-After` or `retry-after-ms`; None if it asks for nothing.

    A time without end is infinite, one that has passed is 0.

    Reference:
        RFC 9110, section 10.2.3: seconds or a date.

    Example:
        >>> retry_after({"retry-after": "30"})
        30.0
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            seconds = _until(value)
        if not math.isnan(seconds):
            return max(seconds, 0.0)
    return None


def _until(date: str) -> float:
    """Return the seconds until a date of HTTP's form; NaN if it is none."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return math.nan
