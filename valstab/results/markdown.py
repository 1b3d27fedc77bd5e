"""Text that a user or a model wrote, escaped for Markdown: it makes no marks, links or HTML."""

import re

import pandas as pd

MARKDOWN_CHARACTERS = re.compile(r"[\\`*\[\]|]")


P_VALUES = {"p", "p_adjusted", "circle_p", "congruence_p"}
"""Columns of tables that hold the p-value of a test."""


MIN_SHOWN_P = 0.001
"""Smallest p-value that is shown as a number; smaller ones are shown as `<0.001`."""


def escape_markdown(text: object) -> str:
    r"""Return text for a line, a list or a table cell.

    Example:
        >>> print(escape_markdown("a|b <i>[c](javascript:d)\n# e"))
        a\|b &lt;i>\[c\](javascript:d) # e
    """
    escaped = MARKDOWN_CHARACTERS.sub(r"\\\g<0>", " ".join(str(text).split()))
    return escaped.replace("<", "&lt;")  # not every dialect takes a backslash there


def table(content: pd.DataFrame) -> str:
    """Return a table in Markdown: numbers with three decimals, p-values as in `format_p_values`, text as it is."""
    shown = format_p_values(content).map(lambda cell: escape_markdown(cell) if isinstance(cell, str) else cell)
    shown.columns = pd.Index([escape_markdown(name) for name in content])
    dtypes = content.dtypes if len(content) else ()  # without rows tabulate sees no columns
    texts = [place for place, dtype in enumerate(dtypes) if not pd.api.types.is_numeric_dtype(dtype)]
    return f"{shown.to_markdown(index=False, tablefmt='github', floatfmt='.3f', disable_numparse=texts)}\n"


def format_p_values(content: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its p-values as text, with three decimals or as `<0.001`."""
    columns = P_VALUES.intersection(content.select_dtypes("number"))
    return content.assign(
        **{name: [f"<{MIN_SHOWN_P}" if p < MIN_SHOWN_P else f"{p:.3f}" for p in content[name]] for name in columns}
    )
