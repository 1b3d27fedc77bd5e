"""The gender of a wording: its pronouns, and the verbs that agree with them."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal

Gender = Literal["F", "M", "X"]
"""The wording for a person: with she, with he, or with they."""


PRONOUNS: Mapping[Gender, Mapping[str, str]] = {
    "F": {"he": "she", "He": "She", "him": "her", "his": "her", "himself": "herself"},
    "M": {"he": "he", "He": "He", "him": "him", "his": "his", "himself": "himself"},
    "X": {"he": "they", "He": "They", "him": "them", "his": "their", "himself": "themselves"},
}
"""Template fields by gender: a template is written with masculine pronouns."""


NAMES: Mapping[Gender, tuple[str, ...]] = {
    "F": ("f", "female", "woman"),
    "M": ("m", "male", "man"),
    "X": ("x", "non-binary", "nonbinary", "other", "none", ""),
}
"""What a file may call each gender, in lower case."""


GENDER_NAMES = "F, female, woman, M, male, man, X, non-binary, other, none or nothing"
"""The names that are allowed in a file, for messages."""


VERB_FORMS = re.compile(r"\{([^{}|]*)\|([^{}|]*)\}")
"""A verb in both forms, after he or she and after they: `{wants|want}`."""


ANY_FORMS = re.compile(r"\{([^{}|]*)\|([^{}|]*)\|([^{}|]*)\}")
"""A text for M, F and X, for languages without pronouns of their own in `PRONOUNS`: `{er|sie|diese Person}`."""


FORM_OF: Mapping[Gender, str] = {"M": r"\1", "F": r"\2", "X": r"\3"}
"""The place of each gender in `ANY_FORMS`."""


WITHOUT_THEY = re.compile(
    rf"""
    \{{[hH]e\}}  # a subject that is not followed by
    (?!
        \s?{VERB_FORMS.pattern}  # a verb in both forms,
        | \s(?:would|could|can|will|shall|should|may|might|must|had|did)(?:n?['\u2019]t|not)?\b  # one without,
        | \swon['\u2019]t\b | ['\u2019](?:d|ll)\b  # nor a contraction of one
    )
    \s?[\w'\u2019]*
    """,
    re.VERBOSE,
)
"""A pronoun whose verb is only in the form after he or she."""


def read_gender(cell: str) -> Gender | None:
    """Return the gender that a cell of a file names, in upper or lower case; None if it names none."""
    return next((gender for gender, names in NAMES.items() if cell.casefold() in names), None)


def agree(template: str, gender: Gender) -> str:
    """Return a template with the forms that agree with a gender: of verbs, and of any text with one for M, F and X.

    Example:
        >>> agree("{He} {is|are} at {his} desk.", "X")
        '{He} are at {his} desk.'
        >>> agree("{Er|Sie|Diese Person} sitzt an {seinem|ihrem|ihrem} Tisch.", "F")
        'Sie sitzt an ihrem Tisch.'
    """
    template = ANY_FORMS.sub(FORM_OF[gender], template)
    return VERB_FORMS.sub(r"\2" if gender == "X" else r"\1", template)


def without_they(templates: Iterable[str]) -> str | None:
    """Return the first place in templates whose verb has no form for they, such as `{He} wants`; None if all have."""
    return next((match[0] for template in templates if (match := WITHOUT_THEY.search(template))), None)
