"""Write the report's page: a template, a style, scripts and the data in one file.

Everything that a model or a user wrote enters the page as data, in elements that browsers don't execute; the
page's Content-Security-Policy allows its own style and script, known by their hashes, and nothing else.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from valstab.protocol.collected import RunCost
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import Plan
from valstab.results.report.overview import overview
from valstab.results.report.transcripts import blocks
from valstab.results.results import Results

SCRIPTS = ("draw.js", "summary.js", "transcripts.js")


MOST_CHARACTERS = 18_000_000
"""Transcripts that one page holds; those of the personas after that are left out, and the page says so."""


def write_report(
    path: Path, plan: Plan, results: Results, conversations: Sequence[Conversation], work: RunCost, *, title: str
) -> None:
    """Write the report of a run as one HTML file.

    Args:
        path: where.
        plan: what was done.
        results: its answers, as `valstab.ask.ask` gives them, with their scores and stabilities.
        conversations: one for each session of the plan, in its order.
        work: what the run cost.
        title: names the run.
    """
    packed: list[str] = []
    size = 0
    for block in blocks(plan, results.answers, conversations):
        size += len(block)
        if size > MOST_CHARACTERS:
            break
        packed.append(f'<script type="text/plain" class="block">{block}</script>')
    document = {**overview(title, plan, results, conversations, work), "transcripts": len(packed)}
    style = _template("page.css")
    script = "\n".join(_template(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = Template(_template("page.html")).substitute(
        policy=policy,
        style=style,
        script=script,
        # The only character that could end the element.
        data=json.dumps(document, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        blocks="\n".join(packed),
    )
    path.write_text(page, encoding="utf-8", newline="\n")


def _template(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Give the hash by which a Content-Security-Policy knows an inline element."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
