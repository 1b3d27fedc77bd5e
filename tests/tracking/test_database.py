"""A new MLflow database is a copy of a ready-made one, and as good as one that MLflow made."""

import sqlite3
from contextlib import closing

import mlflow
import pytest

from valstab.tracking.database import create_database


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """Return where the ready-made database is kept, in an empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "valstab" / f"mlflow-{mlflow.__version__}.db"


@pytest.fixture
def created(tmp_path, monkeypatch):
    """Return a function that creates a database in a new folder, as a command launched there does."""

    def create(name):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        create_database(f"sqlite:///{tmp_path}/{name}/mlflow.db")
        assert [path.name for path in (tmp_path / name).iterdir()] == ["mlflow.db"]
        return tmp_path / name / "mlflow.db"

    return create


def asked(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def test_a_new_database_is_a_copy_of_the_ready_made_one_with_its_own_default_experiment(
    ready, created, migrated_database, tmp_path
):
    ready.parent.mkdir(parents=True)
    with closing(sqlite3.connect(ready)) as database:
        with closing(sqlite3.connect(migrated_database)) as made:
            made.backup(database)
        database.execute("DELETE FROM experiments")
        database.execute("PRAGMA user_version = 7")
        database.commit()
    for name in ("one", "two"):
        new = created(name)
        assert asked(new, "PRAGMA user_version") == [(7,)]
        assert asked(new, "SELECT name, artifact_location FROM experiments") == [
            ("Default", f"{tmp_path}/{name}/mlruns/0")
        ]
    assert asked(ready, "SELECT count(*) FROM experiments") == [(0,)]


@pytest.mark.slow
def test_mlflow_makes_the_first_database_and_one_where_the_ready_made_one_can_not_be_used(ready, created):
    schema = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
    first = created("first")
    assert asked(ready, schema) == asked(created("copy"), schema) == asked(first, schema)
    ready.write_bytes(b"no database" * 1000)
    made = created("made")
    assert asked(ready, schema) == asked(made, schema)
    names = "SELECT type, name FROM sqlite_master ORDER BY type, name"  # MLflow writes constraints in any order
    assert asked(made, names) == asked(first, names)
    ready.unlink()
    ready.mkdir()
    assert asked(created("without"), names) == asked(first, names)
