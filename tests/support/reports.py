"""Reports of small studies, made without MLflow."""

import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tests.support.composed import compose_run
from valstab.engines.factory import load_engine
from valstab.protocol.ask import ask
from valstab.protocol.collected import RunCost
from valstab.protocol.converse import Conversation, converse
from valstab.protocol.plan import Plan, make_plan
from valstab.protocol.progress import Stage
from valstab.protocol.store import open_store
from valstab.results.report.page import write_report
from valstab.results.results import Results, measure

HOSTILE = ("engine=random", "model.name=scripted", "engine._target_=tests.support.scripted.HostileEngine")
"""Overrides for a model whose messages are markup."""
COST = RunCost(
    queries_per_second=12.5,
    conversing_seconds=3.0,
    asking_seconds=4.0,
    peak_memory_gib=1.5,
    encoded_tokens=1000,
    generated_tokens=200,
    reused_conversations=0,
    reused_answers=0,
)


@dataclass(frozen=True)
class Study:
    """A report and the data that it shows."""

    plan: Plan
    conversations: list[Conversation]
    results: Results
    path: Path
    seconds: float
    """Duration of writing the report, in seconds."""

    @property
    def answers(self) -> pd.DataFrame:
        return self.results.answers


PROMPT = "<|user|>\nHow?</script><img><|assistant|>\nAnswer: ("


def study(path, *overrides, said=None):
    """Make a study and its report; `said` returns the texts that replace those of a conversation."""
    config = compose_run("store.path=null", *overrides)
    plan = make_plan(config)
    engine = load_engine(config)
    conversation_log, answer_log = open_store(config.store.path, plan, engine)
    conversations = converse(plan, engine, conversation_log, Stage("conversing", "messages", 0))
    answers = ask(plan, conversations, engine, answer_log, Stage("asking", "questions", 0)).answers
    if said is not None:
        conversations = [Conversation(one.session, said(one)) for one in conversations]
    results = measure(answers, plan.task, config.undefined, without_personas=plan.without_personas)
    start = time.perf_counter()
    write_report(path, plan, results, conversations, COST, title="A <title> & more", prompt=PROMPT)
    return Study(plan, conversations, results, path, time.perf_counter() - start)
