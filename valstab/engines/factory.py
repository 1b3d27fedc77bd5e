"""Create the engine that a configuration names."""

import dataclasses

from hydra.utils import get_class

from valstab.config.engines import TransformersConfig, VllmConfig
from valstab.config.schema import Config
from valstab.engines.base import Engine
from valstab.engines.checkpoint import require_checkpoint


def require_model(config: Config) -> None:
    """Check that the weights exist that the engine would load, before anything large is imported.

    Raises:
        EngineError: if they do not.
    """
    if isinstance(config.engine, TransformersConfig | VllmConfig):
        require_checkpoint(config.model)


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
