"""The axes of a study as jobs: which combinations of levels are run, and what is refused."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.support.composed import compose_run
from valstab.config.axes import cells, key_of
from valstab.config.options import CONFIG_FOLDER
from valstab.errors import ConfigError
from valstab.protocol.plan import make_plan
from valstab.sweeps.overrides import jobs_of

READY = {path.stem: OmegaConf.load(path).axes for path in sorted(Path(CONFIG_FOLDER, "axes").glob("*.yaml"))}
"""The axes that come with valstab."""

ORDER = {"random": "option_order=random", "fixed": "option_order=fixed", "reversed": "option_order=reversed"}
ANSWER = ["answer=letter", "answer=thinking"]


def test_one_axis_at_a_time_is_the_base_and_each_other_level():
    found = cells({"order": ORDER, "answer": ANSWER}, crossed=False)
    assert [tuple(cell.levels.values()) for cell in found] == [
        ("random", "letter"),
        ("fixed", "letter"),
        ("reversed", "letter"),
        ("random", "thinking"),
    ]
    assert found[2].overrides == ("option_order=reversed", "answer=letter")


def test_crossed_axes_are_all_combinations():
    found = cells({"order": ORDER, "answer": ANSWER}, crossed=True)
    assert len({tuple(cell.levels.values()) for cell in found}) == 6


def test_a_level_is_the_run_as_it_is_or_several_overrides():
    axes = {"language": {"english": None, "german": ["language=german", "task=mine", "model.name='a b'"]}}
    base, german = cells(axes, crossed=False)
    assert base.overrides == ()
    assert german.overrides == ("language=german", "task=mine", "model.name='a b'")


def jobs(axes, *given, crossed=False):
    """Return the overrides of the jobs of a sweep with these arguments."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    config = OmegaConf.create({"axes": axes, "axes_crossed": crossed})
    return jobs_of(config, OverridesParser.create().parse_overrides(list(given)))


def test_jobs_are_what_is_swept_over_times_the_levels():
    found = jobs({"order": ORDER}, "+axes=[order]", "axes_crossed=false", "model=random,smollm2_135m", "seeds=[0]")
    assert len(found) == 6
    assert found[0] == ["model=random", "seeds=[0]", "option_order=random", '+levels.order="random"']
    assert found[5] == ["model=smollm2_135m", "seeds=[0]", "option_order=reversed", '+levels.order="reversed"']


def test_without_axes_jobs_are_hydras_own():
    assert jobs({}, "model=random,smollm2_135m", "n_messages=1") == [
        ["model=random", "n_messages=1"],
        ["model=smollm2_135m", "n_messages=1"],
    ]


@pytest.mark.parametrize(
    ("axes", "problem"),
    [
        ({"order": ["option_order=fixed"]}, "axes.order=.*2 different levels"),
        ({"order": ["option_order=fixed", "option_order=fixed"]}, "axes.order=.*2 different levels"),
        ({"order": "option_order=fixed"}, "axes.order=.*2 different levels"),
        ({"persona": ORDER}, "axes=persona: the name of an axis"),
        ({"my order": ORDER}, "axes=my order: the name of an axis"),
        ({"order": {"a": "option_order", "b": None}}, "axes.order=option_order: is no override"),
        ({"order": {"a": "option_order=fixed,random", "b": None}}, "axes.order=.*several levels"),
        ({"order": {"a": "seeds=[1]", "b": None}}, "axes.order=seeds=.*no setting that a level can change"),
        ({"order": {"a": "hydra.mode=RUN", "b": None}}, "axes.order=hydra.mode=RUN: is no setting"),
        ({"one": ORDER, "two": ORDER}, "axes.two=option_order: is set by the axis one too"),
    ],
)
def test_axes_that_can_not_be_run_are_refused(axes, problem):
    with pytest.raises(ConfigError, match=problem):
        cells(axes, crossed=False)


def test_a_level_may_not_set_what_the_command_sets():
    with pytest.raises(ConfigError, match="option_order=fixed: levels of an axis set option_order too"):
        jobs({"order": ORDER}, "option_order=fixed")


def test_the_axes_that_are_ready_are_those_of_studies():
    """What the studies that cite the paper vary, and a sweep's own files can vary without files of the user's."""
    assert set(READY) == {
        *("answer", "dtype", "introduction", "item_order", "item_wording", "language", "length", "one_dialogue"),
        *("judge", "option_labels", "option_order", "quantization", "reminder", "sampling", "system_text", "thinking"),
    }
    for name, axes in READY.items():
        assert set(axes) == {name}
        found = cells(axes, crossed=True)
        assert len({cell.overrides for cell in found}) == len(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", READY)
def test_all_levels_of_an_axis_have_the_same_people_topics_and_keys(name):
    plans, configs = [], []
    for cell in cells(READY[name], crossed=True):
        given = {"task": "task=pvq_short", "model": "model=smollm2_135m"}
        others = [override for key, override in given.items() if key not in map(key_of, cell.overrides)]
        configs.append(compose_run(*others, "population.limit=3", "seeds=[0]", *cell.overrides))
        plans.append(make_plan(configs[-1]))
    assert len({str(config) for config in configs}) == len(configs)
    assert len({(plan.task.keys, tuple(session.labels for session in plan.sessions)) for plan in plans}) == 1
