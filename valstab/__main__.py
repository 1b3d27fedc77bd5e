"""The command: `python -m valstab [KEY=VALUE ...]`."""

from dataclasses import replace
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from valstab.cli import CONF, job, job_config, start
from valstab.config import Config, ConfigError, Model, TransformersEngine, VllmEngine, check
from valstab.plan import make_plan
from valstab.sweep import attempt, closed_sweep, job_tags

AUTO = "auto"
"""The option for any model that has none of its own."""


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def app(composed: DictConfig) -> float | None:
    """Make one run; give Hydra's sweepers its rank-order stability."""

    def work() -> float | None:
        config = job_config(composed, Config)
        check(config)
        config.model = settled(config)
        plan = make_plan(config)
        # Only now, since these take seconds to import: a mistake is answered without them.
        from valstab.run import dry_run, run

        if config.dry_run:
            dry_run(config, plan)
            return None
        folder = Path(HydraConfig.get().runtime.output_dir) / "results"
        return run(config, plan, folder, job_tags(HydraConfig.get())).headline()["rank_order"]

    result: float | None = job(lambda: attempt(work))
    return result


def settled(config: Config) -> Model:
    """Give the model with its name and format: where that is left open, its chat template tells.

    A server's template is not seen: it is taken to have a system slot.

    Raises:
        ConfigError: if `model=auto` has no path.
    """
    model = config.model
    if model.name == AUTO:
        if not model.path:
            raise ConfigError("model.path", "null", "model=auto needs one: a hub id, a folder or a GGUF file")
        model = replace(model, name=Path(model.path).name)
    if model.format != "auto" and model.system_prompt is not None:
        return model
    if isinstance(config.engine, TransformersEngine | VllmEngine):
        from valstab.engines.formats import detected

        return detected(model)
    return replace(model, format="chat" if model.format == "auto" else model.format, system_prompt=True)


def main() -> None:
    """Start the command."""

    def closed_app() -> None:
        with closed_sweep():
            app()

    start(closed_app)


if __name__ == "__main__":
    main()
