"""The files that a run has read, copied beside its results, and its configuration read again with them."""

import shutil
from pathlib import Path
from typing import Any

from valstab.config.compose import load_config
from valstab.config.schema import Config
from valstab.inputs.files import INPUT_SETTINGS, locate
from valstab.inputs.published_wording import published_files
from valstab.whole_file import whole_file

FOLDER = "inputs"
"""The folder of the copies, with a folder for each setting; files keep their names, which name wordings."""


def copy_inputs(config: Config, folder: Path) -> None:
    """Copy the items, people and openings of a run to `inputs/` in an existing folder of results.

    Raises:
        ConfigError: if a file is missing.
    """
    for group, name in INPUT_SETTINGS:
        if (value := getattr(getattr(config, group), name)) is None:
            continue
        source = locate(f"{group}.{name}", value)
        for file in published_files(source) if source.is_dir() else [source]:
            copy = folder / FOLDER / name / file.relative_to(source.parent)
            copy.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(copy) as draft:
                shutil.copyfile(file, draft)


def read_saved(folder: Path) -> Config:
    """Return the configuration of finished results, with the files that were copied beside them.

    Raises:
        ConfigError: if there is none, or it is of a version with other settings.
    """
    config = load_config(folder / "config.yaml")
    for group, name in INPUT_SETTINGS:
        section: Any = getattr(config, group)
        value = getattr(section, name)
        if value is not None and (copy := folder / FOLDER / name / Path(value).name).exists():
            setattr(section, name, str(copy))
    return config
