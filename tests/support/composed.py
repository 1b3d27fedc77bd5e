"""Configurations that tests share."""

import copy
from functools import cache

from valstab.config import compose
from valstab.config.schema import Config


def compose_run(*overrides: str) -> Config:
    """Return what `valstab.config.compose.compose_run` does, as a copy of what was composed once, since Hydra is slow."""
    return copy.deepcopy(_compose_run(*overrides))


_compose_run = cache(compose.compose_run)
