"""Templates: the texts of introductions, items and options, filled in from a row of a table."""

import re
from collections.abc import Mapping

from valstab.errors import ConfigError, allowed

PRONOUNS = {
    "M": {"he": "he", "He": "He", "him": "him", "his": "his", "himself": "himself"},
    "F": {"he": "she", "He": "She", "him": "her", "his": "her", "himself": "herself"},
}


def render(key: str, template: str, fields: Mapping[str, str]) -> str:
    """Replace each `{field}` of the `template`.

    Raises:
        ConfigError: naming `key`, if the template asks for a field that is not there.
    """

    def value(match: re.Match[str]) -> str:
        field = match.group(1)
        if field not in fields:
            raise ConfigError(key, template, f"{{{field}}} is unknown; {allowed(field, fields)}")
        return fields[field]

    return re.sub(r"\{([^{}]*)\}", value, template)
