"""The examples in docstrings come out as they are written."""

import doctest
import importlib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
WITH_EXAMPLES = [path for path in sorted(CHECKOUT.glob("valstab/**/*.py")) if ">>> " in path.read_text("utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_examples(path):
    module = importlib.import_module(".".join(path.relative_to(CHECKOUT).with_suffix("").parts))
    failed, tried = doctest.testmod(module)
    assert failed == 0
    assert tried > 0
