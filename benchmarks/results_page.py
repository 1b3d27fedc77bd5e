"""Fill in the tables, findings and pictures of docs/results.md from the comparisons that results.sh made.

    uv run python benchmarks/results_page.py RESULTS/comparisons docs/results.md

What stands between `<!-- from COMPARISON/FILE: COLUMN, ... -->` and `<!-- end -->` is replaced: by a table of these
columns (all if none is named) of a CSV file, or by the sentences of a Markdown one. Pictures,
`images/results/COMPARISON/FILE`, are copied. What comes from a comparison that is not there stays.
"""

import re
import shutil
import sys
from pathlib import Path

import pandas as pd

from valstab.results.markdown import table

BLOCK = re.compile(r"(<!-- from (\S+?)(?:: ([^>]+?))? -->\n).*?(<!-- end -->)", re.DOTALL)
PICTURE = re.compile(r"\((images/results/([^/)]+)/([^/)]+))\)")


def main() -> None:
    """Fill in a page."""
    comparisons, page = map(Path, sys.argv[1:])

    def fill(found: re.Match[str]) -> str:
        begin, source, columns, end = found.groups()
        comparison, _, name = source.partition("/")
        path = comparisons / comparison / "results" / name
        if not path.parent.exists():
            return found[0]
        return f"{begin}\n{content(path, columns.split(', ') if columns else [])}\n{end}"

    text = BLOCK.sub(fill, page.read_text(encoding="utf-8"))
    for target, comparison, name in PICTURE.findall(text):
        source = comparisons / comparison / "results" / name
        if source.parent.exists():
            picture = page.parent / target
            picture.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, picture)
    page.write_text(text, encoding="utf-8")


def content(path: Path, columns: list[str]) -> str:
    """Give a CSV file as a table, or the sentences of a Markdown file."""
    if path.suffix == ".csv":
        rows = pd.read_csv(path)
        return table(rows[columns] if columns else rows)
    return "".join(f"{line}\n" for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("- "))


if __name__ == "__main__":
    main()
