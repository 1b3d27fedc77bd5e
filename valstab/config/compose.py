"""Compose configurations from the YAML files with Hydra, and return them as dataclasses."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from valstab.config.comparison import CompareConfig
from valstab.config.engines import ControlConfig, EngineConfig, OpenaiConfig, TransformersConfig, VllmConfig
from valstab.config.explain import explain, is_too_long, unknown_key
from valstab.config.language import refuse_incomplete_language
from valstab.config.options import CONFIG_FOLDER
from valstab.config.schema import Config, RescoreConfig
from valstab.errors import ConfigError, UserError, one_line

ENGINES: Mapping[str, type[EngineConfig]] = {
    "random": EngineConfig,
    "transformers": TransformersConfig,
    "openai": OpenaiConfig,
    "control": ControlConfig,
    "vllm": VllmConfig,
}
"""The settings of engines by the name of their schema; the first that has all of a run's is its own."""


@cache
def register_schemas() -> None:
    """Register the schemas with Hydra, once, under the names that the defaults lists of the YAML files use.

    Titles of figures name their measure with `${stability:MEASURE}`.

    From then on, Hydra's copies of what it reads share the registered schemas: a help has a hundred such copies, and
    the registry copies each schema that it gives out.
    """
    store = ConfigStore.instance()
    setattr(ConfigStore, "__deepcopy__", _itself)  # noqa: B010 - mypy knows no such method
    store.store(name="run_schema", node=Config)
    store.store(name="rescore_schema", node=RescoreConfig)
    store.store(name="compare_schema", node=CompareConfig)
    OmegaConf.register_new_resolver("stability", _stability, replace=True)
    for name, engine in ENGINES.items():
        store.store(group="engine/schema", name=name, node=engine)


def _stability(measure: str) -> str:
    return f"{measure.replace('_', '-').capitalize()} stability"


def _itself(store: ConfigStore, _memo: dict[int, Any]) -> ConfigStore:
    return store


ConfigT = TypeVar("ConfigT", Config, RescoreConfig, CompareConfig)


def to_dataclass(composed: DictConfig, kind: type[ConfigT]) -> ConfigT:
    """Return a composed configuration as its dataclass.

    Raises:
        ConfigError: if a key was added (`+key=value`) that the schema does not have.
    """
    refuse_incomplete_language(composed)
    config = OmegaConf.to_object(composed)
    if not isinstance(config, kind):
        raise TypeError(f"expected a {kind.__name__}, got {type(config).__name__}")
    _refuse_added(composed, config, "")
    return config


def _refuse_added(composed: DictConfig, config: Any, prefix: str) -> None:
    names = [field.name for field in fields(config)]
    for name in composed:
        key = f"{prefix}{name!s}"
        if name not in names:
            raise ConfigError(key, composed[name], unknown_key(key, type(config)))
        if is_dataclass(value := getattr(config, str(name))):
            _refuse_added(composed[name], value, f"{key}.")


def load_config(file: Path) -> Config:
    """Return the configuration of a run that was written to a file, `config.yaml` of its results.

    Settings that an older version did not have get their defaults.

    Raises:
        ConfigError: if the file can't be used, or has settings that this version lacks.
    """
    try:
        saved = cast("DictConfig", OmegaConf.load(file))
        schema = OmegaConf.structured(Config(engine=_settings_of(saved["engine"])))
        for role in ("interlocutor", "judge"):
            if other := OmegaConf.select(saved, f"{role}.engine"):
                schema[role].engine = _settings_of(other)
        return to_dataclass(cast("DictConfig", OmegaConf.merge(schema, saved)), Config)
    except (OSError, ValueError, TypeError, KeyError, StopIteration, YAMLError, OmegaConfBaseException) as error:
        why = one_line(str(error)) or "an engine that is unknown"
        raise ConfigError("config.yaml", file, f"is not the configuration of a run of this version ({why})") from None


def _settings_of(engine: DictConfig) -> EngineConfig:
    """Return the settings of an engine, of the kind that has all of those that were saved.

    Raises:
        StopIteration: if no kind has.
    """
    return next(kind for kind in ENGINES.values() if set(engine) <= {field.name for field in fields(kind)})()


def compose_run(*overrides: str) -> Config:
    """Return the configuration of a run, composed as the command does.

    Raises:
        ConfigError: if a key was added that does not exist.
    """
    return _composed("config", Config, overrides)


def compose_comparison(*overrides: str) -> CompareConfig:
    """Return the configuration of a comparison, composed as its command does.

    Raises:
        ConfigError: if a key was added that does not exist.
    """
    return _composed("compare", CompareConfig, overrides)


@contextmanager
def _without_command() -> Iterator[None]:
    """Set aside the command's own Hydra, of which there can be one only, so that a configuration can be composed."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = running


def _composed(name: str, kind: type[ConfigT], overrides: Iterable[str]) -> ConfigT:
    register_schemas()
    given = list(overrides)
    try:
        with _without_command(), initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
            return to_dataclass(compose(name, given), kind)
    except (OSError, ValueError) as error:
        if not is_too_long(error):
            raise
        raise UserError(explain(error, given)) from None
