"""A run's plan, after all checks that need no model."""

from dataclasses import replace

from valstab.config.check import check_config
from valstab.config.schema import Config
from valstab.engines.factory import as_interlocutor, as_judge, require_model
from valstab.engines.prompts.chat_format import require_prompts, resolve_chat_format
from valstab.protocol.plan import Plan, make_plan


def checked_plan(config: Config) -> Plan:
    """Return a run's plan after all checks that import nothing large; set the format of the model's prompts.

    Raises:
        ConfigError: at the first invalid value.
        EngineError: if the model's weights are not there.
    """
    check_config(config)
    config.model = resolve_chat_format(config)
    other = config.interlocutor
    if other.model is not None:
        other.model = resolve_chat_format(as_interlocutor(config))
        other.name = other.model.name
    judge = config.judge
    if judge.model is not None:
        judge.model = resolve_chat_format(as_judge(config))
        judge.name = judge.model.name
    plan = make_plan(config)
    require_model(config)
    if other.model is not None:
        require_model(as_interlocutor(config))
    if judge.model is not None and plan.task.rubric:
        require_model(as_judge(config))
    return plan


def require_sample_prompts(config: Config, plan: Plan) -> None:
    """Check some of a run's prompts with the chat templates of the models that read them.

    Raises:
        ConfigError: at the first setting to change.
        EngineError: if a tokenizer can't be loaded, or no setting helps.
    """
    # Only now, since this imports pandas.
    from valstab.protocol.sample_prompts import interlocutor_prompts, rating_prompts, sample_prompts

    require_prompts(config, sample_prompts(plan))
    if config.interlocutor.model is not None:
        require_prompts(replace(as_interlocutor(config), answer="letter"), interlocutor_prompts(plan))
    if plan.task.rubric:
        require_prompts(as_judge(config) if config.judge.model else config, rating_prompts(plan))
