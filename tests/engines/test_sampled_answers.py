"""Sampled answers of real engines: as frequent as they are probable."""

import numpy as np
import pytest

from tests.support.embedded import SMOLLM2
from tests.support.openai_server import Server
from valstab.config.schema import ModelConfig, SamplingConfig
from valstab.engines.base import UNREAD, ChoiceRequest, GenerationRequest, Message, Prompt, SampleRequest
from valstab.engines.servers.openai import OpenaiEngine

OPTIONS = "ABC"
PROMPTS = [
    Prompt((Message("user", f"{text}\n(A) Well\n(B) Ill\n(C) So-so"),), "Answer: (")
    for text in ("How are you?", "How do you do?")
]


def requests(number):
    return [
        [
            SampleRequest(prompt, OPTIONS, tuple(range(number * i, number * i + number)))
            for i, prompt in enumerate(PROMPTS)
        ]
    ]


def frequencies(answers, number):
    assert [len(each) for each in answers] == [number] * len(PROMPTS)
    return np.array([[each.count(letter) / number for letter in OPTIONS] for each in answers])


@pytest.fixture(scope="module")
def engine():
    """The embedded model, with messages sampled from its whole distribution."""
    from valstab.engines.huggingface.engine import TransformersEngine

    whole = SamplingConfig(temperature=1.0, top_p=1.0, top_k=0)
    return TransformersEngine(
        ModelConfig(name="smollm2_135m", path=SMOLLM2, dtype="float32", sampling=whole), "none", device="cpu"
    )


@pytest.mark.slow
def test_frequencies_are_those_of_the_exact_probabilities(engine):
    number = 2000
    ((_, logprobs),) = engine.score_options([[ChoiceRequest(prompt, OPTIONS, 0) for prompt in PROMPTS]])
    probabilities = np.exp(logprobs)
    ((_, answers),) = engine.sample_options(requests(number))
    errors = np.sqrt(probabilities * (1 - probabilities) / number)
    assert (np.abs(frequencies(answers, number) - probabilities) < 2 * errors).all()


@pytest.mark.slow
def test_the_model_s_own_sampling_applies(engine):
    from valstab.engines.huggingface.engine import TransformersEngine

    cold = SamplingConfig(temperature=0.01, top_p=1.0, top_k=0)
    colder = TransformersEngine(
        ModelConfig(name="smollm2_135m", path=SMOLLM2, dtype="float32", sampling=cold), "none", device="cpu"
    )
    ((_, logprobs),) = engine.score_options([[ChoiceRequest(prompt, OPTIONS, 0) for prompt in PROMPTS]])
    ((_, answers),) = colder.sample_options(requests(20))
    assert answers == [[OPTIONS[row.argmax()]] * 20 for row in logprobs]


def test_a_server_s_answers_are_read_strictly():
    texts = iter(["B) Ill", "(C", "A good one", "Answer: (A)", "D", "b"])
    server = Server(lambda body: (200, {"choices": [{"message": {"role": "assistant", "content": next(texts)}}]}))
    try:
        engine = OpenaiEngine(ModelConfig(name="served", path="m"), "none", url=server.url, timeout=5, concurrency=1)
        ((_, answers),) = engine.sample_options([[SampleRequest(PROMPTS[0], OPTIONS, tuple(range(6)))]])
    finally:
        server.close()
    assert answers == [["B", "C", UNREAD, "A", UNREAD, "B"]]
    assert [body["seed"] for body in server.bodies] == list(range(6))


@pytest.mark.parametrize(
    ("structured_choice", "text", "field", "value"),
    [
        ("vllm", "B", "structured_outputs", {"choice": ["A", "B", "C"]}),
        ("llama_cpp", "B", "grammar", 'root ::= "A" | "B" | "C"'),
        ("openai", '{"letter": "B"}', "response_format", None),
        (None, "B", "grammar", None),
    ],
)
def test_a_server_can_be_made_to_choose_a_letter(structured_choice, text, field, value):
    server = Server(lambda body: (200, {"choices": [{"message": {"role": "assistant", "content": text}}]}))
    model = ModelConfig(name="served", path="m")
    try:
        engine = OpenaiEngine(model, "none", url=server.url, timeout=5, structured_choice=structured_choice)
        ((_, answers),) = engine.sample_options([[SampleRequest(PROMPTS[0], OPTIONS, (1, 2))]])
        list(engine.generate([GenerationRequest(PROMPTS[0]._replace(text=""), 1, 5)]))
    finally:
        server.close()
    assert answers == [["B", "B"]]
    *asked, message = server.bodies
    for body in asked:
        if structured_choice == "openai":
            schema = body[field]["json_schema"]["schema"]
            assert schema["properties"]["letter"]["enum"] == ["A", "B", "C"]
        else:
            assert body.get(field) == value
    assert not {"structured_outputs", "grammar", "response_format"} & set(message)  # messages are free
