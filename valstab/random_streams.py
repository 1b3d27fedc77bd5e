"""Random streams of many seeds, which start together.

Each draw of a study has a stream of its own, two for each question, and starting a stream takes longer than drawing.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import DTypeLike, NDArray

POOL = 4
"""Number of 32-bit words in which entropy is mixed."""


STATE_WORDS = 8
"""Number of 32-bit words from which PCG64 starts."""


class _Started(ISeedSequence):
    """The entropy of one stream, computed before."""

    def __init__(self, words: NDArray[np.uint64]) -> None:
        self._words = words

    def generate_state(self, n_words: int, dtype: DTypeLike = np.uint64) -> NDArray[np.uint64]:  # noqa: ARG002
        return self._words


def random_streams(seeds: Sequence[int]) -> Iterator[np.random.Generator]:
    """Yield `numpy.random.default_rng(seed)` for each of some 64-bit seeds, in a third of the time.

    Example:
        >>> [stream.permutation(4).tolist() for stream in random_streams([7, 8])]
        [[0, 2, 1, 3], [3, 1, 2, 0]]
        >>> np.random.default_rng(8).permutation(4).tolist()
        [3, 1, 2, 0]
    """
    for words in _states(np.array(seeds, dtype=np.uint64)):
        yield np.random.Generator(np.random.PCG64(_Started(words)))  # type: ignore[arg-type]  # any ISeedSequence is


def _states(seeds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return what `numpy.random.SeedSequence(seed).generate_state(4, numpy.uint64)` does, for all seeds at once.

    It is O'Neill's seed_seq_fe (2015) with 4 words, whose results numpy keeps the same in all versions. Shape: (seeds,)
    becomes (seeds, 4).
    """
    pool = np.zeros((POOL, len(seeds)), dtype=np.uint32)
    pool[0], pool[1] = seeds.astype(np.uint32), (seeds >> np.uint64(32)).astype(np.uint32)
    constants = _powers(0x43B0D7E5, 0x931E8875)
    pool = _hashed(pool, constants[: POOL + 1])
    for source in range(POOL):
        others = [place for place in range(POOL) if place != source]
        start = POOL + source * len(others)
        hashed = _hashed(pool[source], constants[start : start + POOL])
        mixed = np.uint32(0xCA01F9DD) * pool[others] - np.uint32(0x4973F715) * hashed
        pool[others] = mixed ^ (mixed >> np.uint32(16))
    words = _hashed(np.tile(pool, (STATE_WORDS // POOL, 1)), _powers(0x8B51F9DD, 0x58F38DED)[: STATE_WORDS + 1])
    return np.ascontiguousarray(words.T).view(np.uint64)


def _hashed(values: NDArray[np.uint32], constants: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the hash of values, each row with two constants that follow each other. Shape: (constants - 1, seeds)."""
    mixed = (values ^ constants[:-1]) * constants[1:]
    return mixed ^ (mixed >> np.uint32(16))


@cache
def _powers(first: int, factor: int) -> NDArray[np.uint32]:
    """Return `first`, and each time the last one times `factor`, in 32 bits. Shape: (17, 1)."""
    return np.array([[first * factor**power % 2**32] for power in range(POOL * POOL + 1)], dtype=np.uint32)
