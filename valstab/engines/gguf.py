"""Unpack the quantised weights of a GGUF file to a folder that transformers loads quickly."""

import copy
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import platformdirs
from filelock import FileLock

from valstab.engines.base import EngineError
from valstab.engines.fingerprint import file_digest

MAX_WAIT_SECONDS = 1800
"""Maximum time for which another process that unpacks the same file is waited for, in seconds."""


def unpack(file: Path) -> Path:
    """Return a folder with a GGUF file's weights as float32 safetensors, in the user's cache.

    The folder is named by a hash of the file's content and the version of transformers, since versions read the same
    file in different ways. A folder that exists already is reused.

    Raises:
        EngineError: if the cache can't be written.
    """
    digest = file_digest(file)
    models = platformdirs.user_cache_path("valstab") / "models"
    try:
        models.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineError(
            f"the weights of {file.name} can't be unpacked to {models} ({error.strerror}); set XDG_CACHE_HOME to a "
            "folder that can be written to"
        ) from error
    folder = models / f"{file.stem}-{digest[:16]}-{version('transformers')}"
    lock = FileLock(f"{folder}.lock")
    # A file system without locks, or a process that hangs: several may then unpack, and the first folder stays.
    with suppress(OSError, NotImplementedError):
        lock.acquire(timeout=MAX_WAIT_SECONDS)
    try:
        if not folder.exists():
            _convert(file, folder)
    finally:
        lock.release()
    return folder


def _convert(file: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    own_code = {"trust_remote_code": False}  # left out, transformers would ask at the terminal
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **own_code)
    packed = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32", **own_code)
    config = copy.deepcopy(packed.config)
    # A model that was loaded quantised can't be saved, so its weights move to a new one.
    vars(config).pop("quantization_config", None)  # the oldest versions of transformers do not set it
    plain = AutoModelForCausalLM.from_config(config, dtype="float32")
    plain.load_state_dict(packed.state_dict())
    plain.generation_config = packed.generation_config
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        plain.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
