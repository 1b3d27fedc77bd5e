"""Limits that an engine enforces: the length of a prompt, and probabilities that are numbers."""

from typing import TYPE_CHECKING, Any

from valstab.engines.base import EngineError, Window

if TYPE_CHECKING:
    from torch import Tensor

LENGTH_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
"""Names in configurations for the number of positions that a model supports."""


UNSCALED_ROPE_TYPES = ("linear", "dynamic", "yarn")
"""RoPE scalings that are not yet included in the length in the configuration."""


def context_window(config: Any) -> int | None:
    """Return the maximum tokens of a transformers model, generated ones included; None if there is no limit.

    For a multimodal model, the limit is that of its language model. Of several lengths, the smallest counts.
    """
    text = config.get_text_config()
    lengths = [length for name in LENGTH_NAMES if isinstance(length := getattr(text, name, None), int) and length > 0]
    if not lengths:
        return None
    # A model with several kinds of layers has a scaling for each kind, and its length includes them.
    scaling = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    if scaling.get("rope_type", scaling.get("type")) not in UNSCALED_ROPE_TYPES:
        return min(lengths)
    original = scaling.get("original_max_position_embeddings") or min(lengths)
    return max(min(lengths), int(original * scaling.get("factor", 1)))


def require_room(tokens: int, window: Window | None) -> None:
    """Check that a prompt and what follows it fit into the context window.

    Raises:
        EngineError: if they do not.
    """
    if window is not None and tokens > window.tokens:
        raise EngineError(
            f"a prompt with what follows it has {tokens:,} tokens, but the model can read {window.tokens:,}: "
            "take a smaller n_messages, or overflow=truncate"
        )


def require_numbers(scores: "Tensor") -> None:
    """Check that each row of scores, (rows, vocabulary), is a distribution: no NaN, no +inf, not only -inf.

    Raises:
        EngineError: if a row is not a distribution.
    """
    if not scores.amax(-1).isfinite().all():
        raise EngineError(
            "the model's probabilities are not numbers (NaN): its weights are damaged, or need model.dtype=float32"
        )
