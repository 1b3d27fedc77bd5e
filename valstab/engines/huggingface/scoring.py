"""Score what comes next after many prompts, encoding the prefix that they share only once."""

import copy
import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from valstab.engines.base import Usage
from valstab.engines.huggingface import shared_prefix
from valstab.engines.huggingface.causal_lm import CausalLM
from valstab.engines.huggingface.kv_cache import common_prefix_length
from valstab.engines.huggingface.memory import (
    SLOW_BATCH_SECONDS,
    Limits,
    batches,
    is_out_of_memory,
    retry_in_halves,
)
from valstab.engines.huggingface.shared_prefix import SharedPrefix
from valstab.engines.limits import require_numbers

log = logging.getLogger(__name__)


SHARED, COPIES, WHOLE = "shared", "copies", "whole"
"""Ways to score prompts with a common prefix, the fastest first.

All prompts attend to one encoded prefix, each has a copy of it, or each prompt is encoded as a whole.
"""


CHECKED_PROMPTS = 4
"""Number of prompts on which the ways are compared."""


TOLERANCES = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference of a probability from that of whole prompts which counts as rounding, by precision."""


MIN_TOLERANCE_QUANTIZED = 1e-1
"""Minimum tolerance for 8- and 4-bit weights.

With bitsandbytes the rounding of a prompt depends on the other prompts in its batch, on some processors by more than
this; twice the measured difference is used where it is larger.
"""


ARCHITECTURE_ERRORS = (NotImplementedError, AttributeError, KeyError, TypeError, RuntimeError, ValueError)
"""Errors of architectures that have a cache or attention of another kind."""


class PrefixGroup(NamedTuple):
    """The tokens that prompts have in common, and each prompt's own tokens after them."""

    shared: list[int]
    own: list[list[int]]

    @classmethod
    def of(cls, prompts: Sequence[list[int]]) -> Self:
        """Split prompts after their common prefix."""
        shared = common_prefix_length(prompts)
        return cls(prompts[0][:shared], [prompt[shared:] for prompt in prompts])

    @property
    def n_tokens(self) -> int:
        """The number of tokens of all prompts."""
        return len(self.own) * len(self.shared) + sum(map(len, self.own))

    @property
    def longest(self) -> int:
        """The number of tokens of the longest prompt."""
        return len(self.shared) + max(map(len, self.own))


Suffix = tuple[int, list[int]]
"""The index of a prefix group, and a prompt's own tokens."""


class Scoring:
    """Computes a model's distributions over the next token.

    The first prompts are scored in each way; the fastest way that agrees with whole prompts is used from then on. One
    warning names a model that can't use the fastest.

    Args:
        causal: the model.
        limits: of a batch; `rows` shrinks when memory runs out.
        usage: where tokens are counted.
        tokens: the most tokens that are encoded at once, except for a single prompt; fewer if they would take more
            than `SLOW_BATCH_SECONDS` and slow batches shrink.
        ways: the ways to choose from, the fastest first.
    """

    def __init__(
        self,
        causal: CausalLM,
        limits: Limits,
        usage: Usage,
        *,
        tokens: int,
        ways: Sequence[str] = (SHARED, COPIES, WHOLE),
    ) -> None:
        self.limits = limits
        self._causal = causal
        self._prefix_limits = Limits(limits.rows, limits.tokens)
        self._usage = usage
        self._tokens = tokens
        can_share = shared_prefix.install(causal.model)
        self._ways = [way for way in ways if way != SHARED or can_share]
        self._is_checked = False

    @property
    def way(self) -> str:
        """The way in use."""
        return self._ways[0]

    def run(self, dialogues: Iterable[Sequence[list[int]]]) -> Iterator[list[Tensor]]:
        """Yield, for each dialogue's prompts, the log-probabilities (nats) of the next token: (vocabulary,) each."""
        batch: list[PrefixGroup] = []
        for prompts in dialogues:
            group = PrefixGroup.of(prompts)
            if group.shared and not self._is_checked:
                self._choose_way(group)
            if batch and not self._fit([*batch, group]):
                yield from self._score_groups(batch)
                batch = []
            batch.append(group)
        if batch:
            yield from self._score_groups(batch)

    def _fit(self, groups: Sequence[PrefixGroup]) -> bool:
        """Return whether the prompts of several groups make one batch."""
        own = [row for group in groups for row in group.own]
        return (
            all(self._way_of(group) == SHARED for group in groups)
            and len(own) <= self.limits.rows
            and len(own) * max(map(len, own)) <= self._tokens
            and sum(len(group.shared) for group in groups) <= self.limits.tokens
        )

    def _score_groups(self, groups: Sequence[PrefixGroup]) -> Iterator[list[Tensor]]:
        """Yield the distributions of each group; only those of the way `SHARED` come together."""
        way = self._way_of(groups[0])
        prefixes = self._encode_prefixes(groups) if way != WHOLE else []
        suffixes = [(index, row) for index, group in enumerate(groups) for row in group.own]
        lengths = [len(row) + (0 if way == SHARED else len(groups[index].shared)) for index, row in suffixes]
        self._usage.encoded_tokens += sum(
            sum(map(len, group.own)) + len(group.shared) * (len(group.own) if way == WHOLE else 1) for group in groups
        )

        def score(rows: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
            rows = sorted(rows)
            logprobs = self._score(way, groups, prefixes, [suffixes[row] for row in rows])
            require_numbers(logprobs)
            yield from zip(rows, logprobs, strict=True)

        scored: dict[int, Tensor] = {}
        for batch in batches(dict(enumerate(lengths)), self.limits, self._tokens if way == SHARED else None):
            scored.update(retry_in_halves(batch, score, self.limits))
        rows = iter(range(len(suffixes)))
        for group in groups:
            yield [scored.pop(row) for row in itertools.islice(rows, len(group.own))]

    def _way_of(self, group: PrefixGroup) -> str:
        """Return the fastest way that works for a group."""
        if not group.shared:
            return WHOLE
        if self.way == SHARED and not shared_prefix.fits_window(self._causal.model.config, group.longest):
            return self._ways[1]
        return self.way

    def _encode_prefixes(self, groups: Sequence[PrefixGroup]) -> list[SharedPrefix]:
        """Encode the shared tokens of each group."""

        def encode(indices: Sequence[int]) -> Iterator[tuple[int, SharedPrefix]]:
            shared = [groups[index].shared for index in indices]
            cache = self._causal.empty_cache()
            self._causal.forward(*self._causal.pad(shared, left=False), cache)
            yield from ((index, SharedPrefix(cache, row, len(shared[row]))) for row, index in enumerate(indices))

        prefixes: dict[int, SharedPrefix] = {}
        lengths = {index: len(group.shared) for index, group in enumerate(groups)}
        for batch in batches(lengths, self._prefix_limits, self._tokens):
            prefixes.update(retry_in_halves(batch, encode, self._prefix_limits))
        return [prefixes[index] for index in range(len(groups))]

    def _score(
        self, way: str, groups: Sequence[PrefixGroup], prefixes: Sequence[SharedPrefix], suffixes: Sequence[Suffix]
    ) -> Tensor:
        """Return the log-probabilities of the next token after each suffix: (suffixes, vocabulary).

        Suffixes of one group are neighbours.
        """
        # Padding stands on the right: between prefix and suffix it would shift a sliding window.
        if way == WHOLE:
            tokens, mask = self._causal.pad([[*groups[index].shared, *row] for index, row in suffixes], left=False)
            with self._causal.float32_head(mask.sum(1) - 1):
                return self._causal.forward(tokens, mask, None, last_only=False).log_softmax(-1)
        tokens, mask = self._causal.pad([row for _, row in suffixes], left=False)
        with self._causal.float32_head(mask.sum(1) - 1):
            if way == SHARED:
                rows = Counter(index for index, _ in suffixes)
                logits: Tensor = shared_prefix.encode_suffixes(
                    self._causal.model, tokens, [(prefixes[index], rows[index]) for index in rows]
                )
            else:
                cache = copy.deepcopy(prefixes[0].cache)
                cache.batch_repeat_interleave(len(tokens))
                whole_mask = torch.cat([mask.new_ones(len(tokens), prefixes[0].tokens), mask], dim=1)
                logits = self._causal.forward(tokens, whole_mask, cache, last_only=False)
        return logits.log_softmax(-1)

    def _choose_way(self, group: PrefixGroup) -> None:
        """Keep the ways from the first that agrees with whole prompts, tried on a few prompts."""

        def check(rows: Sequence[int]) -> Iterator[tuple[int, None]]:
            self._drop_wrong_ways(PrefixGroup(group.shared, [group.own[row] for row in rows]))
            yield from ((row, None) for row in rows)

        list(retry_in_halves(range(min(CHECKED_PROMPTS, len(group.own))), check, self.limits))
        self._is_checked = True

    def _drop_wrong_ways(self, group: PrefixGroup) -> None:
        """Drop ways until the first agrees with encoding these prompts whole."""
        suffixes = [(0, row) for row in group.own]
        start = time.monotonic()
        logprobs = self._score(WHOLE, [group], [], suffixes)
        require_numbers(logprobs)
        if self.limits.min_rows is not None:
            tokens_a_second = group.n_tokens / (time.monotonic() - start)
            self._tokens = max(1, min(self._tokens, int(SLOW_BATCH_SECONDS * tokens_a_second)))
        expected = logprobs.exp()
        tolerance = self._tolerance(group, expected)
        fastest = self.way
        while self.way != WHOLE:
            try:
                actual = self._score(self._way_of(group), [group], self._encode_prefixes([group]), suffixes).exp()
                if float((actual - expected).abs().max()) < tolerance:
                    break
            except ARCHITECTURE_ERRORS as error:
                if is_out_of_memory(error):
                    raise
            del self._ways[0]
        if self.way != fastest:
            verb = "share copies of" if self.way == COPIES else "can't share"
            log.warning("%s: questions %s their common prefix; slower", type(self._causal.model).__name__, verb)

    def _tolerance(self, group: PrefixGroup, expected: Tensor) -> float:
        """Return how far a probability may be from `expected`, that of whole prompts in one batch."""
        if not getattr(self._causal.model, "is_quantized", False):
            return TOLERANCES[self._causal.model.dtype]
        alone = torch.cat([self._score(WHOLE, [group], [], [(0, row)]) for row in group.own])
        return max(MIN_TOLERANCE_QUANTIZED, 2 * float((alone.exp() - expected).abs().max()))
