"""Files and names of a user's own: where the files are found, and that results do not go by a packaged option's name.

A packaged option reads packaged files, whatever lies in the launch folder. A file that a user names, on the command
line or in an option of their own, is looked for in their folders first.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from valstab.config.labels import flatten
from valstab.config.schema import Config
from valstab.inputs.files import INPUT_SETTINGS, find_path, is_packaged

FILE_SETTINGS = (*INPUT_SETTINGS, ("figure", "labels"))
"""The settings that name a data file of a run or of a comparison, as group and name."""


GLOBAL_PACKAGE = "@package _global_"
"""What the first lines of an option's file have if its keys are not those of its group."""


def use_own_files(
    config: Any, overrides: Iterable[str], choices: Mapping[str, str | None], folders: Sequence[Path]
) -> None:
    """Replace the data files that a user has named by their paths, and names of packaged options by the files' names.

    Args:
        config: the configuration, changed in place.
        overrides: those of the command line.
        choices: the chosen option of each group.
        folders: those with options of the user's own.
    """
    typed = {override.lstrip("+").partition("=")[0] for override in overrides}
    written = _settings_of_options(choices, folders)
    for group, name in FILE_SETTINGS:
        section, setting = getattr(config, group, None), f"{group}.{name}"
        value = getattr(section, name, None)
        if value is None or setting not in typed | written:
            continue
        here = Path()
        setattr(section, name, _find(value, [here, *folders] if setting in typed else [*folders, here]))
    if isinstance(config, Config):
        _use_own_names(config, typed | written)


def _settings_of_options(choices: Mapping[str, str | None], folders: Sequence[Path]) -> set[str]:
    """Return the keys that the chosen options in some folders set."""
    keys: set[str] = set()
    for group, option in choices.items():
        for file in (folder / group / f"{option}.yaml" for folder in folders):
            if file.is_file():
                in_group = GLOBAL_PACKAGE not in file.read_text(encoding="utf-8")
                content = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.load(file)))
                keys |= flatten(content, f"{group}." if in_group else "").keys()
    return keys


def _find(value: str, folders: Iterable[Path]) -> str:
    """Return the path of a file in the first of some folders that has it, or the value itself if none has."""
    for folder in folders:
        if find_path(folder / value if folder.parts else value):
            path = str(folder / value) if folder.parts else value
            return os.path.join(os.curdir, value) if is_packaged(path) else path  # noqa: PTH118 - a Path drops the dot
    return value


def _use_own_names(config: Config, own: set[str]) -> None:
    """Name people and topics in files of the user's own by these files, and introduce such people neutrally."""
    people, openings = config.population, config.topics.openings
    personas, name = people.personas, None
    if personas and "population.personas" in own and not is_packaged(personas):
        name = Path(personas).stem
    elif personas and any(key.startswith("population.grid") for key in own):
        people.personas, name = None, "grid"
    if name is not None:
        people.name = people.name if "population.name" in own else name
        people.introduction = people.introduction if "population.introduction" in own else None
    if openings and "topics.openings" in own and not is_packaged(openings):
        if "topics.name" not in own:
            config.topics.name = Path(openings).stem
        if "topics.names" not in own:
            config.topics.names = None
