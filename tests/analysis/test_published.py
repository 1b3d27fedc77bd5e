"""Results of the paper's published code: read as runs, and rescored."""

import json

import numpy as np
import pandas as pd
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from tests.support import synthetic
from tests.support.composed import compose_run
from valstab.analysis.load import load_runs
from valstab.config.options import CONFIG_FOLDER
from valstab.errors import ConfigError
from valstab.inputs.task import load_task

LETTERS = "ABCDEF"
PEOPLE = ["Gandalf", "Gollum", "Sauron"]
PVQ = load_task(compose_run("task=pvq").task)


def write(folder, options, *, theme="joke", seed="1_seed", people=PEOPLE, name="pvq_auto", engine="Mixtral", **more):
    """Write one results.json, as the published code lays it out: `options` has a row of options (from 1) a person."""
    folder.mkdir(parents=True)
    keys = {key: [i for i, item in enumerate(PVQ.items) if item.key == key] for key in PVQ.keys}
    content = {
        "args": {
            "engine": engine,
            "simulated_conversation_theme": theme,
            "permute_options_seed": seed,
            "simulated_conversation_n_messages": 3,
            "simulated_population_type": "permutations" if people[0] is None else "tolkien_characters",
        },
        "simulated_population": people,
        "per_simulated_participant_metrics": [
            {name: {key: float(np.mean(row[items])) for key, items in keys.items()} if name == "pvq_auto" else {}}
            for row in options
        ],
        "answers": [{name: [[LETTERS[(o * 5) % 6], int(o)] for o in row]} for row in options],
        "generations": [],
        **more,
    }
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def published(tmp_path):
    """Two seeds, two contexts, three people; the options of each."""
    rng = np.random.default_rng(0)
    options = {(s, c): rng.integers(1, 7, size=(3, 40)) for s in (1, 2) for c in ("joke", "chess")}
    for (seed, theme), of_one in options.items():
        write(tmp_path / f"results_{theme}_{seed}", of_one, theme=theme, seed=f"{seed}_seed")
    return tmp_path, options


def test_folders_become_one_run(published):
    folder, options = published
    (run,) = load_runs(folders=[folder])
    assert (run.label, run.task.name, run.n_messages, run.without_personas) == ("Mixtral", "pvq", 3, False)
    assert sorted(run.contexts) == ["chess", "joke"]
    assert run.personas == PEOPLE
    items = [item.number - 1 for item in PVQ.items if item.key == "Power"]
    gollum = options[2, "chess"][1]
    expected = gollum[items].mean() - gollum.mean()
    assert float(run.scores.sel(seed=2, context="chess", persona="Gollum", key="Power")) == pytest.approx(expected)
    assert load_runs(folders=[folder]).table["population"].tolist() == ["fictional_characters"]


@pytest.mark.slow
def test_the_command_puts_them_on_the_authors_boards(published, valstab, launch_folder):
    folder, _ = published
    result = valstab("compare", "figure=authors_leaderboard", f"folders=[{folder}]")
    assert "2 contexts: chess, joke" in result.stdout
    assert "3 people are fewer than the 29 parameters" in result.stdout
    (table,) = launch_folder.glob("outputs/*/*/results/authors_leaderboard.csv")
    (run,) = load_runs(folders=[folder])
    assert pd.read_csv(table)["rank_order"].tolist() == pytest.approx([run.stability("rank_order").mean])


def test_they_are_read_while_a_command_composes_with_hydra(published):
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        command = GlobalHydra.instance().hydra
        assert load_runs(folders=[published[0]]).runs[0].task.name == "pvq"
        assert GlobalHydra.instance().hydra is command


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ["nine_decimals", "none"])
def test_rescored_and_loaded_they_have_the_same_stability(rounding, published, valstab):
    folder, _ = published
    command = valstab(f"answers={folder}", "task=pvq", f"rounding={rounding}", module="valstab.rescore")
    assert command.stderr == ""
    document = json.loads(command.stdout)
    (run,) = load_runs(folders=[folder], rounding=rounding)
    assert document["rank_order"] == pytest.approx(run.stability("rank_order").mean)
    assert document["ipsative"] == pytest.approx(run.stability("ipsative").mean)
    assert (document["queries"], document["seeds"]) == (2 * 2 * 3 * 40, [1, 2])


def test_repetitions_without_a_persona(tmp_path):
    rng = np.random.default_rng(1)
    for theme in ("joke", "chess"):
        write(tmp_path / theme, rng.integers(1, 7, size=(4, 40)), theme=theme, people=[None] * 4)
    (run,) = load_runs(folders=[tmp_path])
    assert run.without_personas
    assert run.stability("rank_order") is None
    assert run.stability("ipsative").samples.size == 4


def described(people):
    """Return people as the published code lists them since mid 2024; None is a repetition without a persona."""
    return [{"name": each or "CHATBOT", "description": each and f"{each}.", "gender": "M"} for each in people]


@pytest.mark.parametrize("nobody", [None, [None] * 3, described([None] * 3)])
def test_repetitions_without_a_persona_of_each_layout(nobody, tmp_path):
    for theme in ("joke", "chess"):
        write(tmp_path / theme, np.full((3, 40), 2), theme=theme, people=[None], simulated_population=nobody)
    (run,) = load_runs(folders=[tmp_path])
    assert run.without_personas
    assert run.settings["population.name"] == "none"
    assert run.personas == ["permutation_01", "permutation_02", "permutation_03"]


def leaderboard_args(chunk, theme):
    return {
        "engine": "Mixtral",
        "permute_options_seed": f"leaderboard_{chunk}",
        "simulated_conversation_theme": theme,
        "simulated_conversation_n_messages": 3,
        "simulated_population_config": "personas/real_world_people/personas.json",
    }


def test_the_leaderboards_chunks_are_contexts_of_one_seed(tmp_path):
    chunks = {
        "no_conv": "None",
        "0": "contexts/reddit/chunk_0.jsonl",
        "1": "contexts/reddit/chunk_1.jsonl",
        "chess_0": "chess",
    }
    for chunk, theme in chunks.items():
        write(
            tmp_path / chunk,
            np.full((3, 40), 2),
            args=leaderboard_args(chunk, theme),
            simulated_population=described(PEOPLE),
        )
    (run,) = load_runs(folders=[tmp_path])
    assert (run.seeds, sorted(run.contexts)) == ([0], ["chess", "chunk_0", "chunk_1", "no_conv"])
    assert run.personas == PEOPLE
    assert run.settings["population.name"] == "real_world_personas"


@pytest.mark.parametrize("mean", [7.0, 9.0])
def test_the_value_survey_has_means_of_scores_or_of_options(mean, tmp_path):
    metrics = [{"svs": {"Power": mean}}] * 3
    write(tmp_path / "x", np.full((3, 57), 9), name="svs", per_simulated_participant_metrics=metrics)
    (run,) = load_runs(folders=[tmp_path])
    assert run.task.name == "svs"
    assert set(run.answers["score"]) == {7}


def test_coins_and_bags_are_told_apart_by_name(tmp_path):
    options = np.full((3, 100), 4)
    write(tmp_path / "a" / "x", options, name="tolkien_donation")
    write(tmp_path / "b" / "x", options, name="tolkien_bag")
    donation, stealing = load_runs(folders=[tmp_path])
    assert (donation.task.name, stealing.task.name) == ("donation", "stealing")
    assert float(donation.scores.mean()) == 6  # the fourth option is six coins
    assert float(stealing.scores.mean()) == 4


def test_old_and_new_results_stand_side_by_side(published, tmp_path_factory):
    folder, _ = published
    mine = synthetic.write_results(
        tmp_path_factory.mktemp("mine") / "run", "population.limit=3", "topics.names=[joke,chess]", "seeds=[0,1]"
    )
    runs = load_runs(folders=[folder, mine])
    assert runs.table["label"].tolist() == ["Mixtral", "smollm2_135m"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": [{"pvq_auto": [["A", 1]] * 40}] * 2}, "has 40 answers of 2 people; pvq has 40, of 3"),
        ({"answers": [{"pvq_auto": [["A", 7]] * 40}] * 3}, "has an option outside 1 to 6"),
        ({"answers": [{"pvq_auto": [["A", 1]] * 39}] * 3}, "has 39 answers a person; allowed: 40, 100, 5, 6"),
        ({"answers": "all"}, "is not a results.json of the published code"),
        ({"args": {}}, "lacks 'permute_options_seed'"),
        ({"simulated_population": "all"}, "simulated_population is no list; expected args, simulated_population"),
        ({"simulated_population": [{"name": "Gandalf"}] * 3}, r"lacks 'description'; expected .* \{name, description"),
        ({"simulated_population": described(["A", "B", None])}, "None is no name"),
        ({"simulated_population": [7, 8, 9]}, "7 is no name"),
        ({"per_simulated_participant_metrics": [{"pvq_auto": -74}] * 3}, "participant_metrics: -74 is no mapping"),
        ({"answers": [{"pvq_auto": [["A", 1]] * 40}] * 3}, "but its answers' mean is 1.000000"),
    ],
)
def test_a_file_that_can_not_be_used(change, message, tmp_path):
    write(tmp_path / "x", np.full((3, 40), 2), **change)
    with pytest.raises(ConfigError, match=message) as caught:
        load_runs(folders=[tmp_path])
    assert "results.json" in str(caught.value)


def test_a_file_that_is_not_json(tmp_path):
    (tmp_path / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"is not a results\.json"):
        load_runs(folders=[tmp_path])
