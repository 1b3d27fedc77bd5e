"""Score what comes next after many prompts with a common beginning, paying for the beginning once."""

import copy
import logging
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from valstab.engine import Usage
from valstab.engines import trunk
from valstab.engines.caches import common_beginning
from valstab.engines.causal import Causal
from valstab.engines.distribution import require_numbers
from valstab.engines.memory import Limits, batches, halving, is_shortage

log = logging.getLogger(__name__)

CHECKED = 4
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far a probability may be off in the check of a few prompts: rounding, not another attention."""
TOLERANCE_QUANTIZED = 1e-1
"""The same with weights of 8 or 4 bits, at least: how bitsandbytes rounds a prompt depends on what else is in its
batch, on some processors by so much that twice the difference between whole prompts together and alone is more."""
OWN_TOKENS = 8192
"""The most tokens, beside the common beginning, that are encoded at once: more is not faster."""
UNSUPPORTED = (NotImplementedError, AttributeError, KeyError, TypeError, RuntimeError, ValueError)
"""What architectures raise whose caches or attention work in ways of their own."""


class Scoring:
    """Gives one model's distributions over the next token.

    Of three ways the fastest is used that gives what plain scoring gives: all prompts attend to one encoded
    beginning ("trunk"), each has a copy of it ("copies"), or each is encoded whole ("whole"). The first prompts
    show which; a model that can't share is named in one warning.

    Args:
        causal: the model.
        limits: of a batch.
        usage: where tokens are counted.
    """

    def __init__(self, causal: Causal, limits: Limits, usage: Usage) -> None:
        self._causal = causal
        self._limits = limits
        self._usage = usage
        self._ways = ["copies", "whole"]
        if trunk.install(causal.model):
            self._ways.insert(0, "trunk")
        self._is_checked = False

    @property
    def way(self) -> str:
        """The way of sharing that is in use."""
        return self._ways[0]

    def run(self, prompts: Sequence[list[int]]) -> Iterator[tuple[int, Tensor]]:
        """Yield the index of each prompt with the log-probabilities of what comes after it: (vocabulary,)."""
        shared = common_beginning(prompts)
        own = [prompt[shared:] for prompt in prompts]
        start = torch.tensor([prompts[0][:shared]], dtype=torch.long, device=self._causal.device)
        beginning = self._begin(start, own) if shared else None
        way = self._way(max(map(len, prompts))) if beginning is not None else "whole"
        self._usage.encoded_tokens += sum(map(len, own)) + shared * (1 if way != "whole" else len(prompts))
        lengths = {i: len(row) if way == "trunk" else len(prompts[i]) for i, row in enumerate(own)}

        def distributions(rows: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
            # Padding stands on the right: between beginning and question it would shift a sliding window.
            tokens, mask = self._causal.pad([own[row] for row in rows], left=False)
            found = self._distribution(way, start, beginning, tokens, mask)
            require_numbers(found)
            yield from zip(rows, found, strict=True)

        for batch in batches(lengths, self._limits, OWN_TOKENS if way == "trunk" else None):
            yield from halving(batch, distributions, lambda: None, self._limits)

    def _begin(self, start: Tensor, own: Sequence[list[int]]) -> DynamicCache | None:
        """Encode the common beginning, unless it can't be shared; the first time, see how it can."""

        def check(rows: Sequence[int]) -> Iterator[tuple[int, None]]:
            self._check(start, [own[row] for row in rows])
            yield from ((row, None) for row in rows)

        def encode(_: Sequence[int]) -> Iterator[tuple[int, DynamicCache | None]]:
            yield 0, self._encode(start)

        if not self._is_checked:
            list(halving(range(min(CHECKED, len(own))), check, lambda: None, self._limits))
            self._is_checked = True
        ((_, beginning),) = halving([0], encode, lambda: None, self._limits)
        return beginning

    def _way(self, length: int) -> str:
        """Give the first way that works for prompts of a length."""
        if self.way == "trunk" and not trunk.fits(self._causal.model.config, length):
            return self._ways[1]
        return self.way

    def _encode(self, start: Tensor) -> DynamicCache | None:
        if self.way == "whole":
            return None
        cache = self._causal.empty_cache()
        self._causal.forward(start, torch.ones_like(start), cache)
        return cache

    def _distribution(
        self, way: str, start: Tensor, beginning: DynamicCache | None, tokens: Tensor, mask: Tensor
    ) -> Tensor:
        """Give the log-probabilities of what comes after each row: (rows, vocabulary)."""
        shared = start.shape[1]
        whole_mask = torch.cat([mask.new_ones(len(tokens), shared), mask], dim=1)
        if beginning is None:
            tokens = torch.cat([start.expand(len(tokens), -1), tokens], dim=1)
            with self._causal.exact_head(whole_mask.sum(1) - 1):
                return self._causal.forward(tokens, whole_mask, None, last_only=False).log_softmax(-1)
        with self._causal.exact_head(mask.sum(1) - 1):
            if way == "trunk":
                logits: Tensor = trunk.encode(self._causal.model, tokens, beginning, shared).logits[:, -1]
            else:
                cache = copy.deepcopy(beginning)
                cache.batch_repeat_interleave(len(tokens))
                logits = self._causal.forward(tokens, whole_mask, cache, last_only=False)
        return logits.log_softmax(-1)

    def _check(self, start: Tensor, own: Sequence[list[int]]) -> None:
        """Find the first way that agrees with encoding a few prompts whole."""
        tokens, mask = self._causal.pad(own, left=False)
        logprobs = self._distribution("whole", start, None, tokens, mask)
        require_numbers(logprobs)
        expected = logprobs.exp()
        tolerance = self._tolerance(start, tokens, mask, expected)
        fastest, length = self.way, start.shape[1] + tokens.shape[1]
        while self.way != "whole":
            try:
                found = self._distribution(self._way(length), start, self._encode(start), tokens, mask).exp()
                if float((found - expected).abs().max()) < tolerance:
                    break
            except UNSUPPORTED as error:
                if is_shortage(error):
                    raise
            del self._ways[0]
        if self.way != fastest:
            does = "share copies of" if self.way == "copies" else "can't share"
            log.warning("%s: questions %s their beginning; slower", type(self._causal.model).__name__, does)

    def _tolerance(self, start: Tensor, tokens: Tensor, mask: Tensor, expected: Tensor) -> float:
        """Say how far a probability may be off from those that were found with all prompts together."""
        if not getattr(self._causal.model, "is_quantized", False):
            return TOLERANCE[self._causal.model.dtype]
        rows = range(len(tokens))
        alone = torch.cat([self._distribution("whole", start, None, tokens[[row]], mask[[row]]) for row in rows])
        return max(TOLERANCE_QUANTIZED, 2 * float((alone.exp() - expected).abs().max()))
