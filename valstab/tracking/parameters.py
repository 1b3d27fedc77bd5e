"""A run's configuration as MLflow parameters."""

import re
from dataclasses import asdict

from valstab.config.labels import flatten
from valstab.config.schema import Config
from valstab.protocol.plan import Plan
from valstab.tracking.names import shorten

NOT_PARAMETERS = re.compile(
    r"model\.quantization|.*\b_target_$|.*\.name$|(task|language|store|tracking|dry_run|max_unread_answers|max_empty_messages|axes|axes_crossed|figures)\b|levels$"
    r"|population\.(personas|grid|interlocutors|introduction|seeds)|topics\.(openings|posts|neutral|between_personas)|interlocutor\.|judge\."
)
"""Settings that are not logged as parameters."""


def run_parameters(config: Config) -> dict[str, str]:
    """Return the parameters that distinguish runs: the options' names, and settings that are numbers or short words.

    An option's name stands for the content of its file; `config.yaml` has all of it.
    """
    names = {
        "model": config.model.name,
        "quantization": config.model.quantization,
        "engine": config.engine.name,
        "population": config.population.name,
        "topics": config.topics.name,
        "task": config.task.name,
        "language": config.language.name,
        "interlocutor": config.interlocutor.name,
        **({"judge": config.judge.name} if config.task.rubric else {}),
    }
    settings = {key: value for key, value in flatten(asdict(config)).items() if not NOT_PARAMETERS.match(key)}
    return {key: shorten(value) for key, value in {**settings, **names}.items()}


def run_size(plan: Plan) -> dict[str, str]:
    """Return the numbers of personas (or repetitions without one), topics and seeds as parameters by name."""
    counts = {"n_personas": plan.personas, "n_topics": plan.contexts, "n_seeds": plan.seeds}
    return {name: str(len(each)) for name, each in counts.items()}
