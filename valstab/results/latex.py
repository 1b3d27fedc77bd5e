"""Tables in LaTeX that compile without packages."""

import re
from collections.abc import Iterable

import pandas as pd

from valstab.results.markdown import format_p_values

SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\symbol{34}",
    "·": r"\textperiodcentered{}",
}
"""What stands for each character that LaTeX reads as a command, or lacks in its first fonts."""


def escape_latex(text: object) -> str:
    r"""Return text for a LaTeX table or paragraph, on one line.

    Example:
        >>> print(escape_latex("R&D_1 {50%}"))
        R\&D\_1 \{50\%\}
    """
    return "".join(SPECIAL.get(character, character) for character in " ".join(str(text).split()))


def table(content: pd.DataFrame) -> str:
    """Return a table as a LaTeX `tabular`: numbers with three decimals and to the right, text to the left.

    p-values are written as in `valstab.results.markdown`, missing numbers as a dash.
    """
    shown = format_p_values(content)
    kinds = "".join("r" if pd.api.types.is_numeric_dtype(dtype) else "l" for dtype in content.dtypes)
    lines = [_row(content), r"\hline", *(_row(row) for row in shown.itertuples(index=False))]
    return "\n".join([rf"\begin{{tabular}}{{{kinds}}}", r"\hline", *lines, r"\hline", r"\end{tabular}", ""])


def from_markdown(text: str) -> str:
    r"""Return paragraphs in LaTeX; headings begin sections, and blocks of code become comments.

    Example:
        >>> print(from_markdown("# A & B\n\nSet `n_messages` to 5%."))
        \section*{A \& B}
        <BLANKLINE>
        Set \texttt{n\_messages} to 5\%.
        <BLANKLINE>
    """
    parts = []
    for block in text.strip().split("\n\n"):
        if block.startswith("```"):
            parts.append("\n".join(f"% {line}" for line in block.splitlines()[1:-1]))
        elif block.startswith("# "):
            parts.append(rf"\section*{{{escape_latex(block[2:])}}}")
        else:
            parts.append(re.sub("`(.*?)`", r"\\texttt{\1}", escape_latex(block)))
    return "\n\n".join(parts) + "\n"


def _row(cells: Iterable[object]) -> str:
    return " & ".join(map(_cell, cells)) + r" \\"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "--" if pd.isna(value) else f"${value:.3f}$"
    text = "--" if value == "nan" else escape_latex(value)  # a p-value that is not known
    return f"{{{text}}}" if text.startswith("[") else text  # after `\\` a bracket would be a length
