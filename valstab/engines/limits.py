"""How much a model can read at once: what its configuration says, and that no prompt is longer."""

from typing import TYPE_CHECKING, Any

from valstab.engines.base import EngineError, Window

if TYPE_CHECKING:
    from torch import Tensor

LENGTH_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
"""What configurations call the positions that a model knows."""


UNSCALED_ROPE_TYPES = ("linear", "dynamic", "yarn")
"""Ways to scale rotary positions of which the length in the configuration does not know yet."""


def context_window(config: Any) -> int | None:
    """Give the most tokens that a model of transformers can read, the generated ones included; None if it has no limit.

    Of a multimodal model it is that of its language model. Where names disagree the smallest counts.
    """
    text = config.get_text_config()
    lengths = [length for name in LENGTH_NAMES if isinstance(length := getattr(text, name, None), int) and length > 0]
    if not lengths:
        return None
    # The scaling of a model with several kinds of layers is by kind, and its length already knows of it.
    scaling = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    if scaling.get("rope_type", scaling.get("type")) not in UNSCALED_ROPE_TYPES:
        return min(lengths)
    original = scaling.get("original_max_position_embeddings") or min(lengths)
    return max(min(lengths), int(original * scaling.get("factor", 1)))


def require_room(tokens: int, window: Window | None) -> None:
    """Refuse a prompt that, with what follows it, is longer than the window.

    Raises:
        EngineError: if it is.
    """
    if window is not None and tokens > window.tokens:
        raise EngineError(
            f"a prompt with what follows it has {tokens:,} tokens, but the model can read {window.tokens:,}: "
            "take a smaller n_messages, or overflow=truncate"
        )


def require_numbers(scores: "Tensor") -> None:
    """Refuse scores of next tokens, (rows, vocabulary), that are no distribution: NaN, infinity, or nothing possible.

    Raises:
        EngineError: if a row has none.
    """
    if not scores.amax(-1).isfinite().all():
        raise EngineError(
            "the model's probabilities are not numbers (NaN): its weights are damaged, or need model.dtype=float32"
        )
