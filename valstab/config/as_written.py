"""Texts of option files as they are written: YAML reads `No` as false, which a setting for text shows as False."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf


def restore_texts(section: Any, file: Path) -> None:
    """Replace the texts of a section that YAML has read as another type by what the option's file has.

    Args:
        section: the dataclass that the option fills, changed in place.
        file: the option's YAML file.
    """
    with file.open(encoding="utf-8") as stream:
        written = yaml.load(stream, Loader=yaml.BaseLoader)  # noqa: S506 - it makes nothing but texts
    read = OmegaConf.to_container(OmegaConf.load(file))
    if isinstance(written, Mapping) and isinstance(read, Mapping):
        for field in fields(section):
            if field.name in written and field.name in read:
                value = getattr(section, field.name)
                setattr(section, field.name, _restored(value, written[field.name], read[field.name]))


def _restored(value: Any, written: Any, read: Any) -> Any:
    """Return a setting's value; where it is the text of what YAML has read, the text that is written instead."""
    if isinstance(value, str) and isinstance(read, bool | int | float) and value == str(read):
        return written
    if isinstance(value, list) and isinstance(written, list) and len(value) == len(written) == len(read):
        return [_restored(*each) for each in zip(value, written, read, strict=True)]
    if is_dataclass(value) and isinstance(written, Mapping):
        for field in fields(value):
            if field.name in written and field.name in read:
                own = getattr(value, field.name)
                setattr(value, field.name, _restored(own, written[field.name], read[field.name]))
    return value
