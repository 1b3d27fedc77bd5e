"""How a model wants to be talked to, where its configuration leaves that open: read off its chat template."""

from dataclasses import replace

from transformers import AutoTokenizer

from valstab.config import Model
from valstab.engine import EngineError
from valstab.engines.tokens import Tokens
from valstab.engines.weights import checkpoint, reason


def detected(model: Model) -> Model:
    """Give the model with `format` and `system_prompt` settled, by its tokenizer.

    Raises:
        EngineError: if there is no tokenizer at `model.path`.
    """
    if model.path is None:
        raise EngineError(f"model={model.name} has no weights; give model.path, a hub id or a folder")
    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint(model.path), trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise EngineError(f"model.path={model.path}: its tokenizer can't be loaded: {reason(error)}") from error
    tokens = Tokens(tokenizer, model.template)
    form = model.format
    if form == "auto":
        form = "chat" if tokens.has_template() else "base"
    system = model.system_prompt
    if system is None:
        system = form == "chat" and tokens.has_system_slot()
    return replace(model, format=form, system_prompt=system)
