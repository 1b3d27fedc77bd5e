"""Hashes of labels: seeds of independent random streams, and keys of stored records."""

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any


def derive_seed(*labels: str | int) -> int:
    """Return the 63-bit seed of the random stream that `labels` name.

    Each random draw has a stream of its own, so that no result depends on the order of computation.
    """
    return _seed(json.dumps(labels))


def derive_seeds(labels: tuple[str | int, ...], endings: Iterable[tuple[str | int, ...]]) -> list[int]:
    """Return `derive_seed(*labels, *ending)` for each ending: the seeds of many streams with a common beginning."""
    beginning = json.dumps(labels)[:-1]
    return [_seed(f"{beginning}, {_written_ending(ending)}") for ending in endings]


@lru_cache(maxsize=1 << 12)
def _written_ending(labels: tuple[str | int, ...]) -> str:
    return json.dumps(labels)[1:]


def _seed(written: str) -> int:
    return int.from_bytes(hashlib.blake2b(written.encode(), digest_size=8).digest()) >> 1


def content_hash(content: Any) -> str:
    """Return a hash of JSON-like `content`, as 32 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
