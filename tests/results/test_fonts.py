"""Names in scripts that matplotlib's own font lacks."""

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import FontEntry, fontManager

from valstab.results import fonts
from valstab.results.fonts import fallback_fonts
from valstab.results.picture import Picture


def add_font(folder, monkeypatch, name, characters, style="normal"):
    """Let the system have a font that draws each of some characters as a black square."""
    pen = TTGlyphPen(None)
    for move, point in (("moveTo", (0, 0)), ("lineTo", (0, 1000)), ("lineTo", (1000, 1000)), ("lineTo", (1000, 0))):
        getattr(pen, move)(point)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *(f"u{ord(one)}" for one in characters)])
    builder.setupCharacterMap({ord(one): f"u{ord(one)}" for one in characters})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph()} | {f"u{ord(one)}": square for one in characters})
    builder.setupHorizontalMetrics(dict.fromkeys(builder.font.getGlyphOrder(), (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(folder / f"{name}.ttf")
    entry = FontEntry(
        fname=str(folder / f"{name}.ttf"),
        name=name,
        style=style,
        variant="normal",
        weight=400,
        stretch="normal",
        size="scalable",
    )
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist, entry])


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Forget fonts that were found and scripts that were reported, and leave only matplotlib's own fonts."""
    monkeypatch.setattr(fontManager, "ttflist", [one for one in fontManager.ttflist if "mpl-data" in one.fname])
    for function in (fonts.fonts_for, fonts.report_missing):
        function.cache_clear()
    yield
    for function in (fonts.fonts_for, fonts.report_missing):
        function.cache_clear()


def test_matplotlib_s_own_font_has_what_it_has(capsys):
    assert fallback_fonts(["plain", "Zoë", "Ωmega", "שלמה", "two\nlines"]) == []
    assert capsys.readouterr().err == ""


def test_as_few_fonts_as_needed(tmp_path, monkeypatch, capsys):
    add_font(tmp_path, monkeypatch, "One", "日")
    add_font(tmp_path, monkeypatch, "Sloping", "日本国", style="italic")
    add_font(tmp_path, monkeypatch, "Two Serif", "日本国")
    add_font(tmp_path, monkeypatch, "Two Sans", "日本国")
    add_font(tmp_path, monkeypatch, "Three", "한")
    assert fallback_fonts(["日本", "Ada"]) == ["Two Sans"]
    assert fallback_fonts(["日本", "한"]) == ["Two Sans", "Three"]
    assert capsys.readouterr().err == ""


def test_what_no_font_has_is_one_line_for_each_script(capsys):
    for names in (["日本"], ["国", "Ada"], ["日本"], ["한국"]):
        assert fallback_fonts(names) == []
    rest = "characters of names, so pictures have boxes for them; install one, such as Noto Sans CJK"
    assert capsys.readouterr().err.splitlines() == [
        f"valstab: no font of this system has the {script} {rest}" for script in ("CJK", "HANGUL")
    ]


def drawn(folder, name="日本"):
    """Draw a title and a tick of this name, and return the share of the picture that is black."""
    from matplotlib.image import imread

    picture = Picture(figsize=(1, 1))
    picture.text(0.1, 0.3, name, fontsize=20)
    picture.subplots().barh(["tick", name], [0, 0])
    picture.savefig(folder / "a.png", dpi=50)
    return float(np.mean(imread(folder / "a.png")[..., :3].max(-1) < 0.5))


def test_names_are_drawn_with_a_font_that_has_them(tmp_path, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxes = drawn(tmp_path)
        add_font(tmp_path, monkeypatch, "Squares", "日本")
        fonts.fonts_for.cache_clear()
        squares = drawn(tmp_path)
    assert squares > boxes + 0.05
