"""Packaged options read packaged files; files of a user's own are found, and results go by their names."""

import pytest

from tests.support.composed import compose_run
from valstab.commands.own_files import use_own_files
from valstab.inputs.population import load_population
from valstab.inputs.topics import load_contexts

OPENINGS = "joke: My own joke.\nchess: My own move.\n"
DEFAULTS = {"population": "fictional_characters", "topics": "paper"}


@pytest.fixture
def used(launch_folder):
    """Compose overrides of the command line, with the user's own files; `mine` is a folder with options."""
    (launch_folder / "mine" / "topics").mkdir(parents=True)

    def use(*overrides, choices=DEFAULTS):
        config = compose_run(*overrides)
        use_own_files(config, overrides, choices, [launch_folder / "mine"])
        return config

    return use


def openings(config):
    return {context.name: context.opening for context in load_contexts(config.topics, 3)}


def test_a_file_in_the_launch_folder_does_not_replace_a_packaged_one(used, launch_folder):
    before = openings(used("topics.names=[joke,chess]"))
    for folder in (launch_folder, launch_folder / "mine"):
        (folder / "openings.yaml").write_text(OPENINGS)
    config = used("topics.names=[joke,chess]")
    assert openings(config) == before
    assert config.topics.name == "paper"


def test_a_typed_file_is_the_user_s_own_with_its_name_and_all_its_topics(used, launch_folder):
    (launch_folder / "openings.yaml").write_text(OPENINGS)
    config = used("topics.openings=openings.yaml")
    assert openings(config) == {"joke": "My own joke.", "chess": "My own move."}
    assert (config.topics.name, config.topics.openings) == ("openings", "./openings.yaml")
    assert used("topics.openings=openings.yaml", "topics.name=two").topics.name == "two"
    assert list(openings(used("topics.openings=openings.yaml", "topics.names=[chess]"))) == ["chess"]


def test_an_own_option_finds_its_file_in_its_own_folder_first(used, launch_folder):
    mine = launch_folder / "mine"
    (launch_folder / "openings.yaml").write_text("joke: Of the launch folder.\n")
    (mine / "openings.yaml").write_text(OPENINGS)
    (mine / "topics" / "errands.yaml").write_text("name: errands\nopenings: openings.yaml\n")
    config = used("topics.names=null", choices={"topics": "errands"})  # composed as if from the own option
    assert openings(config)["joke"] == "My own joke."
    assert config.topics.openings == str(mine / "openings.yaml")


def test_an_own_experiment_counts_as_the_user_s_too(used, launch_folder):
    mine = launch_folder / "mine"
    (mine / "experiment").mkdir()
    (mine / "openings.yaml").write_text(OPENINGS)
    text = "# @package _global_\ntopics:\n  openings: openings.yaml\n"
    (mine / "experiment" / "town.yaml").write_text(text)
    config = used(choices={**DEFAULTS, "experiment": "town"})
    assert config.topics.openings == str(mine / "openings.yaml")


def test_own_people_go_by_their_file_s_name_and_are_introduced_neutrally(used, launch_folder):
    (launch_folder / "people.csv").write_text("name,job\nIlse,beekeeper\n")
    config = used("population.personas=people.csv")
    assert config.population.name == "people"
    assert [person.introduction for person in load_population(config.population)] == ["Ilse."]
    (launch_folder / "crew.txt").write_text("a beekeeper of 61.\n")
    (person,) = load_population(used("population.personas=crew.txt").population)
    assert person.introduction == "a beekeeper of 61."


def test_what_is_said_of_own_people_stays(used, launch_folder):
    (launch_folder / "people.csv").write_text("name,job\nIlse,beekeeper\n")
    own = ("population.name=town", "population.introduction='a {job}.'")
    config = used("population.personas=people.csv", *own)
    assert config.population.name == "town"
    assert load_population(config.population)[0].introduction == "a beekeeper."


def test_a_typed_name_that_is_packaged_only_stays_packaged(used):
    config = used("population.personas=fictional_characters.csv")
    assert config.population.name == "fictional_characters"
    assert (
        load_population(config.population)[0].introduction
        == "Gandalf from J. R. R. Tolkien's Middle-earth legendarium."
    )
