"""Independent random streams, one for each thing that is drawn, so that nothing depends on the order of drawing."""

import hashlib
import json
from typing import Any


def derive_seed(*labels: str | int) -> int:
    """Give the seed of the stream that `labels` name (63 bits): equal labels, equal seed."""
    digest = hashlib.blake2b(json.dumps(labels).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def content_hash(content: Any) -> str:
    """Give the key of what determines a record: equal content, equal key."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
