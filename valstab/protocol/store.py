"""Store of messages and answers on disk: nothing is computed twice, and a killed process loses at most a batch.

A record log is a folder of JSON-lines files with one record per line: its checksum, its key and its value. Each process
appends to a file of its own and reads the files of all. So any number of processes can share a store without locks, on
any file system. A damaged or unfinished line is skipped and counted.

Layout: `STORE/IDENTITY/conversations/*.jsonl` and `STORE/IDENTITY/answers-TASK-nN/*.jsonl`. IDENTITY is the hash of
`identity.json` beside them, which describes the model, its weights and its settings.

`python -m valstab store` lists, exports and prunes a store.
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
"""Maximum length of a record log's folder name: file systems allow 255 bytes, and a character has up to four."""


CHECKSUM_DIGITS = 16
"""Number of hexadecimal digits of a line's checksum."""


class RecordLog:
    """Records by key, in memory and, if a folder is given, on disk."""

    def __init__(self, folder: Path | None) -> None:
        self.damaged = 0
        """Number of damaged lines, which were skipped."""
        self._folder = folder
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
        """Return the number of records."""
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
            # Two processes may have computed the same record: every reader takes the first.
            self._records.setdefault(key, record)


class Store:
    """The record logs of one model; without a path, they are in memory only.

    Raises:
        ConfigError: if the folder can't be written.
    """

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        self._folder = None if path is None else path / content_hash(identity)
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Replaced atomically: several processes may write it, all of them the same content.
            draft = self._folder / f"identity-{secrets.token_hex(4)}.tmp"
            draft.write_text(json.dumps(identity, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            draft.replace(self._folder / "identity.json")
        except OSError as error:
            raise ConfigError("store.path", path, f"must be a folder that can be written to ({error})") from None

    def log(self, name: str) -> RecordLog:
        """Return the log of this name."""
        # Two names may get the same folder: their records still have different keys.
        folder_name = re.sub(r"[^\w.-]", "_", name)[:MAX_FOLDER_NAME_CHARACTERS]
        return RecordLog(None if self._folder is None else self._folder / folder_name)


def _line(key: str, record: Any) -> bytes:
    content = json.dumps([key, record]).encode()
    return _checksum(content) + b" " + content + b"\n"


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:CHECKSUM_DIGITS].encode()


def open_store(path: str | None, plan: Plan, engine: Engine) -> tuple[RecordLog, RecordLog]:
    """Return the logs of the plan's conversations and of its answers; without a path, they are empty and in memory."""
    store = Store(Path(path) if path else None, engine.identity)
    return store.log("conversations"), store.log(f"answers-{plan.task.name}-n{plan.n_messages}")
