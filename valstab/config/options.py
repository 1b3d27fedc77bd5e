"""The options of each group with their descriptions: the first comment line of each YAML file."""

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from hydra.conf import ConfigSourceInfo

from valstab.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]
CONFIG_FOLDER = str(next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()))
"""The folder of the configuration files: inside an installed package, but beside it in a checkout."""

WIDTH = 120
"""Width of the help, in columns."""


INDENT = 29
"""Column at which descriptions begin."""


HYDRA_FOLDER = "hydra"
"""The folder of options for Hydra itself."""


def config_folders(sources: Iterable[ConfigSourceInfo]) -> list[Path]:
    """Return the folders among Hydra's configuration sources, in the order in which it searches them."""
    return [Path(source.path) for source in sources if source.schema == "file"]


def read_groups(folders: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Return the descriptions by group and option of all options in configuration folders.

    If two folders have the same option, the first folder counts, as in Hydra.
    """
    groups: dict[str, dict[str, str]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            if path.parent.name != HYDRA_FOLDER:
                groups.setdefault(path.parent.name, {}).setdefault(path.stem, first_comment(path))
    return {group: dict(sorted(options.items())) for group, options in sorted(groups.items())}


def refuse_hidden_options(choices: Mapping[str, str | None], folders: Iterable[Path]) -> None:
    """Refuse an option that two configuration folders have with different contents: Hydra would use the first only.

    Args:
        choices: the chosen option of each group.
        folders: the folders in the order in which Hydra searches them.

    Raises:
        ConfigError: with both files.
    """
    searched = list(folders)
    for group, option in choices.items():
        files = [file for folder in searched if (file := folder / group / f"{option}.yaml").is_file()]
        for file in files[1:]:
            if file.read_bytes() != files[0].read_bytes():
                raise ConfigError(
                    group, option, f"{file} has the name of another option, {files[0]}, and would be ignored; rename it"
                )


def first_comment(path: Path) -> str:
    """Return the first comment line of a YAML file, except Hydra's directives such as `@package`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""  # the error is reported when the option is chosen
    comments = (line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    return next((comment for comment in comments if comment and not comment.startswith("@")), "")


def format_groups(groups: Mapping[str, Mapping[str, str]]) -> str:
    """Return groups as text, with one line for each option and its description."""
    return "\n\n".join(f"{group}=\n{format_lines(options)}" for group, options in groups.items())


def format_lines(texts: Mapping[str, str]) -> str:
    """Return names and what is said of each, aligned, one below the other."""
    return "\n".join(
        textwrap.fill(
            f"{f'  {name}':{INDENT - 1}} {text}", WIDTH, subsequent_indent=" " * INDENT, break_on_hyphens=False
        )
        for name, text in texts.items()
    )
