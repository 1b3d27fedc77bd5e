"""The picture and the tables of the architecture page, made from the code when MkDocs builds the pages.

Which rooms (packages of `valstab`) there are, and in which layer each is, comes from the contract in `pyproject.toml`;
the arrows come from the import statements.
"""

import ast
import textwrap
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[1]
PACKAGE = CHECKOUT / "valstab"
PICTURE = "images/architecture.svg"
"""Where the page finds the picture."""
RECIPE = "valstab.run"
"""The module whose calls are the steps of a run."""
COLUMNS = {
    "commands": 1.5,
    "sweeps": 0,
    "compare": 3,
    "run": 1,
    "dry_run": 2,
    "tracking": 0,
    "analysis": 3,
    "results": 2,
    "protocol": 0.5,
    "statistics": 3,
    "engines": 1,
    "inputs": 2,
    "config": 1.5,
    "errors": 2,
    "hashing": 0,
    "random_streams": 1,
    "whole_file": 3,
}
"""The column of each room, chosen so that no arrow crosses a box."""
WIDTH, HEIGHT = 220, 84
"""Size of a box, in pixels."""
COLUMN, ROW = 256, 124
"""Distance between the left (upper) edges of two boxes, in pixels."""
MARGIN = 20
"""Pixels around the picture."""
LINE_CHARACTERS = 33
"""Characters of a line of text in a box."""

ARROW_HEAD = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0,1 L9,5 L0,9 Z" fill="#456"/></marker></defs>'
)

Imports = dict[str, set[str]]
"""Each room with the rooms it imports."""


def on_files(files: Any, config: Any) -> Any:
    """Add the picture to the site (MkDocs calls this)."""
    from mkdocs.structure.files import File  # the tests run without MkDocs

    files.append(File.generated(config, PICTURE, content=draw()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in a page's tables (MkDocs calls this)."""
    for name, table in (("rooms", rooms_table), ("steps", steps_table)):
        if (place := f"<!-- {name} -->") in markdown:
            markdown = markdown.replace(place, table())
    return markdown


def read_layers() -> list[list[str]]:
    """Read the layers from the contract, the top one first."""
    return [[room.strip() for room in layer.split("|")] for layer in _contract()["layers"]]


def read_imports() -> Imports:
    """Read which room imports which from the modules' import statements."""
    rooms = [room for layer in read_layers() for room in layer]
    ignored = {tuple(line.split(" -> ")) for line in _contract().get("ignore_imports", [])}
    imports: Imports = {room: set() for room in rooms}
    for module, path in _modules().items():
        room = _room(module)
        for imported in _imported(ast.parse(path.read_text(encoding="utf-8"))):
            other = _room(imported)
            if room in rooms and other in rooms and room != other and (module, imported) not in ignored:
                imports[room].add(other)
    return imports


def reduce_arrows(imports: Imports) -> list[tuple[str, str]]:
    """Return the arrows that no chain of other arrows implies."""
    return [
        (room, other)
        for room, others in imports.items()
        for other in sorted(others)
        if not any(other in _reachable(imports, between) for between in others - {other})
    ]


def draw() -> str:
    """Draw the rooms in layers, with an arrow for each import that no chain of arrows implies, as SVG."""
    places = {
        room: (MARGIN + COLUMNS[room] * COLUMN, MARGIN + row * ROW)
        for row, layer in enumerate(read_layers())
        for room in layer
    }
    width = 2 * MARGIN + max(x for x, _ in places.values()) - MARGIN + WIDTH
    height = 2 * MARGIN + max(y for _, y in places.values()) - MARGIN + HEIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">',
            ARROW_HEAD,
            f'<rect width="{width:g}" height="{height:g}" fill="#fff"/><g font-family="sans-serif" font-size="11">',
            *(_arrow(room, other, places) for room, other in reduce_arrows(read_imports())),
            *(_box(room, *place) for room, place in places.items()),
            "</g></svg>",
        ]
    )


def rooms_table() -> str:
    """Return a table of the rooms: what each is for, its modules and lines, and what it imports."""
    imports = read_imports()
    rows = []
    for room in (room for layer in read_layers() for room in layer):
        paths = [path for module, path in _modules().items() if _room(module) == room]
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)
        others = ", ".join(f"`{other}`" for other in sorted(imports[room])) or "nothing"
        rows.append(f"| `{room}` | {_summary(room)} | {len(paths)} | {lines:,} | {others} |")
    return "\n".join(["| room | what it is for | modules | lines | imports |", "|---|---|---|---|---|", *rows])


def steps_table() -> str:
    """Return a table of the functions of `valstab` that `run` calls, in order (those of `collect` in its place)."""
    modules = _modules()
    tree = ast.parse(modules[RECIPE].read_text(encoding="utf-8"))
    homes = {
        alias.name: statement.module
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
        if not alias.name[0].isupper()
    }
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    steps = []
    for called in _calls(functions["run"]):
        steps += _calls(functions[called]) if called in functions else [called]
    rows = []
    for step in dict.fromkeys(step for step in steps if step in homes):
        body = ast.parse(modules[homes[step]].read_text(encoding="utf-8")).body
        (definition,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == step)
        text = (ast.get_docstring(definition) or "").splitlines()[0]
        rows.append(f"| `{step}` | `{homes[step].removeprefix('valstab.')}` | {text} |")
    return "\n".join(["| step | module | what it does |", "|---|---|---|", *rows])


def _contract() -> dict[str, Any]:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    return contract


def _modules() -> dict[str, Path]:
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(CHECKOUT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def _room(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("valstab."))
        elif isinstance(node, ast.ImportFrom) and node.module == "valstab":
            yield from (f"valstab.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("valstab."):
            yield str(node.module)


def _reachable(imports: Imports, room: str) -> set[str]:
    return imports[room].union(*(_reachable(imports, other) for other in imports[room]))


def _calls(function: ast.FunctionDef) -> list[str]:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [call.func.id for call in sorted(calls, key=lambda call: (call.end_lineno, call.end_col_offset))]


def _summary(room: str) -> str:
    path = PACKAGE / room / "__init__.py"
    text = ast.get_docstring(ast.parse((path if path.exists() else PACKAGE / f"{room}.py").read_text(encoding="utf-8")))
    return (text or "").splitlines()[0]


def _arrow(room: str, other: str, places: dict[str, tuple[float, float]]) -> str:
    (x, y), (to_x, to_y) = places[room], places[other]
    shift = WIDTH / 3 * max(-1, min(1, (to_x - x) / COLUMN))
    start, end = (x + WIDTH / 2 + shift, y + HEIGHT), (to_x + WIDTH / 2 - shift, to_y)
    line = f"M{start[0]:g},{start[1]:g} L{end[0]:g},{end[1]:g}"
    return f'<path class="{room} {other}" d="{line}" stroke="#456" stroke-width="1.5" marker-end="url(#head)"/>'


def _box(room: str, x: float, y: float) -> str:
    lines = textwrap.wrap(_summary(room).replace("`", ""), LINE_CHARACTERS, max_lines=3, placeholder=" …")
    text = "".join(
        f'<text x="{x + 10:g}" y="{y + 40 + 15 * row:g}" fill="#333">{escape(line)}</text>'
        for row, line in enumerate(lines)
    )
    return (
        f'<g id="{room}"><rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#eef4fa" '
        f'stroke="#456"/><text x="{x + 10:g}" y="{y + 21:g}" font-size="14" font-weight="bold">{room}</text>{text}</g>'
    )
