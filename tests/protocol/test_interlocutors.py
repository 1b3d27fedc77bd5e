"""Interlocutors: personas of the population, another model, and a person's recorded turns."""

import re

import pytest

from tests.support.composed import compose_run
from tests.support.scripted import PersonaEngine
from valstab.engines.base import Window
from valstab.errors import ConfigError
from valstab.inputs.population import load_population
from valstab.protocol.context_window import require_interlocutor_fit
from valstab.protocol.converse import Speaker, converse, interlocutor_key, message_key
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.sample_prompts import interlocutor_prompts, sample_prompts
from valstab.protocol.store import RecordLog

PEOPLE = "name,gender,job,interlocutor\nIlse,F,keeper,Tomas\nTomas,M,beekeeper,Oriane\nOriane,F,mapmaker,Ilse\n"
SMALL = ("model=random", "topics.names=[joke,chess]", "seeds=[0]")


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    """Settings of a population in which each speaks with the next."""
    file = tmp_path_factory.mktemp("crew") / "crew.csv"
    file.write_text(PEOPLE, encoding="utf-8")
    return (*SMALL, f"population.personas={file}", 'population.introduction="{name}, a {job}."')


class Recorder(PersonaEngine):
    """Keeps the requests that it gets, and says its name."""

    def __init__(self, name):
        super().__init__(None, "none")
        self.name, self.requests = name, []

    def generate(self, requests):
        for index, request in enumerate(requests):
            self.requests.append(request)
            yield index, f"{self.name} {len(request.prompt.messages)}"


def talked(plan, *, log=None, other=None, other_log=None):
    engine, logs = Recorder("tested"), [RecordLog(None) if each is None else each for each in (log, other_log)]
    speaker = None if other is None else Speaker(other, logs[1])
    return engine, converse(plan, engine, logs[0], Stage("", "", 0), speaker)


def test_a_persona_of_the_population_is_the_interlocutor(crew):
    plan = make_plan(compose_run(*crew, "population.limit=1"))
    session = plan.sessions[0]
    assert (session.persona.name, session.interlocutor.name) == ("Ilse", "Tomas")
    instructions = [request.prompt.messages[0].text for request in talked(plan)[0].requests[:4]]
    spoken = "You are Tomas, a beekeeper. You are having a conversation with Ilse. "
    assert spoken + "Your every reply must be in one sentence only." in instructions
    assert "You are Ilse, a keeper." in instructions


def test_a_base_model_s_persona_interlocutor_has_a_label_of_its_own(crew):
    plan = make_plan(compose_run(*crew, "model.format=base", "population.limit=1"))
    texts = ["Tell me a joke.", "A pun."]
    assert plan.reply_prompt(plan.sessions[0], texts).text == (
        "CONTEXT:The following is a conversation between Ilse and Tomas, a beekeeper. The latter's every reply must be in "
        "one sentence only.\nTOMAS:Tell me a joke.\nILSE:A pun.\nTOMAS:"
    )
    requests = talked(plan)[0].requests
    stops = {
        name: next(each.stop for each in requests if each.prompt.text.endswith(f"\n{name}:"))
        for name in ("TOMAS", "ILSE")
    }
    assert re.search(stops["TOMAS"], "Well.\nTomas: And", re.IGNORECASE)
    assert not re.search(stops["ILSE"], "Well.\nTomas: And", re.IGNORECASE)


def test_only_some_topics_are_between_personas(crew):
    plan = make_plan(compose_run(*crew, "topics.between_personas=[chess]"))
    assert {each.context.name for each in plan.sessions if each.interlocutor} == {"chess"}


def test_only_the_messages_of_persona_interlocutors_have_other_keys(crew):
    people = make_plan(compose_run(*crew))
    humans = make_plan(compose_run(*crew, "topics.between_personas=[]"))
    session, same = people.sessions[0], humans.sessions[0]
    for texts, is_same in ((["a"], True), (["a", "b"], False), (["a", "b", "c"], True)):
        assert (message_key(people, session, texts, 0) == message_key(humans, same, texts, 0)) is is_same
    assert interlocutor_key(humans, same, 2) == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("Ilse,Tomas\nTomas,Ilse\n", "names no interlocutor for Oriane"),
        ("Ilse,Tomas\nTomas,Ilse\nOriane,Oriane\n", "lets Oriane speak with itself"),
        ("Ilse,Tomas\nTomas,Ilse\nOriane,Odile\n", "names Odile, who is not in the population"),
        ("Ilse,Tomas\nTomas,Ilse\nOriane,Ilse\nOdile,Ilse\n", "names Odile, who is not in the population"),
    ],
)
def test_a_file_of_interlocutors_names_one_for_each(crew, tmp_path, rows, message):
    (tmp_path / "pairs.csv").write_text(f"persona,interlocutor\n{rows}", encoding="utf-8")
    config = compose_run(*crew).population
    config.interlocutors = str(tmp_path / "pairs.csv")
    with pytest.raises(ConfigError, match=message):
        load_population(config)


def test_settings_that_need_interlocutors():
    with pytest.raises(ConfigError, match="the population has no interlocutors"):
        make_plan(compose_run(*SMALL, "topics.between_personas=[chess]"))
    with pytest.raises(ConfigError, match="needs a population with personas"):
        make_plan(compose_run(*SMALL, "population=none", "population.interlocutors=pairs.csv"))


def test_a_language_without_the_text_is_refused_only_where_it_is_needed(crew):
    without = "language.persona_interlocutor=''"
    make_plan(compose_run(*SMALL, without))
    with pytest.raises(ConfigError, match=r"language\.persona_interlocutor=: english needs it"):
        make_plan(compose_run(*crew, without))


OTHER = ("interlocutor=model", "engine@interlocutor.engine=random", "model@interlocutor.model=phi_2")


def test_another_model_speaks_with_the_tested_one():
    plan = make_plan(compose_run(*SMALL, "population.limit=2", "n_messages=5", *OTHER))
    other = Recorder("other")
    engine, conversations = talked(plan, other=other)
    assert [len(engine.requests), len(other.requests)] == [2 * 2 * 3, 2 * 2 * 2]
    for conversation in conversations:
        assert [text.split()[0] for text in conversation.texts[1:]] == ["tested", "other"] * 2 + ["tested"]
    assert all(request.prompt.text.endswith("HUMAN:") for request in other.requests)  # phi_2 is a base model
    assert all(request.prompt.messages for request in engine.requests)
    assert [len(list(prompts(plan))) for prompts in (sample_prompts, interlocutor_prompts)] == [2 + 2, 1]
    with pytest.raises(ConfigError, match="but the interlocutor phi_2 can read 50"):
        require_interlocutor_fit(plan, Window(50, lambda prompt: len(prompt.text.split())), "phi_2")


def test_messages_of_another_model_are_stored_with_it():
    plan = make_plan(compose_run(*SMALL, "population.limit=2", *OTHER))
    log, other_log = RecordLog(None), RecordLog(None)
    _, first = talked(plan, log=log, other=Recorder("other"), other_log=other_log)
    assert [len(log), len(other_log)] == [2 * 2 * 2, 2 * 2 * 1]
    other = Recorder("other")
    engine, second = talked(plan, log=log, other=other, other_log=other_log)
    assert [*engine.requests, *other.requests] == []
    assert [each.texts for each in first] == [each.texts for each in second]
    assert all(each.reused for each in second)


def test_a_person_s_recorded_turns_take_the_interlocutor_s_place(tmp_path):
    file = tmp_path / "turns.csv"
    file.write_text(
        "topic,persona,text\njoke,,Funny.\njoke,,Another.\njoke,Gollum,Precious?\njoke,Gollum,No.\n"
        "chess,,2. Nf3\nchess,,3. Bb5\n",
        encoding="utf-8",
    )
    settings = (*SMALL, "population.limit=2", "interlocutor=recorded", f"interlocutor.turns={file}")
    engine, found = talked(make_plan(compose_run(*settings, "n_messages=5")))
    said = {each.session.labels[1:]: each.texts[2::2] for each in found}
    assert said["joke", "Gandalf"] == ("Funny.", "Another.")
    assert said["joke", "Gollum"] == ("Precious?", "No.")
    assert said["chess", "Gollum"] == ("2. Nf3", "3. Bb5")
    assert len(engine.requests) == 2 * 2 * 3
    assert all(request.prompt.messages[0].text.startswith("You are G") for request in engine.requests)
    with pytest.raises(ConfigError, match="has 2 turns on joke with Gandalf; this many messages need 3"):
        make_plan(compose_run(*settings, "n_messages=7"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((*OTHER, "dry_run=true"), "a dry run measures the model alone"),
        (("interlocutor=recorded",), "needs a file with the recorded turns"),
        ((*OTHER, "interlocutor.turns=x.csv"), "is a person's"),
        ((*OTHER, "interlocutor.model.dtype=float8"), r"interlocutor\.model\.dtype=float8"),
    ],
)
def test_interlocutors_that_do_not_fit(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(compose_run(*SMALL, *settings))
