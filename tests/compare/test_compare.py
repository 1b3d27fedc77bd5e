"""`python -m valstab compare`: from finished runs to pictures, tables, words and an MLflow run of its own."""

import json
import shutil
from functools import cache
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from scipy.stats import linregress

from tests.support import synthetic
from valstab.analysis.runs import Runs
from valstab.commands.compare import compare_runs
from valstab.config.comparison import CompareConfig
from valstab.config.compose import compose_comparison
from valstab.errors import ConfigError
from valstab.results.picture import Picture, drop_title
from valstab.tracking.client import TrackingError

SIZE = ("population.limit=8", "topics.names=[joke,chess,poem]", "seeds=[0,1,2]")


def config(*overrides: str) -> CompareConfig:
    return compose_comparison("resamples=50", *overrides)


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """Write the results of a made run, or return those that another test had written."""

    @cache
    def write(name: str, *overrides: str, **how: float) -> str:
        folder = tmp_path_factory.mktemp("made") / "results"
        return str(synthetic.write_results(folder, *SIZE, f"model.name={name}", *overrides, **how))

    return write


@pytest.fixture
def compared(launch_folder, capsys, request):
    """Compare folders; return what was printed, the results folder and the MLflow run."""

    def compare(*overrides: str, folders: list[str], drawn: bool = False):
        if not drawn:
            request.getfixturevalue("without_pictures")
        compare_runs(config(f"folders=[{','.join(folders)}]", *overrides), launch_folder / "results")
        (logged,) = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("comparisons").experiment_id])
        return capsys.readouterr().out, launch_folder / "results", logged

    return compare


def test_models_side_by_side(compared, a_run):
    folders = [
        a_run("steady", noise=0.05),
        a_run("shaky", noise=4, random=1),
        a_run("chance", persona=0, noise=1, random=2),
    ]
    printed, results, logged = compared("figure=fig4a", folders=folders, drawn=True)
    table = pd.read_csv(results / "fig4a.csv")
    assert table["label"].tolist() == ["steady", "shaky", "chance"]
    assert table["mean"].iloc[0] > 0.8
    assert table["mean"].iloc[2] < 0.3
    assert table.set_index("label")["group"].nunique() > 1
    tests = pd.read_csv(results / "tests.csv")
    assert len(tests) == 3
    assert pd.read_csv(results / "paper_paired_tests.csv")["df"].tolist() == [2, 2, 2]
    assert pd.read_csv(results / "paper_tests.csv")["df"].tolist() == [4, 4, 4]
    assert pd.read_csv(results / "undefined.csv")["undefined"].tolist() == [0, 0, 0]
    for name in ("fig4a.png", "fig4a.svg", "fig4a_tests.png", "fig4a.md", "tests.md", "findings.md", "runs.csv"):
        assert (results / name).stat().st_size > 0
    assert f"steady ({table['mean'].iloc[0]:.3f}, 95% " in printed
    assert (
        "Intervals and tests are for other people, topics and seeds like these (8 people, 3 topics, 3 seeds)" in printed
    )
    below = table.loc[table["high"] < 0.569, "label"].tolist()
    above = table.loc[table["low"] > 0.569, "label"].tolist()
    assert above == ["steady"]
    expected = (
        f"below it: {', '.join(below)}; above it: steady" if below else "above it: steady; not told from it: 2 of 3"
    )
    assert expected in printed
    assert logged.data.metrics["rank_order/steady"] == pytest.approx(table["mean"].iloc[0])
    assert logged.info.run_name == "fig4a · 3 runs"
    assert logged.data.tags["mlflow.note.content"].startswith(
        "## Rank-order stability, fictional characters (Fig. 4a)\n\n- steady (0.8"
    )
    artifacts = {file.path for file in mlflow.MlflowClient().list_artifacts(logged.info.run_id)}
    assert {"fig4a.png", "fig4a.csv", "compared.json", "findings.md"} <= artifacts


def test_tests_alone(compared, a_run):
    folders = [a_run("steady", noise=0.05), a_run("chance", persona=0, noise=1)]
    _, results, logged = compared("figure=fig16", folders=folders)
    (row,) = pd.read_csv(results / "fig16.csv").to_dict("records")
    assert row["significant"]
    assert logged.data.metrics["significant_pairs"] == 1
    assert (results / "fig16.png").exists()


def test_pictures_for_a_paper(compared, a_run):
    folders = [a_run("steady", noise=0.05), a_run("chance", persona=0, noise=1)]
    _, results, _ = compared(
        *("figure=bars", "formats=[pdf]", "titles=false", "+labels={steady: 'Steady 7B, 4 bit'}"),
        folders=folders,
        drawn=True,
    )
    assert pd.read_csv(results / "bars.csv")["label"].tolist() == ["Steady 7B, 4 bit", "chance"]
    assert (results / "bars.pdf").read_bytes().startswith(b"%PDF")
    assert not list(results.glob("*.png"))


def test_the_title_goes_and_those_of_panels_stay():
    alone, panels = Picture(), Picture()
    alone.subplots().set_title("Fig. 4a")
    panels.suptitle("Fig. 4a")
    for ax, name in zip(panels.subplots(1, 2), "ab", strict=True):
        ax.set_title(name)
    for picture in (alone, panels):
        drop_title(picture)
    assert alone.axes[0].get_title() == ""
    assert panels.get_suptitle() == ""
    assert [ax.get_title() for ax in panels.axes] == ["a", "b"]


def test_names_for_people_keep_what_distinguishes_runs():
    values = synthetic.scores(personas=3, keys=2)
    runs = Runs(tuple(synthetic.run(label, values) for label in ("mixtral", "mixtral_4bit sys", "own")))
    names = compose_comparison("+names=paper").labels
    assert [run.label for run in runs.relabelled(names)] == [
        "Mixtral 8x7B Instruct",
        "Mixtral 8x7B Instruct, 4 bit sys",
        "own",
    ]
    with pytest.raises(ConfigError, match="labels=own: stands for both mixtral and own"):
        runs.relabelled({"mixtral": "own"})


def test_over_length(compared, a_run):
    folders = [a_run("m", f"n_messages={n}", noise=n / 10, random=n) for n in (1, 3, 41)]
    printed, results, _ = compared("figure=fig6", folders=folders)
    table = pd.read_csv(results / "fig6.csv")
    assert table["n_messages"].tolist() == [1, 3, 41]
    assert table["mean"].is_monotonic_decreasing
    (trend,) = pd.read_csv(results / "trends.csv").to_dict("records")
    assert (trend["shortest"], trend["longest"]) == (1, 41)
    assert trend["high"] < 0
    # Least squares: the slope over the lengths, for each ten messages.
    assert trend["change"] == pytest.approx(10 * linregress(table["n_messages"], table["mean"]).slope, abs=1e-4)
    assert "m: rank-order stability is 0." in printed
    assert "beyond chance" in printed


def test_lengths_are_refused_where_length_is_not_the_axis(launch_folder, a_run):
    folders = [a_run("m", f"n_messages={n}") for n in (1, 3)]
    with pytest.raises(ValueError, match=r"differ in n_messages \(1: m; 3: m\); choose with filter"):
        compare_runs(config(f"folders=[{','.join(folders)}]", "figure=bars"), launch_folder / "results")
    assert not (launch_folder / "results").exists()


def test_context_pairs_values_and_components(compared, a_run, tmp_path):
    pvq, coins = a_run("m", noise=0.2), a_run("m", "task=donation", noise=0.2)
    _, results, logged = compared("figure=fig10", folders=[pvq])
    pairs = pd.read_csv(results / "fig10.csv")
    # Openings of 3, 4 and 5 letters, in the order of the topics.
    assert list(dict.fromkeys(pairs["context"])) == ["joke", "chess", "poem"]
    assert logged.data.metrics["rank_order/m"] > 0.5
    compare_runs(config(f"folders=[{pvq},{coins}]", "figure=fig9"), tmp_path / "fig9")
    table = pd.read_csv(tmp_path / "fig9" / "fig9.csv")
    assert table["value"].tolist() == ["Universalism", "Benevolence", "Power", "Achievement"]
    assert table["n"].tolist() == [3] * 4
    compare_runs(config(f"folders=[{pvq}]", "figure=fig12"), tmp_path / "fig12")
    places = pd.read_csv(tmp_path / "fig12" / "fig12.csv")
    assert places.set_index("persona").loc["Gandalf", "label"] == "positive"
    assert places.set_index("persona").loc["Sauron", "label"] == "negative"


def test_labels_asked_of_a_model(compared, a_run):
    pvq = a_run("m", noise=0.2)
    asked = a_run("m", "task=character", "population=none", "conversation=none", "topics=none", persona=4)
    scores = pd.read_csv(Path(asked) / "profiles.csv").set_index(["seed", "context", "persona"]).mean()
    _, results, _ = compared("figure=fig12", f"figure.labels={asked}", folders=[pvq])
    places = pd.read_csv(results / "fig12.csv").set_index("persona")
    for name in places.index:
        expected = "positive" if scores[name] > 1 / 3 else "negative" if scores[name] < -1 / 3 else "neutral"
        assert places.loc[name, "label"] == expected


@pytest.mark.slow
def test_beside_the_neutral_profile_and_order(compared, a_run, tmp_path):
    talked = [a_run("m", f"n_messages={n}", noise=0.5, random=n) for n in (1, 3)]
    nobody = a_run("m", "population=none", "conversation=none", "topics=none")
    alone = a_run("m", "conversation=none", "topics=none", random=5)
    _, results, _ = compared("figure=fig13", folders=[*talked, nobody])
    table = pd.read_csv(results / "fig13.csv")
    assert table["what"].unique().tolist() == ["rank-order stability", "similarity to the neutral profile"]
    assert table["n_messages"].tolist() == [1, 1, 3, 3]
    compare_runs(config(f"folders=[{','.join([*talked, alone])}]", "figure=fig14"), tmp_path / "fig14")
    towards = pd.read_csv(tmp_path / "fig14" / "fig14.csv").query("what == 'towards the neutral order'")
    assert (towards["mean"] > 0.5).all()


def test_the_highest_of_models_at_chance_is_not_called_stable(compared, a_run):
    folders = [a_run(name, persona=0, noise=1, random=draw) for draw, name in enumerate(("one", "other"))]
    printed, results, _ = compared("figure=fig4a", folders=folders)
    highest = pd.read_csv(results / "fig4a.csv").iloc[0]
    # Student's t with 2 degrees of freedom: 95% of it lies within 4.303 of 0.
    assert highest["mean"] < 4.303 * highest["se"]
    assert f"None is shown to be stable: the highest is {highest['label']} ({highest['mean']:.3f}" in printed
    assert "most stable" not in printed


def test_what_a_stability_can_bear(compared, a_run):
    folders = [a_run("steady", noise=0.3), a_run("chance", persona=0, noise=1)]
    printed, results, _ = compared("figure=appraisal", folders=folders)
    table = pd.read_csv(results / "appraisal.csv").set_index("label")
    assert table.loc["steady", "low"] <= table.loc["steady", "mean"] <= table.loc["steady", "high"]
    assert table.loc["steady", "p"] < 0.05 < table.loc["chance", "p"]
    assert table.loc["steady", "ceiling"] == pytest.approx(table.loc["steady", "mean"], abs=0.1)
    assert table.loc["steady", "generalisability"] > 0.8
    assert "chance (n=3): chance alone reaches" in printed
    assert (
        "steady (n=3): among people for whom the questionnaire has the same wording (he, she or they) it is "
        f"{table.loc['steady', 'within_gender']:.3f};" in printed
    )
    assert "no stability is shown" in printed
    assert "steady (n=3): after the same topic with another seed it is 0." in printed
    assert "no cost of a change of topic is shown (difference " in printed
    assert table.loc["steady", "cost_low"] < 0 < table.loc["steady", "cost_high"]
    assert pd.read_csv(results / "conversations.csv")["context"].tolist() == ["joke", "chess", "poem"] * 2
    for name in ("variance", "positions", "position_effect", "consistency", "mass", "alpha", "conversations"):
        assert set(pd.read_csv(results / f"{name}.csv")["label"]) == {"steady", "chance"}
    shares = pd.read_csv(results / "variance.csv").groupby("label")["share"].sum()
    assert shares.tolist() == pytest.approx([1, 1])


def emptied(results: str, copy: Path, seeds: set[int], contexts: set[str]) -> str:
    """Copy results, and empty a message of everybody but the first person after some conversations."""
    path = shutil.copytree(results, copy) / "conversations.jsonl"
    conversations = [json.loads(line) for line in path.read_text().splitlines()]
    first = conversations[0]["persona"]
    for conversation in conversations:
        if conversation["persona"] != first and conversation["seed"] in seeds and conversation["context"] in contexts:
            conversation["messages"][1]["text"] = ""
    path.write_text("".join(f"{json.dumps(conversation)}\n" for conversation in conversations))
    return str(copy)


@pytest.mark.slow
def test_what_is_left_without_the_conversations_that_went_wrong(compared, a_run, tmp_path):
    folders = [
        emptied(a_run("some"), tmp_path / "some", {0, 1}, {"joke"}),
        emptied(a_run("most"), tmp_path / "most", {0, 1, 2}, {"joke", "chess"}),
    ]
    printed, results, _ = compared("figure=appraisal", folders=folders)
    table = pd.read_csv(results / "appraisal.csv").set_index("label")
    # Of three pairs of topics the two with "joke", after two seeds of three; with two topics all pairs.
    assert table["without_affected_undefined"].tolist() == pytest.approx([2 / 3 * 2 / 3, 1])
    # 7 of 8 people, after 2 of 9 seeds and topics, and after 6.
    assert table["affected_conversations"].tolist() == pytest.approx([7 / 8 * 2 / 9, 7 / 8 * 6 / 9])
    assert (
        f"without them it is {table.loc['some', 'without_affected']:.3f}, 44% of its correlations undefined" in printed
    )
    assert "most (n=3): 58% of the conversations went wrong somewhere" in printed
    assert "too little is left without them to say what it would be" in printed


def test_the_leaderboard_puts_only_what_can_be_compared_on_one_board(compared, a_run):
    folders = [
        a_run("steady", noise=0.05),
        a_run("chance", persona=0, noise=1),
        a_run("steady", "task=donation"),
    ]
    printed, results, _ = compared(folders=folders)
    table = pd.read_csv(results / "leaderboard.csv")
    boards = {setting: part["label"].tolist() for setting, part in table.groupby("setting", sort=False)}
    assert boards["Rank-order · fictional_characters · pvq · 8 people, 3 topics, 3 seeds · n=3"] == ["steady", "chance"]
    assert boards["Rank-order · fictional_characters · donation · 8 people, 3 topics, 3 seeds · n=3"] == ["steady"]
    assert len(boards) == 4
    first = table.iloc[0]
    assert first["low"] <= first["mean"] <= first["high"]
    assert "n=3: steady (0." in printed


@pytest.mark.slow
def test_the_command_answers_a_mistake_with_one_line(valstab):
    for arguments, message in (
        (["figure=fig99"], "figure=fig99: no such option"),
        (["experiments=[none]"], "experiments=none: no such MLflow experiment"),
        (["figure.kind=cakes"], "allowed: bars, tests, lines"),
        (["folders=[nowhere]"], "folders=nowhere: no such folder"),
        (["figure=fig12", "figure.labels=nobody.csv", "folders=[.]"], "holds no results"),
    ):
        result = valstab(*arguments, module="valstab.compare")
        assert result.returncode != 0
        (line,) = result.stderr.splitlines()
        assert message in line


@pytest.mark.usefixtures("without_pictures")
def test_a_comparison_that_can_not_be_logged_is_written_and_printed(launch_folder, a_run, monkeypatch, capsys):
    folders = ",".join([a_run("steady", noise=0.05), a_run("shaky", noise=4, random=1)])

    def refuse(*_, **__):
        raise mlflow.exceptions.MlflowException("read only")

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", refuse)
    with pytest.raises(TrackingError, match="can't be used: read only"):
        compare_runs(config("figure=fig4a", f"folders=[{folders}]"), launch_folder / "results")
    assert capsys.readouterr().out.endswith(f"\nresults in {launch_folder}/results\n")
    assert pd.read_csv(launch_folder / "results" / "fig4a.csv")["label"].tolist() == ["steady", "shaky"]


@pytest.mark.usefixtures("launch_folder")
def test_a_database_without_its_driver_is_named_in_a_line(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql://nobody@127.0.0.1:9/valstab")
    with pytest.raises(TrackingError, match=r"can't be used: No module named '\w+'$"):
        compare_runs(config("figure=fig4a"), Path("results"))


@pytest.mark.slow
def test_every_figure_from_its_preset(valstab_forked, launch_folder):
    """Each preset runs at a small scale, those of each kind of task on the embedded model; MLflow's runs are drawn."""
    small = ["population.limit=3", "seeds=[0]", "max_new_tokens=10"]
    data = Path(synthetic.__file__).parents[2] / "valstab/inputs/data"
    for name in ("portraits", "recipients"):  # two items of each value, and of each race
        items = pd.read_csv(data / f"{name}.csv")
        few = items.groupby(items.columns[1]).head(2).reset_index(drop=True)
        few.assign(item=few.index + 1).to_csv(launch_folder / f"few_{name}.csv", index=False)
    topics = "topics.names=[joke,chess]"
    both, chance = "model=smollm2_135m,random", "model=random"
    pvq = ["task.items=few_portraits.csv", "task.n_items=20"]
    alms = ["task.items=few_recipients.csv", "task.n_items=10"]
    jobs = {
        "fig4a": [both, topics, *pvq],
        "fig4b": [chance, topics, *pvq],
        "fig5": [chance, topics, *pvq],
        "fig6": [both, topics, "n_messages=1,3", *pvq],
        "fig7": [chance, topics, "n_messages=1,3", *pvq],
        "fig8a": [both, topics, *alms],
        "fig8b": [chance, topics, *alms],
        "fig8c": [both, topics],
        "fig10": [chance, "topics.names=[year,santa,bicycle]", *pvq],
        "fig12": [chance, topics, *pvq],
        "fig13": [chance, *pvq],
        "fig14": [chance, *pvq],
        "fig15": [chance, topics, *pvq],
        "ceiling": [chance, topics, *pvq],
    }
    for name, overrides in jobs.items():
        command = valstab_forked(f"+experiment={name}", *small, *overrides)
        assert command.returncode == 0, f"{name}: {command.stderr}"
    figures = [name for name in jobs if name != "ceiling"] + ["fig9", "fig16"]  # 17 to 21 need what fig16's runs lack
    for name in figures:
        command = valstab_forked(f"figure={name}", "resamples=50", module="valstab.compare")
        assert command.returncode == 0, f"{name}: {command.stderr}"
    command = valstab_forked("figure=appraisal", "experiments=[ceiling]", "resamples=50", module="valstab.compare")
    assert "asked again after the same conversations with other option orders" in command.stdout
    pictures = {path.stem for path in launch_folder.glob("outputs/*/*/results/fig*.png")}
    assert set(figures) <= pictures
