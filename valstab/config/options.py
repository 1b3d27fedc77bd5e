"""The options of each group, and what each is: the first comment line of its YAML file, for people to choose by."""

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
CONFIG_FOLDER = str(next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()))
"""The configuration files: inside an installed package, beside it in a checkout."""

WIDTH = 120
"""Columns of the help."""


INDENT = 29
"""Columns before a description."""


HYDRA_FOLDER = "hydra"
"""The folder of options for Hydra itself."""


def read_groups(folders: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Give the options of each group in configuration folders with their descriptions.

    Where two folders have the same option, the first counts, as for Hydra.
    """
    groups: dict[str, dict[str, str]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            if path.parent.name != HYDRA_FOLDER:
                groups.setdefault(path.parent.name, {}).setdefault(path.stem, first_comment(path))
    return {group: dict(sorted(options.items())) for group, options in sorted(groups.items())}


def first_comment(path: Path) -> str:
    """Give the first comment line of a YAML file that is not one of Hydra's directives."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""  # what is wrong with it is said when it is chosen
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return next((comment for comment in comments if comment and not comment.startswith("@")), "")


def format_groups(groups: Mapping[str, Mapping[str, str]]) -> str:
    """Lay groups out as text: an option a line, with its description."""
    blocks = []
    for group, options in groups.items():
        lines = [
            textwrap.fill(
                f"{f'  {name}':{INDENT - 1}} {text}", WIDTH, subsequent_indent=" " * INDENT, break_on_hyphens=False
            )
            for name, text in options.items()
        ]
        blocks.append("\n".join([f"{group}=", *lines]))
    return "\n\n".join(blocks)
