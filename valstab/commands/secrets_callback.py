"""Refuse a configuration that holds a password or a key, before Hydra writes it beside the results."""

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from valstab.config.exit import fail
from valstab.config.secrets import refuse_composed_secrets
from valstab.errors import ConfigError


class SecretsCallback(Callback):
    """Hydra callback that checks runs and sweeps before all others; `SweepCallback` checks each job of a sweep."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """End the command at a secret by SystemExit: Hydra would only warn of another exception."""
        try:
            refuse_composed_secrets(config)
        except ConfigError as error:
            fail(error)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check the configuration of a sweep."""
        self.on_run_start(config)
