"""Where a model's weights are: a hub id, a folder, or a GGUF file that is unpacked once."""

import copy
import hashlib
import importlib.util
import re
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import platformdirs
from filelock import FileLock

from valstab.engines.base import EngineError

PACKAGE_PREFIX = "package:"


BLOCK_BYTES = 1 << 16


NO_SAFETENSORS = re.compile(r"no file named .*\.safetensors|not appear to have a file named .*\.safetensors")


PICKLED = (
    "it has no model.safetensors, and only safetensors and GGUF are read, since other weights (.bin) may run code; "
    "where you trust them, AutoModelForCausalLM.from_pretrained(PATH).save_pretrained(FOLDER), and the same with "
    "AutoTokenizer, make a FOLDER for model.path"
)


OWN_CODE = "it has Python code of its own, which runs only with model.trust_remote_code=true: read it before"


HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def locate_checkpoint(path: str) -> str:
    """Give what transformers loads `path` from: a folder or a hub id.

    A GGUF file is unpacked to float32 safetensors in the user's cache, under the hash of its content and the version of
    transformers, since what one version writes another may read wrongly.

    Raises:
        EngineError: if there is nothing at `path`, or the hub can't be reached.
    """
    file = _file_in_package(path) if path.startswith(PACKAGE_PREFIX) else Path(path).expanduser()
    if file.is_dir():
        return str(file)
    if file.suffix != ".gguf" and HUB_ID.fullmatch(path):
        _require_on_hub(path)
        return path
    if not file.is_file():
        raise EngineError(f"model.path={path}: no such file or folder, nor a hub id such as OWNER/NAME")
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    models = platformdirs.user_cache_path("valstab", ensure_exists=True) / "models"
    models.mkdir(exist_ok=True)
    folder = models / f"{file.stem}-{digest[:16]}-{version('transformers')}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _unpack(file, folder)
    return str(folder)


def fingerprint(source: str, commit: str | None) -> str:
    """Tell a checkpoint from any other: its commit on the hub, or a hash of a folder's files.

    Of large files the size and 64 blocks, evenly spaced, are hashed: training changes all weights.
    """
    if commit is not None:
        return commit
    digest = hashlib.sha256()
    for file in sorted(path for path in Path(source).iterdir() if path.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.name} {size} ".encode())
        with file.open("rb") as opened:
            for place in range(0, size, max(BLOCK_BYTES, size // 64)):
                opened.seek(place)
                digest.update(opened.read(BLOCK_BYTES))
    return digest.hexdigest()


def explain_load_error(error: Exception) -> str:
    """Say in one line why a checkpoint can't be loaded, and what helps."""
    text = " ".join(str(error).split())
    if NO_SAFETENSORS.search(text):
        return PICKLED
    return OWN_CODE if "contains custom code" in text or "references custom code" in text else text[:300]


def _require_on_hub(name: str) -> None:
    """Ask once whether the hub has a model that is not in the cache: loading it would retry for a minute."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if try_to_load_from_cache(name, "config.json") is not None:
        return
    try:
        HfApi().model_info(name, timeout=10)
    except Exception as error:  # whatever kept the hub from answering
        raise EngineError(
            f"model.path={name}: not in the Hugging Face cache, and the hub does not give it "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); run `hf download {name}` on a machine that "
            "reaches the hub and copy its cache here, or set model.path to a folder with the weights"
        ) from error


def _file_in_package(path: str) -> Path:
    package, _, name = path.removeprefix(PACKAGE_PREFIX).partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(f"model.path={path}: the package {package} is not installed")
    return Path(spec.submodule_search_locations[0]) / name


def _unpack(file: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    own_code = {"trust_remote_code": False}  # left out, transformers would ask at the terminal
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **own_code)
    packed = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32", **own_code)
    config = copy.deepcopy(packed.config)
    # A model that remembers how it was packed can't be saved, so its weights move to a fresh one.
    vars(config).pop("quantization_config", None)  # the oldest versions of transformers do not set it
    plain = AutoModelForCausalLM.from_config(config, dtype="float32")
    plain.load_state_dict(packed.state_dict())
    plain.generation_config = packed.generation_config
    unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    try:
        plain.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
