"""An index of several runs with their stabilities: one HTML page beside their folders."""

from collections.abc import Iterable, Mapping
from html import escape
from string import Template
from typing import Any, NamedTuple
from urllib.parse import quote

from valstab.config.schema import MEASURES
from valstab.results.report.page import head, template

CELLS = (
    "th, td { padding: 0.3rem 0.75rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }"
)
"""The style of the table, which reports do not have."""


class Entry(NamedTuple):
    """A run of an index."""

    folder: str
    """The name of its folder beside the page."""
    title: str
    document: Mapping[str, Any]
    """The content of its `stability.json`."""
    files: tuple[str, ...]
    """The files to name, relative to its folder."""


def index_page(entries: Iterable[Entry]) -> str:
    """Return an index of runs, one row each, as an HTML page without scripts."""
    rows = [_row(entry) for entry in entries]
    return Template(template("index.html")).substitute(
        head=head("runs", f"{template('page.css')}\n{CELLS}"),
        title=f"{len(rows)} run{'' if len(rows) == 1 else 's'}",
        rows="\n".join(rows),
    )


def _row(entry: Entry) -> str:
    document = entry.document
    cells = [_link(entry, "report.html", entry.title) if "report.html" in entry.files else escape(entry.title)]
    if document.get("withheld"):
        cells[0] += f"<br><span class='hint'>no headline: {escape(str(document['withheld']))}</span>"
    cells.append(" x ".join(str(len(document[name])) for name in ("personas", "contexts", "seeds")))
    for name in MEASURES:
        low, high = document.get(f"{name}_low"), document.get(f"{name}_high")
        interval = "" if low is None else f"<br><span class='hint'>{low:.3f} to {high:.3f}</span>"
        cells += [f"{_number(document.get(name))}{interval}", _number(document.get(f"{name}_chance"))]
    cells.append(_number(document.get("answer_mass")))
    cells.append(" ".join(_link(entry, file, file) for file in entry.files if file != "report.html"))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _link(entry: Entry, file: str, text: str) -> str:
    return f'<a href="{quote(f"{entry.folder}/{file}")}" dir="auto">{escape(text)}</a>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
