"""A run's plan, after all checks that need no model."""

from valstab.config.check import check_config
from valstab.config.schema import Config
from valstab.engines.factory import require_model
from valstab.engines.prompts.chat_format import resolve_chat_format
from valstab.protocol.plan import Plan, make_plan


def checked_plan(config: Config) -> Plan:
    """Return a run's plan after all checks that import nothing large; set the format of the model's prompts.

    Raises:
        ConfigError: at the first invalid value.
        EngineError: if the model's weights are not there.
    """
    check_config(config)
    config.model = resolve_chat_format(config)
    plan = make_plan(config)
    require_model(config)
    return plan
