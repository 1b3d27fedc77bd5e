"""The command as a user types it: mistakes in one line, before anything heavy is imported, and help."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from tests.support.composed import compose_run
from valstab.commands.arguments import checked_arguments, missing_value
from valstab.commands.checked_plan import checked_plan
from valstab.config.explain import USER_ERRORS, explain
from valstab.config.options import CONFIG_FOLDER, refuse_hidden_options
from valstab.errors import ConfigError, UserError
from valstab.inputs.files import DATA

ROOT = str(Path(__file__).parents[2])
TEN_VALUES = "Conformity, Tradition, Benevolence, Universalism, Self-Direction, Stimulation, Hedonism"


@pytest.fixture
def checked(light_process, tmp_path):
    """Run the command in an empty folder; the last line of its standard error says what heavy it has imported."""

    def run(*arguments):
        return light_process.run("tests.support.shows_imports", arguments, tmp_path, {**os.environ, "PYTHONPATH": ROOT})

    return run


def answered(*overrides):
    """Return the line in which the command answers a mistake in its settings."""
    with pytest.raises((*USER_ERRORS, ValueError)) as caught:
        checked_plan(compose_run(*overrides))
    return explain(caught.value, list(overrides))


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    """As the other mistakes, but nothing is imported beforehand."""
    command = [sys.executable, "-m", "tests.support.shows_imports", "n_mesages=3"]
    environment = {**os.environ, "PYTHONPATH": ROOT}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    line, imported = result.stderr.splitlines()
    assert line.startswith("valstab: n_mesages=3: unknown key; did you mean n_messages? - allowed: model, engine")
    assert imported == "imported: []"


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"]])
def test_what_needs_no_numbers_does_not_import_them(arguments, tmp_path):
    """Else `--help` takes more than a second."""
    script = "import sys, valstab.commands.main as it\ntry: it.main()\nfinally: print('numpy' in sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", script, *arguments]
    result = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ROOT}, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "False\n")
    assert result.stdout


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("n_messages=4", "n_messages=4: must be odd"),
        ("n_messages=-1", "n_messages=-1: must be odd"),
        ("n_messages=three", "n_messages=three: must be a whole number"),
        ("n_mesages=3", "n_mesages=3: unknown key; did you mean n_messages?"),
        ("+extra=1", "extra=1: unknown key"),
        ("+model.extra=1", "model.extra=1: unknown key; allowed: name, path, format"),
        (
            "quantization=8bit",
            "quantization=8bit: unknown key; did you mean model.quantization? - allowed: model, engine",
        ),
        ("+quantization=8bit", "quantization=8bit: unknown key; did you mean model.quantization? - allowed: model, "),
        ("model.top_k=5", "model.top_k=5: unknown key; did you mean model.sampling.top_k? - allowed: name, path"),
        ("engine.batchsize=3", "engine.batchsize=3: unknown key; did you mean batch_size?"),
        ("engine.batch_size=0", "engine.batch_size=0: must be at least 1"),
        ("model=mixtral_4bits", "model=mixtral_4bits: no such option; did you mean mixtral_4bit?"),
        ("model.format=chatty", "model.format=chatty: did you mean chat? - allowed: auto, base, chat"),
        ("model=auto", "model.path=null: model=auto needs one: a hub id, a folder or a GGUF file"),
        ("model.path=/no/such.gguf", "model.path=/no/such.gguf: no such file or folder, nor a hub id"),
        ("model.path=package:no_such_package/x.gguf", "x.gguf: the package no_such_package is not installed"),
        ("model.sampling.temperature=-0.1", "model.sampling.temperature=-0.1: must be 0 or more"),
        ("model.sampling.top_p=hot", "model.sampling.top_p=hot: must be a number or null"),
        ("model.quantization=5bit", "model.quantization=5bit: did you mean 8bit? - allowed: none, 8bit, 4bit, int8"),
        ("topics.names=[joke,ches]", "topics.names=[joke,ches]: unknown topic ches; did you mean chess?"),
        ("topics.names=[joke,joke]", "each only once"),
        ("topics=none", "topics=none: has no opening for a conversation; allowed only with n_messages=0"),
        ("population.limit=61", "population.limit=61: must be 1 to 60"),
        ("population.personas=nobody.csv", "population.personas=nobody.csv: no such file"),
        ("seeds=[]", "seeds=[]: needs at least one seed"),
        ("seeds=[0,0]", "each seed may stand only once"),
        ("seeds=3", "seeds=3: must be a list such as [0,1]"),
        ("seeds=[0", "seeds=[0: [ is never closed"),
        ("task.items=nowhere", "task.items=nowhere: no such file"),
        ("task.scores=[1,2]", "needs one score for each of 6 options"),
        ("task.scores=[1,2,3,4,5,nan]", "must be finite numbers"),
        (
            "model=null",
            "model=null: must be the name of an option; allowed: auto, control_drifts, control_half",
        ),
        ("population=3", "population=3: must be the name of an option; allowed: demographics, described_people"),
        ("conversation=true", "conversation=true: must be the name of an option; allowed: long, none, short"),
        (
            "model=smollm2_1",
            "did you mean smollm2_135m, smollm2_135m_4bit, smollm2_135m_values or smollm2_1_7b_instruct? - allowed: auto, ",
        ),
        ("temperature=1", "temperature=1: unknown key; did you mean model.sampling.temperature?"),
        ("model.sampling=hot", "model.sampling=hot: has settings of its own: temperature, top_p, top_k, min_p"),
        ("seeds=[0,x]", "seeds=[0,x]: x must be a whole number"),
        ("task.scores=[1,b]", "task.scores=[1,b]: b must be a number"),
        ("population.limit=x", "population.limit=x: must be a whole number or null"),
        ("dry_run=maybe", "dry_run=maybe: must be true or false"),
        ("seeds=${foo}", "seeds=${foo}: there is no setting foo to take the value from"),
        ("seeds=${oc.env:NO_SUCH}", "seeds=${oc.env:NO_SUCH}: the environment variable NO_SUCH is not set"),
        ("model=random,auto", "model=random,auto: several values are a sweep: add -m"),
        ("n_messages=range(1,3)", "n_messages=range(1,3): several values are a sweep: add -m"),
        ("figure=fig4a", "figure=fig4a: is no setting of this command; it is one of `valstab compare`"),
        ("experiment=quickstart", "experiment=quickstart: is added with a plus: +experiment=quickstart"),
        ("+experiment=[quickstart,x]", "experiment=x: no such option; allowed: ceiling, controls, drift, fig10"),
        ("=3", "=3: has no key; allowed: KEY=VALUE"),
        ("model.template=3", "model.template=3: must be a mapping such as {a: 1}"),
        ("topics.openings=opening.yaml", "no such file; did you mean openings.yaml? - allowed: a path, "),
        ("population.introduction='{nam}.'", "{nam} is unknown; did you mean name? - allowed: name, gender"),
        ("+experiment=quickstar", "experiment=quickstar: no such option; did you mean quickstart?"),
    ],
)
def test_a_mistake_is_answered_with_key_value_and_what_is_allowed(override, message):
    assert message in answered(override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("n_messages=three", "n_messages=three: must be a whole number"),
        (
            "model=null",
            "model=null: must be the name of an option; allowed: auto, control_drifts, control_half",
        ),
        ("population.limit=61", "population.limit=61: must be 1 to 60"),
        ("model.path=/no/such.gguf", "model.path=/no/such.gguf: no such file or folder, nor a hub id"),
        ("population.personas=mine.csv", "population.personas=mine.csv: must be a readable UTF-8 text file"),
        ("hydra/launcher=joblib", "hydra/launcher=joblib: starts the jobs of a sweep: add -m"),
    ],
    ids=["type", "option", "value", "model", "file", "launcher"],
)
def test_a_mistake_ends_the_command_with_one_line(override, message, checked, tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"\xff\xfe\x00name")
    result = checked(override)
    assert result.returncode != 0
    line, imported = result.stderr.splitlines()
    assert line.startswith("valstab: ")
    assert message in line
    assert imported == "imported: []"
    assert result.stdout == ""
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model=random,mixtral_4bits", "model=mixtral_4bits: no such option; did you mean mixtral_4bit?"),
        pytest.param(
            "model=random,null",
            "model=random,null: must be the name of an option; allowed: auto",
            marks=pytest.mark.slow,
        ),
        pytest.param("modl=random,auto", "modl=random,auto: unknown key; did you mean model?", marks=pytest.mark.slow),
        pytest.param("n_messages=1,two", "n_messages=1,two: must be a whole number", marks=pytest.mark.slow),
        ("n_messages=1,4", "n_messages=4: must be odd"),
        pytest.param(
            "model.path=/no/such.gguf,/nor/this.gguf",
            "model.path=/no/such.gguf: no such file or folder",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "topics.names=[joke,chess],[joke,ches]",
            "topics.names=[joke,ches]: unknown topic ches; did you mean chess?",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_mistake_in_a_sweep_ends_it_before_its_first_job(override, message, checked, tmp_path):
    result = checked("-m", override)
    assert result.returncode != 0
    line, imported = result.stderr.splitlines()
    assert line.startswith(f"valstab: {message}")
    assert imported == "imported: []"
    assert not list(tmp_path.glob("multirun/*/*/0"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry-run"], "--dry-run: no such option; settings have no dashes: dry_run=true"),
        (["--dryrun"], "--dryrun: no such option; settings have no dashes: dry_run=true"),
        (["--seeds", "3"], "--seeds: no such option; settings have no dashes: seeds=3"),
        (["--n-messages=3"], "--n-messages=3: no such option; settings have no dashes: n_messages=3"),
        (["seeds=[0]", "-n"], "-n: no such option; settings have no dashes: n=VALUE"),
        (["--multirun=x"], "--multirun takes no value; leave out x"),
        (["-cn"], "--config-name needs a value after it"),
        (["--cfg", "x"], "--cfg x: allowed: job, hydra, all"),
        (["--conf", "x"], "--conf may mean --config-path, --config-name, --config-dir"),
        (["-m", "model=random", "--cfg", "job"], "--multirun and --cfg: one at a time"),
        (["--resolve"], "--resolve goes with --cfg job or with --help"),
        (["--experimental-rerun=x"], "--experimental-rerun: no such option; valstab rerun RESULTS makes a run again"),
        (
            ["--shell-completion"],
            "--shell-completion needs install=SHELL or uninstall=SHELL after it, such as install=bash",
        ),
        (["=random"], "=random: needs the name of a setting before ="),
        (["model=random", "seeds"], "seeds: needs a value: seeds=VALUE"),
        (["~n_messages"], "~n_messages: a setting can't be removed; KEY=VALUE gives it another value"),
        (["model@x=random"], "model@x=random: unknown key; did you mean model=random?"),
        (
            ["model=[random, auto]"],
            "model=[random, auto]: takes one option; to run with each of several: -m model=random,auto",
        ),
    ],
)
def test_what_is_no_setting_is_answered_with_what_to_type(arguments, message):
    with pytest.raises(UserError) as caught:
        checked_arguments(arguments, ["model", "experiment"])
    assert str(caught.value) == message


def test_settings_and_hydra_s_own_options_pass():
    settings = ["model=random", "+experiment=[a,b]", "seeds=[0,1]", "topics.names=[joke]"]
    launcher = "hydra/launcher=slurm"
    checked_arguments(["-m", "--config-dir", "mine", *settings, launcher], ["model", "experiment", "topics"])
    checked_arguments(["--cfg", "job", "--resolve"], [])
    checked_arguments(["-sc", "install=bash"], [])


def test_settings_may_stand_before_and_after_an_option():
    given = ["model=random", "-m", "n_messages=1,3", "--config-dir", "mine", "seeds=[0]"]
    arguments = checked_arguments(given, ["model"])
    assert arguments == ["model=random", "n_messages=1,3", "seeds=[0]", "-m", "--config-dir", "mine"]
    assert get_args_parser().parse_args(arguments).overrides == arguments[:3]
    with pytest.raises(UserError, match=r"^-x: no such option"):
        checked_arguments(["model=random", "-x", "seeds=[0]"], ["model"])


@pytest.mark.parametrize(
    ("word", "advice"),
    [
        ("model", "model: needs a value: model=VALUE"),
        ("dry_run", "dry_run: needs a value: dry_run=true"),
        ("help", "help: no such command; type --help"),
        ("comapre", None),
    ],
)
def test_a_word_that_is_a_setting_needs_a_value(word, advice):
    assert missing_value(word) == advice


def portraits(change):
    return "".join(change((DATA / "portraits.csv").read_text(encoding="utf-8").splitlines(keepends=True)))


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("population.personas", "name,gender\nAda,F\nBob,M\nAda,F\n", "has Ada twice"),
        ("population.personas", "name,gender\nAda,femal\n", "Ada has gender 'femal'; allowed: F, female, woman, M"),
        ("population.personas", "name,gendre\nAda,F\n", "has the column gendre: call it gender, or something else"),
        ("population.personas", "name,gender\nAda\n", "line 2 must have 2 cells (name, gender); it has 1"),
        ("population.personas", "name,gender\n", "has no rows"),
        ("task.items", portraits(lambda lines: lines[:-1]), "has 39 items; allowed: 40"),
        ("task.items", portraits(lambda lines: [*lines[:-1], lines[1]]), "must number its items 1 to 40, each once"),
        (
            "task.items",
            portraits(lambda lines: [line.replace("Hedonism", "Hedonsm") for line in lines]),
            "item 10 has unknown value Hedonsm; did you mean Hedonism? - allowed: " + TEN_VALUES,
        ),
        (
            "task.items",
            portraits(
                lambda lines: [
                    line.replace("\n", ",true\n" if number else ",Reverse\n") for number, line in enumerate(lines)
                ]
            ),
            "has the column Reverse: call it reversed, or something else if it is not that",
        ),
        (
            "task.items",
            portraits(lambda lines: [line.replace("{He}", "{They}") for line in lines]),
            "{They} is unknown",
        ),
        ("topics.openings", "joke: [1, 2]\n", "must map each topic's name to its opening message"),
        ("topics.openings", "joke: 'unclosed\n", "must be a YAML file"),
        ("topics.posts", "joke,text\na,b\n", "lacks the column topic; it has joke, text"),
    ],
)
def test_a_file_that_can_not_be_used_is_named_with_what_is_wrong(key, content, message, tmp_path):
    file = tmp_path / ("mine.yaml" if key == "topics.openings" else "mine.csv")
    file.write_text(content, encoding="utf-8")
    line = answered(f"{key}={file}")
    assert line.startswith(f"{key}=")
    assert message in line


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["--cfg", "job", "model=mixtral_4bit", "n_messages=43"]]
)
def test_help_and_config_answer_without_heavy_imports(arguments, checked):
    result = checked(*arguments)
    assert result.returncode == 0
    assert result.stderr.splitlines() == ["imported: []"]
    assert "fictional_characters" in result.stdout
    if "n_messages=43" in arguments:
        assert "n_messages: 43\n" in result.stdout
        assert "path: mistralai/Mixtral-8x7B-Instruct-v0.1\n" in result.stdout


def test_a_folder_that_has_another_run_s_results_is_refused(checked, tmp_path):
    results = tmp_path / "mine" / "results"
    results.mkdir(parents=True)
    (results / "stability.json").write_text("{}", encoding="utf-8")
    command = checked("model=random", "hydra.run.dir=mine")
    assert command.returncode == 1
    assert command.stderr.startswith(f"valstab: hydra.run.dir={tmp_path}/mine: has the results of another run;")
    assert [path.name for path in results.iterdir()] == ["stability.json"]


def test_missing_weights_end_in_one_line(checked, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = checked("model=mixtral_4bit", "n_messages=43", "population.limit=2")
    assert result.returncode != 0
    line, imported = result.stderr.splitlines()
    assert imported == "imported: []"
    assert line.startswith("valstab: model.path=mistralai/Mixtral-8x7B-Instruct-v0.1: not in the Hugging Face cache")
    assert "hf download mistralai/Mixtral-8x7B-Instruct-v0.1" in line


@pytest.mark.slow
def test_a_tracking_location_that_can_not_be_used(valstab):
    result = valstab("model=random", "population.limit=12", MLFLOW_TRACKING_URI="file:./mlruns")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        "valstab: a folder of files (MLflow's file store) can't be used; let MLFLOW_TRACKING_URI name "
    )
    assert "sqlite:///mlflow.db" in line


def test_the_user_s_own_folder_of_options(valstab_light, launch_folder):
    mine = launch_folder / "conf" / "model"
    mine.mkdir(parents=True)
    shutil.copy(f"{CONFIG_FOLDER}/model/smollm2_135m.yaml", mine / "mine.yaml")
    result = valstab_light("--config-dir", "conf", "--cfg", "job", "model=mine", "model.name=mine")
    assert "name: mine\n" in result.stdout


@pytest.mark.parametrize("sweep", [(), ("task=religion,pvq", "-m")])
def test_an_option_of_one_s_own_that_would_be_ignored_is_refused(sweep, checked, tmp_path):
    (tmp_path / "mine" / "task").mkdir(parents=True)
    own = tmp_path / "mine" / "task" / "pvq.yaml"
    packaged = Path(CONFIG_FOLDER) / "task" / "pvq.yaml"
    own.write_text(packaged.read_text("utf-8").replace("centred: true", "centred: false"), "utf-8")
    result = checked("model=random", *sweep, "--config-dir", "mine")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == (
        f"valstab: task=pvq: {own} has the name of another option, {packaged}, and would be ignored; rename it"
    )


def test_a_copy_of_an_option_is_no_other_option(tmp_path):
    shutil.copytree(Path(CONFIG_FOLDER) / "task", tmp_path / "task")
    refuse_hidden_options({"task": "pvq", "model": None}, [Path(CONFIG_FOLDER), tmp_path])
    (tmp_path / "task" / "pvq.yaml").write_text("name: mine\n", "utf-8")
    refuse_hidden_options({"task": "donation"}, [Path(CONFIG_FOLDER), tmp_path])
    with pytest.raises(ConfigError, match="task=pvq"):
        refuse_hidden_options({"task": "pvq"}, [tmp_path, Path(CONFIG_FOLDER)])


@pytest.mark.slow
def test_rescore_answers_a_mistake_with_one_line(valstab_light):
    for arguments, message in (
        (["answers=none.parquet"], "answers=none.parquet: no such file"),
        (["answers=mlflow.db"], "is not a Parquet file"),
        ([], "answers"),
        (["answers=x", "undefined=maybe"], "undefined=maybe: allowed: zero, drop"),
    ):
        result = valstab_light(*arguments, module="valstab.rescore")
        assert result.returncode != 0
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert message in line


@pytest.mark.slow
@pytest.mark.parametrize(("value", "has_traceback"), [("0", False), ("1", True)])
def test_only_1_in_hydra_full_error_shows_tracebacks(value, has_traceback, valstab):
    result = valstab("n_mesages=3", HYDRA_FULL_ERROR=value)
    assert result.returncode == 1
    assert ("Traceback" in result.stderr) is has_traceback


@pytest.mark.slow
def test_a_mistyped_subcommand_is_answered_in_one_line(valstab):
    result = valstab("comapre")
    assert result.returncode == 1
    assert result.stderr.startswith("valstab: comapre: no such command; did you mean compare? - allowed: bundle, ")
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody can write to")
def test_a_folder_that_can_not_be_written_to_is_named_in_one_line(valstab_light):
    result = valstab_light("model=random", "population.limit=2", "hydra.run.dir=/sys/kernel/mine")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert line.startswith("valstab: [Errno ")
    assert "'/sys/kernel/mine'; start in a folder that can be written to, or set hydra.run.dir" in line
