"""Find a model's weights: a hub id, a folder, or a GGUF file. Imports neither torch nor transformers."""

import importlib.util
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valstab.config.schema import ModelConfig
from valstab.engines.base import EngineError
from valstab.errors import one_line

PACKAGE_PREFIX = "package:"
"""Start of a `model.path` or `model.adapter` in an installed package: `package:PACKAGE/FILE`."""


HUB_TIMEOUT = 10
"""Maximum time for the hub's answer, in seconds."""


PICKLED = (
    "it has no model.safetensors, and only safetensors and GGUF are read, since other weights (.bin) may run code; "
    "where you trust them, AutoModelForCausalLM.from_pretrained(PATH).save_pretrained(FOLDER), and the same with "
    "AutoTokenizer, make a FOLDER for model.path"
)
"""The explanation for a checkpoint without safetensors."""


LOAD_ERRORS = (
    (r"(?:no|have a) file named .*\.safetensors", PICKLED),
    (
        r"(?:contains|references) custom code|trust_remote_code",
        "it has Python code of its own, which runs only with model.trust_remote_code=true: read it before",
    ),
)
"""What transformers and vLLM say, as regular expressions, and the line that is shown instead."""


LOAD_REMEDIES = (
    (r"[Bb]float16 is (?:only|not) supported", "set model.dtype=float16"),
    (r"KV cache|max_model_len", "set engine.max_model_len to a smaller number"),
    (r"gpu_memory_utilization", "set engine.gpu_memory_utilization to another number, up to 1"),
    (r"out of memory|can't allocate memory", "set model.quantization=4bit, or take a smaller model"),
)
"""The same, and what to do, which is added to it."""


MAX_SHOWN_CHARACTERS = 300
"""Maximum number of characters of a library's text in an error."""


HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""An id on the Hugging Face hub."""


def require_path(model: ModelConfig) -> str:
    """Return the model's path.

    Raises:
        EngineError: if it has none.
    """
    if model.path is None:
        raise EngineError(f"model={model.name} has no weights; give model.path, or use engine=random")
    return model.path


def require_checkpoint(model: ModelConfig) -> None:
    """Check that the model's weights exist, without importing what would load them.

    Raises:
        EngineError: if there is nothing at `model.path`, or the hub can't be reached.
    """
    _find(require_path(model))


def locate_checkpoint(path: str) -> str:
    """Return the folder or hub id that transformers loads `path` from; a GGUF file is unpacked first.

    Raises:
        EngineError: if there is nothing at `path`, or the hub can't be reached.
    """
    from valstab.engines.gguf import unpack

    file = _find(path)
    if file is None:
        return path
    return str(file if file.is_dir() else unpack(file))


def find_locally(key: str, path: str) -> Path:
    """Return where a path of a model is on this machine, whether or not there is something.

    Args:
        key: the model's setting.
        path: its value: a path, or `package:NAME/FILE`.

    Raises:
        EngineError: if the package is not installed.
    """
    if not path.startswith(PACKAGE_PREFIX):
        return Path(path).expanduser()
    package, _, name = path.removeprefix(PACKAGE_PREFIX).partition("/")
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(f"model.{key}={path}: the package {package} is not installed")
    return Path(spec.submodule_search_locations[0]) / name


def _find(path: str) -> Path | None:
    """Return the folder or GGUF file at `path`, or None if it is the id of a model on the hub."""
    file = find_locally("path", path)
    if file.is_dir():
        return file
    if file.suffix != ".gguf" and HUB_ID.fullmatch(path):
        _require_on_hub(path)
        return None
    if not file.is_file():
        raise EngineError(f"model.path={path}: no such file or folder, nor a hub id such as OWNER/NAME")
    return file


def require_own_safetensors(path: str) -> None:
    """Check that the index of a folder's weights names safetensors in that folder only.

    transformers would read any file that it names, a pickle among them.

    Raises:
        EngineError: if it names another file, or can't be read.
    """
    index = Path(path) / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise EngineError(f"model.path={path}: {index.name} can't be read") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
            raise EngineError(
                f"model.path={path}: {index.name} names {name!r}; only safetensors in the same folder are read"
            )


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Let a block end in one line, whatever is wrong with the files that it reads.

    Args:
        what: what can't be loaded.

    Raises:
        EngineError: for any error; its cause is the error itself.
    """
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # of transformers and the libraries below it, which expect well-formed files
        raise EngineError(f"{what} can't be loaded: {explain_load_error(error)}") from error


def explain_load_error(error: Exception) -> str:
    """Explain in one line why a checkpoint can't be loaded, and what helps."""
    text = one_line(str(error))
    if not isinstance(error, OSError | ValueError | RuntimeError | ImportError):
        text = f"{type(error).__name__}: {text}"
    known = next((line for pattern, line in LOAD_ERRORS if re.search(pattern, text)), None)
    if known is not None:
        return known
    what = [remedy for pattern, remedy in LOAD_REMEDIES if re.search(pattern, text)]
    return "; ".join([text[:MAX_SHOWN_CHARACTERS], *what])


def _require_on_hub(name: str) -> None:
    """Check that a model is in the cache or, with one request, on the hub: loading it would retry for a minute."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    if try_to_load_from_cache(name, "config.json") is not None:
        return
    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT)
    except Exception as error:  # whatever kept the hub from answering
        raise EngineError(
            f"model.path={name}: not in the Hugging Face cache, and the hub does not give it "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}); run `hf download {name}` on a machine that "
            "reaches the hub and copy its cache here, or set model.path to a folder with the weights"
        ) from error
