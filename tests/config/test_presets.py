"""Every `+experiment=` preset and every `figure=` option: they compose, and fit each other."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.support.composed import compose_run
from valstab.commands.compare import check_comparison
from valstab.config.compose import compose_comparison, register_schemas
from valstab.config.options import CONFIG_FOLDER
from valstab.protocol.plan import make_plan

PRESETS = sorted(path.stem for path in Path(CONFIG_FOLDER, "experiment").glob("*.yaml"))
FIGURES = sorted(path.stem for path in Path(CONFIG_FOLDER, "figure").glob("*.yaml"))
MODELS = {path.stem for path in Path(CONFIG_FOLDER, "model").glob("*.yaml")}
PAPER = 21
TESTED = {"fig16": "fig4a", "fig17": "fig4b", "fig18": "fig5", "fig19": "fig8b", "fig20": "fig8a", "fig21": "fig8c"}
"""The figures of tests, and the experiments whose runs they test."""


@cache
def preset(name):
    """Compose a preset with Hydra's own settings."""
    register_schemas()
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        return compose("config", [f"+experiment={name}"], return_hydra_config=True)


def swept(name):
    """Return the swept values of a preset, as lists by key."""
    params = OmegaConf.select(preset(name), "hydra.sweeper.params") or {}
    return {str(key): [value.strip() for value in str(values).split(",")] for key, values in params.items()}


# Those of tests are equal to others: `test_a_figure_of_tests_runs_the_experiment_that_it_tests`.
@pytest.mark.parametrize("name", [name for name in PRESETS if name not in TESTED])
def test_every_job_of_a_preset_can_be_planned(name):
    sweep = swept(name)
    models, lengths = sweep.pop("model", ["random"]), sweep.pop("n_messages", [])
    assert set(models) <= MODELS  # tests/config/test_models.py composes each
    config = compose_run(f"+experiment={name}", "model=random")
    for length in lengths:
        make_plan(replace(config, n_messages=int(length)))
    for key, values in sweep.items():
        for value in values:
            config = compose_run(f"+experiment={name}", "model=random", f"{key}={value}")
            make_plan(config)
    if name not in {"quickstart", "paper_models"}:
        assert config.tracking.experiment == name


def test_the_paper_s_models_are_all_there():
    for name in ("fig4a", "fig4b", "fig5", "fig8a", "fig8b", "fig8c"):
        models = swept(name)["model"]
        assert len(models) == len(set(models)) == PAPER
        assert OmegaConf.select(preset(name), "hydra.mode").name == "MULTIRUN"


@pytest.mark.parametrize(
    ("name", "population", "task", "n_messages", "contexts", "seeds"),
    [
        ("fig4a", 60, "pvq", 3, 5, 5),
        ("fig4b", 50, "pvq", 3, 5, 5),
        ("fig5", 50, "pvq", 3, 5, 1),
        ("fig8a", 60, "stealing", 3, 5, 5),
        ("fig8b", 60, "donation", 3, 5, 5),
        ("fig8c", 50, "religion", 3, 5, 5),
        ("fig10", 60, "pvq", 3, 14, 1),
        ("fig12", 60, "pvq", 3, 5, 5),
        ("fig13", 50, "pvq", 0, 1, 1),
        ("fig14", 60, "pvq", 0, 1, 5),
        ("fig15", 60, "pvq", 3, 5, 5),
    ],
)
def test_a_preset_is_of_the_size_that_the_paper_says(name, population, task, n_messages, contexts, seeds):
    plan = make_plan(compose_run(f"+experiment={name}", "model=random"))
    found = (len(plan.personas), plan.task.name, plan.n_messages, len(plan.contexts), len(plan.seeds))
    assert found == (population, task, n_messages, contexts, seeds)


@pytest.mark.parametrize("name", ["fig6", "fig7"])
def test_lengths_are_those_of_the_paper(name):
    assert [int(n) for n in swept(name)["n_messages"]] == list(range(3, 44, 4))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_composes_and_its_experiments_are_presets(name):
    config = compose_comparison(f"figure={name}")
    check_comparison(config)
    assert config.figure.name == name
    assert set(config.figure.experiments) <= set(PRESETS)


def test_every_figure_of_the_paper_with_results_is_there():
    numbers = {"4a", "4b", "5", "6", "7", "8a", "8b", "8c", "9", "10", *map(str, range(12, 22))}
    assert {f"fig{number}" for number in numbers} <= set(FIGURES)
    assert {f"fig{number}" for number in numbers} <= set(PRESETS)


@pytest.mark.parametrize(("figure", "experiment"), TESTED.items())
def test_a_figure_of_tests_runs_the_experiment_that_it_tests(figure, experiment):
    assert swept(figure) == swept(experiment)
    assert compose_comparison(f"figure={figure}").figure.experiments == [experiment]
    assert compose_run(f"+experiment={figure}", "model=random") == compose_run(
        f"+experiment={experiment}", "model=random"
    )


def test_figure_9_runs_both_tasks():
    assert swept("fig9")["task"] == ["pvq", "donation"]
    assert swept("fig9")["model"] == swept("fig4a")["model"]
