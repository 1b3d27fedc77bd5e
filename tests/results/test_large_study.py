"""A study of many people: what its files take as a function of their number."""

import re
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest

from valstab.results.report.page import MAX_TRANSCRIPT_CHARACTERS

PEOPLE = 300
COMMAND = ["-m", "valstab", "model=random", "n_messages=1", "seeds=[0]", "population.personas=people.csv"]


@pytest.mark.slow
def test_the_report_of_ten_thousand_people_is_below_30_megabytes_and_pictures_do_not_grow(launch_folder):
    rows = [f"Person {number},{'FM'[number % 2]},baker" for number in range(PEOPLE)]
    (launch_folder / "people.csv").write_text("\n".join(["name,gender,job", *rows]), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *COMMAND, "hydra.run.dir=out"], capture_output=True, text=True, check=False, cwd=launch_folder
    )
    assert done.returncode == 0, done.stderr
    results = launch_folder / "out" / "results"
    page = (results / "report.html").read_text("utf-8")
    transcripts = sum(map(len, re.findall(r'class="block">(.*?)</script>', page)))
    assert transcripts > PEOPLE * 1_000
    assert (len(page) - transcripts) / PEOPLE * 10_000 + MAX_TRANSCRIPT_CHARACTERS < 30_000_000
    height, width = plt.imread(results / "plots" / "profiles.png").shape[:2]
    assert (height, width) == (round((2.2 + 0.24 * 100) * 150), round((3.2 + 0.55 * 10) * 150))
    artifacts = list((launch_folder / "mlruns").rglob("*.*"))
    assert {file.name for file in artifacts} >= {"answers.parquet", "report.html", "profiles.png"}
    assert all(file.stat().st_nlink > 1 for file in artifacts if file.is_file())
