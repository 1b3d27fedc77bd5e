"""What the engines' tests share: a tiny model, and beside it, where there is time, the embedded one."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # torch takes seconds, which tests without it need not wait for
    from valstab.engines.huggingface.engine import TransformersEngine


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> "TransformersEngine":
    """A tiny random model of the commonest architecture."""
    from transformers import LlamaConfig

    from tests.support.tiny_models import SETTINGS, write_tiny
    from valstab.engines.huggingface.engine import TransformersEngine

    model = write_tiny(tmp_path_factory.mktemp("llama"), LlamaConfig(**SETTINGS))
    return TransformersEngine(model, "none", device="cpu")


@pytest.fixture(params=["tiny_llama", pytest.param("embedded", marks=pytest.mark.slow)])
def engine(request) -> "TransformersEngine":
    """A model for what holds of any; nothing is kept of the tests before."""
    engine = request.getfixturevalue(request.param)
    engine.generation.forget()
    return engine
