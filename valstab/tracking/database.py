"""MLflow's SQLite database, copied from a ready-made one: MLflow takes seconds to make its tables."""

import secrets
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote

import mlflow
import platformdirs
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from valstab.whole_file import whole_file

SQLITE_PREFIX = "sqlite:///"
"""Start of the URI of a SQLite database."""


def create_database(uri: str) -> None:
    """Create a SQLite database that does not exist, under a draft name first: a half-made one could not be opened.

    If another process creates it at the same time, that one stays. The first one made with a version of MLflow is kept,
    empty, in the user's cache folder: later ones are its copies.

    Args:
        uri: where MLflow logs to; nothing is done unless it names a SQLite database.
    """
    path = _path(uri)
    if not uri.startswith(SQLITE_PREFIX) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    ready = platformdirs.user_cache_path("valstab") / f"mlflow-{mlflow.__version__}.db"
    try:
        draft = _draft(uri, ready if ready.exists() else None)
    except (MlflowException, SQLAlchemyError, OSError):  # such as a ready-made one that is damaged
        with suppress(OSError):
            ready.unlink()
        draft = _draft(uri, None)
    with suppress(OSError, sqlite3.Error):  # then the next one takes seconds too
        _keep(draft, ready)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        draft.unlink()
    except OSError:  # a file system without hard links
        draft.replace(path)
    else:
        draft.unlink()


def _draft(uri: str, ready: Path | None) -> Path:
    """Return a new database beside the one that `uri` names: a copy of the ready-made one, if there is one.

    MLflow refuses a copy without the tables of its version, and adds its default experiment, which has a folder.
    """
    address, mark, query = uri.partition("?")
    suffix = f"-{secrets.token_hex(4)}.tmp"
    draft = _path(address + suffix)
    try:
        if ready:
            shutil.copyfile(ready, draft)
        mlflow.MlflowClient(f"{address}{suffix}{mark}{query}").search_experiments()
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


def _keep(draft: Path, ready: Path) -> None:
    """Keep a new database as the ready-made one, unless there is one, without MLflow's default experiment."""
    if ready.exists():
        return
    ready.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(ready) as copy, closing(sqlite3.connect(copy)) as kept:
        with closing(sqlite3.connect(draft)) as made:
            made.backup(kept)
        kept.execute("DELETE FROM experiments")
        kept.commit()


def _path(uri: str) -> Path:
    return Path(unquote(uri.partition("?")[0].removeprefix(SQLITE_PREFIX)))
