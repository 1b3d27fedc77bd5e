"""The report in a real browser: reading it, hostile names and texts, a phone, paper, and the size of a full study."""

import math
import shutil
import time

import numpy as np
import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.support.browser import needs_browser, start_browser
from tests.support.reports import HOSTILE, PROMPT, study
from tests.support.scripted import HostileEngine

NAMES = (
    '</script><script>window.hacked=1</script><img src=x onerror="window.hacked=1">',
    'Q, "R"/S\nT',
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "__proto__",
)
CONTEXTS = {'a <b>"chess", game</b>': "Let us talk of chess.", "joke/s\u200f": "Tell me a <i>joke</i> & so on."}

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    driver = start_browser(profile)
    yield driver
    driver.quit()
    shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of people and topics with names that would be markup."""
    folder = tmp_path_factory.mktemp("report")
    people = pd.DataFrame({"name": NAMES, "gender": ["F", "M", "F", "M"]})
    people.to_csv(folder / "people.csv", index=False)
    topics = "".join(f"{json_text(name)}: {json_text(opening)}\n" for name, opening in CONTEXTS.items())
    (folder / "topics.yaml").write_text(topics, encoding="utf-8")
    return study(
        folder / "report.html",
        *HOSTILE,
        f"population.personas={folder}/people.csv",
        'population.introduction="{name}, a <u>guest</u>."',
        f"topics.openings={folder}/topics.yaml",
        "topics.names=null",
        "seeds=[3,7]",
    )


@pytest.fixture
def report(browser, made):
    browser.set_window_size(1280, 900)
    browser.get(made.path.as_uri())
    return browser


def json_text(text):
    return '"' + text.replace('"', '\\"') + '"'


def choose(browser, name, text):
    Select(browser.find_element(By.ID, name)).select_by_index(text)


def opened(browser, **choices):
    """Choose a transcript by the places of persona, context, seed and other; give its element when it is there."""
    for name, place in choices.items():
        choose(browser, name, place)
    browser.find_element(By.CSS_SELECTOR, "#open").click()
    target = browser.find_element(By.ID, "transcript")
    WebDriverWait(browser, 20).until(lambda _: target.get_attribute("aria-busy") is None and target.text)
    return target


def text_of(element):
    return element.get_property("textContent")


def test_a_known_answer_is_found(report, made):
    transcript = opened(report, persona=1, context=0, seed=1)
    table = made.answers
    row = table[(table["seed"] == 7) & (table["persona"] == NAMES[1]) & (table["item"] == 17)].iloc[0]
    assert row["context"] == next(iter(CONTEXTS))
    question = transcript.find_element(By.CSS_SELECTOR, '[data-item="17"]')
    item = made.plan.task.items[16]
    assert item.text["M"] in text_of(question)
    assert item.key in text_of(question)
    (chosen,) = question.find_elements(By.CSS_SELECTOR, "tr.chosen")
    cells = [text_of(cell) for cell in chosen.find_elements(By.TAG_NAME, "td")]
    scale = int(row["score"])
    assert cells[0] == f"({row['letter']})"
    assert cells[1] == f"{item.options['M'][scale - 1]} ✓ chosen"
    assert cells[3] == f"{math.exp(row[f'logprob_{scale}']):.3f}" == "0.900"
    assert f"counts {scale}, answer mass 0.950" in text_of(question)
    offered = [text_of(cell) for cell in question.find_elements(By.CSS_SELECTOR, "tr td:first-child")]
    assert offered == ["(A)", "(B)", "(C)", "(D)", "(E)", "(F)"]


def test_the_conversation_is_read_as_a_chat(report):
    transcript = opened(report, persona=0, context=1, seed=0)
    messages = transcript.find_elements(By.CSS_SELECTOR, ".chat li")
    assert [message.get_attribute("class") for message in messages] == ["human", "model", "human", "model"]
    said = [text_of(message.find_element(By.CLASS_NAME, "text")) for message in messages]
    assert said == ["Tell me a <i>joke</i> & so on.", *[HostileEngine.message] * 3]
    assert text_of(messages[1].find_element(By.CLASS_NAME, "speaker")).strip() == NAMES[0]


def test_two_contexts_beside_each_other_mark_what_flipped(report, made):
    transcript = opened(report, persona=2, context=0, seed=0, other=2)
    table = made.answers
    mine = table[(table["seed"] == 3) & (table["persona"] == NAMES[2])]
    scores = mine.pivot_table(index="item", columns="context", values="score")
    flipped = scores.index[scores.iloc[:, 0] != scores.iloc[:, 1]].tolist()
    assert 5 < len(flipped) < 35
    shown = [int(one.get_attribute("data-item")) for one in transcript.find_elements(By.CSS_SELECTOR, ".flipped")]
    assert shown == flipped
    assert f"{len(flipped)} of 40 answers flipped" in transcript.text
    assert len(transcript.find_elements(By.CLASS_NAME, "chat")) == 2
    report.find_element(By.ID, "only-flipped").click()
    visible = [one for one in transcript.find_elements(By.CLASS_NAME, "question") if one.is_displayed()]
    assert [int(one.get_attribute("data-item")) for one in visible] == flipped


def test_hostile_names_and_messages_stay_text(report):
    opened(report, persona=0, context=0, seed=0, other=2)
    people = Select(report.find_element(By.ID, "profile-persona")).options
    assert tuple(text_of(option) for option in people) == NAMES
    contexts = Select(report.find_element(By.ID, "context")).options
    assert [text_of(option) for option in contexts] == list(CONTEXTS)
    assert report.execute_script("return window.hacked") is None
    assert report.find_elements(By.CSS_SELECTOR, "img, main b b, i, u") == []
    assert NAMES[0] in text_of(report.find_element(By.ID, "transcript"))
    assert report.get_log("browser") == []  # no error, and nothing that the page's own policy refused


def test_the_policy_would_stop_a_script_that_came_in(report):
    report.execute_script(
        "const box = document.createElement('div');"
        "box.innerHTML = '<img src=x onerror=\"window.hacked=1\">'; document.body.append(box);"
        "const script = document.createElement('script');"
        "script.textContent = 'window.hacked=1'; document.body.append(script);"
    )
    time.sleep(0.3)
    assert report.execute_script("return window.hacked") is None
    assert any("Content Security Policy" in entry["message"] for entry in report.get_log("browser"))


def test_numbers_show_for_the_cell_that_is_pointed_at_or_reached(report, made):
    cell = report.find_element(By.CSS_SELECTOR, "#pairs .cell[tabindex]")
    first, second = CONTEXTS
    rho = made.results.stabilities["rank_order"].mean
    webdriver.ActionChains(report).move_to_element(cell).perform()
    readout = report.find_element(By.CSS_SELECTOR, "#pairs .readout")
    assert text_of(readout) == cell.get_attribute("title") == f"{first} – {second}: {rho:.3f}"
    profile = report.find_element(By.CSS_SELECTOR, "#profile .cell[tabindex]")
    report.execute_script("arguments[0].focus()", profile)
    score = made.results.scores.mean("seed").isel(persona=0, key=0, context=0).item()
    said = text_of(report.find_element(By.ID, "profile-readout"))
    assert said.startswith(f"{NAMES[0]}, Conformity, {first}: ")
    assert float(said.rpartition(": ")[2]) == pytest.approx(score, abs=0.00056)


def test_a_profile_is_picked_with_the_keyboard(report, made):
    select = report.find_element(By.ID, "profile-persona")
    select.send_keys(Keys.ARROW_DOWN)
    rows = report.find_elements(By.CSS_SELECTOR, "#profile tbody tr")
    shown = [[text_of(cell) for cell in row.find_elements(By.CSS_SELECTOR, "td.cell")] for row in rows]
    wanted = made.results.scores.mean("seed").isel(persona=1).transpose("key", "context").to_numpy()
    assert [[float(text) for text in row] for row in shown] == pytest.approx(wanted, abs=0.0051)
    assert report.find_element(By.ID, "persona").get_property("value") == "1"


def test_the_prompt_is_shown_as_text(report):
    assert report.find_element(By.CSS_SELECTOR, "#prompt pre").text == PROMPT


def test_headline_and_warnings(report, made):
    headline = made.results.headline()
    tiles = [text_of(tile) for tile in report.find_elements(By.CSS_SELECTOR, ".tile .big")]
    assert tiles[0] == f"{headline['rank_order']:.3f}"
    notes = [text_of(note) for note in report.find_elements(By.CSS_SELECTOR, ".tile .hint")]
    assert f"chance alone reaches {headline['rank_order_chance']:.3f}" in notes[0]
    assert tiles[2] == "0.950"
    assert text_of(report.find_element(By.ID, "title")) == "A <title> & more"


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_sticks_out_of_the_page(report, width):
    report.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        opened(report, persona=0, context=0, seed=0, other=2)
        wide = report.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
    finally:
        report.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(report, scheme):
    report.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    opened(report, persona=0, context=0, seed=0, other=2)
    lowest = report.execute_script(CONTRAST)
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert lowest[0] >= 4.5, lowest


CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgb = (color) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const color = rgb(getComputedStyle(one).backgroundColor);
    if (color[3] === 255) return color;
  }
  return [255, 255, 255];
};
let lowest = [99, ""];
for (const element of document.querySelectorAll("body *")) {
  if (![...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !element.checkVisibility()) continue;
  const [a, b] = [luminance(rgb(getComputedStyle(element).color)), luminance(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < lowest[0]) lowest = [ratio, element.outerHTML.slice(0, 200)];
}
return lowest;
"""


def test_on_paper_there_are_no_controls(report):
    opened(report, persona=0, context=0, seed=0, other=2)
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = [one for one in report.find_elements(By.CSS_SELECTOR, "select, input, #open, nav") if one.is_displayed()]
    questions = report.find_elements(By.CLASS_NAME, "question")
    assert shown == []
    assert all(question.is_displayed() for question in questions)
    report.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_it_works_in_a_frame_that_may_only_run_scripts(browser, made, tmp_path):
    """As MLflow shows artifacts."""
    frame = f'<iframe sandbox="allow-scripts" src="{made.path.as_uri()}" width="1000" height="800"></iframe>'
    (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
    browser.get((tmp_path / "frame.html").as_uri())
    browser.switch_to.frame(0)
    assert "40 answers flipped" in opened(browser, persona=1, context=0, seed=1, other=2).text
    browser.switch_to.default_content()


def test_every_control_has_a_label(report):
    opened(report, persona=0, context=0, seed=0, other=2)
    nameless = report.execute_script(
        "return [...document.querySelectorAll('select, input, button')]"
        ".filter((one) => !(one.labels?.length || one.textContent.trim())).map((one) => one.outerHTML)"
    )
    assert nameless == []


def test_a_full_study_is_small_and_opens_at_once(browser, tmp_path):
    n_texts = 44  # of the paper's longest conversations
    random = np.random.default_rng(0)
    # Words as frequent as in a language (Zipf); gzip makes 41% of them, and of English prose 30 to 40%.
    words = np.array(["".join(letters) for letters in random.choice(list("abcdefghijklmnopqrstuvwxyz"), (20_000, 5))])
    shares = 1 / np.arange(1, len(words) + 1)
    shares /= shares.sum()

    def said(_):
        return tuple(" ".join(random.choice(words, 67, p=shares)) for _ in range(n_texts))

    made = study(tmp_path / "report.html", "model=random", said=said)
    assert len(made.answers) == 60_000
    assert len(made.conversations) == 1_500
    megabytes = made.path.stat().st_size / 1e6
    times = []
    for _ in range(3):
        browser.get(made.path.as_uri())
        times.append(
            browser.execute_script("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        )
    choose(browser, "persona", 59)
    shown = browser.execute_async_script(
        "const start = performance.now(); const done = arguments[0];"
        "openTranscript().then(() => requestAnimationFrame(() => done(performance.now() - start)));"
    )
    print(f"{megabytes:.1f} MB, written in {made.seconds:.1f} s, open in {times} ms, a transcript in {shown:.0f} ms")  # noqa: T201
    assert megabytes < 20
    assert min(times) < 3_000
    assert shown < 1_000
    assert len(browser.find_elements(By.CLASS_NAME, "question")) == 40
    assert len(browser.find_elements(By.CSS_SELECTOR, ".chat li")) == n_texts
