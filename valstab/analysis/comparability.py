"""Which runs can be compared: what they must have in common, and what differs if they can't."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

from valstab.analysis.runs import Run, Runs
from valstab.errors import ConfigError

DIGEST_CHARACTERS = 15
"""Number of characters of a digest that are shown."""


class Aspect(NamedTuple):
    """Something that runs must have in common to be compared."""

    identity: Callable[[Run], Hashable]
    told_apart: Callable[[Sequence[Run]], list[str]]
    """Describes it for runs that differ in it."""


def require_comparable(runs: Runs, axes: Sequence[str] = ()) -> None:
    """Refuse runs that can't be set side by side.

    Args:
        runs: the runs.
        axes: what may differ: of task, wording, topics, n_messages, personas.

    Raises:
        ConfigError: if they differ in anything else; it says which runs differ in what.
    """
    for name, aspect in ASPECTS.items():
        if name in axes:
            continue
        groups: dict[Hashable, list[Run]] = {}
        for run in runs:
            groups.setdefault(aspect.identity(run), []).append(run)
        if len(groups) > 1:
            some = [_some([run.label for run in group]) for group in groups.values()]
            shown = aspect.told_apart([group[0] for group in groups.values()])
            differences = "; ".join(f"{text}: {labels}" for text, labels in zip(shown, some, strict=True))
            raise ConfigError(
                "runs",
                f"({len(runs)})",
                f"can't be compared, since they differ in {name} ({differences}); choose with filter",
            )


def require_unique(runs: Runs, axes: Sequence[str] = ()) -> None:
    """Refuse several runs of one label, unless they differ in some of the axes.

    Args:
        runs: the runs.
        axes: as for `require_comparable`.

    Raises:
        ConfigError: if there are; it names their seeds.
    """
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        groups.setdefault((run.label, *(ASPECTS[name].identity(run) for name in axes)), []).append(run)
    for group in groups.values():
        if len(group) > 1:
            seeds = "; ".join(", ".join(map(str, run.seeds)) for run in group)
            raise ConfigError(
                "runs", group[0].label, f"there are {len(group)} of this label (seeds {seeds}); choose with filter"
            )


def comparison_group(run: Run) -> tuple[Hashable, ...]:
    """Return what runs must have in common to be compared: task, wording, topics, length and personas."""
    return tuple(aspect.identity(run) for aspect in ASPECTS.values())


def _names_told_apart(lists: Sequence[Sequence[str]]) -> list[str]:
    """Describe lists by their first names from the first difference on, or by all of them where these are the same."""
    same = next((i for i, names in enumerate(zip(*lists, strict=False)) if len(set(names)) > 1), min(map(len, lists)))
    rest = [names[same:] for names in lists]
    shown = [_some(names) for names in rest]
    if len(set(shown)) < len(shown):
        shown = [", ".join(names) for names in rest]
    return [f"{same} alike, then {text or 'none'}" if same else text for text in shown]


def _some(names: Sequence[str], most: int = 3) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")


ASPECTS: Mapping[str, Aspect] = {
    "task": Aspect(lambda run: run.task.name, lambda runs: [run.task.name for run in runs]),
    "wording": Aspect(
        lambda run: (run.task.wording, run.digest),
        lambda runs: [f"{run.task.wording}, digest {(run.digest or 'unknown')[:DIGEST_CHARACTERS]}" for run in runs],
    ),
    "topics": Aspect(lambda run: tuple(run.contexts), lambda runs: _names_told_apart([run.contexts for run in runs])),
    "n_messages": Aspect(lambda run: run.n_messages, lambda runs: [str(run.n_messages) for run in runs]),
    "personas": Aspect(lambda run: tuple(run.personas), lambda runs: _names_told_apart([run.personas for run in runs])),
}
