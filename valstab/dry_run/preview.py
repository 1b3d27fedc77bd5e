"""Print what a run would take, without running it (`dry_run=true`)."""

import time

from valstab.config.labels import run_name
from valstab.config.schema import Config
from valstab.config.terminal import say
from valstab.dry_run.estimate import estimate
from valstab.engines.factory import load_engine
from valstab.protocol.context_window import require_fit
from valstab.protocol.plan import Plan
from valstab.protocol.store import open_store


def preview(config: Config, plan: Plan) -> None:
    """Print an estimate of a run: conversations, questions, tokens, time, memory, disk and price.

    Raises:
        EngineError: if the model can't be loaded or run.
    """
    start = time.perf_counter()
    engine = load_engine(config)
    require_fit(plan, engine.window, config.model.name)
    estimated = estimate(plan, engine, *open_store(config.store.path, plan, engine))
    say(f"{run_name(config)}\n\n{estimated}\n\nmeasured in {time.perf_counter() - start:.0f} s; nothing was stored")
