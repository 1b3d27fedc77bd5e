"""Tokens by which an interrupted run is resumed as the same run in MLflow.

A token is an empty file, `KEY-TOKEN`, that the run's process holds locked. A kill leaves the file and frees the lock.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from valstab.errors import ConfigError


@contextmanager
def resume_token(store: Path | None, key: str) -> Iterator[str]:
    """Yield the token of an interrupted run that no process holds, or a new one; success deletes the token.

    Args:
        store: the folder of the store; without a store the token is always new.
        key: the hash of everything that determines the run.

    Raises:
        ConfigError: if the store cannot be written to.
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
    """Lock the first token that no process holds, or a new one, and return its lock."""
    for file in sorted(folder.glob(f"{key}-*")):
        lock = FileLock(file, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        if file.exists():  # otherwise its process has just finished
            return lock
        lock.release()
    lock = FileLock(folder / f"{key}-{secrets.token_hex(16)}")
    lock.acquire()
    return lock
