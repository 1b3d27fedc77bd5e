"""Studies with axes, from the command to the table: what moves a model is found, and nothing where nothing does."""

import pandas as pd
import pytest

from tests.support.sweeps import logged

STUDY = (
    "task=pvq_short",
    "population.limit=8",
    "topics.names=[joke,chess,poem]",
    "seeds=[0,1]",
    "n_messages=1",
    "+axes=[option_order]",
    "+axes.words={you_are: null, act_as: \"language.you_are='Act as {introduction}'\"}",
)


def table(folder):
    """Return the table of a study, by axis."""
    (file,) = folder.glob("multirun/*/*/axes/axes.csv")
    return pd.read_csv(file).set_index("axis")


@pytest.mark.slow
def test_a_model_that_moves_on_one_axis_only_is_found_to(valstab, launch_folder):
    command = valstab("-m", "model=control_keeps", *STUDY)
    assert command.returncode == 0, command.stderr
    found = table(launch_folder)
    assert found.loc["option_order", "mean"] == found.loc["(topic)", "mean"] == found.loc["(another seed)", "mean"] == 1
    assert found.loc["words", "mean"] < found.loc["words", "chance"]
    assert found.loc["words", "group"] != found.loc["option_order", "group"]
    assert "words moves this model most" in command.stdout
    assert "what moves it more than another conversation on the same topic (1.000; FDR 0.05): words" in command.stdout
    jobs = [run for run in logged(launch_folder) if "sweep.job" in run.data.tags]
    assert sorted((run.data.params["levels.option_order"], run.data.params["levels.words"]) for run in jobs) == [
        ("fixed", "you_are"),
        ("random", "act_as"),
        ("random", "you_are"),
        ("reversed", "you_are"),
    ]


@pytest.mark.slow
def test_of_the_axes_that_are_ready_only_that_which_moves_a_model_is_found_to(valstab, launch_folder):
    """A control answers by its introduction and an item's place, so not by the answers in view."""
    study = ("task=pvq_short", "population.limit=8", "topics.names=[joke,chess]", "seeds=[0]", "n_messages=1")
    command = valstab("model=control_keeps", "+axes=[introduction,one_dialogue]", *study)
    assert command.returncode == 0, command.stderr
    found = table(launch_folder)
    assert found.loc["one_dialogue", "mean"] == found.loc["(topic)", "mean"] == 1
    assert found.loc["introduction", "mean"] < found.loc["introduction", "chance"]
    assert "introduction moves this model most" in command.stdout


@pytest.mark.slow
def test_a_random_model_is_stable_over_no_axis(valstab, launch_folder):
    command = valstab("-m", "model=random", *STUDY)
    assert command.returncode == 0, command.stderr
    found = table(launch_folder)
    assert (found["p_adjusted"] > 0.05).all()
    assert "FDR 0.05): no axis" in command.stdout


@pytest.mark.slow
def test_crossed_axes_have_their_variance_components(valstab, launch_folder):
    command = valstab("-m", "model=control_keeps", "axes_crossed=true", *STUDY)
    assert command.returncode == 0, command.stderr
    (file,) = launch_folder.glob("multirun/*/*/axes/components.csv")
    components = pd.read_csv(file).set_index("effect")["share"]
    # People are others under other words, and nothing else does anything.
    assert components["persona"] + components["persona x words"] == pytest.approx(1, abs=0.05)
    assert components["option_order"] + components["persona x option_order"] == pytest.approx(0, abs=1e-9)


def test_axes_need_a_sweep(valstab):
    command = valstab("model=random", '+axes.order=["option_order=random","option_order=fixed"]')
    assert command.returncode != 0
    assert command.stderr == "valstab: axes=order: each level is a run of its own: add -m\n"
