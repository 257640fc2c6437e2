"""The page in a real browser: nothing is fetched, nothing goes wrong, and its controls work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from make_report import HOSTILE, make_loaded, make_material, make_predictions

from vclip_cli.data.label_set import load_label_set
from vclip_cli.report.material import (
    Embeddings,
    Missing,
    ReportMaterial,
    ResultMaterial,
)
from vclip_cli.report.page import render_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("plotly", reason="plotly is not installed")
pytest.importorskip("jinja2", reason="jinja2 is not installed")

pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
CLIPS = 1_500
LARGEST = 8_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def large_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """51 classes, 1,500 clips, two methods."""
    classes = load_label_set("hmdb51").names
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(make_material(classes, CLIPS), "HMDB51"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "a b#c.html"
    material = make_material(HOSTILE, 70, different=4)
    path.write_text(render_report(material, HOSTILE[0]), encoding="utf-8")
    return path


class Opened:
    """A page, and what it said and asked for meanwhile."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
        self.page.wait_for_selector("#classes-plot .main-svg", state="attached")
        self.address = path.as_uri()

    def settled(self) -> None:
        """Raises when the page said anything, or asked for anything beside itself."""
        self.page.wait_for_timeout(100)
        assert self.said == []
        outside = [url for url in self.asked if not url.startswith(("data:", "blob:"))]
        assert outside == [self.address]

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    def width(self) -> int:
        return self.page.evaluate("document.documentElement.scrollWidth")


@pytest.fixture(scope="module")
def loaded(browser: Any, large_page: Path) -> Iterator[Opened]:
    """The large page, loaded once: drawing it takes seconds."""
    made = Opened(browser, large_page, viewport={"width": 1400, "height": 900})
    yield made
    made.page.close()


@pytest.fixture
def opened(loaded: Opened) -> Iterator[Opened]:
    yield loaded
    loaded.settled()


def test_the_large_page_is_small_enough(large_page: Path) -> None:
    size = large_page.stat().st_size
    assert 4_000_000 < size <= LARGEST  # the frames of all clips are in it


def test_the_keyboard_reaches_every_control(opened: Opened) -> None:
    """First of all, while nothing has had the focus."""
    page = opened.page
    reached = []
    for _ in range(400):
        page.keyboard.press("Tab")
        active = "document.activeElement"
        reached.append(page.evaluate(f"{active}.id || {active}.getAttribute('href')"))
        if reached[-1] == "attention-heat":
            break
    assert reached[0] == "#main"
    wanted = ["one", "two", "#results", "classes-filter", "confusion-scope", "embedding-plot"]
    wanted += ["hardest-class", "attention-clip", "attention-heat"]
    assert [name for name in reached if name in wanted] == wanted


def test_sorting_and_filtering_the_classes(opened: Opened) -> None:
    rows = "#classes-table tbody tr"
    assert opened.page.locator(rows).count() == 51
    opened.page.get_by_role("button", name="Difference").click()
    header = opened.page.locator("#classes-table th[aria-sort=descending]")
    assert header.inner_text().startswith("Difference")
    shown = [float(text.replace("+", "")) for text in opened.texts(f"{rows} td:last-child")]
    assert shown == sorted(shown, reverse=True) and shown[0] > shown[-1]
    opened.page.get_by_role("button", name="Difference").press("Enter")
    shown = [float(text.replace("+", "")) for text in opened.texts(f"{rows} td:last-child")]
    assert shown == sorted(shown)
    opened.page.fill("#classes-filter", "SHOOT")
    assert sorted(opened.texts(f"{rows} th")) == ["shoot_ball", "shoot_bow", "shoot_gun"]
    assert opened.page.inner_text("#classes-count") == "3 of 51 classes"


def test_no_button_leads_out_of_the_page(opened: Opened) -> None:
    buttons = opened.page.locator(".modebar-btn")
    titles = {button.get_attribute("aria-label") for button in buttons.all()}
    assert titles == {"Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}
    assert opened.page.locator("a:not([href^='#'])").count() == 0


def test_filtering_and_zooming_the_confusions(opened: Opened) -> None:
    page = opened.page
    assert page.evaluate("document.getElementById('confusion-plot').data[0].z.length") == 51
    page.select_option("#confusion-scope", "10")
    assert page.locator("#confusion-table tbody tr").count() == 10
    assert page.evaluate("document.getElementById('confusion-plot').data[0].z.length") <= 20
    page.select_option("#confusion-scope", "all")
    page.fill("#confusion-filter", "kiss")
    for first, second in zip(
        opened.texts("#confusion-table tbody th"),
        opened.texts("#confusion-table tbody td:nth-child(2)"),
        strict=True,
    ):
        assert "kiss" in (first, second)
    page.fill("#confusion-filter", "")
    page.locator("#confusion-plot").scroll_into_view_if_needed()
    box = page.locator("#confusion-plot .nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 160, steps=4)
    page.mouse.up()
    page.wait_for_function(
        "(() => { const [a, b] = document.getElementById('confusion-plot')._fullLayout.xaxis.range;"
        "return b - a < 30; })()"
    )
    page.locator("#confusion-table tbody button").first.click()
    assert page.locator("#confusion-clips .card").count() >= 1
    assert "taken for" in page.inner_text("#confusion-clips h3")


def test_hovering_and_arrow_keys_show_the_frames_of_a_clip(opened: Opened) -> None:
    page = opened.page
    plot = page.locator("#embedding-plot")
    plot.scroll_into_view_if_needed()
    assert page.evaluate("document.getElementById('embedding-plot').data[0].x.length") == CLIPS
    point = plot.locator(".scatterlayer .trace").first.locator("path.point").nth(7).bounding_box()
    page.mouse.move(point["x"] - 3, point["y"] - 3)
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2, steps=3)
    picture = page.locator("#embedding-clip img")
    picture.wait_for()
    loaded = "image => image.decode().then(() => image.naturalWidth)"
    assert picture.evaluate(loaded) > 4 * 31
    assert picture.get_attribute("alt").startswith("4 frames of clip#")
    before = page.inner_text("#embedding-clip .id")
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#embedding-clip .id") != before
    page.select_option("#embedding-class", label="kiss")
    for _ in range(3):
        plot.press("ArrowDown")
        assert page.inner_text("#embedding-clip dd").startswith("kiss")


def test_hardest_clips_filter_and_attention_changes(opened: Opened) -> None:
    page = opened.page
    cards = page.locator("#hardest-list .card")
    assert cards.count() == 12
    assert cards.first.locator(".best li").count() == 5
    assert cards.first.locator("img").evaluate("i => i.decode().then(() => i.naturalWidth)") > 300
    page.get_by_label("Most confident mistakes").check()
    assert all("wrong" in text for text in cards.all_inner_texts())
    only = page.locator("#hardest-class option").nth(1)
    page.select_option("#hardest-class", only.get_attribute("value"))
    assert 0 < cards.count() < 12
    assert page.locator("#attention-frames canvas").count() == 8
    assert page.locator("#attention-temporal .js-plotly-plot").count() == 1
    before = page.locator("#attention-frames .picture").first.get_attribute("aria-label")
    page.select_option("#attention-clip", "3")
    assert page.locator("#attention-frames .picture").first.get_attribute("aria-label") != before
    page.uncheck("#attention-heat")
    assert page.locator("#attention-frames canvas").count() == 0


def test_choosing_results_and_colours(opened: Opened) -> None:
    page = opened.page
    assert "ECE" in page.inner_text("#calibration-summary")
    page.select_option("#two", "")
    assert page.locator("#classes-table thead th").count() == 3
    page.select_option("#one", "1")
    assert page.inner_text("#embedding-why") == "The weights are not at hand."
    assert not page.locator("#embedding-body").is_visible()
    page.select_option("#one", "0")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_label("Dark").check()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light


def test_a_telephone_needs_no_sideways_scrolling(browser: Any, large_page: Path) -> None:
    made = Opened(browser, large_page, viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert made.width() == 360
    made.settled()
    made.page.close()


def _odd_material(kind: str) -> ReportMaterial:
    if kind == "several labels":
        made = make_predictions(["a", "b", "c"], 12)
        made = replace(made, labels=(("a", "b"), ("c",), (), ("b",)) * 3)
        shown = ResultMaterial(
            make_loaded(made, multi_label=True), made, Embeddings(made.videos, made.scores)
        )
        return ReportMaterial([shown], [made.videos])
    if kind == "one class":
        made = make_predictions(["only"], 6)
        return ReportMaterial([ResultMaterial(make_loaded(made), made)], [made.videos])
    lacking = Missing("The predictions file is not beside the record.")
    loaded = make_loaded(make_predictions(["a", "b"], 4))
    return ReportMaterial([ResultMaterial(loaded, lacking, lacking, lacking)], [()])


@pytest.mark.parametrize("kind", ["several labels", "one class", "record alone"])
def test_pages_with_little_on_them(browser: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(render_report(_odd_material(kind), kind), encoding="utf-8")
    made = Opened(browser, path)
    reasons = [text for text in made.texts(".why") if text]
    if kind == "record alone":
        assert reasons == ["The predictions file is not beside the record."] * 5
    else:
        assert made.page.locator("#hardest-list .card").count() > 0
        assert any("Not asked for" in text for text in reasons)
    made.settled()
    made.page.close()


def test_hostile_names_stay_text(browser: Any, hostile_page: Path) -> None:
    made = Opened(browser, hostile_page)
    assert made.page.title() == HOSTILE[0]
    assert made.page.locator("a[href^=http], img[src^=http], main script").count() == 0
    shown = made.texts("#classes-table tbody th")
    for name in (HOSTILE[0], HOSTILE[2], HOSTILE[4], HOSTILE[5], "__proto__"):
        assert name in shown
    labels = "".join(made.page.locator("#confusion-plot .ytick").all_text_contents())
    assert "<script>" in labels and "<img src" in labels and "<b>bo" in labels
    assert made.page.locator("#confusion-plot .ytick a").count() == 0
    made.settled()
    made.page.close()
