"""The main command: one run, or with `-m` a sweep of runs."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from valstab.commands.start import config_of_job, exit_on_mistake, job_config, start
from valstab.config.compose import compose_comparison
from valstab.config.labels import run_name
from valstab.config.options import CONFIG_FOLDER, read_groups
from valstab.config.schema import Config
from valstab.config.terminal import warn
from valstab.errors import ConfigError, allowed
from valstab.sweeps.callback import SweepCallback, closing_sweep
from valstab.sweeps.job import run_job
from valstab.sweeps.tags import command_line, job_tags


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="config")
def app(composed: DictConfig) -> float | None:
    """Make one run, and return its rank-order stability for Hydra's sweepers."""

    def work() -> float | None:
        config = job_config(composed, Config)
        if sys.stderr.isatty():  # whoever waits sees at once that something happens
            warn(f"{run_name(config)}: starting")
        folder = Path(HydraConfig.get().runtime.output_dir) / "results"
        if not config.dry_run:
            require_own_folder(folder)
        # Imported only here, since these take long: neither help nor a mistake above waits for what it does not need.
        from valstab.commands.checked_plan import checked_plan, require_sample_prompts
        from valstab.protocol.design import shortcomings

        plan = checked_plan(config)
        require_sample_prompts(config, plan)
        for shortcoming in shortcomings(plan):
            warn(f"valstab: {shortcoming}")
        if config.dry_run:
            from valstab.dry_run.preview import Preview

            SweepCallback.preview = SweepCallback.preview or Preview()
            SweepCallback.preview.show(config, plan)
            return None
        from valstab.run import run

        setup = HydraConfig.get()
        return run(config, plan, folder, job_tags(setup), command_line(setup)).headline()["rank_order"]

    result: float | None = exit_on_mistake(lambda: run_job(work))
    return result


def require_own_folder(folder: Path) -> None:
    """Check that no other run has its results in the folder, whose files would be taken for this one's.

    Raises:
        ConfigError: if there are results of a finished run.
    """
    if (folder / "stability.json").exists():
        raise ConfigError("hydra.run.dir", folder.parent, "has the results of another run; choose another folder")


def check_job(composed: DictConfig) -> None:
    """Check the composed configuration of a job of a sweep; its model only where the job will run here.

    Raises:
        ConfigError: at the first invalid value.
        EngineError: if the model's weights are not there.
    """
    from valstab.commands.checked_plan import checked_plan
    from valstab.config.check import check_config
    from valstab.protocol.plan import make_plan

    hydra = composed.hydra
    with open_dict(composed):
        del composed["hydra"]
    config = config_of_job(composed, hydra, Config)
    if hydra.launcher._target_.endswith((".BasicLauncher", ".JoblibLauncher")):
        checked_plan(config)
    else:
        check_config(config)
        make_plan(config)


def compare_sweep(figure: str, parent: str, folder: Path) -> None:
    """Make a figure of the runs of a sweep, in a folder of its name.

    Raises:
        ConfigError: if no run has finished, or they can't be compared in this way.
    """
    from valstab.commands.compare import compare_runs

    name, *overrides = figure.split()
    compare_runs(compose_comparison(f"figure={name}", f"runs=[{parent}]", *overrides), folder / name)


def check_figure(figure: str) -> None:
    """Check that there is a figure, and that its overrides can be read.

    Raises:
        ConfigError: if there is none.
        HydraException: if an override can't be read.
    """
    name, *overrides = figure.split() or [""]
    known = read_groups([Path(CONFIG_FOLDER)])["figure"]
    if name not in known:
        raise ConfigError("figures", figure, allowed(name, known))
    compose_comparison(f"figure={name}", *overrides)


def main() -> None:
    """Start the command."""
    SweepCallback.check_job = staticmethod(check_job)
    SweepCallback.check_figure = staticmethod(check_figure)
    SweepCallback.compare = staticmethod(compare_sweep)

    def closed_app() -> None:
        with closing_sweep():
            app()

    start(closed_app)
