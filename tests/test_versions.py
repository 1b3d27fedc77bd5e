"""The versions that the README names are those that are tested."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_readme_names_the_oldest_and_the_pinned_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    oldest = dict(re.split(">=|,", one)[:2] for one in project["project"]["dependencies"])
    pinned = dict(re.split("==| ;", one)[:2] for one in project["tool"]["uv"]["constraint-dependencies"])
    section = (ROOT / "README.md").read_text().split("## Versions")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \|$", section, re.MULTILINE)
    assert [name for name, *_ in rows] == ["transformers", "torch", "hydra-core", "mlflow"]
    for name, first, last in rows:
        assert oldest[name] == first
        assert f"{pinned[name]}.".startswith(f"{last}.")
