"""The controls: what they answer is worked out from their rule, and a study of them finds it."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm, spearmanr

from tests.support.sweeps import runs
from valstab.config.schema import ModelConfig
from valstab.engines.base import ChoiceRequest, EngineError, Message, Prompt, SampleRequest, ThoughtfulChoice
from valstab.engines.control import ControlEngine, Situation

SCALE = ["Never", "Rarely", "Sometimes", "Often", "Mostly", "Always"]
PEOPLE = [f"You are person {number}." for number in range(60)]
TOPICS = (["Tell a joke."], ["Play chess."])


def engine(**rule) -> ControlEngine:
    return ControlEngine(ModelConfig(name="control"), "none", scale=SCALE, **rule)


def prompt(person: str, texts: list[str], options: list[str]) -> Prompt:
    shown = "\n".join(f"({label}) {option}" for label, option in zip("ABCDEF", options, strict=True))
    said = [Message(("user", "assistant")[place % 2], text) for place, text in enumerate(texts)]
    return Prompt((Message("system", person), *said, Message("user", f"How often?\n{shown}")), "Answer: (")


def places(control: ControlEngine, texts: list[str], n_items: int = 20, people=PEOPLE) -> np.ndarray:
    """Return the place on the scale of each answer, with the options in another order each time: (people, items)."""
    orders = [np.random.default_rng([len(texts), n]).permutation(6) for n in range(len(people) * n_items)]
    asked = [
        [
            ChoiceRequest(prompt(person, texts, [SCALE[place] for place in order]), "ABCDEF", 0)
            for order in orders[row * n_items : (row + 1) * n_items]
        ]
        for row, person in enumerate(people)
    ]
    letters = np.array([each.argmax(1) for _, each in control.score_options(asked)])
    return np.take_along_axis(np.reshape(orders, (*letters.shape, 6)), letters[..., None], 2)[..., 0]


def expected_correlation(share: float) -> float:
    """Return the correlation of two normal numbers after each is cut into six equal parts, by their joint distribution."""
    cuts = norm.ppf(np.arange(1, 6) / 6)
    both = multivariate_normal([0, 0], [[1, share], [share, 1]])
    # E[XY] of counts of exceeded cuts is the sum of the probabilities that both exceed each pair of cuts.
    product = sum(both.cdf([-a, -b]) for a in cuts for b in cuts)
    mean, square = 2.5, np.mean(np.arange(6.0) ** 2)
    return float((product - mean**2) / (square - mean**2))


def test_a_control_that_keeps_answers_gives_the_same_after_every_conversation():
    first, second = (places(engine(), topic) for topic in TOPICS)
    assert np.array_equal(first, second)
    assert np.bincount(first.ravel(), minlength=6) / first.size == pytest.approx(1 / 6, abs=0.05)


def test_a_control_knows_an_item_of_a_dialogue_by_the_questions_before():
    apart = places(engine(), ["Hello.", "(A) wizard"], 4, PEOPLE[:1])[0]
    question = prompt(PEOPLE[0], [], SCALE).messages[-1].text
    talks = [["Hello.", "(A) wizard", *[question, "Answer: (C) Sometimes"] * before] for before in range(4)]
    asked = [[ChoiceRequest(prompt(PEOPLE[0], talk, SCALE), "ABCDEF", 0)] for talk in talks]
    together = [int(row[0].argmax()) for _, row in engine().score_options(asked)]
    assert together == apart.tolist()
    assert len(set(together)) > 1


def test_the_correlation_is_that_of_the_share():
    assert expected_correlation(0) == pytest.approx(0, abs=1e-6)
    assert expected_correlation(0.999999) == pytest.approx(1, abs=2e-3)
    first, second = (places(engine(share=0.5), topic, 40) for topic in TOPICS)
    found, expected = np.corrcoef(first.ravel(), second.ravel())[0, 1], expected_correlation(0.5)
    assert found == pytest.approx(expected, abs=3 * (1 - expected**2) / np.sqrt(first.size))


def test_the_share_halves_in_its_half_life():
    # After four messages the share of 0.8 is 0.4, and after none it is whole.
    control = engine(share=0.8, half_life=4)
    late = [places(control, [*topic, "a", "b", "c", "d"], 40) for topic in TOPICS]
    expected = expected_correlation(0.4)
    found = np.corrcoef(*(each.ravel() for each in late))[0, 1]
    assert found == pytest.approx(expected, abs=3 * (1 - expected**2) / np.sqrt(late[0].size))


def test_a_shift_moves_everybody_alike():
    first, second = (places(engine(shift=1), topic) for topic in TOPICS)
    moves = second - first
    assert (moves == moves[0]).all()
    assert set(moves[0]) > {0}
    assert np.abs(moves).max() <= 2
    assert spearmanr(first.mean(1), second.mean(1)).statistic == pytest.approx(1)


def test_the_first_letter_is_chosen_whatever_it_says():
    control = engine(first_letter=True)
    ((_, logprobs),) = control.score_options([[ChoiceRequest(prompt("", [], SCALE[::-1]), "ABCDEF", 0)]])
    np.testing.assert_allclose(np.exp(logprobs), [[0.9, 0.02, 0.02, 0.02, 0.02, 0.02]])


def test_the_persona_shows_only_after_a_thought():
    silent, open_ = engine(only_thinking=True), engine()
    alike = places(silent, TOPICS[0])
    assert (alike == alike[0]).all()
    choices = [ThoughtfulChoice(prompt(PEOPLE[1], TOPICS[0], SCALE), "ABCDEF", 0, 10) for _ in range(20)]
    ((_, thoughts, logprobs),) = silent.think_options([choices])
    assert thoughts == [PEOPLE[1]] * 20
    assert np.array_equal(logprobs.argmax(1), places(open_, TOPICS[0], people=PEOPLE[:2])[1])


def test_samples_are_the_answer():
    requests = [SampleRequest(prompt("", [], SCALE), "ABCDEF", (1, 2, 3))]
    control = engine()
    ((_, ((first, *others),)),) = control.sample_options([requests])
    assert others == [first] * 2
    assert "ABCDEF".index(first) == places(control, [], 1, [""])[0, 0]


def test_a_scale_without_an_option_on_offer():
    with pytest.raises(EngineError, match=r"engine\.scale lacks 'Once'; allowed: the texts of the task's options"):
        list(engine().score_options([[ChoiceRequest(prompt("", [], ["Once", *SCALE[1:]]), "ABCDEF", 0)]]))


@pytest.mark.slow
def test_a_study_finds_what_the_controls_keep(valstab, launch_folder):
    command = valstab("-m", "+experiment=controls", "population.limit=12", "n_messages=3")
    assert command.returncode == 0, command.stderr
    _, children = runs(launch_folder)
    metrics = {run.data.params["model"].removeprefix("control_"): run.data.metrics for run in children}
    assert metrics["keeps"]["rank_order"] == metrics["keeps"]["ipsative"] == pytest.approx(1)
    assert metrics["shifted"]["rank_order"] == pytest.approx(1)
    assert metrics["thinks"]["rank_order_p"] < 0.01
    for name in ("letter", "silent"):
        assert metrics[name]["rank_order_p"] > 0.01, name


@pytest.mark.parametrize("slot", ["user", "system"])
def test_a_reminder_restores_what_drifted(slot):
    talk = ["Tell a joke.", "a", "b", "c", "d", "e"]

    plain = prompt(PEOPLE[0], talk, SCALE)
    system, *texts = plain.messages
    words = "Remember that you are person 0."
    at = {
        "user": [*texts[:4], Message("user", f"{words}\n\n{texts[4].text}"), *texts[5:]],
        "system": [*texts[:4], Message("system", words), *texts[4:]],
    }
    reminded = Situation.of(Prompt((system, *at[slot]), plain.text))
    assert Situation.of(plain).n_messages == 5
    assert reminded.n_messages == 2  # the one with the reminder, and the one after
    assert reminded.persona == PEOPLE[0]
