"""Labels of runs, so that each says what distinguishes its run."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from valstab.analysis.comparability import comparison_group
from valstab.analysis.runs import Run, Runs

LABEL_SETTINGS = (
    ("engine.name", "{}"),
    ("model.system_prompt", {"True": "sys", "False": "no_sys"}),
    ("model.format", "{}"),
    ("population.name", "{}"),
    ("model.dtype", "{}"),
    ("max_new_tokens", "max_new_tokens={}"),
    ("answer", "{}"),
    ("answer_samples", "answer_samples={}"),
    ("model.path", "{}"),
)
"""Settings that are added to labels, one after the other, where runs with the same label differ in them."""


def with_unique_labels(found: Sequence[Run]) -> Runs:
    """Return the runs with unique labels among those with the same task and length.

    Where runs of one label differ in a setting, its value is added; of runs that differ in nothing the last stays.
    """
    found = list({run.id: run for run in found}.values())
    for setting, form in LABEL_SETTINGS:
        values: dict[str, set[str]] = {}
        for run in found:
            values.setdefault(run.label, set()).add(run.settings.get(setting, ""))
        found = [
            replace(run, label=f"{run.label} {_shown(form, run.settings.get(setting, ''))}".rstrip())
            if len(values[run.label]) > 1
            else run
            for run in found
        ]
    last = {_identity(run): run for run in found}
    replaced = [run.id for run in found if last[_identity(run)] is not run]
    return Runs(tuple(last.values()), tuple(replaced))


def _identity(run: Run) -> tuple[Hashable, ...]:
    return (run.label, *comparison_group(run), tuple(run.scores["seed"].to_numpy().tolist()))


def _shown(form: str | Mapping[str, str], value: str) -> str:
    return form.format(value) if isinstance(form, str) else form.get(value, value)
