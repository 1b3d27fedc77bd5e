"""Write the report's page: a template, a style, scripts and the data in one file.

All text of models and users enters the page as data, in elements that browsers do not execute. The page's
Content-Security-Policy allows only its own style and script, by their hashes.
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
from valstab.whole_file import whole_file

SCRIPT_FILES = ("draw.js", "summary.js", "transcripts.js")


MAX_TRANSCRIPT_CHARACTERS = 18_000_000
"""Characters of packed transcripts in one page. The page leaves out the personas beyond it, and says so."""


def write_report(
    path: Path,
    plan: Plan,
    results: Results,
    conversations: Sequence[Conversation],
    cost: RunCost,
    *,
    title: str,
    prompt: str | None = None,
) -> None:
    """Write the report of a run as one HTML file.

    Args:
        path: the file to write.
        plan: the run's plan.
        results: the run's results.
        conversations: one for each session of the plan, in the plan's order.
        cost: the cost of the run.
        title: the name of the run.
        prompt: the first question as the model read it, if that is known.
    """
    packed: list[str] = []
    size = 0
    for block in blocks(plan, results.answers, conversations):
        size += len(block)
        if size > MAX_TRANSCRIPT_CHARACTERS:
            break
        packed.append(f'<script type="text/plain" class="block">{block}</script>')
    document = {**overview(title, plan, results, conversations, cost), "transcripts": len(packed), "prompt": prompt}
    script = "\n".join(template(name) for name in SCRIPT_FILES)
    page = Template(template("page.html")).substitute(
        head=head("report", template("page.css"), script),
        script=script,
        # `<` is the only character that could end the element.
        data=json.dumps(document, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        blocks="\n".join(packed),
    )
    with whole_file(path) as draft:
        draft.write_text(page, encoding="utf-8", newline="\n")


def head(kind: str, style: str, script: str | None = None) -> str:
    """Return the start of a page, up to its header, with a policy that allows its own style and script only.

    Args:
        kind: what the page is, for the browser's title.
        style: the style.
        script: the script; None for a page without.
    """
    scripts = [] if script is None else [f"script-src '{digest(script)}'"]
    own = [*scripts, f"style-src '{digest(style)}'"]
    policy = "; ".join(["default-src 'none'", *own, "base-uri 'none'", "form-action 'none'"])
    return Template(template("head.html")).substitute(kind=kind, policy=policy, style=style)


def template(name: str) -> str:
    """Return the content of a file of this package."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """Return the hash by which a Content-Security-Policy identifies an inline element."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
