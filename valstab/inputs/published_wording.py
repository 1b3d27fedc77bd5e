"""Read the published wording of the PVQ from its folder."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path

from valstab.config.inputs import TaskConfig
from valstab.errors import ConfigError
from valstab.inputs.files import read_text
from valstab.inputs.genders import Gender
from valstab.inputs.items import ALL, GENDERS, Item, check_count

PUBLISHED_FILES: Mapping[Gender, str] = {"F": "pvq_female_test.csv", "M": "pvq_male_test.csv"}
"""Files of the folder `test`."""


def published_files(folder: Path) -> list[Path]:
    """Return the files that `read_published_wording` reads in a folder."""
    return [folder / "raw" / "values.json", *(folder / "test" / PUBLISHED_FILES[gender] for gender in GENDERS)]


def read_published_wording(folder: Path, config: TaskConfig) -> list[Item]:
    """Return the items of a folder with the published PVQ wording.

    `test/pvq_{male,female}_test.csv` have no header; their columns are the text, the options and an unused one.
    `raw/values.json` maps each value to its item numbers, counted from 1.

    Raises:
        ConfigError: if a file can't be used.
    """
    setting = "task.items"
    if config.dialogue is not None and (config.dialogue != ALL or config.anchors):
        raise ConfigError("task.dialogue", config.dialogue, f"{folder} has no columns; allowed: {ALL}, without anchors")
    if config.texts is not None:
        raise ConfigError("task.texts", config.texts, f"{folder} has texts of its own; allowed: null")
    try:
        values = json.loads(read_text(setting, folder / "raw" / "values.json"))
        key_of = {
            int(number): str(value)
            for value, numbers in values.items()
            if not value.startswith("_")
            for number in numbers
        }
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(setting, folder, f"raw/values.json must map each value to item numbers ({error})") from None
    rows: dict[Gender, list[list[str]]] = {}
    for gender in GENDERS:
        path = folder / "test" / PUBLISHED_FILES[gender]
        try:
            rows[gender] = [row for row in csv.reader(io.StringIO(read_text(setting, path), newline="")) if row]
        except csv.Error as error:
            raise ConfigError(setting, path, f"is not valid CSV ({error})") from None
        check_count(path, len(rows[gender]), config)
        for line, row in enumerate(rows[gender], 1):
            if len(row) < 1 + len(config.scores):
                raise ConfigError(setting, path, f"line {line} must have a text and {len(config.scores)} options")
    return [
        Item(
            number=number,
            key=key_of.get(number, "(none)"),
            text={gender: rows[gender][number - 1][0].strip() for gender in GENDERS},
            options={gender: tuple(rows[gender][number - 1][1 : 1 + len(config.scores)]) for gender in GENDERS},
            dialogue=config.dialogue or "",
        )
        for number in range(1, config.n_items + 1)
    ]
