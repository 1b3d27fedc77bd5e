"""Tickets of runs that were begun and not finished, so that the next start of the same run goes on with it in MLflow.

A ticket is an empty file, `KEY-TICKET`, that its process holds locked: it outlives a kill, the lock does not.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from valstab.errors import ConfigError


@contextmanager
def resume_token(store: Path | None, key: str) -> Iterator[str]:
    """Give the ticket of an unfinished run that nobody is at, or a new one; it ends with the block, unless that raises.

    Args:
        store: the folder of the store; without one there is always a new ticket.
        key: of all that determines the run.

    Raises:
        ConfigError: if the store can't be written to.
    """
    if store is None:
        yield secrets.token_hex(16)
        return
    try:
        folder = store / "unfinished"
        folder.mkdir(parents=True, exist_ok=True)
        lock = _lock_first_free(folder, key)
    except OSError as error:
        raise ConfigError("store.path", store, f"must be a folder that can be written to ({error})") from None
    file = Path(lock.lock_file)
    try:
        yield file.name.removeprefix(f"{key}-")
        file.unlink(missing_ok=True)
    finally:
        lock.release()


def _lock_first_free(folder: Path, key: str) -> FileLock:
    """Lock the first ticket that no process holds, or a new one."""
    for file in sorted(folder.glob(f"{key}-*")):
        lock = FileLock(file, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        if file.exists():  # else its process has just finished
            return lock
        lock.release()
    lock = FileLock(folder / f"{key}-{secrets.token_hex(16)}")
    lock.acquire()
    return lock
