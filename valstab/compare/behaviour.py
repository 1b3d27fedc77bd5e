"""What a model says of itself beside what it does: the correlations of values with a behaviour."""

from valstab.analysis.comparability import require_comparable, require_unique
from valstab.compare import figures, sentences, tables
from valstab.compare.comparison import Comparison, Request
from valstab.errors import ConfigError

NOUNS = {"donation": "coins"}
"""What a behaviour is called, where not by its task's name."""


def values_beside_behaviour(request: Request) -> Comparison:
    """Correlate the scores of a questionnaire with those of a behaviour, the two that `figure.tasks` names.

    Raises:
        ConfigError: if the runs can't be compared, or no model has both.
    """
    figure = request.figure
    if len(figure.tasks) != 2:  # noqa: PLR2004
        raise ConfigError("figure.tasks", figure.tasks, "must be two: a questionnaire and a behaviour")
    require_comparable(request.runs, ("task", "wording", "personas", "topics"))
    require_unique(request.runs, ("task",))
    what = (request.runs, figure.values, request.undefined, figure.tasks)
    samples = tables.values_and_behaviour(*what)
    table = tables.correlations_with_behaviour(*what).merge(
        tables.means(samples, ["label", "value"], "correlation")[["label", "value", "se", "n"]]
    )
    noun = NOUNS.get(figure.tasks[1], figure.tasks[1])
    known = bool(table["low"].notna().any())
    spread = "95% interval" if known else "± SE over seeds" if table["se"].notna().any() else "one seed"
    return Comparison(
        tables={figure.name: table, "samples": samples},
        pictures={
            figure.name: figures.panels(
                samples,
                title=figure.title,
                label=f"correlation with {noun} ({spread})",
                intervals=table if known else None,
            )
        },
        sentences=(
            *sentences.describe_behaviour(table, figure.tasks[1]),
            *sentences.describe_left_out(tables.left_out_beside_behaviour(request.runs, figure.tasks)),
        ),
        numbers={f"{label}/{value}": mean for label, value, mean in table.iloc[:, :3].itertuples(index=False)},
    )
