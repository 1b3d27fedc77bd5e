"""Create the engine that a configuration names."""

import dataclasses

from hydra.utils import get_class

from valstab.config.engines import TransformersConfig, VllmConfig
from valstab.config.schema import Config, InterlocutorConfig, JudgeConfig
from valstab.engines.adapter import find_adapter
from valstab.engines.base import Engine
from valstab.engines.checkpoint import require_checkpoint
from valstab.errors import ConfigError


def require_model(config: Config) -> None:
    """Check that the weights and the adapter exist that the engine would load, before anything large is imported.

    Raises:
        EngineError: if they do not.
    """
    if isinstance(config.engine, TransformersConfig | VllmConfig):
        require_checkpoint(config.model)
        find_adapter(config.model, merges=isinstance(config.engine, TransformersConfig))


def as_interlocutor(config: Config) -> Config:
    """Return the configuration with the interlocutor's model and engine in the place of the tested one's.

    Raises:
        ConfigError: if the interlocutor is no other model.
    """
    return _in_place_of_tested(config, "interlocutor", config.interlocutor)


def as_judge(config: Config) -> Config:
    """Return the configuration with the judge's model and engine in the place of the tested one's.

    Raises:
        ConfigError: if the judge is no other model.
    """
    return _in_place_of_tested(config, "judge", config.judge)


def _in_place_of_tested(config: Config, role: str, other: InterlocutorConfig | JudgeConfig) -> Config:
    if other.model is None or other.engine is None:
        raise ConfigError(f"{role}.model", other.model and other.model.name, "needs a model and its engine")
    return dataclasses.replace(config, model=other.model, engine=other.engine)


def load_engine(config: Config) -> Engine:
    """Create the engine that the configuration names, with its model loaded.

    Raises:
        EngineError: if the model can't be loaded.
    """
    options = dataclasses.asdict(config.engine)
    engine: Engine = get_class(options.pop("_target_"))(
        model=config.model,
        quantization=config.model.quantization,
        **{name: value for name, value in options.items() if name != "name"},
    )
    return engine
