"""The main command: one run, or with `-m` a sweep of runs."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from valstab.commands.start import exit_on_mistake, job_config, start
from valstab.config.options import CONFIG_FOLDER
from valstab.config.schema import Config
from valstab.config.terminal import warn
from valstab.errors import ConfigError
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
        # Imported only here, since these take long: neither help nor a mistake above waits for what it does not need.
        from valstab.commands.checked_plan import checked_plan
        from valstab.engines.prompts.chat_format import require_prompts
        from valstab.protocol.design import shortcomings

        plan = checked_plan(config)
        from valstab.protocol.sample_prompts import sample_prompts

        require_prompts(config, sample_prompts(plan))
        for shortcoming in shortcomings(plan):
            warn(f"valstab: {shortcoming}")
        if config.dry_run:
            from valstab.dry_run.preview import preview

            preview(config, plan)
            return None
        from valstab.run import run

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


def main() -> None:
    """Start the command."""

    def closed_app() -> None:
        with closing_sweep():
            app()

    start(closed_app)
