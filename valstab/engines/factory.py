"""The engine that a configuration names."""

import dataclasses

from hydra.utils import get_class

from valstab.config.schema import Config
from valstab.engines.base import Engine


def load_engine(config: Config) -> Engine:
    """Make the engine that the configuration names, with its model loaded.

    Raises:
        EngineError: if the model can't be loaded.
    """
    options = dataclasses.asdict(config.engine)
    engine: Engine = get_class(options.pop("_target_"))(
        model=config.model,
        quantization=config.quantization,
        **{name: value for name, value in options.items() if name != "name"},
    )
    return engine
