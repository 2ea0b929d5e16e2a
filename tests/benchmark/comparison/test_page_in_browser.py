"""The report opened in a real browser: Chromium, driven by Playwright; left out where they are not installed."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_ppo_scratch.benchmark.comparison.report import write_report
from tests.benchmark.comparison.made_up import write_runs
from tests.benchmark.comparison.test_colours import Colour, contrast

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OFFLINE = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

INKS = """[...document.querySelectorAll('p, td, svg text')].map(each => getComputedStyle(each))
    .map(style => style.fill == 'rgb(0, 0, 0)' ? style.color : style.fill)"""
"""The colours of all words: in pictures `fill`, elsewhere `color`, where the other one is black."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up comparison's page."""
    runs = write_runs(tmp_path_factory.mktemp("runs"))
    return write_report(runs, runs / "report")[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without a window."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=OFFLINE)
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_page_fits_shows_all_charts_and_complains_of_nothing(
    width: int, scheme: str, report: Path, browser: Any
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said, asked_for = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked_for.append(request.url))
    page.goto(report.as_uri())
    assert said == []
    assert [url for url in asked_for if not url.startswith("data:")] == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.evaluate("[...document.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect().toJSON())")
    assert len(boxes) == 11
    assert all(box["width"] >= 300 and box["height"] >= 60 and box["right"] <= width for box in boxes)
    page.close()


def test_first_screen_holds_question_verdicts_and_the_first_chart(report: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.goto(report.as_uri())
    for selector in ("h1", ".verdict", "svg"):
        box = page.locator(selector).first.bounding_box()
        assert box["y"] + box["height"] <= 800, selector
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_lines_stand_out_from_the_page(scheme: str, report: Path, browser: Any) -> None:
    page = browser.new_page(color_scheme=scheme)
    page.goto(report.as_uri())
    background = components(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    words = page.evaluate(INKS)
    assert len(words) > 100
    contrasts = [contrast(components(colour), background) for colour in set(words)]
    assert min(contrasts) >= 3.0, sorted(set(words))
    page.close()


def components(colour: str) -> Colour:
    """Read `rgb(r, g, b)`."""
    return np.array([int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]])
