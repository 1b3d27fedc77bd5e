"""Random streams that are started together: each must be numpy's own."""

import numpy as np

from valstab.hashing import derive_seed, derive_seeds
from valstab.random_streams import random_streams

EDGES = (0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**64 - 1)


def test_each_stream_is_that_of_its_seed_alone():
    seeds = [*EDGES, *np.random.default_rng(0).integers(2**63, size=200).tolist()]
    streams = list(random_streams(seeds))
    for seed, stream in zip(seeds, streams, strict=True):
        assert stream.bit_generator.state == np.random.default_rng(seed).bit_generator.state
    alone = np.random.default_rng(EDGES[-1])
    drawn = streams[len(EDGES) - 1]
    assert drawn.permutation(9).tolist() == alone.permutation(9).tolist()
    assert drawn.standard_exponential(3).tolist() == alone.standard_exponential(3).tolist()


def test_seeds_with_a_common_beginning_are_those_of_their_labels():
    labels, endings = ("options", 3, "Zoë", 'a "b"'), [(1,), (2, "retest 1"), (40, "é"), ("x",)]
    assert derive_seeds(labels, endings) == [derive_seed(*labels, *ending) for ending in endings]
