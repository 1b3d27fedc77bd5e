"""Score what comes next after many prompts that share their beginnings, paying for each beginning once."""

import copy
import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

from valstab.engines.base import Usage
from valstab.engines.huggingface import shared_prefix
from valstab.engines.huggingface.causal_lm import CausalLM
from valstab.engines.huggingface.kv_cache import common_prefix_length
from valstab.engines.huggingface.memory import Limits, batches, is_out_of_memory, retry_in_halves
from valstab.engines.huggingface.shared_prefix import SharedPrefix
from valstab.engines.limits import require_numbers

log = logging.getLogger(__name__)


CHECKED_PROMPTS = 4


TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far a probability may be off in the check of a few prompts: rounding, not another attention."""


TOLERANCE_QUANTIZED = 1e-1
"""The same with weights of 8 or 4 bits, at least: how bitsandbytes rounds a prompt depends on what else is in its
batch, on some processors by so much that twice the difference between whole prompts together and alone is more."""


ARCHITECTURE_ERRORS = (NotImplementedError, AttributeError, KeyError, TypeError, RuntimeError, ValueError)
"""What architectures raise whose caches or attention work in ways of their own."""


class PrefixGroup(NamedTuple):
    """The tokens that prompts have in common, and what each has of its own."""

    shared: list[int]
    own: list[list[int]]

    @classmethod
    def of(cls, prompts: Sequence[list[int]]) -> Self:
        """Take the prompts apart."""
        shared = common_prefix_length(prompts)
        return cls(prompts[0][:shared], [prompt[shared:] for prompt in prompts])

    @property
    def longest(self) -> int:
        """The tokens of the longest prompt."""
        return len(self.shared) + max(map(len, self.own))


Suffix = tuple[int, list[int]]
"""The place of a tree, and a prompt's own tokens."""


class Scoring:
    """Gives one model's distributions over the next token.

    Of three ways the fastest is used that gives what plain scoring gives: all prompts attend to one encoded
    beginning ("trunk"), each has a copy of it ("copies"), or each is encoded whole ("whole"). The first prompts
    show which; a model that can't share is named in one warning.

    Args:
        causal: the model.
        limits: of a batch.
        usage: where tokens are counted.
        tokens: the most that are encoded at once, but of a single prompt.
    """

    def __init__(self, causal: CausalLM, limits: Limits, usage: Usage, *, tokens: int) -> None:
        self._causal = causal
        self._limits = limits
        self._trunk_limits = Limits(limits.rows, limits.tokens)
        self._usage = usage
        self._tokens = tokens
        self._ways = ["copies", "whole"]
        if shared_prefix.install(causal.model):
            self._ways.insert(0, "trunk")
        self._is_checked = False

    @property
    def way(self) -> str:
        """The way of sharing that is in use."""
        return self._ways[0]

    def run(self, dialogues: Iterable[Sequence[list[int]]]) -> Iterator[list[Tensor]]:
        """Yield for each dialogue's prompts the log-probabilities of what comes after them: (vocabulary,) each."""
        together: list[PrefixGroup] = []
        for prompts in dialogues:
            tree = PrefixGroup.of(prompts)
            if tree.shared and not self._is_checked:
                self._check_few(tree)
            if together and not self._fit([*together, tree]):
                yield from self._distributions(together)
                together = []
            together.append(tree)
        if together:
            yield from self._distributions(together)

    def _fit(self, trees: Sequence[PrefixGroup]) -> bool:
        """Say whether the prompts of several trees make one batch."""
        own = [row for tree in trees for row in tree.own]
        return (
            all(self._way(tree) == "trunk" for tree in trees)
            and len(own) <= self._limits.rows
            and len(own) * max(map(len, own)) <= self._tokens
            and sum(len(tree.shared) for tree in trees) <= self._limits.tokens
        )

    def _distributions(self, trees: Sequence[PrefixGroup]) -> Iterator[list[Tensor]]:
        """Yield each tree's distributions; several trees are of the way "trunk"."""
        way = self._way(trees[0])
        trunks = self._grow(trees) if way != "whole" else []
        branches = [(place, row) for place, tree in enumerate(trees) for row in tree.own]
        prompts = [len(row) + (0 if way == "trunk" else len(trees[place].shared)) for place, row in branches]
        self._usage.encoded_tokens += sum(
            sum(map(len, tree.own)) + len(tree.shared) * (len(tree.own) if way == "whole" else 1) for tree in trees
        )

        def distributions(rows: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
            rows = sorted(rows)
            found = self._distribution(way, trees, trunks, [branches[row] for row in rows])
            require_numbers(found)
            yield from zip(rows, found, strict=True)

        found: dict[int, Tensor] = {}
        for batch in batches(dict(enumerate(prompts)), self._limits, self._tokens if way == "trunk" else None):
            found.update(retry_in_halves(batch, distributions, lambda: None, self._limits))
        rows = iter(range(len(branches)))
        for tree in trees:
            yield [found.pop(row) for row in itertools.islice(rows, len(tree.own))]

    def _way(self, tree: PrefixGroup) -> str:
        """Give the first way that works for a tree."""
        if not tree.shared:
            return "whole"
        if self.way == "trunk" and not shared_prefix.fits(self._causal.model.config, tree.longest):
            return self._ways[1]
        return self.way

    def _grow(self, trees: Sequence[PrefixGroup]) -> list[SharedPrefix]:
        """Encode what each tree's prompts have in common."""

        def encode(places: Sequence[int]) -> Iterator[tuple[int, SharedPrefix]]:
            shared = [trees[place].shared for place in places]
            cache = self._causal.empty_cache()
            self._causal.forward(*self._causal.pad(shared, left=False), cache)
            yield from ((place, SharedPrefix(cache, row, len(shared[row]))) for row, place in enumerate(places))

        trunks: dict[int, SharedPrefix] = {}
        lengths = {place: len(tree.shared) for place, tree in enumerate(trees)}
        for batch in batches(lengths, self._trunk_limits, self._tokens):
            trunks.update(retry_in_halves(batch, encode, lambda: None, self._trunk_limits))
        return [trunks[place] for place in range(len(trees))]

    def _distribution(
        self, way: str, trees: Sequence[PrefixGroup], trunks: Sequence[SharedPrefix], branches: Sequence[Suffix]
    ) -> Tensor:
        """Give the log-probabilities of what comes after each branch: (branches, vocabulary).

        Branches of one tree are neighbours.
        """
        # Padding stands on the right: between beginning and question it would shift a sliding window.
        if way == "whole":
            tokens, mask = self._causal.pad([[*trees[place].shared, *row] for place, row in branches], left=False)
            with self._causal.exact_head(mask.sum(1) - 1):
                return self._causal.forward(tokens, mask, None, last_only=False).log_softmax(-1)
        tokens, mask = self._causal.pad([row for _, row in branches], left=False)
        with self._causal.exact_head(mask.sum(1) - 1):
            if way == "trunk":
                rows = Counter(place for place, _ in branches)
                logits: Tensor = shared_prefix.encode_suffixes(
                    self._causal.model, tokens, [(trunks[place], rows[place]) for place in rows]
                )
            else:
                cache = copy.deepcopy(trunks[0].cache)
                cache.batch_repeat_interleave(len(tokens))
                whole_mask = torch.cat([mask.new_ones(len(tokens), trunks[0].tokens), mask], dim=1)
                logits = self._causal.forward(tokens, whole_mask, cache, last_only=False)
        return logits.log_softmax(-1)

    def _check_few(self, tree: PrefixGroup) -> None:
        """See on a few prompts which way gives what plain scoring gives."""

        def check(rows: Sequence[int]) -> Iterator[tuple[int, None]]:
            self._check(PrefixGroup(tree.shared, [tree.own[row] for row in rows]))
            yield from ((row, None) for row in rows)

        list(retry_in_halves(range(min(CHECKED_PROMPTS, len(tree.own))), check, lambda: None, self._limits))
        self._is_checked = True

    def _check(self, tree: PrefixGroup) -> None:
        """Find the first way that agrees with encoding a few prompts whole."""
        branches = [(0, row) for row in tree.own]
        logprobs = self._distribution("whole", [tree], [], branches)
        require_numbers(logprobs)
        expected = logprobs.exp()
        tolerance = self._tolerance(tree, expected)
        fastest = self.way
        while self.way != "whole":
            try:
                found = self._distribution(self._way(tree), [tree], self._grow([tree]), branches).exp()
                if float((found - expected).abs().max()) < tolerance:
                    break
            except ARCHITECTURE_ERRORS as error:
                if is_out_of_memory(error):
                    raise
            del self._ways[0]
        if self.way != fastest:
            does = "share copies of" if self.way == "copies" else "can't share"
            log.warning("%s: questions %s their beginning; slower", type(self._causal.model).__name__, does)

    def _tolerance(self, tree: PrefixGroup, expected: Tensor) -> float:
        """Say how far a probability may be off from those that were found with all prompts together."""
        if not getattr(self._causal.model, "is_quantized", False):
            return TOLERANCE[self._causal.model.dtype]
        alone = torch.cat([self._distribution("whole", [tree], [], [(0, row)]) for row in tree.own])
        return max(TOLERANCE_QUANTIZED, 2 * float((alone.exp() - expected).abs().max()))
