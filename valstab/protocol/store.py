"""What was said and answered before, on disk, so that it is never computed twice (and lost by no kill).

A shelf holds records by key in a folder. Every process appends to a file of its own, a line a record, each with
its checksum, and reads the files of all. So any number of processes may share a store without a lock, on any
file system, and what a killed process left unfinished, or a disk damaged, is a line that is left out.

Layout: `STORE/IDENTITY/conversations/*.jsonl` and `STORE/IDENTITY/answers-TASK-nN/*.jsonl`, where IDENTITY is the
hash of what `identity.json` beside them says: the model, its weights and how it is run.

`python -m valstab.store` lists what a store holds, copies it into a tidy one (`export`), or removes models from it
(`prune`).
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valstab.engines.base import Engine
from valstab.errors import ConfigError
from valstab.hashing import content_hash
from valstab.protocol.plan import Plan

MAX_FOLDER_NAME_CHARACTERS = 60
"""Characters of a shelf's name: a folder's has 255 bytes at most, and a character up to four."""


CHECKSUM_DIGITS = 16
"""Hexadecimal digits of a line's checksum."""


class RecordLog:
    """Records by key, kept in memory and, given a folder, on disk."""

    def __init__(self, folder: Path | None) -> None:
        self.damaged = 0
        """How many lines could not be read and were left out."""
        self._folder = folder
        self._file = folder / f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}.jsonl" if folder else None
        self._records: dict[str, Any] = {}
        for path in sorted(folder.glob("*.jsonl")) if folder else ():
            self._read(path)

    def get(self, key: str) -> Any | None:
        """Give the record, or None."""
        return self._records.get(key)

    def put(self, records: Mapping[str, Any]) -> None:
        """Add records; when this returns, they outlive the process, however it ends.

        Raises:
            OSError: if they can't be written, as on a full disk; those that were written before stay.
        """
        self._records |= records
        if self._folder is None or self._file is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._file.open("ab", buffering=0) as file:
            for key, record in records.items():
                line, length = _line(key, record), file.tell()
                try:
                    while line:
                        line = line[file.write(line) :]
                except OSError:
                    file.truncate(length)
                    raise

    def __len__(self) -> int:
        """Count the records."""
        return len(self._records)

    def copy_to(self, folder: Path) -> None:
        """Write all records into one file of another folder."""
        RecordLog(folder).put(self._records)

    def _read(self, path: Path) -> None:
        *lines, unfinished = path.read_bytes().split(b"\n")
        self.damaged += bool(unfinished)
        for line in lines:
            check, _, content = line.partition(b" ")
            if check != _checksum(content):
                self.damaged += 1
                continue
            key, record = json.loads(content)
            # Two processes may have computed the same: all readers take the first.
            self._records.setdefault(key, record)


class Store:
    """A folder of shelves; without a path, nothing outlives the process.

    Raises:
        ConfigError: if the folder can't be written to.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        self._folder = None if path is None else path / content_hash(identity)
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Replaced in one step, by whoever: it says the same every time.
            draft = self._folder / f"identity-{secrets.token_hex(4)}.tmp"
            draft.write_text(json.dumps(identity, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            draft.replace(self._folder / "identity.json")
        except OSError as error:
            raise ConfigError("store.path", path, f"must be a folder that can be written to ({error})") from None

    def log(self, kind: str) -> RecordLog:
        """Open the shelf for one kind of record."""
        # Kinds may share a shelf: a record's key tells what it is of.
        name = re.sub(r"[^\w.-]", "_", kind)[:MAX_FOLDER_NAME_CHARACTERS]
        return RecordLog(None if self._folder is None else self._folder / name)


def _line(key: str, record: Any) -> bytes:
    content = json.dumps([key, record]).encode()
    return _checksum(content) + b" " + content + b"\n"


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:CHECKSUM_DIGITS].encode()


def open_store(path: str | None, plan: Plan, engine: Engine) -> tuple[RecordLog, RecordLog]:
    """Return the store's logs of the plan's conversations and of its answers; without a path they are empty."""
    store = Store(Path(path) if path else None, engine.identity)
    return store.log("conversations"), store.log(f"answers-{plan.task.name}-n{plan.n_messages}")
