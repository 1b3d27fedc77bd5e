"""The report of a run: what it says of the answers, and what is in its page."""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.container import BarContainer

from tests.support.reports import HOSTILE, PROMPT, study
from tests.support.scripted import HostileEngine
from valstab.results.plots import figures
from valstab.results.report import page
from valstab.results.report.transcripts import MAX_STEPS, STEPS_PER_NAT, to_steps

SCRIPTED = ("engine=random", "model.name=scripted", "engine._target_=tests.support.scripted.PersonaEngine")
SMALL = ("population.limit=3", "topics.names=[joke,chess]", "seeds=[3,7]")


class Elements(HTMLParser):
    """Collects what a page's script and style elements hold, as a browser reads them, and all tags."""

    def __init__(self, text):
        super().__init__(convert_charrefs=False)
        self.tags, self.held, self.policy = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        if tag in {"script", "style"}:
            self.held.append((attributes.get("id") or attributes.get("class") or tag, ""))
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]

    def handle_data(self, data):
        if self.held:
            name, text = self.held[-1]
            self.held[-1] = (name, text + data)

    def handle_endtag(self, tag):
        if tag in {"script", "style"}:
            self.held.append(("outside", ""))

    def of(self, name):
        return [text for held, text in self.held if held == name]


def read(path):
    """Read a report as its script does: the document, and each persona's sessions."""
    elements = Elements(path.read_text(encoding="utf-8"))
    (document,) = elements.of("data")
    blocks = [json.loads(gzip.decompress(base64.b64decode(block))) for block in elements.of("block")]
    return json.loads(document), blocks


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return study(tmp_path_factory.mktemp("report") / "report.html", *HOSTILE, *SMALL)


@given(st.floats(-60, 0))
def test_a_probability_is_kept_to_a_twentieth_of_a_percent(logprob):
    (step,) = to_steps(np.array([logprob]))
    assert np.exp(-step / STEPS_PER_NAT) == pytest.approx(np.exp(logprob), rel=0.00051)


def test_impossible_and_unknown_options():
    assert to_steps(np.array([1e-9, -np.inf, np.nan])).tolist() == [0, MAX_STEPS, -1]


def test_the_blocks_hold_every_conversation_and_answer(hostile):
    document, blocks = read(hostile.path)
    rows = iter(hostile.answers.itertuples())
    for seed in range(2):
        for context in range(2):
            for persona in range(3):
                session = blocks[persona][2 * seed + context]
                for item in range(40):
                    row = next(rows)
                    assert row.persona == document["personas"][persona]["name"]
                    assert (row.seed, row.context) == (document["seeds"][seed], document["contexts"][context])
                    assert session["letters"][item] == row.letters
                    assert session["chosen"][item] == row.letter
                    likeliest = int(np.argmin(session["logprobs"][item]))
                    assert document["items"][item]["scores"][likeliest] == row.score
                    # 0.9 for the chosen option, and 0.01 for the others: 1000 ln(1 / 0.9) = 105.4, 1000 ln 100 = 4605.2
                    assert sorted(session["logprobs"][item]) == [105, 4605, 4605, 4605, 4605, 4605]
    assert next(rows, None) is None
    assert blocks[1][3]["texts"] == list(hostile.conversations[10].texts)
    assert blocks[1][3]["texts"][1] == HostileEngine.message


def test_the_numbers_are_those_of_the_results(hostile):
    document, _ = read(hostile.path)
    results = hostile.results
    assert document["rank_order"] == results.stabilities["rank_order"].mean
    assert document["per_persona"][2]["mean"] == results.stabilities["ipsative"].per_unit[2].item()
    wanted = results.scores.sel(key="Power", context="chess").isel(persona=2).mean().item()
    assert document["profiles"][2][document["keys"].index("Power")][1] == pytest.approx(wanted, abs=1e-4)
    assert document["mass_spread"] == {"limit": 0.5, "shares": [0] * 9 + [1], "low": 0}
    assert document["mass_per_context"] == pytest.approx([0.95, 0.95])
    assert document["prompt"] == PROMPT


def test_what_is_luck_is_said_and_two_seeds_have_no_error(tmp_path):
    document, _ = read(study(tmp_path / "report.html", "model=random", *SMALL).path)
    assert document["luck"] == "Rank-order and ipsative stability are not beyond chance, so this order is luck."
    assert {each["se"] for each in (*document["per_key"], *document["per_persona"])} == {None}
    document, _ = read(study(tmp_path / "steady.html", *SCRIPTED, *SMALL).path)
    assert document["luck"] == ""


@pytest.mark.parametrize(("seeds", "has_errors"), [("[3,7]", False), ("[3,7,8]", True)])
def test_the_picture_of_keys_has_chance_and_errors_from_three_seeds_on(tmp_path, seeds, has_errors):
    results = study(tmp_path / "report.html", "model=random", *SMALL[:2], f"seeds={seeds}").results
    (ax,) = dict(figures(results, "t"))["rank_order_per_key.png"]().axes
    (bars,) = [each for each in ax.containers if isinstance(each, BarContainer)]
    assert (bars.errorbar is not None) == has_errors
    assert ("SE over seeds" in ax.get_xlabel()) == has_errors
    chance = results.conclusions["rank_order"].chance.high
    (line,) = [each for each in ax.lines if str(each.get_label()).startswith("chance alone")]
    assert set(line.get_xdata()) == {chance}


def test_nothing_that_is_said_ends_its_element(hostile):
    text = hostile.path.read_text(encoding="utf-8")
    elements = Elements(text)
    assert elements.tags.count("script") == 1 + 3 + 1  # the document, a block for each persona, the script
    assert "img" not in elements.tags
    assert json.loads(elements.of("data")[0])["title"] == "A <title> & more"


def test_only_its_own_script_and_style_may_run(hostile):
    elements = Elements(hostile.path.read_text(encoding="utf-8"))
    for kind in ("script", "style"):
        (text,) = elements.of(kind)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in elements.policy
    assert elements.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in elements.policy


def test_nothing_is_loaded_from_elsewhere(hostile):
    text = hostile.path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|\ssrc=|@import|url\(|fetch\(|XMLHttpRequest", text)


@pytest.mark.parametrize(
    ("overrides", "check"),
    [
        (("model=random", "task=donation", *SMALL), lambda one: len(one["keys"]) == 5 and len(one["items"]) == 100),
        (("model=random", "task=religion", *SMALL), lambda one: one["per_persona"] == [] and one["ipsative"] is None),
        (
            ("model=random", "population=none", "population.limit=4", "topics.names=[joke,chess]"),
            lambda one: one["permutations"] and one["per_key"] == [] and len(one["per_persona"]) == 4,
        ),
        (
            ("model=random", "population.limit=3", "conversation=none", "topics=none"),
            lambda one: one["contexts"] == ["neutral"] and one["context_pairs"] == {},
        ),
        (
            (*SCRIPTED, *SMALL, "engine._target_=tests.support.scripted.TerseEngine"),
            lambda one: (
                one["mass_spread"] is None
                and one["mass_per_context"] == [None, None]
                and one["position_bias"]
                and one["readings"].keys() == {"text", "missing"}
                and "from one sampled text each" in one["answers_read"]
            ),
        ),
        (
            (*SCRIPTED, *SMALL, "engine._target_=tests.support.scripted.SilentEngine"),
            lambda one: one["position_bias"] is None and one["profiles"][0][0] == [None, None],
        ),
    ],
    ids=["donation", "religion", "repetitions", "neutral", "unparsed", "silent"],
)
def test_every_kind_of_study_has_a_report(overrides, check, tmp_path):
    document, blocks = read(study(tmp_path / "report.html", *overrides).path)
    assert check(document)
    assert len(blocks) == document["transcripts"] == len(document["personas"])


def test_warnings_of_cut_and_empty_messages(tmp_path):
    long = "word " * 30
    made = study(
        tmp_path / "report.html",
        *("model=random", *SMALL),
        said=lambda one: ("Hello", long, "", f"{long}." if one.session.context.name == "chess" else long),
    )
    document, blocks = read(made.path)
    # Of three messages the first is cut, the second empty, and the third cut in one of two contexts.
    assert "18 of 36 messages (50.0%) seem cut off at the limit of 100 tokens" in document["warnings"][-2]
    assert document["warnings"][-1] == "12 of 36 messages (33.3%) are empty"
    assert [session["cut"] for session in blocks[0]] == [[1, 3], [1], [1, 3], [1]]


def test_a_page_that_would_be_too_large_leaves_the_last_transcripts_out(tmp_path, monkeypatch):
    whole = study(tmp_path / "whole.html", "model=random", *SMALL)
    sizes = [len(block) for block in Elements(whole.path.read_text(encoding="utf-8")).of("block")]
    monkeypatch.setattr(page, "MAX_TRANSCRIPT_CHARACTERS", sum(sizes[:2]))
    document, blocks = read(study(tmp_path / "part.html", "model=random", *SMALL).path)
    assert document["transcripts"] == len(blocks) == 2
    assert len(document["personas"]) == 3
