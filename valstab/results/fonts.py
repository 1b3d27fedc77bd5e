"""Find fonts of the system for characters that matplotlib's own font lacks, such as Chinese, Japanese and Korean."""

import unicodedata
from collections.abc import Iterable
from functools import cache

from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager, get_font

from valstab.config.terminal import warn

PLACEHOLDER_FONT = "Last Resort"
"""Start of the name of a font that has a box for every character."""


SANS_SERIF = ("sans", "gothic", "hei")
"""Parts of names of fonts that suit matplotlib's own."""


def fallback_fonts(texts: Iterable[str]) -> list[str]:
    """Return the names of as few fonts as needed for what matplotlib's font lacks of some texts.

    Characters that no font has are reported on standard error, in one line for each script.
    """
    missing = {character for text in texts if not text.isascii() for character in text if character.isprintable()}
    if not missing:
        return []
    missing -= _covered(findfont(FontProperties()), frozenset(missing))
    return list(fonts_for(frozenset(missing))) if missing else []


@cache
def fonts_for(characters: frozenset[str]) -> tuple[str, ...]:
    """Return fonts for characters: each is the one with most of those that are still missing."""
    entries = sorted(fontManager.ttflist, key=_preference)
    covered = {entry.name: _covered(entry.fname, characters) for entry in reversed(entries)}
    names = list(dict.fromkeys(entry.name for entry in entries))
    missing, fonts = set(characters), []
    while missing:
        numbers = [len(covered[name] & missing) for name in names]
        if not any(numbers):
            break
        fonts.append(names[numbers.index(max(numbers))])
        missing -= covered[fonts[-1]]
    for character in sorted(missing):
        report_missing(unicodedata.name(character, "unnamed").partition(" ")[0])
    return tuple(fonts)


def _preference(entry: FontEntry) -> tuple[bool, bool, str, str]:
    is_plain = entry.style == "normal" and entry.weight in {400, "normal", "regular"}
    return not is_plain, not any(part in entry.name.lower() for part in SANS_SERIF), entry.name, entry.fname


def _covered(path: str, characters: frozenset[str]) -> set[str]:
    """Return those characters that a font can draw."""
    try:
        font = get_font(path)
    except (OSError, RuntimeError):  # removed since, or damaged
        return set()
    if not font.scalable or font.family_name.startswith(PLACEHOLDER_FONT):  # fonts of coloured pictures are not
        return set()
    return {character for character in characters if font.get_char_index(ord(character))}


@cache
def report_missing(script: str) -> None:
    """Report once that characters of a script can't be drawn."""
    warn(
        f"valstab: no font of this system has the {script} characters of names, so pictures have boxes for them; "
        "install one, such as Noto Sans CJK"
    )
