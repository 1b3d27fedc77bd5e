"""One loader under atheris: python -m tests.robustness.guided LOADER LOG [libFuzzer's options] CORPUS."""

import json
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["valstab"]):
    from tests.robustness.inputs import LOADERS, violation

LOGGED = 100


def main() -> None:
    """Fuzz, and write the number of inputs and each new kind of violation to the log as they come."""
    name, log = sys.argv[1], Path(sys.argv[2])
    count, seen = 0, set()

    def attempt(content: bytes) -> None:
        nonlocal count
        count += 1
        said = violation(LOADERS[name], content)
        lines = [{"count": count}] if count % LOGGED == 0 else []
        if said and said[:60] not in seen:
            seen.add(said[:60])
            lines.append({"said": said[:60], "content": content.hex()})
        if lines:
            with log.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)

    atheris.Setup([sys.argv[0], *sys.argv[3:]], attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
