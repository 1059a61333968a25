"""An animation in a browser: it plays by itself, and keys go through its steps."""

from __future__ import annotations

import shutil

import pytest

import xpcnn
from xpcnn.explaining.animation import animate

CALM = "--disable-gpu --no-sandbox --disable-background-networking --disable-component-update"


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=CALM.split())
        yield found
        found.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Return a function that opens the animation of four windows."""
    pages = []

    def opens(motion, scripts=True):
        path = tmp_path / "moving.html"
        animate(xpcnn.MaxPool1d(2), [1, 5, 2, 0, 3, 4, 8, 1]).save(path)
        page = browser.new_page(java_script_enabled=scripts, reduced_motion=motion)
        pages.append(page)
        page.goto(path.as_uri())
        return page

    yield opens
    for page in pages:
        page.close()


def test_keys_go_through_the_steps(opened):
    page = opened("reduce")
    slider = page.locator("input[type=range]")
    slider.focus()
    seen = [page.inner_text("output")]
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft"):
        slider.press(key)
        seen.append(page.inner_text("output"))
    assert [text[0] for text in seen] == list("12324411")
    assert seen[0] == "1 / 4"
    slider.press("End")
    assert "max(8, 1) = 8" in page.locator("text.line").first.text_content()


def test_the_space_bar_plays_and_pauses(opened):
    page = opened("reduce")
    slider, play = page.locator("input[type=range]"), page.locator("button").first
    assert "Play" in play.inner_text()
    slider.press(" ")
    assert "Pause" in play.inner_text()
    slider.press(" ")
    assert "Play" in play.inner_text()


def test_it_plays_by_itself_up_to_the_end(opened):
    page = opened("no-preference")
    page.wait_for_function("document.querySelector('output').textContent === '4 / 4'")
    assert "Play" in page.locator("button").first.inner_text()


def test_where_motion_is_unwanted_it_stands_still(opened):
    page = opened("reduce")
    assert "Play" in page.locator("button").first.inner_text()
    assert page.inner_text("output") == "1 / 4"


def test_without_scripts_there_are_two_pictures(opened):
    page = opened("reduce", scripts=False)
    assert page.locator("img").count() == 2
    assert page.locator("input").count() == 0
