"""Hold the conversations of the tested model, as a persona, with a second instance of it, as a human (paper, 3.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from valstab.engine import Continuation, Engine
from valstab.plan import Encounter, Plan
from valstab.prompts import TESTED_ROLES, reply_prompt, stop_pattern
from valstab.streams import stream_seed


@dataclass(frozen=True)
class Conversation:
    """What was said in an encounter: the opening, then the generated messages; nothing in the neutral context."""

    encounter: Encounter
    texts: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Give the conversation as plain data: seed, context, persona, and messages with role and text."""
        seed, context, persona = self.encounter.labels
        messages = [{"role": TESTED_ROLES[i % 2], "text": text} for i, text in enumerate(self.texts)]
        return {"seed": seed, "context": context, "persona": persona, "messages": messages}


def converse(plan: Plan, engine: Engine, advance: Callable[[], None]) -> list[Conversation]:
    """Hold every conversation of the plan, all of them one message further at a time.

    A message depends on what was said before and on the random stream of its seed, context, persona and
    number alone. `advance` is called after each message.
    """
    encounters = plan.encounters
    texts = [[encounter.context.opening] if encounter.context.opening else [] for encounter in encounters]
    for number in range(plan.n_messages):
        requests = [
            Continuation(
                prompt=reply_prompt(plan.form, encounter.persona, said),
                seed=stream_seed("message", *encounter.labels, number),
                max_new_tokens=plan.max_new_tokens,
                stop=stop_pattern(plan.form, encounter.persona),
            )
            for encounter, said in zip(encounters, texts, strict=True)
        ]
        for index, text in engine.continue_dialogues(requests):
            texts[index].append(text)
            advance()
    return [Conversation(encounter, tuple(said)) for encounter, said in zip(encounters, texts, strict=True)]
