"""The tables of the reference, made from the code when MkDocs builds the pages, so that they are never out of date.

A page has `<!-- settings -->` or `<!-- options -->` where a table goes.
"""

import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

from valstab.config import schema
from valstab.config.compose import CONFIG_FOLDER, compose_comparison, compose_run
from valstab.config.meanings import meanings
from valstab.config.options import read_groups

MAX_DEFAULT_CHARACTERS = 60
"""Characters of a default that are shown; the rest is cut off."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in a page's tables (MkDocs calls this)."""
    for name, table in (("settings", settings), ("options", options)):
        if (place := f"<!-- {name} -->") in markdown:
            markdown = markdown.replace(place, table())
    return markdown


def settings() -> str:
    """Return a table for each part of the configuration: key, type, default and meaning."""
    default = compose_run()
    sections = [_section("A run", "", default)]
    for name, kind in typing.get_type_hints(schema.Config).items():
        if name != "engine" and dataclasses.is_dataclass(kind):
            sections.append(_section(f"`{name}`", f"{name}.", getattr(default, name)))
    sampling = default.model.sampling
    sections.append(_section("`model.sampling`", "model.sampling.", sampling))
    sections += [
        _section(f"`engine` = `{name}`", "engine.", compose_run(f"engine={name}").engine)
        for name in read_groups([Path(CONFIG_FOLDER)])["engine"]
    ]
    comparison = compose_comparison()
    sections.append(_section("A comparison (`python -m valstab compare`)", "", comparison))
    sections.append(_section("`figure` (`python -m valstab compare`)", "figure.", comparison.figure))
    return "\n\n".join(sections)


def options() -> str:
    """Return a table for each group: option and description."""
    return "\n\n".join(
        _table(f"`{group}`", ("option", "what"), [(f"`{name}`", text) for name, text in chosen.items()])
        for group, chosen in read_groups([Path(CONFIG_FOLDER)]).items()
    )


def _section(title: str, prefix: str, default: Any) -> str:
    rows = [
        (f"`{prefix}{name}`", f"`{kind.replace('| None', 'or null')}`", _shown(getattr(default, name)), meaning)
        for name, (kind, meaning) in meanings(type(default)).items()
        if not dataclasses.is_dataclass(getattr(default, name))
    ]
    return _table(title, ("key", "type", "default", "meaning"), rows)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text if len(text) <= MAX_DEFAULT_CHARACTERS else text[: MAX_DEFAULT_CHARACTERS - 1] + '…'}`"


def _table(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(line)} |" for line in lines)])
