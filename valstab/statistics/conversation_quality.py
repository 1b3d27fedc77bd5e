"""Flaws of conversations: messages that are empty, repeated, out of the role, or cut off.

Pure functions of the records in `conversations.jsonl`. Stability can be computed again without flawed conversations,
to check whether it depends on them.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr

FLAWS = ("empty", "repeated", "persona_break", "label_leak", "cut_off")


SERIOUS = FLAWS[:-1]
"""All flaws but cut-off messages: these say little about the quality of a conversation."""


SESSION_COLUMNS = ["seed", "context", "persona"]


PERSONA_BREAK = re.compile(
    r"""
    \b(?:
        as \s an? \s (?:large \s)? (?:ai|artificial \s intelligence|(?:text-based \s)?(?:ai \s)?language \s model|chatbot)\b
      | i(?:\ am|'m) \s (?:just \s|only \s|actually \s)? an? \s (?:large \s)? (?:ai|artificial \s intelligence|language \s model)\b
      | i \s (?:don't|do \s not) \s have \s (?:any \s)? personal \s (?:opinions|feelings|beliefs|experiences|preferences)
      | i \s (?:can't|cannot|can \s not|won't|will \s not|am \s (?:not \s able|unable) \s to) \s
        (?:assist|help \s (?:you \s)? with \s (?:that|this)|fulfil|comply|engage \s in|pretend \s to \s be|role-?play|provide \s (?:that|this)|continue \s with \s (?:that|this))
      | (?:trained|developed) \s by \s (?:openai|meta \s ai|anthropic|google|mistral|alibaba|hugging \s face)
    )
    """,  # noqa: E501
    re.IGNORECASE | re.VERBOSE,
)


ROLES = "user|assistant|human|chatbot|context|system"


CONTROL_MARK = r"<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>"


CUT_ENDS = ",;:-\u2013\u2014(["
"""Characters that show a cut-off message at its end, as letters, marks and digits do."""


def inspect(conversations: Iterable[Mapping[str, Any]], max_new_tokens: int = 100) -> pd.DataFrame:
    """Count the flaws of the generated messages of each conversation, of both speakers.

    Args:
        conversations: records with seed, context, persona and messages, each with a text. The first message
            is the topic's opening: it is neither generated nor inspected.
        max_new_tokens: the longest message, in tokens.

    Returns:
        One row a conversation: seed, context, persona, messages (how many were generated), and how many of them are
        empty; repeated (an earlier message, up to case and white space); persona_break (called itself an AI, or
        refused); label_leak (a role's or the persona's label at the start of a line, or a special token);
        cut_off (as `seems_cut` guesses).
    """
    rows = []
    for record in conversations:
        texts = [str(message["text"]) for message in record["messages"]]
        counts = dict.fromkeys(FLAWS, 0)
        label = _label(str(record["persona"]))
        seen = {_plain(text) for text in texts[:1]}
        for text in texts[1:]:
            for flaw in _flaws(text, seen, label, max_new_tokens):
                counts[flaw] += 1
            seen.add(_plain(text))
        labels = {name: record[name] for name in SESSION_COLUMNS}
        rows.append({**labels, "messages": max(0, len(texts) - 1), **counts})
    return pd.DataFrame(rows, columns=[*SESSION_COLUMNS, "messages", *FLAWS])


def seems_cut(text: str, max_new_tokens: int) -> bool:
    """Check whether a generated message seems to have ended at its limit of tokens.

    This is a guess, since engines return text only: the message has at least as many characters as the limit has
    tokens, and ends in the middle of a sentence.
    """
    text = text.rstrip()
    if not text or len(text) < max_new_tokens:
        return False
    return text[-1] in CUT_ENDS or unicodedata.category(text[-1])[0] in "LMN"


def cut_messages(texts: Sequence[str], max_new_tokens: int) -> list[int]:
    """Return the indices of messages that seem cut off; the opening (index 0) is not generated and left out."""
    return [place for place, text in enumerate(texts) if place and seems_cut(text, max_new_tokens)]


def by_context(flags: pd.DataFrame) -> pd.DataFrame:
    """Summarise the table of `inspect` for each context, in order of appearance.

    Returns:
        By context: conversations and messages (numbers), the share of messages with each flaw (NaN without messages),
        and affected: the share of conversations with a flaw other than a cut-off message.
    """
    groups = flags.groupby("context", sort=False)
    sums = groups[["messages", *FLAWS]].sum()
    shares = sums[list(FLAWS)].div(sums["messages"].where(sums["messages"] > 0), axis=0)
    affected = _affected(flags, SERIOUS).groupby(flags["context"], sort=False).mean()
    numbers = pd.DataFrame({"conversations": groups.size(), "messages": sums["messages"]})
    return numbers.join(shares).join(affected.rename("affected"))


def without_affected(scores: xr.DataArray, flags: pd.DataFrame, flaws: Sequence[str] = SERIOUS) -> xr.DataArray:
    """Return the scores without those after flawed conversations, for a sensitivity analysis.

    Args:
        scores: dimensions seed, context, persona, key.
        flags: as `inspect` returns them, of at least the same conversations.
        flaws: columns of `flags` that count as flaws; by default all but cut-off messages.

    Returns:
        The scores, all of an affected seed, context and persona NaN.

    Raises:
        ValueError: if a conversation was not inspected, or was twice.
    """
    affected = _affected(flags, flaws)
    affected.index = pd.MultiIndex.from_frame(flags[SESSION_COLUMNS])
    if affected.index.has_duplicates:
        raise ValueError(f"the conversation {affected.index[affected.index.duplicated()][0]} was inspected twice")
    levels = [scores[name].to_numpy().tolist() for name in SESSION_COLUMNS]
    every = pd.MultiIndex.from_product(levels, names=SESSION_COLUMNS)
    unknown = every.difference(affected.index)
    if len(unknown):
        raise ValueError(f"the conversation {unknown[0]} was not inspected")
    broken = affected.reindex(every).to_numpy(dtype=bool).reshape([len(level) for level in levels])
    return scores.where(~xr.DataArray(broken, dims=SESSION_COLUMNS))


def _affected(flags: pd.DataFrame, flaws: Sequence[str]) -> pd.Series:
    return flags[list(flaws)].sum(axis=1) > 0


def _flaws(text: str, seen: set[str], label: re.Pattern[str], max_new_tokens: int) -> list[str]:
    if not text.strip():
        return ["empty"]
    found = {
        "repeated": _plain(text) in seen,
        # Models write both kinds of apostrophes.
        "persona_break": PERSONA_BREAK.search(text.replace("\u2019", "'")) is not None,
        "label_leak": label.search(text) is not None,
        "cut_off": seems_cut(text, max_new_tokens),
    }
    return [flaw for flaw, is_there in found.items() if is_there]


def _label(persona: str) -> re.Pattern[str]:
    speakers = rf"(?:{ROLES}|{re.escape(persona)})(?:\ ?\(chatbot\))?"
    return re.compile(rf"^\W*{speakers}[^\w\n]*:|{CONTROL_MARK}", re.IGNORECASE | re.MULTILINE)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
