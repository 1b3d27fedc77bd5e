"""Store of messages and answers on disk: nothing is computed twice, and a killed process loses at most a batch.

A record log is a folder of JSON-lines files with one record per line: its checksum, its key and its value. Each process
appends to a file of its own and reads the files of all. So any number of processes can share a store without locks, on
any file system. A damaged, unfinished or impossible line is skipped and named.

Layout: `STORE/IDENTITY/conversations/*.jsonl` and `STORE/IDENTITY/answers-TASK-nN/*.jsonl`; of tasks with a rubric
`open-TASK-nN`, and `judged-TASK-nN` of the judge. IDENTITY is the hash of
`identity.json` beside them, which describes the model and its settings; `names.txt` has its names in results.

`python -m valstab store` lists, exports and prunes a store.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from valstab.engines.base import Engine
from valstab.engines.received import read_json
from valstab.errors import ConfigError
from valstab.hashing import content_hash
from valstab.protocol.plan import Plan
from valstab.protocol.records import record_reader
from valstab.whole_file import whole_file

MAX_FOLDER_NAME_CHARACTERS = 60
"""Maximum length of a record log's folder name: file systems allow 255 bytes, and a character has up to four."""


IDENTITY_FILE = "identity.json"
"""The file that describes the model of a folder."""


NAMES_FILE = "names.txt"
"""The file with the names that a folder's model had in results, one on each line."""


CHECKSUM_DIGITS = 16
"""Number of hexadecimal digits of a line's checksum."""


class RecordLog:
    """Records by key, in memory and, if a folder is given, on disk.

    Args:
        folder: the folder; None for memory only.
        read: returns a line's record as it is kept in memory; None for what is no record of this log, which is skipped
            as a damaged line is. What it returns is JSON, or has a method `to_json`.
    """

    def __init__(self, folder: Path | None, read: Callable[[Any], Any | None] = lambda record: record) -> None:
        self.damaged: list[str] = []
        """The lines that were skipped, as `FILE:LINE`, and files that can't be read."""
        self._read_record = read
        self._file = folder / f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}.jsonl" if folder else None
        self._records: dict[str, Any] = {}
        for path in sorted(folder.glob("*.jsonl")) if folder else ():
            self._read(path)

    def get(self, key: str) -> Any | None:
        """Return the record, or None if there is none."""
        return self._records.get(key)

    def put(self, records: Mapping[str, Any]) -> None:
        """Add records. They are written when this returns, so that they survive a kill of the process.

        Raises:
            OSError: if they can't be written, for instance on a full disk. Earlier records stay intact.
        """
        self._records |= records
        if self._file is None or not records:
            return
        with _appending(self._file) as file:
            for key, record in records.items():
                line, length = _line(key, record), file.tell()
                try:
                    while line:
                        line = line[file.write(line) :]
                except OSError:
                    file.truncate(length)
                    raise

    def assume(self, records: Mapping[str, Any]) -> None:
        """Add records in memory only, below those that are there."""
        self._records = {**records, **self._records}

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._records)

    def copy_to(self, folder: Path) -> None:
        """Write the records that another folder lacks into one file there."""
        known = RecordLog(folder, self._read_record)
        known.put({key: record for key, record in self._records.items() if known.get(key) is None})

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    key, content = _pair(line)
                    record = None if content is None else self._read_record(content)
                    if record is None:
                        self.damaged.append(f"{path}:{number}")
                    else:
                        # Two processes may have computed the same record: every reader takes the first.
                        self._records.setdefault(key, record)
        except OSError:
            self.damaged.append(str(path))


class Store:
    """The record logs of one model; without a path, they are in memory only.

    Args:
        path: the store's folder.
        identity: what describes the model.
        name: the model's name in results, for a person who lists the store.

    Raises:
        ConfigError: if the folder can't be written.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any], name: str = "") -> None:
        self._folder = None if path is None else path / content_hash(identity)
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Several processes may write it, all of them the same content.
            with whole_file(self._folder / IDENTITY_FILE) as draft:
                draft.write_text(json.dumps(identity, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            name = " ".join(name.split())
            if name and name not in (names := read_names(self._folder)):
                with whole_file(self._folder / NAMES_FILE) as draft:
                    draft.write_text("".join(f"{each}\n" for each in [*names, name]), encoding="utf-8")
        except OSError as error:
            raise ConfigError("store.path", path, f"must be a folder that can be written to ({error})") from None

    def log(self, name: str) -> RecordLog:
        """Return the log of this name."""
        # Two names may get the same folder: their records still have different keys.
        folder_name = re.sub(r"[^\w.-]", "_", name)[:MAX_FOLDER_NAME_CHARACTERS]
        return open_log(None if self._folder is None else self._folder / folder_name, folder_name)


def read_names(folder: Path) -> list[str]:
    """Return the names that the model of a folder had; none if they are unknown."""
    try:
        return (folder / NAMES_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def open_log(folder: Path | None, name: str) -> RecordLog:
    """Return the log of this name in a folder.

    Raises:
        ConfigError: if there is a file in place of the folder.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ConfigError("store.path", folder.parents[1], f"has a file in place of the folder {folder}; move it away")
    return RecordLog(folder, record_reader(name))


def _pair(line: bytes) -> tuple[str, Any | None]:
    """Return the key and the record of a line; the record is None if the line is damaged or unfinished."""
    check, _, content = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or check != _checksum(content):
        return "", None
    try:
        key, record = read_json(content)
    except (ValueError, TypeError):
        return "", None
    return (key, record) if isinstance(key, str) else ("", None)


def _appending(path: Path) -> FileIO:
    """Open a file to append to it; its folder is made if it does not exist."""
    try:
        return path.open("ab", buffering=0)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab", buffering=0)


def _line(key: str, record: Any) -> bytes:
    content = json.dumps([key, record], default=lambda answers: answers.to_json()).encode()
    return _checksum(content) + b" " + content + b"\n"


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:CHECKSUM_DIGITS].encode()


def open_conversations(path: str | None, engine: Engine, name: str = "") -> RecordLog:
    """Return the log of what a model has said; without a path, it is empty and in memory.

    Args:
        path: the store's folder.
        engine: the engine of the model.
        name: the model's name in results.
    """
    return Store(Path(path) if path else None, engine.identity, name).log("conversations")


def open_store(path: str | None, plan: Plan, engine: Engine, name: str = "") -> tuple[RecordLog, RecordLog]:
    """Return the logs of the plan's conversations and of its answers; without a path, they are empty and in memory.

    The answers to a task with a rubric are texts.

    Args:
        path: the store's folder.
        plan: what is asked.
        engine: the engine of the model.
        name: the model's name in results.
    """
    store = Store(Path(path) if path else None, engine.identity, name)
    kind = "answers" if plan.task.rubric is None else "open"
    return store.log("conversations"), store.log(f"{kind}-{plan.task.name}-n{plan.n_messages}")


def open_judged(path: str | None, plan: Plan, judge: Engine, name: str = "") -> RecordLog:
    """Return the log of a judge's ratings of a plan's answers; without a path, it is empty and in memory.

    Args:
        path: the store's folder.
        plan: what is rated.
        judge: the engine of the judge.
        name: the judge's name in results.
    """
    return Store(Path(path) if path else None, judge.identity, name).log(f"judged-{plan.task.name}-n{plan.n_messages}")
