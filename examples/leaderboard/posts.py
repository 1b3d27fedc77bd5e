# ruff: noqa: INP001
"""Make openings for `topics.posts` from collections of what people wrote, in JSON lines.

    python examples/leaderboard/posts.py wildchat.jsonl sharegpt.jsonl --to posts.jsonl
    python -m valstab +experiment=leaderboard topics.posts=posts.jsonl model=...

Each line is an object as in WildChat (`conversation`: role and content), ShareGPT (`conversations`: from, value) or a
dump of Reddit (`selftext` or `body`). Of a conversation the first message counts, if a person wrote it. Texts of 30 to
300 words are drawn without repetition.
"""

import argparse
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PEOPLE = ("user", "human")
"""Roles of messages that a person wrote."""


def first_text(record: Mapping[str, Any]) -> str:
    """Return what a person wrote first in a record, or nothing."""
    for name, role, text in (("conversation", "role", "content"), ("conversations", "from", "value")):
        if messages := record.get(name):
            first = messages[0]
            return str(first.get(text) or "") if first.get(role) in PEOPLE else ""
    return str(record.get("selftext") or record.get("body") or record.get("text") or "")


def texts(files: list[Path], language: str, shortest: int, longest: int) -> Iterator[str]:
    """Yield the texts of some files that are of a length in words, and of a language where records name one."""
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for line in filter(str.strip, lines):
                record = json.loads(line)
                text = first_text(record).strip()
                if record.get("language", language) == language and shortest <= len(text.split()) <= longest:
                    yield text


def main(arguments: list[str] | None = None) -> None:
    """Write the posts.

    Raises:
        SystemExit: if there are too few texts.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--to", type=Path, required=True, help="the new file")
    parser.add_argument("--chunks", type=int, default=5)
    parser.add_argument("--people", type=int, default=50, help="posts of each chunk")
    parser.add_argument("--language", default="English", help="as the records name it")
    parser.add_argument("--words", type=int, nargs=2, default=(30, 300), metavar=("MIN", "MAX"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    found = sorted(set(texts(options.files, options.language, *options.words)))
    wanted = options.chunks * options.people
    if len(found) < wanted:
        parser.exit(1, f"{len(found)} texts are of this length, and {wanted} are needed\n")
    drawn = random.Random(options.seed).sample(found, wanted)  # noqa: S311 - no secret
    with options.to.open("w", encoding="utf-8") as file:
        for number, text in enumerate(drawn):
            row = {"topic": f"chunk_{number // options.people}", "text": text}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
