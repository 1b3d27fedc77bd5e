"""The main command: one run, or with `-m` a sweep of runs."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from valstab.commands.start import exit_on_mistake, job_config, start
from valstab.config.check import check_config
from valstab.config.options import CONFIG_FOLDER
from valstab.config.schema import Config
from valstab.config.terminal import warn
from valstab.engines.factory import require_model
from valstab.engines.prompts.chat_format import require_prompts, resolve_chat_format
from valstab.errors import ConfigError
from valstab.protocol.design import shortcomings
from valstab.protocol.plan import Plan, make_plan
from valstab.sweeps.callback import closing_sweep
from valstab.sweeps.job import run_job
from valstab.sweeps.tags import job_tags


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="config")
def app(composed: DictConfig) -> float | None:
    """Make one run, and return its rank-order stability for Hydra's sweepers."""

    def work() -> float | None:
        config = job_config(composed, Config)
        folder = Path(HydraConfig.get().runtime.output_dir) / "results"
        if not config.dry_run:
            require_own_folder(folder)
        plan = checked_plan(config)
        # Imported only here, since these take seconds: a mistake above is reported without them.
        from valstab.dry_run.preview import preview
        from valstab.protocol.sample_prompts import sample_prompts
        from valstab.run import run

        require_prompts(config, sample_prompts(plan))
        for shortcoming in shortcomings(plan):
            warn(f"valstab: {shortcoming}")
        if config.dry_run:
            preview(config, plan)
            return None
        return run(config, plan, folder, job_tags(HydraConfig.get())).headline()["rank_order"]

    result: float | None = exit_on_mistake(lambda: run_job(work))
    return result


def require_own_folder(folder: Path) -> None:
    """Check that no other run has its results in the folder, whose files would be taken for this one's.

    Raises:
        ConfigError: if there are results of a finished run.
    """
    if (folder / "stability.json").exists():
        raise ConfigError("hydra.run.dir", folder.parent, "has the results of another run; choose another folder")


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


def main() -> None:
    """Start the command."""

    def closed_app() -> None:
        with closing_sweep():
            app()

    start(closed_app)
