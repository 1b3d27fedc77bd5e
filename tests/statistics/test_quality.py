"""Flaws of conversations, one message at a time, and scores without them."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from tests.support.score_arrays import labelled
from valstab.statistics.conversation_quality import (
    FLAWS,
    by_context,
    cut_messages,
    inspect,
    seems_cut,
    without_affected,
)

CUT = "and so it went on " * 6
"""A message of a hundred characters that ends in the middle of a sentence."""


def record(*texts, seed=0, context="chess", persona="Marilyn Monroe"):
    messages = [{"role": ("user", "assistant")[i % 2], "text": text} for i, text in enumerate(texts)]
    return {"seed": seed, "context": context, "persona": persona, "messages": messages}


def flaws(*texts, **labels) -> dict[str, int]:
    (row,) = inspect([record(*texts, **labels)]).to_dict("records")
    return {flaw: row[flaw] for flaw in FLAWS if row[flaw]}


def test_a_good_conversation_has_no_flaws_and_its_opening_is_not_inspected():
    assert flaws("USER: as an AI", "A pawn moves forward.", "And a rook?", 'He said "straight ahead!"') == {}


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("what  is CHESS?\n", "repeated"),
        ("As an AI language model, I have no favourite.", "persona_break"),
        ("Well, I’m an AI, so no.", "persona_break"),
        ("I'm sorry, but I can't assist with that.", "persona_break"),
        ("I am unable to engage in this.", "persona_break"),
        ("I don't have personal opinions.", "persona_break"),
        ("Sure.\nUSER: And then?", "label_leak"),
        ("Human: And then?", "label_leak"),
        ("Sure.\n\nMARILYN MONROE: Darling!", "label_leak"),
        ("Marilyn Monroe (CHATBOT): Darling!", "label_leak"),
        ("**Assistant**: Sure.", "label_leak"),
        ("Sure.<|im_start|>", "label_leak"),
        ("Well then [INST] say it.", "label_leak"),
        ("I have always thought that " * 4, "cut_off"),
        (f"{'First, the pawns, ' * 6}", "cut_off"),
    ],
)
def test_each_flaw(text, flaw):
    found = flaws("What is chess?", text)
    assert found.pop(flaw) == 1
    assert set(found) <= {"cut_off"}


@pytest.mark.parametrize(
    "text",
    [
        "I can't help but wonder.",
        "I'm sorry, I can't come tonight!",
        "As an aide to the king I saw it all.",
        "The user: a strange word.",
        "Of Marilyn Monroe: nothing.",
        "What a game! 😊",
        "It was *lovely.*",
        "(No, never.)",
        "Ask a human: they know…",
    ],
)
def test_what_only_looks_like_a_flaw(text):
    assert flaws("What is chess?", text) == {}


def test_flaws_are_counted_over_messages():
    found = flaws("Hi.", "Hi.", "hi.", "As an AI, I", "", "")
    assert found == {"repeated": 2, "persona_break": 1, "empty": 2}


def test_every_conversation_has_a_row_also_from_its_file(tmp_path):
    path = tmp_path / "conversations.jsonl"
    records = [record("Hi.", "Yes.", "", "Yes."), record(seed=1), record("Hi.", context="joke")]
    path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    with path.open(encoding="utf-8") as file:
        flags = inspect(map(json.loads, file))
    assert flags[["seed", "context", "persona", "messages"]].to_numpy().tolist() == [
        [0, "chess", "Marilyn Monroe", 3],
        [1, "chess", "Marilyn Monroe", 0],
        [0, "joke", "Marilyn Monroe", 0],
    ]
    assert flags[list(FLAWS)].sum().to_dict() == {
        "empty": 1,
        "repeated": 1,
        "persona_break": 0,
        "label_leak": 0,
        "cut_off": 0,
    }
    assert list(inspect([])) == list(flags)


def test_contexts_summed_up_by_hand():
    flags = inspect(
        [
            record("Hi.", "Yes.", "", "Yes."),
            record("Hi.", CUT, seed=1),
            record("Hi.", "No.", context="joke"),
            record(context="neutral"),
        ]
    )
    table = by_context(flags)
    assert table.index.tolist() == ["chess", "joke", "neutral"]
    assert table.loc["chess"].to_dict() == {
        "conversations": 2,
        "messages": 4,
        "empty": 0.25,
        "repeated": 0.25,
        "persona_break": 0,
        "label_leak": 0,
        "cut_off": 0.25,
        "affected": 0.5,  # the other is only cut off
    }
    assert table.loc["joke", "affected"] == table.loc["neutral", "affected"] == 0
    assert math.isnan(table.loc["neutral", "empty"])


SCORES = labelled([[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]).assign_coords(
    seed=[0], context=["chess", "joke"], persona=["Ann", "Bob"]
)


def test_scores_without_affected_conversations():
    records = [
        record("Hi.", "Yes.", context="chess", persona="Bob"),
        record("Hi.", "As an AI, no.", context="joke", persona="Ann"),
        record("Hi.", CUT, context="chess", persona="Ann"),
        record("Hi.", "No.", context="joke", persona="Bob"),
        record("Hi.", "", context="year", persona="Bob"),
    ]
    flags = inspect(records)
    kept = without_affected(SCORES, flags)
    assert kept.dims == SCORES.dims
    assert np.isnan(kept.sel(context="joke", persona="Ann")).all()
    assert np.isnan(kept).sum() == 2
    assert kept.sel(context="joke", persona="Bob").values.tolist() == [[7, 8]]
    cut = without_affected(SCORES, flags, ["cut_off"])
    assert np.isnan(cut.sel(context="chess", persona="Ann")).all()
    assert np.isnan(cut).sum() == 2


def test_conversations_must_be_inspected_once():
    flags = inspect([record("Hi.", "Yes.", context=c, persona=p) for c in ("chess", "joke") for p in ("Ann", "Bob")])
    assert without_affected(SCORES, flags).equals(SCORES)
    with pytest.raises(ValueError, match=r"Bob.* was not inspected"):
        without_affected(SCORES, flags.iloc[:-1])
    with pytest.raises(ValueError, match="twice"):
        without_affected(SCORES, pd.concat([flags, flags.iloc[:1]]))


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("and so it went on to", True),
        ("and so it went on,", True),
        ("and so it went on. ", False),
        ("and so it went on \U0001f600", False),
        ("ومن ثم ذهبنا إلى", True),
        ("short", False),
        ("", False),
    ],
)
def test_messages_that_seem_cut(text, cut):
    assert seems_cut(text, 10) == cut


def test_the_opening_was_not_generated():
    assert cut_messages(["a long opening without an end", "a long message without an end"], 10) == [1]
