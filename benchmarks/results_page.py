"""Fill in the tables, findings and pictures of docs/results.md from the comparisons that results.sh made.

    uv run python benchmarks/results_page.py RESULTS/comparisons docs/results.md

The text between `<!-- from COMPARISON/FILE: COLUMN, ... -->` and `<!-- end -->` is replaced: by a table of these
columns of a CSV file (all columns if none is named), or by the sentences of a Markdown file. Pictures,
`images/results/COMPARISON/FILE`, are copied. Tables and pictures of a missing comparison stay as they are.
"""

import argparse
import re
import shutil
from pathlib import Path

import pandas as pd

from valstab.results.markdown import table

BLOCK = re.compile(r"(<!-- from (\S+?)(?:: ([^>]+?))? -->\n).*?(<!-- end -->)", re.DOTALL)
PICTURE = re.compile(r"\((images/results/([^/)]+)/([^/)]+))\)")


def main() -> None:
    """Fill in a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparisons", type=Path, help="the folder of comparisons")
    parser.add_argument("page", type=Path, help="the page to fill in")
    arguments = parser.parse_args()
    comparisons, page = arguments.comparisons, arguments.page

    def fill(block: re.Match[str]) -> str:
        begin, source, columns, end = block.groups()
        comparison, _, name = source.partition("/")
        path = comparisons / comparison / "results" / name
        if not path.parent.exists():
            return block[0]
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
    """Return a CSV file as a Markdown table, or the sentences of a Markdown file."""
    if path.suffix == ".csv":
        rows = pd.read_csv(path)
        return table(rows[columns] if columns else rows)
    return "".join(f"{line}\n" for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("- "))


if __name__ == "__main__":
    main()
