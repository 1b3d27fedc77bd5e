"""What a distribution over the next token must be."""

from torch import Tensor

from valstab.engine import EngineError


def require_numbers(scores: Tensor) -> None:
    """Refuse scores of next tokens, (rows, vocabulary), that are no distribution: NaN, infinity, or nothing possible.

    Raises:
        EngineError: if a row has none.
    """
    if not scores.amax(-1).isfinite().all():
        raise EngineError(
            "the model's probabilities are not numbers (NaN): its weights are damaged, or need model.dtype=float32"
        )
