"""Templates of introductions, items and options, which are filled from a row of a table."""

import re
from collections.abc import Mapping

from valstab.errors import ConfigError, allowed

PRONOUNS = {
    "M": {"he": "he", "He": "He", "him": "him", "his": "his", "himself": "himself"},
    "F": {"he": "she", "He": "She", "him": "her", "his": "her", "himself": "herself"},
}
"""Template fields by gender: a template is written with masculine pronouns."""


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

    return re.sub(r"\{([^{}]*)\}", value, template)
