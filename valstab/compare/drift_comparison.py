"""The comparison of drift: its tables, its picture and its sentences."""

from valstab.compare import drift_figures
from valstab.compare.comparison import Comparison, Request
from valstab.compare.drift import drift
from valstab.compare.drift_sentences import describe_drift


def compare_drift(request: Request) -> Comparison:
    """Return how profiles drift with the messages of a conversation (`figure=drift`).

    Raises:
        ConfigError: if no label has two lengths of conversation, or runs can't be set side by side.
    """
    figure = request.figure
    found = drift(request.runs, request.undefined, request.resamples)
    return Comparison(
        tables={
            figure.name: found.overview(),
            **{name: getattr(found, name) for name in ("curves", "half_lives", "personas", "persona_half_lives")},
            **({"differences": found.differences} if len(found.differences) else {}),
        },
        pictures={figure.name: drift_figures.drift(found.curves, title=figure.title)},
        sentences=describe_drift(found),
    )
