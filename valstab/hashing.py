"""Hashes of labels: seeds of independent random streams, and keys of stored records."""

import hashlib
import json
from typing import Any


def derive_seed(*labels: str | int) -> int:
    """Return the 63-bit seed of the random stream that `labels` name.

    Each random draw has a stream of its own, so that no result depends on the order of computation.
    """
    digest = hashlib.blake2b(json.dumps(labels).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def content_hash(content: Any) -> str:
    """Return a hash of JSON-like `content`, as 32 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
