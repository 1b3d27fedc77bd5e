"""The axes of a study: what varies between its runs, each with named levels that are overrides of a run."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from valstab.errors import ConfigError

LEVELS = "levels."
"""The start of the names of the settings with the level of each axis that a run is at."""


MIN_LEVELS = 2
"""Smallest number of levels of an axis."""


NAME = re.compile(r"(?!(?:seed|context|persona|key|level|cell)$)[A-Za-z_]\w*")
"""Pattern of an axis's name: a word, but no dimension that every study has."""


NOT_LEVELS = re.compile(r"(axes|axes_crossed|levels|hydra|seeds|dry_run|tracking|store)\b")
"""Settings that no level may change: those of the study, of Hydra, and those that change no answer."""


class Cell(NamedTuple):
    """One combination of levels."""

    levels: Mapping[str, str]
    """The name of the level of each axis."""
    overrides: tuple[str, ...]


def read_axes(axes: Mapping[str, Any]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the overrides of each level, by the names of axes and levels, in their order.

    A level is an override, or a list of some; empty for the run as it is. Levels without names,
    in a list, are called by the value that they set, or else by their text.

    Raises:
        ConfigError: if an axis has fewer than two levels, or a level can't be read.
    """
    found = {}
    for axis, given in axes.items():
        setting, levels = f"axes.{axis}", given
        if not NAME.fullmatch(str(axis)):
            raise ConfigError(
                "axes",
                axis,
                "the name of an axis is a word of letters, digits and _, not seed, context, persona or key",
            )
        if isinstance(levels, Sequence) and not isinstance(levels, str):
            levels = {_name(str(level)): level for level in levels}
        if not isinstance(levels, Mapping) or len(levels) < MIN_LEVELS:
            raise ConfigError(setting, levels, f"needs {MIN_LEVELS} different levels at least, as NAME: KEY=VALUE")
        found[str(axis)] = {str(name): _overrides(setting, level) for name, level in levels.items()}
    return found


def cells(axes: Mapping[str, Any], *, crossed: bool) -> list[Cell]:
    """Return the combinations of levels whose runs are to be made; the first is the base, the first level of each axis.

    Args:
        axes: as in the setting of this name.
        crossed: whether all combinations are; otherwise the base, and those in which one axis is at another level.

    Raises:
        ConfigError: as `read_axes`, and if two axes set the same.

    Example:
        >>> axes = {"order": {"random": "option_order=random", "fixed": "option_order=fixed"},
        ...         "answer": ["answer=letter", "answer=thinking"]}
        >>> for cell in cells(axes, crossed=False):
        ...     print(*cell.overrides)
        option_order=random answer=letter
        option_order=fixed answer=letter
        option_order=random answer=thinking
    """
    known = read_axes(axes)
    _refuse_shared_keys(known)
    combinations = [dict(zip(known, names, strict=True)) for names in itertools.product(*known.values())]
    base = {axis: next(iter(levels)) for axis, levels in known.items()}
    others = [{**base, axis: name} for axis, levels in known.items() for name in list(levels)[1:]]
    return [
        Cell(each, tuple(override for axis, name in each.items() for override in known[axis][name]))
        for each in (combinations if crossed else [base, *others])
    ]


def settings_apart(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the names of settings in which runs at the same levels differ, in order of appearance.

    Args:
        settings: those of each run, by name.

    Example:
        >>> settings_apart([{"levels.order": "random", "option_order": "random", "model": "a"},
        ...                 {"levels.order": "fixed", "option_order": "fixed", "model": "a"},
        ...                 {"levels.order": "fixed", "option_order": "fixed", "model": "b"}])
        ['model']
    """
    names = dict.fromkeys(name for one in settings for name in one)
    levels = [name for name in names if name.startswith(LEVELS)]
    alike: dict[tuple[str | None, ...], list[Mapping[str, str]]] = {}
    for one in settings:
        alike.setdefault(tuple(one.get(name) for name in levels), []).append(one)
    return [name for name in names if any(len({one.get(name) for one in group}) > 1 for group in alike.values())]


def key_of(override: str) -> str:
    """Return what an override sets, without the marks that add or remove.

    Example:
        >>> key_of("+experiment=drift")
        'experiment'
    """
    return override.lstrip("+~").partition("=")[0].partition("@")[0]


def _refuse_shared_keys(axes: Mapping[str, Mapping[str, tuple[str, ...]]]) -> None:
    """Check that no two axes set the same, since their levels could not be combined."""
    owner: dict[str, str] = {}
    for axis, levels in axes.items():
        for key in {key_of(override) for overrides in levels.values() for override in overrides}:
            if owner.setdefault(key, axis) != axis:
                raise ConfigError(f"axes.{axis}", key, f"is set by the axis {owner[key]} too")


def _name(level: str) -> str:
    key, equals, value = level.partition("=")
    return value if equals and re.fullmatch(r"\S+", value) and " " not in key else level


def _overrides(setting: str, level: Any) -> tuple[str, ...]:
    if level is None or level == "":
        return ()
    try:
        given = [level] if isinstance(level, str) else [str(each) for each in level]
        read = OverridesParser.create().parse_overrides(given)
    except (HydraException, ValueError, TypeError):
        raise ConfigError(setting, level, "is no override of a run, KEY=VALUE, nor a list of them") from None
    for override, text in zip(read, given, strict=True):
        if override.is_sweep_override():
            raise ConfigError(setting, text, "is several levels: write each by itself")
        if NOT_LEVELS.match(key_of(text)):
            raise ConfigError(setting, text, "is no setting that a level can change")
    return tuple(given)
