"""The command: `python -m valstab [KEY=VALUE ...]`."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from valstab.cli import CONF, job, job_config, start
from valstab.config import Config, check
from valstab.model import settled
from valstab.plan import make_plan
from valstab.sweep import attempt, closed_sweep, job_tags


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
        results = run(config, plan, folder, job_tags(HydraConfig.get()))
        return results.headline()["rank_order"] if results else None

    result: float | None = job(lambda: attempt(work))
    return result


def main() -> None:
    """Start the command."""

    def closed_app() -> None:
        with closed_sweep():
            app()

    start(closed_app)


if __name__ == "__main__":
    main()
