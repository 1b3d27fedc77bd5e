"""The example studies in German and in Chinese, from their files to the results."""

from pathlib import Path

import pandas as pd
import pytest

EXAMPLES = str(Path(__file__).parents[2] / "examples" / "languages")
GERMAN_QUESTION = """\
NUTZER:Wie gut trifft die folgende Aussage auf dich zu?

Ich lege Dinge dorthin zurück, wo ich sie gefunden habe.
(A) Trifft nicht zu
(B) Trifft teilweise zu
(C) Trifft genau zu
HANNA:Antwort: ("""


def test_the_german_study_is_described_and_asked_in_german(valstab_light):
    found = valstab_light(
        "--config-dir", EXAMPLES, "+experiment=german", "model=phi_2", "option_order=fixed", module="valstab.validate"
    )
    assert found.returncode == 0, found.stderr
    assert "the first: Du bist Hanna, eine Bäckerin aus Bremen." in found.stdout
    assert found.stdout.rstrip().endswith(GERMAN_QUESTION)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "settings", "keys"),
    [("german", ("model=random",), ["Ordnung", "Planung", "Geduld"]), ("chinese", (), ["整洁", "计划", "耐心"])],
)
def test_a_study_in_another_language_runs(valstab, launch_folder, experiment, settings, keys):
    ended = valstab("--config-dir", EXAMPLES, f"+experiment={experiment}", *settings, "max_new_tokens=8")
    assert ended.returncode == 0, ended.stderr
    (results,) = launch_folder.glob("outputs/*/*/results")
    answers = pd.read_parquet(results / "answers.parquet")
    assert len(answers) == 2 * 3 * 6
    assert answers["letter"].isin(list("ABC")).all()
    assert list(pd.read_json(results / "stability.json", typ="series")["keys"]) == keys
