"""Labels of the personas, for the colours of figures: read from a file, or asked of a model (`task=character`)."""

from pathlib import Path

from valstab.errors import ConfigError
from valstab.inputs.files import locate
from valstab.inputs.tables import read_table

PERSONA_LABELS = ("positive", "neutral", "negative")


NEUTRAL_LIMIT = 1 / 3
"""A mean of answers (negative -1, neutral 0, positive 1) beyond this is not neutral."""


def read_labels(source: str) -> dict[str, str]:
    """Return each persona's label.

    Args:
        source: a CSV file with the columns name and label, or the results folder or MLflow id of a run of
            `task=character`, whose labels are those nearest to each character's mean answer.

    Raises:
        ConfigError: if it is neither, or a label is unknown.
    """
    if Path(source).suffix != ".csv":
        return _asked(source)
    labels = {}
    for row in read_table("figure.labels", locate("figure.labels", source), ("name", "label")).rows:
        if row["label"] not in PERSONA_LABELS:
            raise ConfigError(
                "figure.labels", source, f"{row['name']} is {row['label']!r}; allowed: {', '.join(PERSONA_LABELS)}"
            )
        labels[row["name"]] = row["label"]
    return labels


def _asked(source: str) -> dict[str, str]:
    from valstab.analysis.load import load_runs

    runs = load_runs(folders=[source]) if Path(source).is_dir() else load_runs(runs=[source])
    run = next((run for run in runs if run.task.name == "character"), None)
    if run is None:
        raise ConfigError("figure.labels", source, "must be a CSV file, or a run of task=character")
    means = run.scores.mean(["seed", "context", "persona"])
    return {str(name): _nearest(float(mean)) for name, mean in zip(means["key"].to_numpy(), means, strict=True)}


def _nearest(mean: float) -> str:
    if mean > NEUTRAL_LIMIT:
        return "positive"
    return "negative" if mean < -NEUTRAL_LIMIT else "neutral"
