"""Templates of introductions, items and options, which are filled from a row of a table."""

import re
from collections.abc import Iterable, Mapping

from valstab.errors import ConfigError, allowed

FIELD = re.compile(r"\{([^{}]*)\}")
"""A field of a template."""


def render(setting: str, template: str, fields: Mapping[str, str]) -> str:
    """Return the `template` with each `{field}` replaced by its value.

    Raises:
        ConfigError: for the setting, if the template has an unknown field.
    """

    def value(match: re.Match[str]) -> str:
        field = match.group(1)
        if field not in fields:
            raise ConfigError(setting, template, f"{{{field}}} is unknown; {allowed(field, fields)}")
        return fields[field]

    return FIELD.sub(value, template)


def fields_of(templates: Iterable[str]) -> set[str]:
    """Return the names of all fields of some templates."""
    return {field for template in templates for field in FIELD.findall(template)}
