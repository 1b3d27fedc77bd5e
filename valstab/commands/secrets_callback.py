"""Refuses a configuration that holds a password or a key, before Hydra writes any of it beside the results."""

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from valstab.config.exit import fail
from valstab.config.secrets import refuse_composed_secrets
from valstab.errors import ConfigError


class SecretsCallback(Callback):
    """Hydra's first callback, of runs and of sweeps; what options set in a sweep, `Sweep` composes and refuses."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """End the command at a secret; anything but SystemExit would only be a warning."""
        try:
            refuse_composed_secrets(config)
        except ConfigError as error:
            fail(error)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Do the same before a sweep."""
        self.on_run_start(config)
