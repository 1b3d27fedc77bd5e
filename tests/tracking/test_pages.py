"""MLflow's pages in a real browser: a sweep's table, its charts, and the table of all runs."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import needs_browser, start_browser
from tests.support.sweeps import PERSONA, ROOT, SCRIPTED, SMALL, runs
from valstab.commands import ui
from valstab.commands.ui import main

SECONDS = 120.0
"""Maximum time for a page to show what is waited for, in seconds."""


@pytest.fixture
def pages(valstab_forked, launch_folder):
    """Make a sweep and show it as a user does; return its process and its run's id."""
    command = valstab_forked("-m", *SCRIPTED, *SMALL, PERSONA, "n_messages=1,3", PYTHONPATH=ROOT)
    assert command.returncode == 0, command.stderr
    parent, _ = runs(launch_folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell ignore it
    process = subprocess.Popen(
        [sys.executable, "-m", "valstab", "ui", parent.info.run_id, "--no-browser"],
        env={**os.environ, "PYTHONPATH": ROOT},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process, parent.info.run_id
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130


@pytest.mark.slow
@needs_browser
def test_a_sweep_is_a_table_with_its_stabilities_and_charts_that_start_with_them(pages, tmp_path_factory):
    process, parent = pages
    assert process.stdout.readline() == "starting MLflow's pages ...\n"
    address = process.stdout.readline().strip()
    assert re.fullmatch(
        rf"http://127\.0\.0\.1:\d+/#/experiments/1/runs\?workflowType=machine_learning&viewStateShareKey={parent}",
        address,
    )
    browser = start_browser(tmp_path_factory.mktemp("profile"))
    try:
        browser.set_window_size(1900, 1000)
        browser.get(address)
        wait_for(browser, "2 matching runs")
        wait_for(browser, "n_messages")  # the table's head comes later
        # The columns, in their order: what varies, the model, the stabilities, the rest of the design.
        headers = browser.find_elements(By.CSS_SELECTOR, "[role='columnheader'][col-id]")
        ordered = [each.get_attribute("col-id") for each in sorted(headers, key=lambda each: each.location["x"])]
        ordered = [name for name in ordered if "`" in name]  # not the groups
        columns = ["params.`n_messages`", "params.`model`", "metrics.`rank_order`", "metrics.`rank_order_chance`"]
        first = ordered.index(columns[0])
        assert ordered[first : first + len(columns)] == columns
        wait_for(browser, "what chance alone reaches")  # the experiment's note
        shown = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "[col-id='params.`n_messages`']")]
        assert sorted(shown) == ["1", "3", "n_messages"]
        stabilities = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "[col-id='metrics.`rank_order`']")]
        assert stabilities.count("1") == 2
        browser.save_screenshot(tmp_path_factory.getbasetemp() / "table.png")

        browser.get("about:blank")
        browser.get(f"{address}&compareRunsMode=CHART")
        wait_for(browser, "Parallel Coordinates")
        text = browser.find_element(By.TAG_NAME, "body").text
        lines = text.splitlines()
        titles = ("Stability", "rank_order", "ipsative", "answer_mass", "Parallel Coordinates")
        places = [next(place for place, line in enumerate(lines) if line.startswith(title)) for title in titles]
        assert places == sorted(places)
        assert "stability.Power" not in lines[: places[-1]]
        browser.save_screenshot(tmp_path_factory.getbasetemp() / "charts.png")

        browser.get("about:blank")
        browser.get(address.replace(parent, "valstab"))
        wait_for(browser, "3 matching runs")  # the sweep's too
        assert browser.find_elements(By.CSS_SELECTOR, "[col-id='metrics.`ipsative_chance`']")
    finally:
        browser.quit()


def wait_for(browser, text):
    WebDriverWait(browser, SECONDS).until(lambda it: text in it.find_element(By.TAG_NAME, "body").text)
    time.sleep(1)  # the cells follow


def test_what_can_not_be_shown_is_a_line(launch_folder, monkeypatch):
    with pytest.raises(SystemExit) as nothing:
        main(["--no-browser"])
    assert str(nothing.value) == "valstab: there are no finished runs yet"
    with pytest.raises(SystemExit) as unknown:
        main(["nowhere"])
    assert str(unknown.value) == "valstab: nowhere: no such experiment or run; there are: Default"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    with pytest.raises(SystemExit) as missing:
        main([])
    assert str(missing.value).startswith("valstab: there are no runs yet: other.db does not exist")
    assert not (launch_folder / "other.db").exists()


def test_a_server_s_page_is_opened_where_it_is(monkeypatch, capsys):
    opened = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:word@tracking:5000/")
    monkeypatch.setattr("valstab.commands.ui._place", lambda _: "/experiments/1/runs")
    monkeypatch.setattr("webbrowser.open", opened.append)
    main([])
    assert opened == ["http://tracking:5000/#/experiments/1/runs"]
    assert capsys.readouterr().out == "http://tracking:5000/#/experiments/1/runs\n"


def test_a_server_that_does_not_end_is_ended_by_force(monkeypatch):
    monkeypatch.setattr(ui, "END_SECONDS", 0.5)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True)
    process.stdout.readline()
    ui.end_server(process)
    assert process.returncode == -signal.SIGKILL
