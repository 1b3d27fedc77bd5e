"""Independent random streams, one for each thing that is drawn, so that nothing depends on the order of drawing."""

import hashlib
import json


def stream_seed(*labels: str | int) -> int:
    """Give the seed of the stream that `labels` name (63 bits): equal labels, equal seed."""
    digest = hashlib.blake2b(json.dumps(labels).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
