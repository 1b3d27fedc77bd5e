"""Settings of small sweeps, and their runs in MLflow."""

from pathlib import Path

import mlflow

ROOT = str(Path(__file__).parents[2])
SMALL = ("population.limit=4", "topics.names=[joke,chess]", "seeds=[0]")
SCRIPTED = ("engine=random", "model.name=scripted")
PERSONA = "engine._target_=tests.support.scripted.PersonaEngine"
FAILING = "engine._target_=tests.support.scripted.FailingEngine"


def logged(folder):
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    return client.search_runs([one.experiment_id for one in client.search_experiments()])


def runs(folder):
    """Return the sweep's run, and the runs of its jobs by number."""
    found = logged(folder)
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    return parent, sorted(children, key=lambda run: int(run.data.tags["sweep.job"]))
