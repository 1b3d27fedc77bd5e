"""Where the weights of GGUF files are unpacked to."""

import errno
import fcntl
import os

import pytest

from valstab.engines import gguf
from valstab.engines.base import EngineError


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A GGUF file, of which the converter only copies the content."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def convert(file, folder):
        folder.mkdir()
        (folder / "weights").write_bytes(file.read_bytes())

    monkeypatch.setattr(gguf, "_convert", convert)
    (tmp_path / "m.gguf").write_bytes(b"some")
    return tmp_path / "m.gguf"


def test_a_file_system_without_locks_is_no_obstacle(packed, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    folder = gguf.unpack(packed)
    assert (folder / "weights").read_bytes() == b"some"
    assert gguf.unpack(packed) == folder


def test_a_cache_that_can_not_be_written_is_named_with_its_variable(packed, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(EngineError, match=r"m\.gguf can't be unpacked to .*cache.*; set XDG_CACHE_HOME to a folder"):
        gguf.unpack(packed)
