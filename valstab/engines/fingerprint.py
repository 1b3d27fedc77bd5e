"""Identify a checkpoint by its whole content, whose hashes are remembered. Imports neither torch nor transformers."""

import hashlib
import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import platformdirs

from valstab.whole_file import whole_file

DOCUMENTATION = re.compile(
    r"\..*|(?:LICEN[CS]E|NOTICE|USE_POLICY)\b.*|.*\.(?:md|rst|pdf|html|png|jpe?g|gif|svg|log)", re.IGNORECASE
)
"""Names of files that no result depends on."""


HASHING_THREADS = 4
"""Number of files that are hashed at the same time."""


SETTLED_NS = 2_000_000_000
"""Age in nanoseconds from which a file's hash is remembered: a younger one may change without its times showing it."""


ADAPTER_FILE = "adapter_config.json"
"""The file of an adapter (PEFT), which names the model that it changes."""


SHA256 = re.compile(r"[0-9a-f]{64}")


def fingerprint(source: str, revision: str | None = None) -> str:
    """Return what identifies a checkpoint: a hash of a folder's files, or a model's commit on the hub.

    Every byte counts of each file but documentation, and the files' names do. A commit stands for its files only while
    those in the cache are what the hub published; otherwise they are hashed. An adapter is identified together with the
    model that it changes.

    Args:
        source: a folder, or an id on the hub.
        revision: the branch, tag or commit that was loaded from the hub; by default the main branch.
    """
    own, folder = _identified(source, revision)
    changed = _changed_by_adapter(folder)
    if changed is None:
        return own
    with suppress(OSError, ValueError):  # a model that is not there was not loaded
        own = hashlib.sha256(f"{own} {_identified(changed)[0]}".encode()).hexdigest()
    return own


def _changed_by_adapter(folder: Path) -> str | None:
    """Return the folder or id of the model that an adapter changes; None for a model without adapter."""
    try:
        name = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _identified(source: str, revision: str | None = None) -> tuple[str, Path]:
    """Return what identifies a checkpoint's own files, and their folder."""
    folder = Path(source)
    if not folder.is_dir():
        snapshot = _snapshot(source, revision)
        if snapshot is not None and _is_as_published(snapshot):
            return snapshot.name, snapshot
        folder = snapshot or folder
    files = _determining_files(folder)
    content = "".join(
        f"{digest}  {file.relative_to(folder).as_posix()}\n"
        for file, digest in zip(files, _digests(files), strict=True)
    )
    return hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest(), folder


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file's content.

    It is remembered in the user's cache folder until the file's path, size, inode or one of its times changes.
    """
    file = file.resolve()
    name = hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    memory = platformdirs.user_cache_path("valstab") / "digests" / name
    began = time.time_ns()
    status = file.stat()
    state = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    with suppress(OSError, ValueError):
        known, _, digest = memory.read_text(encoding="ascii").rpartition(" ")
        if known == state and SHA256.fullmatch(digest):
            return digest
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if began - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS:
        with suppress(OSError):  # a cache that can't be written to remembers nothing
            memory.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(memory) as draft:
                draft.write_text(f"{state} {digest}", encoding="ascii")
    return digest


def _determining_files(folder: Path) -> list[Path]:
    """Return the files that results may depend on: those of the folder, and Python code below it."""
    files = {*folder.iterdir(), *folder.glob("*/**/*.py")}
    return sorted(file for file in files if file.is_file() and not DOCUMENTATION.fullmatch(file.name))


def _digests(files: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor(HASHING_THREADS) as threads:
        return list(threads.map(file_digest, files))


def _snapshot(name: str, revision: str | None) -> Path | None:
    """Return the folder of a model's files in the Hugging Face cache, whose name is their commit, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _is_as_published(snapshot: Path) -> bool:
    """Return whether each file in the Hugging Face cache has the content that its name there, a hash, promises."""
    files = _determining_files(snapshot)
    return all(
        file.resolve().name in {digest, _git_digest(file)} for file, digest in zip(files, _digests(files), strict=True)
    )


def _git_digest(file: Path) -> str:
    """Return the hash by which git names a file's content, as the hub does for small files."""
    if len(file.resolve().name) == len(hashlib.sha256().hexdigest()):
        return ""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
