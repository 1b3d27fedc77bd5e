"""A user's own questionnaire, population and topics: what the validator says of them, and what a run makes of them."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support import chat_templates as templates
from tests.support.composed import compose_run
from tests.support.scripted import PersonaEngine
from tests.support.tokenizers import tokenizer_of
from valstab.commands.validate import notes, report
from valstab.config import schema as conf
from valstab.errors import ConfigError
from valstab.inputs.task import load_task
from valstab.protocol.ask import ask
from valstab.protocol.converse import Conversation
from valstab.protocol.plan import make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import RecordLog
from valstab.statistics.scores import score

EXAMPLE = Path(__file__).parents[2] / "examples" / "curiosity"
SCALE = ["Not at all true", "Rarely true", "Sometimes true", "Mostly true", "Completely true"]


def example(**changes):
    settings = {
        "name": "curiosity",
        "items": str(EXAMPLE / "curiosity.csv"),
        "n_items": 10,
        "text": "{statement}",
        "options": SCALE,
        "scores": [1.0, 2.0, 3.0, 4.0, 5.0],
        "key": "domain",
        "keys": ["Ideas", "Places", "People"],
    }
    return conf.TaskConfig(**settings | changes)


class AgreeingEngine(PersonaEngine):
    """Finds everything completely true."""

    def _answer(self, choice):
        lines = choice.prompt.messages[-1].text.splitlines()
        return [0.0 if f"({letter}) {SCALE[-1]}" in lines else -9.0 for letter in choice.options]


def test_a_reversed_item_counts_the_other_way_round():
    config = compose_run("population.limit=2", "conversation=none", "seeds=[0]")
    config.task = example(scores=[0, 1, 2, 4, 8])  # of unequal steps: the last option's score becomes the first's
    plan = make_plan(config)
    conversations = [Conversation(session, ()) for session in plan.sessions]
    answers = ask(
        plan, conversations, AgreeingEngine(None, None), RecordLog(None), Stage("asking", "questions", 0)
    ).answers
    assert answers["score"].tolist() == [8, 8, 8, 8, 0, 0, 0, 8, 8, 8] * 2
    # Written down in the order of the scale, whichever way it counts.
    assert answers["logprob_5"].tolist() == [0] * 20
    scores = score(answers, plan.task).sel(persona="Gollum").to_numpy().ravel()
    np.testing.assert_allclose(scores, [24 / 4, 16 / 3, 16 / 3])


def test_reversed_items_are_read_in_any_case_and_refused_otherwise(tmp_path):
    own = tmp_path / "own.csv"
    rows = (EXAMPLE / "curiosity.csv").read_text(encoding="utf-8")
    own.write_text(rows.replace("true,", "TRUE,").replace("false,", ","), encoding="utf-8")
    items = load_task(example(items=str(own))).items
    assert [item.number for item in items if item.reversed] == [5, 6, 7]
    own.write_text(rows.replace("5,Places,true", "5,Places,yes"), encoding="utf-8")
    with pytest.raises(ConfigError, match="item 5 has reversed 'yes'; allowed: true, false"):
        load_task(example(items=str(own)))


def test_the_digest_has_reversed_items_and_is_what_it_was_without(tmp_path):
    rows = pd.read_csv(EXAMPLE / "curiosity.csv")
    own = tmp_path / "own.csv"
    rows.drop(columns="reversed").to_csv(own, index=False)
    # As the digest was before items could be reversed: answers are stored under it.
    content = [
        *(None, [1, 2, 3, 4, 5], False),
        [
            [row.item, row.domain, dict.fromkeys("FM", row.statement), dict.fromkeys("FM", SCALE)]
            for row in rows.itertuples()
        ],
    ]
    old = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    assert load_task(example(items=str(own), scores=[1, 2, 3, 4, 5])).digest == old
    rows.assign(reversed=False).to_csv(own, index=False)
    assert load_task(example(items=str(own), scores=[1, 2, 3, 4, 5])).digest == old
    assert load_task(example(scores=[1, 2, 3, 4, 5])).digest != old


def test_multiple_choice_items_have_options_of_their_own(tmp_path):
    (tmp_path / "quiz.csv").write_text(
        "item,topic,question,least,most\n1,food,Lunch?,None,Two bowls\n2,food,Dinner?,Soup,A roast\n", encoding="utf-8"
    )
    settings = {"n_items": 2, "text": "{question}", "key": "topic", "keys": ["food"], "scores": [0, 1]}
    task = load_task(example(items=str(tmp_path / "quiz.csv"), options=["{least}", "{most}"], **settings))
    assert [item.options["F"] for item in task.items] == [("None", "Two bowls"), ("Soup", "A roast")]


@pytest.mark.slow
def test_the_validator_says_what_it_read(valstab_forked, launch_folder):
    result = valstab_forked("--config-dir", str(EXAMPLE), "+experiment=curiosity", module="valstab.validate")
    assert result.stderr == ""
    head, _, prompt = result.stdout.partition(
        "\n\nThe first question to Ilse Marwick, after one message on baking:\n\n"
    )
    digest = load_task(example(description="How true is the following statement of you?")).digest
    assert head == (
        f"task        curiosity: 10 items of curiosity, SHA-256 {digest[:12]}\n"
        "            read as CSV with commas: 10 rows of item, domain, reversed, statement\n"
        "            Ideas: 1 4 7r 10\n"
        "            Places: 2 5r 8\n"
        "            People: 3 6r 9\n"
        "            reversed items: 3 (r), whose options count the other way round\n"
        "            options: Not at all true = 1, Rarely true = 2, Sometimes true = 3, Mostly true = 4, "
        "Completely true = 5\n"
        "            scores: mean of a key's items\n"
        "\n"
        "population  travellers: 6 personas, 3 F and 3 M\n"
        "            read as CSV with commas: 6 rows of name, gender, age, job\n"
        "            the first: You are Ilse Marwick, a 34-year-old lighthouse keeper.\n"
        "\n"
        "topics      errands: 3\n"
        "            baking: an opening of 56 characters\n"
        "            moving: an opening of 56 characters\n"
        "            present: an opening of 92 characters\n"
        "\n"
        "run         2 seeds x 3 topics x 6 personas x 10 items = 360 questions\n"
        "\n"
        "model       smollm2_135m: chat format, as set\n"
        "            the persona is in a system message, as set\n"
        "            thinking: none\n"
        "\n"
        "note: 6 people are few: with fewer than 10, chance alone often gives a large stability\n"
        "\n"
        "What Ilse Marwick reads before the first message on baking:\n"
        "\n"
        "<|im_start|>system\nYou are Ilse Marwick, a 34-year-old lighthouse keeper.<|im_end|>\n"
        "<|im_start|>user\nI have flour, three eggs and two pears. What can I bake?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    before, options, after = prompt.partition("until I have an answer.\n")[0], *prompt.partition("(A)")[1:]
    assert before == (
        "<|im_start|>system\nYou are Ilse Marwick, a 34-year-old lighthouse keeper.<|im_end|>\n"
        "<|im_start|>user\nI have flour, three eggs and two pears. What can I bake?<|im_end|>\n"
        "<|im_start|>assistant\n(its reply)<|im_end|>\n"
        "<|im_start|>user\nHow true is the following statement of you?\n\n"
        "I follow a question that nobody asked me "
    )
    lines = (options + after).removesuffix("<|im_end|>\n<|im_start|>assistant\nAnswer: (\n").splitlines()
    assert sorted(line[4:] for line in lines) == sorted(SCALE)
    assert sorted(path.name for path in launch_folder.iterdir()) == ["mlflow.db"]


def test_the_validator_answers_a_mistake_in_one_line(valstab_light, launch_folder):
    shutil.copytree(EXAMPLE, launch_folder / "mine")
    items = launch_folder / "mine" / "curiosity.csv"
    items.write_text(items.read_text(encoding="utf-8").replace("3,People", "3,Peeple"), encoding="utf-8")
    result = valstab_light("--config-dir", "mine", "task=curiosity", module="valstab.validate")
    assert result.returncode != 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line == (
        f"valstab: task.items={items}: item 3 has unknown domain Peeple; did you mean People? - "
        "allowed: Ideas, Places, People"
    )


def test_the_validator_notes_what_limits_conclusions(tmp_path):
    rows = pd.read_csv(EXAMPLE / "curiosity.csv").replace({"People": "Places"})
    rows.loc[4, "statement"] = rows.loc[1, "statement"]
    rows.to_csv(tmp_path / "own.csv", index=False)
    config = compose_run("population.limit=2", "conversation=none")
    config.task = example(items=str(tmp_path / "own.csv"), keys=["Ideas", "Places"])
    assert list(notes(make_plan(config))) == [
        "2 items have the same text: On the way home I try a street that I have never taken.",
        "there is one context only, so there will be no stability between contexts",
        "with 2 keys, an ipsative correlation can only be 1, -1 or undefined",
        "with 2 personas, a rank-order correlation can only be 1, -1 or undefined",
    ]
    assert not list(notes(make_plan(compose_run())))
    few = make_plan(compose_run("population.limit=8", "topics.names=[joke,chess]"))
    assert list(notes(few)) == [
        "2 topics make one pair: with fewer than 3, nothing can be said of other topics",
        "8 people are few: with fewer than 10, chance alone often gives a large stability",
    ]
    (alone,) = notes(make_plan(compose_run("population.limit=1")))
    assert alone == "there is one persona only, so there will be no order of people"


def test_the_validator_shows_the_prompt_of_a_base_model():
    text = report(compose_run("model=phi_2", "population=none", "conversation=none", "task=religion"))
    assert "population  none: 50 repetitions without a persona, 25 F and 25 M" in text
    assert "\n\nThe first question to permutation_01:\n\nUSER:You are creating your schedule, how much time" in text
    assert text.endswith("\nCHATBOT:Answer: (")


@pytest.mark.slow
def test_the_example_runs_from_any_folder(valstab, launch_folder):
    result = valstab("--config-dir", str(EXAMPLE), "+experiment=curiosity", "model=random")
    assert result.returncode == 0, result.stderr
    assert "2 seeds x 3 contexts x 6 personas x 10 items = 360 questions" in result.stdout
    (profiles,) = launch_folder.glob("outputs/*/*/results/profiles.csv")
    table = pd.read_csv(profiles)
    assert list(table) == ["seed", "context", "persona", "Ideas", "Places", "People"]
    assert table["context"].unique().tolist() == ["baking", "moving", "present"]
    assert table["Ideas"].between(1, 5).all()


def test_the_validator_shows_what_the_model_reads_and_what_was_found(tmp_path):
    tokenizer_of(templates.SMOLLM3).save_pretrained(tmp_path)
    settings = ("model=auto", f"model.path={tmp_path}", "+model.template.enable_thinking=false")
    text = report(compose_run(*settings, "population.limit=5", "task=religion", "topics.names=[joke,chess]"))
    assert (
        f"model       {tmp_path.name}: chat format, found in its tokenizer\n"
        "            the persona is in a system message, as its chat template has it\n"
        "            thinking: off, by enable_thinking=false\n"
        "            date: it writes today's; 26 July 2024 is used\n"
    ) in text
    assert (
        "What Gandalf reads before the first message on joke:\n\n"
        "<|im_start|>system\n## Metadata\n\nToday Date: 26 July 2024\n\n"
        "You are Gandalf from J. R. R. Tolkien's Middle-earth legendarium.<|im_end|>\n"
        "<|im_start|>user\nTell me a joke.<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n"
    ) in text
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\nAnswer: (")


def test_the_validator_shows_where_a_model_thinks(tmp_path):
    tokenizer_of(templates.SMOLLM3).save_pretrained(tmp_path)
    settings = ("model=auto", f"model.path={tmp_path}", "answer=thinking", "population.limit=5", "topics.names=[joke]")
    text = report(compose_run(*settings))
    assert "thinking: before each answer\n" in text
    # The message is written at once, the answer after a thought.
    assert "<|im_start|>assistant\n<think>\n\n</think>\n\n\n\nThe first question" in text
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n<think>\n")


def test_the_validator_refuses_what_a_run_would_refuse(tmp_path):
    tokenizer_of(templates.SMOLLM3).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"set \+model\.template\.enable_thinking=false"):
        report(compose_run("model=auto", f"model.path={tmp_path}", "population.limit=5"))


def test_the_validator_without_a_tokenizer_shows_the_messages(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for settings, reason in (
        (("model=auto", "model.path=nobody/nothing"), "nobody/nothing: not in the Hugging Face cache"),
        (("engine=openai", "model=gpt35_0125"), "its chat template is not known here"),
    ):
        text = report(compose_run(*settings, "population.limit=5", "task=religion"))
        assert reason in text
        assert "[system]\nYou are Gandalf" in text
        assert text.endswith("[assistant]\nAnswer: (")
