"""Labels of several characters: their probability up to the closing bracket, and how they are read in a text."""

import copy

import numpy as np
import pytest
import torch
from tokenizers.normalizers import Lowercase

from tests.engines.test_transformers_engine import question
from tests.support.tiny_models import tokenizer
from valstab.config.schema import ModelConfig
from valstab.engines.base import UNREAD, ChoiceRequest, EngineError, SampleRequest
from valstab.engines.labels import Ending, label_logprobs, nodes
from valstab.engines.prompts.tokenizer import PromptTokenizer
from valstab.engines.random import RandomEngine
from valstab.engines.servers.dialect import Dialect
from valstab.engines.written_answer import answer_tokens, read_label

NUMBERS = [str(number) for number in range(1, 13)]
WORDS = ["Well", "Well enough", "No, ill"]


def by_reading_texts(engine, prompt, label):
    """Sum the probability of each token that makes the text begin with the label and a bracket, one prompt at a time."""
    tokens, opened = engine.tokens.tokenizer, "("
    bracket = tokens(opened).input_ids
    written = tokens(f"{opened}{label}").input_ids[len(bracket) :]
    total, reached = 0.0, 1.0
    for length in range(len(written) + 1):
        start = engine.tokens.encode(prompt) + written[:length]
        with torch.inference_mode():
            probabilities = engine.causal.model(torch.tensor([start])).logits[0, -1].double().softmax(-1)
        for token, probability in enumerate(probabilities[: len(tokens)].tolist()):
            if tokens.decode([*bracket, *written[:length], token]).startswith(f"{opened}{label})"):
                total += reached * probability
        if length < len(written):
            reached *= float(probabilities[written[length]])
    return total


@pytest.mark.parametrize("labels", [NUMBERS, WORDS])
def test_a_whole_label_has_the_probability_of_all_texts_that_begin_with_it(tiny_llama, labels):
    prompts = [question(number) for number in range(2)]
    ((_, logprobs),) = tiny_llama.score_options([[ChoiceRequest(prompt, labels, 0) for prompt in prompts]])
    expected = [[by_reading_texts(tiny_llama, prompt, label) for label in labels] for prompt in prompts]
    np.testing.assert_allclose(np.exp(logprobs), expected, rtol=2e-3)
    assert np.exp(logprobs).sum(axis=1).max() < 1


def test_single_digits_are_read_as_letters_are(tiny_llama):
    ((_, logprobs),) = tiny_llama.score_options([[ChoiceRequest(question(1), NUMBERS[:9], 0)]])
    with torch.inference_mode():
        last = tiny_llama.causal.model(torch.tensor([tiny_llama.tokens.encode(question(1))])).logits[0, -1].double()
    place = tiny_llama.tokens.tokenizer.convert_tokens_to_ids("7")
    assert logprobs[0, 6] == pytest.approx(float(last.log_softmax(-1)[place]), abs=1e-3)


def test_the_sum_over_ways_by_hand():
    # "1" is token 5 and then a bracket (7), or one token with both (8): 0.2 * 0.5 + 0.1. "10" is 5, then 6, then 7.
    one = [Ending((), [8]), Ending((5,), [7])]
    ten = [Ending((5, 6), [7])]
    assert nodes([one, ten]) == [(), (5,), (5, 6)]
    column_of = {5: 0, 6: 1, 7: 2, 8: 3}
    rows = np.log([[0.2, 0.3, 0.4, 0.1], [0.1, 0.25, 0.5, 0.15], [0.1, 0.1, 0.7, 0.1]])
    assert np.exp(label_logprobs([one, ten], rows, column_of)) == pytest.approx([0.2, 0.2 * 0.25 * 0.7])


def test_a_label_that_tokens_can_t_write():
    small = copy.deepcopy(tokenizer())
    small.backend_tokenizer.normalizer = Lowercase()
    with pytest.raises(EngineError, match="can't write the label No after a bracket: set option_labels=letters"):
        PromptTokenizer(small).of_labels(["yes", "No"])


def test_longer_labels_are_sampled_as_texts(tiny_llama, monkeypatch):
    texts = iter(["(10)", "1) never", "12", "13", "The 2"])
    monkeypatch.setattr(
        tiny_llama, "generate", lambda requests: [(index, next(texts)) for index, _ in enumerate(requests)]
    )
    ((_, answers),) = tiny_llama.sample_options(iter([[SampleRequest(question(1), NUMBERS, tuple(range(5)))]]))
    assert answers == [["10", "1", "12", UNREAD, UNREAD]]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Like me a lot.", "Like me a lot"),
        ("like me", "Like me"),
        ("(Like me) Like me a lot", "Like me"),
        ("(Like me), not (No, never)", None),
        ("Antwort: (No, never)", "No, never"),
        ("Answer: Like me", None),
        ("Like meat", None),
    ],
)
def test_words_are_read_as_letters_are(text, label):
    assert read_label(text, ["Like me", "Like me a lot", "No, never"], "USER:Wie?\nSAM:Antwort: (") == label


@pytest.mark.parametrize(
    ("text", "label"), [("答案：（B）好", "B"), ("Ｂ", None), ("B。", "B"), ("A，因为", "A"), ("答案B", "B")]
)
def test_chinese_brackets_and_marks_are_read(text, label):
    assert read_label(text, "ABC", "答案: (") == label


def test_a_longer_label_may_be_written_to_its_end():
    assert answer_tokens("ABC") == 16
    assert answer_tokens(["yes", "twelve letters"]) == 16 + 14


def test_a_grammar_quotes_its_labels():
    assert Dialect(structured_choice="llama_cpp").choice_fields(['say "no"', "say yes"]) == {
        "grammar": r'root ::= "say \"no\"" | "say yes"'
    }


def test_questions_with_their_own_number_of_options(tiny_llama):
    choices = [ChoiceRequest(question(number), "ABC"[:number], 0) for number in (2, 3)]
    ((_, together),) = tiny_llama.score_options([choices])
    ((_, two),), ((_, three),) = (tiny_llama.score_options([[choice]]) for choice in choices)
    np.testing.assert_allclose(together, [[*two[0], np.nan], three[0]], atol=1e-3)
    random = RandomEngine(ModelConfig(name="random"), "none")
    ((_, drawn),) = random.score_options([choices])
    assert np.nansum(np.exp(drawn), axis=1) == pytest.approx([1, 1])
    assert np.isnan(drawn).tolist() == [[False, False, True], [False, False, False]]
