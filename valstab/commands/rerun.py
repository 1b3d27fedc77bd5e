"""Make a finished run again from its folder alone, and say whether it is the same: `python -m valstab rerun RESULTS`.

Everything is computed anew, without the store. The exit code is 1 where something differs, to the last bit.
"""

import json
import shlex
import sys
from datetime import datetime
from pathlib import Path

from valstab.commands.parser import Parser
from valstab.config.exit import fail
from valstab.config.explain import USER_ERRORS
from valstab.config.terminal import say
from valstab.errors import ConfigError

EXPERIMENT = "reruns"
"""The MLflow experiment of such runs: in their own they would replace the runs that they repeat."""


def main(arguments: list[str] | None = None) -> None:
    """Make a run again.

    Raises:
        SystemExit: with one line if it can't be made, and with the differences if there are any.
    """
    parser = Parser(
        prog="python -m valstab rerun",
        description="Make a finished run again from its folder alone, and say whether it is the same.",
    )
    parser.add_argument("results", type=Path, metavar="RESULTS", help="the folder of a run, or its results")
    parser.add_argument("--to", type=Path, help="a new folder for the results (default: below outputs/)")
    options = parser.parse_args(arguments)
    folder = options.to or Path("outputs") / f"{datetime.now().astimezone():%Y-%m-%d/%H-%M-%S-%f}-rerun" / "results"
    try:
        differing = rerun(options.results, folder)
    except USER_ERRORS as error:
        fail(error)
    if differing:
        sys.exit("\n".join(["valstab: not the same:", *(f"  {line}" for line in differing)]))


def rerun(results: Path, folder: Path) -> list[str]:
    """Make a run again, and return how it differs from its earlier results; empty if it is the same.

    Args:
        results: the folder of the run, or that of its results.
        folder: where the new results are written.

    Raises:
        ConfigError: if there are no results, or they can't be made again.
        EngineError: if the model can't be loaded or run.
    """
    from valstab.commands.checked_plan import checked_plan, require_sample_prompts
    from valstab.commands.run import require_own_folder
    from valstab.results.saved_inputs import read_saved

    old = next((each for each in (results, results / "results") if (each / "stability.json").is_file()), None)
    if old is None:
        raise ConfigError("rerun", results, "holds no results; allowed: a run's folder, or the folder results in it")
    require_own_folder(folder)
    config = read_saved(old)
    config.store.path, config.tracking.experiment = None, EXPERIMENT
    plan = checked_plan(config)
    asked = json.loads((old / "stability.json").read_text(encoding="utf-8"))["wording_sha256"]
    if plan.task.digest != asked:
        raise ConfigError("task.items", config.task.items, f"has other questions than {old}, and no copy is there")
    from valstab.results.fitness import UnfitRunError
    from valstab.results.repetition import changed_provenance, differences, size
    from valstab.results.write import UnwrittenError
    from valstab.run import run

    require_sample_prompts(config, plan)
    command = shlex.join(["python", "-m", "valstab", "rerun", str(results)])
    try:
        run(config, plan, folder, {"rerun_of": str(old)}, command)
    except (UnfitRunError, UnwrittenError) as error:  # all that is compared is there
        say(f"note: {error}")
    found = differences(old, folder)
    made_by = changed_provenance(old, folder)
    if not found:
        say(f"\nthe same            {size(folder)}" + (f", though {'; '.join(made_by)}" if made_by else ""))
        return []
    return [*found, *(f"made by {line}" for line in made_by)]
