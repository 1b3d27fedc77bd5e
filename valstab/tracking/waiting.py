"""Calls that may never end, for a limited time and not in silence."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar

from valstab.config.terminal import warn

Result = TypeVar("Result")


NOTICE_SECONDS = 10.0
"""Time after which a line says what is waited for, in seconds."""


def within(seconds: float, what: str, call: Callable[[], Result]) -> Result:
    """Return what a call returns; after `NOTICE_SECONDS` a line on standard error says what is waited for.

    The call is made in a thread. If it takes too long it is left there, where it does not keep Python from ending.

    Args:
        seconds: the limit.
        what: what is waited for, in words.
        call: a function that may block for ever.

    Raises:
        TimeoutError: if the call takes longer than the limit.
    """
    future: Future[Result] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)

    Thread(target=work, name=f"waiting for {what}", daemon=True).start()
    if seconds > NOTICE_SECONDS and not wait([future], NOTICE_SECONDS).done:
        warn(f"valstab: waiting for {what}, for at most {seconds:g} seconds")
        seconds -= NOTICE_SECONDS
    if not wait([future], seconds).done:
        raise TimeoutError
    return future.result()
