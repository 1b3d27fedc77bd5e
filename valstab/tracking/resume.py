"""Tokens by which an interrupted run is resumed as the same run in MLflow.

A token is an empty file, `KEY-TOKEN`, that the run's process holds locked. A kill leaves the file and frees the lock.
"""

import fcntl
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from valstab.config.terminal import warn
from valstab.errors import ConfigError


@contextmanager
def resume_token(store: Path | None, key: str) -> Iterator[str]:
    """Yield the token of an interrupted run that no process holds, or a new one; success deletes the token.

    Args:
        store: the folder of the store; without a store, or on a file system without locks, the token is always new.
        key: the hash of everything that determines the run.

    Raises:
        ConfigError: if the store cannot be written to.
    """
    lock = None
    if store is not None:
        try:
            folder = store / "unfinished"
            folder.mkdir(parents=True, exist_ok=True)
            lock = _lock_first_free(folder, key) if _has_locks(folder) else None
        except OSError as error:
            raise ConfigError("store.path", store, f"must be a folder that can be written to ({error})") from None
    if lock is None:
        yield secrets.token_hex(16)
        return
    file = Path(lock.lock_file)
    try:
        yield file.name.removeprefix(f"{key}-")
        file.unlink(missing_ok=True)
    finally:
        lock.release()


def _has_locks(folder: Path) -> bool:
    """Return whether files in a folder can be locked; if not, say what that means.

    Raises:
        OSError: if the folder can't be written to.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            warn(
                f"valstab: store.path={folder.parent} is on a file system without locks ({error.strerror}); the same "
                "command continues an interrupted run, but as a new run in MLflow"
            )
            return False
    return True


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
