"""Text that a user or a model wrote, in Markdown: as it is, never as marks, links or HTML of its own."""

import re

import pandas as pd

MARKS = re.compile(r"[\\`*\[\]|]")


P_VALUES = {"p", "p_adjusted", "circle_p"}
"""Columns with the p of a test: one that rounds to nothing is still something."""


LEAST = 0.001
"""The least p that a table tells from nothing."""


def escape_markdown(text: object) -> str:
    r"""Give text for a line, a list or a table cell.

    Example:
        >>> print(plain("a|b <i>[c](javascript:d)\n# e"))
        a\|b &lt;i>\[c\](javascript:d) # e
    """
    escaped = MARKS.sub(r"\\\g<0>", " ".join(str(text).split()))
    return escaped.replace("<", "&lt;")  # not every Markdown takes a backslash there


def table(content: pd.DataFrame) -> str:
    """Lay a table out, numbers with three decimals, p down to 0.001; text that looks like a number stays as it is."""
    shown = format_p_values(content).map(lambda cell: escape_markdown(cell) if isinstance(cell, str) else cell)
    shown.columns = pd.Index([escape_markdown(name) for name in content])
    kinds = content.dtypes if len(content) else ()  # without rows tabulate knows of no columns
    texts = [place for place, kind in enumerate(kinds) if not pd.api.types.is_numeric_dtype(kind)]
    return f"{shown.to_markdown(index=False, tablefmt='github', floatfmt='.3f', disable_numparse=texts)}\n"


def format_p_values(content: pd.DataFrame) -> pd.DataFrame:
    """Give a table whose p are text: three decimals, or that it is less."""
    columns = P_VALUES.intersection(content.select_dtypes("number"))
    return content.assign(
        **{name: [f"<{LEAST}" if p < LEAST else f"{p:.3f}" for p in content[name]] for name in columns}
    )
