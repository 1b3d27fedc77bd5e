"""The recipe of a run: converse, ask, measure, write, track, draw, print."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from valstab.config.labels import run_name
from valstab.config.schema import Config
from valstab.engines.base import Engine
from valstab.engines.factory import as_interlocutor, as_judge, load_engine
from valstab.protocol.ask import ask_all
from valstab.protocol.collected import CollectedData, StageTimes, run_cost
from valstab.protocol.context_window import require_fit, require_interlocutor_fit, require_judge_fit
from valstab.protocol.converse import Speaker, converse
from valstab.protocol.open_answers import answer_openly
from valstab.protocol.plan import Plan
from valstab.protocol.progress import display
from valstab.protocol.sample_prompts import question_as_messages, rendered_question
from valstab.protocol.store import open_conversations, open_judged, open_store
from valstab.results.fitness import unfit_error, why_withheld
from valstab.results.interim import InterimEstimate
from valstab.results.methods import methods, tables
from valstab.results.report.page import write_report
from valstab.results.results import Results, measure
from valstab.results.saved_inputs import copy_inputs
from valstab.results.summary import describe, print_summary
from valstab.results.write import (
    set_aside,
    unwritten_error,
    write_answers,
    write_config,
    write_conversations,
    write_methods,
    write_pictures,
    write_prompt,
    write_provenance,
    write_results,
)
from valstab.tracking.datasets import describe_datasets
from valstab.tracking.metrics import log_results
from valstab.tracking.provenance import provenance
from valstab.tracking.run import tracked_run

NO_TAGS: Mapping[str, str] = MappingProxyType({})


def run(config: Config, plan: Plan, folder: Path, tags: Mapping[str, str] = NO_TAGS, command: str = "") -> Results:
    """Run a plan, write and print its results, and log one MLflow run.

    Each result is written to `folder` as soon as it exists, so that an error loses nothing that was computed. Numbers
    are written and logged before pictures are drawn, and these before anything is printed.

    Args:
        config: the configuration.
        plan: the plan that `make_plan` returns for it.
        folder: folder of the results.
        tags: additional tags of the MLflow run.
        command: the command line, for `provenance.json`.

    Returns:
        The scores and stabilities.

    Raises:
        EngineError: if the model can't be loaded or run.
        TrackingError: if MLflow can't be used with its settings.
        UnfitRunError: if too many answers are unread or messages empty for a headline; all is written before.
        UnwrittenError: if a picture or the report can't be made; all else is written before.
        OutputError: if the summary can't be printed; all is written and logged before.
    """
    title = run_name(config)
    made_by = provenance(command)
    write_config(config, folder)
    write_provenance(made_by, folder)
    copy_inputs(config, folder)
    with tracked_run(config, plan, tags, folder) as tracking:
        engine = load_engine(config)
        require_fit(plan, engine.window, config.model.name)
        interlocutor = None if plan.interlocutor_format is None else load_engine(as_interlocutor(config))
        if interlocutor is not None:
            require_interlocutor_fit(plan, interlocutor.window, config.interlocutor.name)
        judge = load_engine(as_judge(config)) if plan.task.rubric and config.judge.model else None
        if plan.task.rubric:
            require_judge_fit(plan, (judge or engine).window, config.judge.name)
        tracking.record.inputs = describe_datasets(config, plan, engine.identity)
        data = collect(config, plan, engine, folder, interlocutor, judge=judge)
        withheld = why_withheld(data, config)
        results = measure(
            data.answers, plan.task, config.undefined, without_personas=plan.without_personas, withheld=withheld
        )
        made_by["engine"] = data.engine
        write_provenance(made_by, folder)
        write_results(results, folder)
        log_results(tracking.record, results, data.cost, describe(results, data.cost), data.engine)
        unfit = unfit_error(results)
        tracking.end("FAILED" if unfit else "FINISHED", unfit)
        # What is written and logged by now, nothing changes any more.
        problems: list[str] = []
        write_pictures(results, folder, title, problems)
        with set_aside(problems, "methods.md"):
            write_methods(methods(config, plan, results, made_by), tables(results), folder)
        with set_aside(problems, "report.html"):
            prompt = rendered_question(plan, engine, data.conversations)
            write_prompt(prompt or question_as_messages(plan, data.conversations), folder)
            report = folder / "report.html"
            write_report(report, plan, results, data.conversations, data.cost, title=title, prompt=prompt)
        error = unfit or unwritten_error(problems, folder)
        tracking.complete(error)
        print_summary(results, title, data, folder)
        tracking.print_location()
        if error:
            raise error
    return results


def collect(
    config: Config,
    plan: Plan,
    engine: Engine,
    folder: Path,
    interlocutor: Engine | None = None,
    *,
    judge: Engine | None = None,
) -> CollectedData:
    """Generate the plan's conversations and ask its questions; write both to `folder`.

    Args:
        config: the configuration.
        plan: its plan.
        engine: the tested model.
        folder: folder of the results.
        interlocutor: another model that speaks with it; None for a second instance.
        judge: another model that rates its answers, where the task has a rubric; None for itself.
    """
    conversation_log, answer_log = open_store(config.store.path, plan, engine, config.model.name)
    other = None if interlocutor is None else open_speaker(config, interlocutor)
    rater = open_judge(config, plan, judge or engine) if plan.task.rubric else None
    logs = [conversation_log, answer_log, *(each.log for each in (other, rater) if each)]
    usage = engine.usage
    with display(run_name(config), tokens=lambda: usage.encoded_tokens + usage.generated_tokens) as begin:
        start = time.perf_counter()
        stage = begin(
            "conversing", "messages", len(plan.conversing) * plan.n_messages, f"{plan.n_questions:,} questions"
        )
        conversations = converse(plan, engine, conversation_log, stage, other)
        write_conversations(conversations, folder)
        conversed = time.perf_counter()
        said: Sequence[Sequence[Sequence[str]]] = ()
        if rater is not None:
            stage = begin("answering", "answers", plan.n_questions, f"{plan.n_questions:,} ratings")
            said = answer_openly(plan, conversations, engine, answer_log, stage)
        asker, log = rater or Speaker(engine, answer_log)
        stage = begin(*("judging", "ratings") if said else ("asking", "questions"), plan.n_questions)
        interim = InterimEstimate(plan, config.undefined)
        asked = ask_all(plan, conversations, asker, log, stage, note=interim.text, said=said)
        times = StageTimes(conversed - start, time.perf_counter() - conversed)
    data = CollectedData(
        conversations=conversations,
        answers=asked.answers,
        retests=asked.retests,
        cost=run_cost(
            plan,
            conversations,
            [each for each in (engine, interlocutor, judge) if each],
            times,
            reused_answers=asked.reused,
        ),
        engine=describe_engines(engine, interlocutor=interlocutor, judge=judge),
        damaged=[line for log in logs for line in log.damaged],
    )
    write_answers(data, folder)
    return data


def open_speaker(config: Config, interlocutor: Engine) -> Speaker:
    """Return another model as the interlocutor, with what it has said before."""
    return Speaker(interlocutor, open_conversations(config.store.path, interlocutor, config.interlocutor.name))


def open_judge(config: Config, plan: Plan, judge: Engine) -> Speaker:
    """Return the judge of a task with a rubric, with its ratings so far."""
    name = config.model.name if config.judge.model is None else config.judge.name
    return Speaker(judge, open_judged(config.store.path, plan, judge, name))


def describe_engines(engine: Engine, **others: Engine | None) -> dict[str, str]:
    """Return what describes the tested model, and what determines the texts of others, under names with their roles."""
    of_others = {
        f"{role}_{name}": text for role, other in others.items() if other for name, text in other.identity.items()
    }
    return {**engine.identity, **engine.properties, **of_others}
