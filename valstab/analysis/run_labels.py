"""Labels of runs, so that each says what distinguishes its run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from valstab.analysis.runs import Run

FORMS: Mapping[str, str | Mapping[str, str]] = {
    "engine.name": "{}",
    "model.system_prompt": {"True": "sys", "False": "no_sys"},
    "model.format": "{}",
    "population.name": "{}",
    "model.dtype": "{}",
    "answer": "{}",
    "model.path": "{}",
    "model.adapter": {"None": "no adapter"},
    "language.name": "{}",
    "interlocutor.name": "with {}",
    "judge.name": "judged by {}",
    "reminder.every": "reminders={}",
    "reminder.slot": "{}",
}
"""How a setting is written in a label, where not as `name=value`. These come first."""


NOT_IN_LABELS = re.compile(
    r"(store|tracking|dry_run|undefined|max_unread_answers|max_empty_messages|retests|n_messages|seeds)\b"
    r"|task\.|language\.|topics\.names?$|population\.(limit|permutations|seeds)|model\.(name|quantization|trust_remote_code)"
    r"|engine\.(_target_|batch_size|cache_gib|device|concurrency|timeout|max_retries|max_away|key_variable|usd_\w+"
    r"|batch\w*|\w+_parallel_size|distributed_executor_backend|gpu_memory_utilization|max_model_len|block_size|enforce_eager)$"
)
"""Settings that do not change what a model answers, and those that a comparison looks at by themselves."""


ONLY_WITH: Mapping[str, str] = {
    "answer_samples": "sampled",
    "max_thought_tokens": "thinking",
    "thinking_messages": "thinking",
}
"""Settings that count only with one value of `answer`."""


EVERY = "reminder.every"
"""The setting without which the others of reminders do not count; older runs do not have it."""


def with_unique_labels(found: Sequence[Run]) -> list[Run]:
    """Return the runs, each once, with labels that tell apart those with different settings.

    Where runs of one label differ in a setting, its value is added. A setting that an older run does not have counts as
    equal.
    """
    found = list({run.id: run for run in found}.values())
    others = sorted({name for run in found for name in run.settings} - set(FORMS))
    for setting in [*FORMS, *(name for name in others if not NOT_IN_LABELS.match(name))]:
        values: dict[str, set[str]] = {}
        for run in found:
            values.setdefault(run.label, set()).add(_value(run, setting))
        found = [
            replace(run, label=f"{run.label} {_shown(setting, _value(run, setting))}".rstrip())
            if len(values[run.label] - {""}) > 1
            else run
            for run in found
        ]
    return found


def _value(run: Run, setting: str) -> str:
    """Return the value of a setting; empty if the run does not have it, or it does not count."""
    if setting.startswith(("topics.", "reminder.")) and run.n_messages == 0:
        return ""
    if setting.startswith("judge.") and run.settings.get("task.rubric", "None") == "None":
        return ""
    every = run.settings.get(EVERY, "0")
    if setting.startswith("reminder.") and (setting == EVERY or every == "0"):
        return every if setting == EVERY else ""
    counts = ONLY_WITH.get(setting, run.settings.get("answer")) == run.settings.get("answer")
    return run.settings.get(setting, "") if counts else ""


def _shown(setting: str, value: str) -> str:
    if not value:
        return ""
    form = FORMS.get(setting, f"{setting.rpartition('.')[2]}={{}}")
    return form.format(value) if isinstance(form, str) else form.get(value, value)
