"""A checkpoint is identified by every byte of what determines results, and by nothing else."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valstab.engines import fingerprint as module
from valstab.engines.fingerprint import file_digest, fingerprint

WEIGHTS_BYTES = 1 << 20
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, in which new files are remembered too."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(module.platformdirs, "user_cache_path", lambda name: folder / name)
    monkeypatch.setattr(module, "SETTLED_NS", -1)
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(WEIGHTS_BYTES))
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("A model.")
    return folder


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that were read to be hashed."""
    names, digest = [], hashlib.file_digest

    def counted(opened, name):
        names.append(Path(opened.name).name)
        return digest(opened, name)

    monkeypatch.setattr(module.hashlib, "file_digest", counted)
    return names


def overwrite(file, place, content):
    """Change bytes in place, as an editor of weights does."""
    time.sleep(0.02)  # the clock of a file system has steps
    with file.open("r+b") as opened:
        opened.seek(place)
        opened.write(content)


def test_a_digest_is_that_of_sha256sum(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_digest(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(place=st.integers(0, WEIGHTS_BYTES - 1))
def test_every_byte_of_the_weights_counts(tmp_path_factory, place):
    folder = tmp_path_factory.mktemp("model")
    file = folder / "model.safetensors"
    content = bytearray(WEIGHTS_BYTES)
    file.write_bytes(content)
    before = fingerprint(str(folder), None)
    content[place] = 1
    file.unlink()
    file.write_bytes(content)
    assert fingerprint(str(folder), None) != before


@pytest.mark.parametrize("name", ["config.json", "merges.txt", "modeling.py", "chat_template.jinja", "parts/layer.py"])
def test_a_file_that_determines_results_makes_another_model(checkpoint, name):
    before = fingerprint(str(checkpoint), None)
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_text('{"rope_theta": 5}')
    assert fingerprint(str(checkpoint), None) != before


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "LICENSE.txt", ".gitattributes", "loss.png", "runs/events.1"])
def test_documentation_changes_nothing(checkpoint, name):
    before = fingerprint(str(checkpoint), None)
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_text("Something else.")
    assert fingerprint(str(checkpoint), None) == before


def test_the_same_content_under_another_name_is_another_model(checkpoint):
    before = fingerprint(str(checkpoint), None)
    (checkpoint / "config.json").rename(checkpoint / "generation_config.json")
    assert fingerprint(str(checkpoint), None) != before


def test_a_folder_may_move(checkpoint):
    before = fingerprint(str(checkpoint), None)
    assert fingerprint(str(checkpoint.rename(checkpoint.with_name("elsewhere"))), None) == before


def test_files_are_hashed_once(checkpoint, hashed):
    first = fingerprint(str(checkpoint), None)
    assert sorted(hashed) == ["config.json", "model.safetensors"]
    assert fingerprint(str(checkpoint), None) == first
    assert len(hashed) == 2


def test_an_edit_in_place_is_seen_though_its_time_is_put_back(checkpoint, hashed):
    file = checkpoint / "model.safetensors"
    before, status = fingerprint(str(checkpoint), None), file.stat()
    overwrite(file, 300_000, b"\1")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file.stat().st_mtime_ns == status.st_mtime_ns
    assert fingerprint(str(checkpoint), None) != before
    assert hashed.count("model.safetensors") == 2


def test_a_file_that_has_just_changed_is_not_remembered(checkpoint, hashed, monkeypatch):
    monkeypatch.setattr(module, "SETTLED_NS", 60_000_000_000)
    assert fingerprint(str(checkpoint), None) == fingerprint(str(checkpoint), None)
    assert len(hashed) == 4


@pytest.mark.parametrize("remembered", ["", "1 2 3 4 no digest", "\x80", "9" * 100])
def test_a_damaged_memory_is_not_believed(checkpoint, cache, remembered):
    before = fingerprint(str(checkpoint), None)
    for file in cache.rglob("digests/*"):
        file.write_text(remembered, encoding="latin-1")
    assert fingerprint(str(checkpoint), None) == before


def test_a_cache_that_cannot_be_written_to_is_no_obstacle(checkpoint, cache):
    before = fingerprint(str(checkpoint), None)
    cache.rename(cache.with_name("old"))
    cache.touch()
    assert fingerprint(str(checkpoint), None) == before


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A model in the hub's cache: files that are named by their hashes, and a snapshot of links to them."""
    hub = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    blobs, snapshot = (hub / "models--owner--name" / each for each in ("blobs", f"snapshots/{COMMIT}"))
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    weights = bytes(1000)
    # `git hash-object` of a file with "{}"
    names = {"config.json": "9e26dfeeb6e641a33dae4961196235bdb965b21b"}
    names["model.safetensors"] = hashlib.sha256(weights).hexdigest()
    (blobs / names["config.json"]).write_text("{}")
    (blobs / names["model.safetensors"]).write_bytes(weights)
    for name, blob in names.items():
        (snapshot / name).symlink_to(blobs / blob)
    (hub / "models--owner--name" / "refs").mkdir()
    (hub / "models--owner--name" / "refs" / "main").write_text(COMMIT)
    return snapshot


@pytest.mark.usefixtures("published")
def test_a_model_of_the_hub_is_its_commit():
    assert fingerprint("owner/name") == fingerprint("owner/name", COMMIT) == COMMIT


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_model_of_the_hub_that_was_edited_is_not(published, name):
    overwrite((published / name).resolve(), 0, b"[]")
    edited = fingerprint("owner/name", COMMIT)
    assert edited == fingerprint(str(published), None) != COMMIT


def test_one_tensor_set_to_zero_makes_another_model(tmp_path):
    """The engine's identity, which names the shelf of the store and is part of MLflow's digest of the model."""
    from safetensors.torch import load_file, save_file
    from transformers import LlamaConfig

    from tests.support.tiny_models import SETTINGS, write_tiny
    from valstab.engines.huggingface.engine import TransformersEngine

    model = write_tiny(tmp_path / "llama", LlamaConfig(**SETTINGS))
    before = TransformersEngine(model, "none", device="cpu").identity
    file = tmp_path / "llama" / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][-1, -1] = 0
    save_file(tensors, file, metadata={"format": "pt"})
    after = TransformersEngine(model, "none", device="cpu").identity
    assert {name for name in before if before[name] != after[name]} == {"weights"}


def test_an_adapter_is_identified_with_the_model_that_it_changes(checkpoint, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"a change")
    alone = fingerprint(str(adapter))
    names = adapter / "adapter_config.json"
    names.write_text(json.dumps({"base_model_name_or_path": str(checkpoint)}))
    before = fingerprint(str(adapter))
    overwrite(checkpoint / "model.safetensors", WEIGHTS_BYTES // 2, b"x")
    assert len({alone, before, fingerprint(str(adapter))}) == 3
    names.write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "not there")}))
    assert fingerprint(str(adapter)) not in {alone, before}
