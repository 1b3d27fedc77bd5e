"""One run from its configuration to its results: plan, converse, ask, score, measure, track."""

import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import matplotlib.pyplot as plt
import pandas as pd
from hydra.utils import get_class
from omegaconf import OmegaConf
from rich.console import Console

from valstab.ask import ask
from valstab.config import Config
from valstab.converse import Conversation, converse
from valstab.engine import Engine
from valstab.estimate import GIB, estimate
from valstab.inputs import inputs
from valstab.parts import Gathered, together, write_part
from valstab.plan import Plan
from valstab.plots import figures
from valstab.progress import Stage, display
from valstab.report.page import write_report
from valstab.results import Results, Work, measure, profiles
from valstab.store import Shelf, Store
from valstab.summary import describe, summarise
from valstab.track import Tracking, run_name, tell_part, tell_results, tracked_run
from valstab.window import require_fit

NO_TAGS: Mapping[str, str] = MappingProxyType({})


def run(config: Config, plan: Plan, folder: Path, tags: Mapping[str, str] = NO_TAGS) -> Results | None:
    """Do what the plan says, print the summary, and log one MLflow run with the given `tags` and its own.

    Every result is written to `folder` as soon as it is there, so that nothing computed is lost. A part of a run
    (`config.parts`) has no results of its own: what it made waits in `folder` for `conclude_parts`.

    Raises:
        EngineError: if the model can't be loaded or run.
    """
    with _tracked(config, plan, folder, tags) as tracking:
        gathered = _gather(config, plan, folder, tracking)
        if plan.parts == 1:
            return _conclude(config, plan, gathered, folder, tracking)
        write_part(gathered, folder)
        tell_part(tracking.record)
        tracking.end("FINISHED")
        Console(highlight=False, soft_wrap=True).print(f"part {plan.part} of {plan.parts}  {folder}")
        return None


def conclude_parts(
    config: Config, plan: Plan, parts: Sequence[Path], folder: Path, tags: Mapping[str, str] = NO_TAGS
) -> Results:
    """Put the parts of a run together, from their results folders, as one MLflow run.

    Args:
        config: of the whole run.
        plan: of the whole run.
        parts: the results folder of each part.
        folder: for the results of the whole.
        tags: of the MLflow run.

    Raises:
        ConfigError: if the parts do not have all that was planned.
    """
    with _tracked(config, plan, folder, tags) as tracking:
        gathered = together(plan, parts)
        _write_conversations(gathered.conversations, folder)
        _write_answers(gathered, folder)
        return _conclude(config, plan, gathered, folder, tracking)


@contextmanager
def _tracked(config: Config, plan: Plan, folder: Path, tags: Mapping[str, str]) -> Iterator[Tracking]:
    """Open the MLflow run; the whole configuration is written before anything is computed."""
    plain = dataclasses.asdict(config)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(plain), folder / "config.yaml")
    with tracked_run(config, plain, plan, tags, folder) as tracking:
        yield tracking


def _gather(config: Config, plan: Plan, folder: Path, tracking: Tracking) -> Gathered:
    """Hold the conversations and ask the questions."""
    engine = load_engine(config)
    require_fit(plan, engine.window, config.model.name)
    tracking.record.inputs = inputs(config, plan, engine.identity)
    said, answered = shelves(config, plan, engine)
    with display(run_name(config)) as begin:
        start = time.perf_counter()
        talking = begin("conversing", "messages", len(plan.encounters) * plan.n_messages)
        conversations = converse(plan, engine, said, talking)
        _write_conversations(conversations, folder)
        talked = time.perf_counter()
        asking = begin("asking", "questions", plan.questions)
        answers, retests, reused = _ask_all(plan, conversations, engine, answered, asking)
        asked = time.perf_counter()
    work = Work(
        queries_per_second=(plan.questions - reused) / (asked - talked),
        conversing_seconds=talked - start,
        asking_seconds=asked - talked,
        peak_memory_gib=engine.cache.peak_bytes() / GIB,
        encoded_tokens=engine.usage.encoded_tokens,
        generated_tokens=engine.usage.generated_tokens,
        reused_conversations=sum(conversation.reused for conversation in conversations),
        reused_answers=reused,
        shortened_prompts=sum(shortened_prompts(plan, conversation) for conversation in conversations),
        usd=engine.usage.usd,
    )
    used = {**engine.identity, **engine.properties}
    gathered = Gathered(conversations, answers, retests, work, used, said.damaged + answered.damaged)
    _write_answers(gathered, folder)
    return gathered


def _conclude(config: Config, plan: Plan, gathered: Gathered, folder: Path, tracking: Tracking) -> Results:
    """Measure, write all results, say what was found, and log it to the open MLflow run."""
    work = gathered.work
    results = measure(gathered.answers, plan.task, config.undefined, permutations=plan.permutations)
    write_results(results, folder, run_name(config))
    write_report(folder / "report.html", plan, results, gathered.conversations, work, title=run_name(config))
    output = Console(highlight=False, markup=False, soft_wrap=True)
    output.print(f"\n{summarise(results, run_name(config), work)}\n")
    if gathered.damaged:
        output.print(
            f"{gathered.damaged} damaged lines of the store were left out, and what was missing was made again"
        )
    output.print(f"files and pictures  {folder}")
    tell_results(tracking.record, results, work, describe(results, work), gathered.engine)
    tracking.end("FINISHED")
    if tracking.record.logged:
        output.print(f"compare runs        mlflow ui  (this is run {tracking.run_id})")
    return results


def _write_answers(gathered: Gathered, folder: Path) -> None:
    gathered.answers.to_parquet(folder / "answers.parquet", index=False)
    if gathered.retests is not None:
        gathered.retests.to_parquet(folder / "retests.parquet", index=False)


def shortened_prompts(plan: Plan, conversation: Conversation) -> int:
    """Count the messages and questions before which the oldest of a conversation was left out."""
    questions = len(plan.task.items) * (1 + plan.retests)
    return conversation.shortened + (questions if conversation.unseen else 0)


def dry_run(config: Config, plan: Plan) -> None:
    """Print what a run would take.

    Raises:
        EngineError: if the model can't be loaded or run.
    """
    start = time.perf_counter()
    engine = load_engine(config)
    require_fit(plan, engine.window, config.model.name)
    said, answered = shelves(config, plan, engine)
    found = estimate(plan, engine, said, answered)
    output = Console(highlight=False, markup=False, soft_wrap=True)
    output.print(f"{run_name(config)}\n\n{found}\n\nmeasured in {time.perf_counter() - start:.0f} s; nothing was kept")


def shelves(config: Config, plan: Plan, engine: Engine) -> tuple[Shelf, Shelf]:
    """Open what the store has of the plan's conversations and answers."""
    store = Store(Path(config.store.path) if config.store.path else None, engine.identity)
    return store.shelf("conversations"), store.shelf(f"answers-{plan.task.name}-n{plan.n_messages}")


def load_engine(config: Config) -> Engine:
    """Make the engine that the configuration names, with its model loaded.

    Raises:
        EngineError: if the model can't be loaded.
    """
    options = dataclasses.asdict(config.engine)
    engine: Engine = get_class(options.pop("_target_"))(
        model=config.model,
        quantization=config.quantization,
        **{name: value for name, value in options.items() if name != "name"},
    )
    return engine


def _ask_all(
    plan: Plan, conversations: Sequence[Conversation], engine: Engine, shelf: Shelf, stage: Stage
) -> tuple[pd.DataFrame, pd.DataFrame | None, int]:
    """Ask everything, then all retests; give the answers, those of the retests, and how many were on the shelf."""
    answers, reused = ask(plan, conversations, engine, shelf, stage)
    retests = []
    for retest in range(1, plan.retests + 1):
        again, known = ask(plan, conversations, engine, shelf, stage, retest=retest)
        retests.append(again.assign(retest=retest))
        reused += known
    return answers, pd.concat(retests, ignore_index=True) if retests else None, reused


def write_results(results: Results, folder: Path, title: str) -> None:
    """Write `profiles.csv`, `stability.json` and the pictures."""
    profiles(results.scores).to_csv(folder / "profiles.csv")
    document = json.dumps(results.document(), indent=1, ensure_ascii=False)
    (folder / "stability.json").write_text(document + "\n", encoding="utf-8")
    pictures = folder / "plots"
    pictures.mkdir(exist_ok=True)
    for name, figure in figures(results, title):
        figure.savefig(pictures / name, dpi=150)
        plt.close(figure)


def _write_conversations(conversations: Iterable[Conversation], folder: Path) -> None:
    with (folder / "conversations.jsonl").open("w", encoding="utf-8") as file:
        for conversation in conversations:
            file.write(json.dumps(conversation.record(), ensure_ascii=False) + "\n")
