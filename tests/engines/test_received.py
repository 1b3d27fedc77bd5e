"""What comes from outside is checked in one place: probabilities, texts, JSON."""

import json
import math

import numpy as np
import pytest

from valstab.engines.received import Reads, is_distribution, read_count, read_json, read_number, read_text, readings

NAN, INF = math.nan, math.inf
QUARTER = math.log(0.25)


@pytest.mark.parametrize(
    ("row", "valid"),
    [
        ([QUARTER] * 4, True),
        ([QUARTER] * 3, True),  # the rest is on other tokens
        ([QUARTER] * 5, False),
        ([0.0, -INF, -INF], True),
        ([1e-6, -20.0], True),  # rounding
        ([0.01, -20.0], False),
        ([math.log(0.5), math.log(0.5004)], True),  # rounding
        ([math.log(0.5), math.log(0.51)], False),
        ([QUARTER, NAN, NAN], True),
        ([NAN, NAN], False),
        ([-INF, -INF], False),
        ([-INF, NAN], False),
        ([5.0, QUARTER], False),
        ([1e308, QUARTER], False),
        ([INF, NAN], False),
        ([-9999.0, math.log(0.9)], True),
        ([], False),
    ],
)
def test_log_probabilities_of_different_options(row, valid):
    assert is_distribution(np.array(row)) == valid


def test_how_answers_were_read():
    rows = [[QUARTER, QUARTER], [QUARTER, NAN], [INF, NAN], [NAN, NAN], [-INF, -INF], [INF, QUARTER], [INF, INF]]
    failed = ["failed"] * 3
    assert readings(np.array(rows), Reads()).tolist() == ["exact", "exact", "text", "missing", *failed]
    served = readings(np.array(rows), Reads("listed", "structured")).tolist()
    assert served == ["listed", "listed", "structured", "missing", *failed]


@pytest.mark.parametrize("document", ["", "{", "nonsense", "[" * 200_000, "9" * 5000, b"\xff\xfe\xff"])
def test_no_json(document):
    with pytest.raises(ValueError, match=r".+"):
        read_json(document)


def test_a_json_document_of_any_size_a_server_may_send_is_not_read(monkeypatch):
    monkeypatch.setattr("valstab.engines.received.MAX_JSON_CHARACTERS", 100)
    assert read_json(json.dumps("x" * 98)) == "x" * 98
    with pytest.raises(ValueError, match="more than 100 characters"):
        read_json(json.dumps("x" * 99))


@pytest.mark.parametrize(
    ("value", "number", "count"),
    [(3, 3.0, 3), (2.5, 2.5, 2), (-1, -1.0, 0), (1e400, INF, 0), (10**400, NAN, 0), (True, NAN, 0), ("3", NAN, 0)],
)
def test_numbers_of_a_document(value, number, count):
    assert read_number(value) == pytest.approx(number, nan_ok=True)
    assert read_count(value) == count


def test_texts():
    assert read_text("naïve \U0001f600 \x00") == "naïve \U0001f600 \x00"
    assert read_text("\ud83d\ude00 \ud83d") == "\U0001f600 \ufffd"
    for value in (None, 5, ["text"], b"text", "x" * 1_000_001):
        with pytest.raises(ValueError, match="text"):
            read_text(value)
