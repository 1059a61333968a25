"""The digit page in a real browser: what is drawn is recognised, and the numbers are Python's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.web.browser import OPTIONS, DigitPage, find_browser, serving
from tests.web.digits import STYLES, Point
from tests.web.sharing import made_once
from xpcnn.cli import main
from xpcnn.training.probabilities import class_probabilities

CROSS: list[list[Point]] = [[(0.3, 0.3), (0.5, 0.7)], [(0.5, 0.3), (0.3, 0.7)]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = find_browser()
    if path is None:
        pytest.skip("neither Chromium nor Chrome is installed")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Path:
    """The page of the model that README's first command trains."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    return made_once(tmp_path_factory, "digit-page", export_page)


def export_page(folder: Path) -> None:
    try:
        xpcnn.web.runtime.runtime_files()
    except RuntimeError as error:
        pytest.skip(str(error))
    model = folder / "simple-digits.safetensors"
    assert main(["train", "--device", "cpu", "--save", str(model)]) == 0
    assert main(["export", "--web", str(folder / "sub" / "page"), "--model", str(model)]) == 0


@pytest.fixture(scope="module")
def model(exported: Path) -> xpcnn.Model:
    return xpcnn.Model.load(exported / "simple-digits.safetensors", device="cpu")


@pytest.fixture(scope="module")
def address(exported: Path) -> Iterator[str]:
    """The page in a folder below the server's root, as on GitHub Pages."""
    with serving(exported) as root:
        yield f"{root}/sub/page/"


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Callable[..., DigitPage]]:
    """Open the page in a window of its own; at the end nothing may have gone wrong in it."""
    opened = []

    def open_it(**options: Any) -> DigitPage:
        opened.append(page := DigitPage(browser.new_context(**options).new_page(), address))
        return page

    yield open_it
    for page in opened:
        page.check()
        page.page.context.close()


@pytest.fixture(scope="module")
def shared_page(browser: Any, address: str) -> DigitPage:
    return DigitPage(browser.new_page(), address)


@pytest.fixture
def page(shared_page: DigitPage) -> Iterator[DigitPage]:
    """The page with empty paper, in one window for all tests, since loading takes a second."""
    shared_page.page.click("#clear")
    shared_page.wait()
    yield shared_page
    shared_page.check()


@pytest.mark.parametrize(
    "style",
    [*STYLES[:4], *(pytest.param(style, marks=pytest.mark.slow) for style in STYLES[4:])],
    ids=lambda style: style.name,
)
def test_nine_of_ten_digits_are_right(page, style):
    found = []
    for digit in range(10):
        page.draw(style.strokes(digit), style.pen)
        found.append(page.best)
    assert sum(name == str(digit) for digit, name in enumerate(found)) >= 9, found


def test_numbers_are_those_of_the_model(page, model):
    for digit in (2, 8):
        page.draw(STYLES[0].strokes(digit))
        x = page.image.astype(np.float32)[None, None] / 255
        scores = model.predict(x)[0].astype(np.float64)
        expected = np.exp(scores - scores.max())
        np.testing.assert_allclose(page.probabilities, expected / expected.sum(), atol=1e-5)
        assert page.best == str(scores.argmax())
        assert page.answer.startswith(f"This looks like: {page.best} (")
        maps = page.features
        np.testing.assert_allclose(maps, model.layers[0](x), atol=1e-5)
        assert maps.shape == (1, 30, 24, 24)
        assert maps.std(axis=(2, 3)).min() > 0.0
        assert page.page.locator("#maps canvas").count() == 30


def test_the_image_is_made_as_those_of_mnist_were(page):
    for style in STYLES:
        page.draw(style.strokes(4), style.pen)
        image = page.image.astype(float)
        rows, columns = (np.flatnonzero(image.max(axis=axis)) for axis in (1, 0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert max(height, width) == 20
        places = np.arange(28)
        for axis in (0, 1):
            centre = (image.sum(axis=1 - axis) * places).sum() / image.sum()
            assert abs(centre - 13.5) <= 0.5 + 1e-9
        assert image.max() >= 200.0
        assert image.min() == 0.0


def test_pixels_are_means_of_what_they_cover(page):
    # A straight line across: its box is as wide as the line and the pen's two round ends. Scaled to
    # 20 columns it is 20 * pen / length rows high; the ends of the middle rows are full.
    page.draw([[(0.2, 0.5), (0.8, 0.5)]], pen=28)
    length = 0.6 * 280 + 28
    rows = round(20 * 28 / length)
    image = page.image
    middle = image[:, 10:18]
    assert (middle.max(axis=1) > 0).sum() == rows == 3
    np.testing.assert_array_equal(middle[middle.max(axis=1) > 0], 255)


def test_where_it_is_drawn_does_not_matter(page):
    page.draw(CROSS)
    first = page.image
    page.draw([[(x + 0.25, y + 0.2) for x, y in stroke] for stroke in CROSS])
    np.testing.assert_allclose(page.image.astype(int), first, atol=8)
    assert first.any()


def test_clear(page):
    empty = page.answer
    assert empty == "Draw a digit from 0 to 9."
    page.draw(CROSS)
    assert page.answer != empty
    page.page.click("#clear")
    page.wait()
    assert page.answer == empty
    assert not page.image.any()


def test_drawing_with_the_keyboard(page):
    keyboard = page.page.keyboard
    page.page.focus("#paper")
    for key in ["ArrowUp"] * 8 + ["Space"] + ["ArrowDown"] * 16 + ["Space"]:
        keyboard.press(key)
    page.wait()
    assert page.best == "1"
    keyboard.press("ArrowRight")  # with the pen lifted
    page.wait()
    assert page.best == "1"
    keyboard.press("Delete")
    page.wait()
    assert not page.image.any()


def test_drawing_with_a_finger(open_page):
    page = open_page(has_touch=True, viewport={"width": 375, "height": 700})
    strokes = STYLES[0].strokes(7)
    page.draw(strokes)
    with_the_mouse = page.image
    page.page.click("#clear")
    box = page.page.locator("#paper").bounding_box()
    hand = page.page.context.new_cdp_session(page.page)
    for i, (x, y) in enumerate(strokes[0]):
        point = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        kind = "touchStart" if i == 0 else "touchMove"
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait()
    assert page.best == "7"
    np.testing.assert_allclose(page.image.astype(int), with_the_mouse, atol=8)
    # nothing lies beside the screen
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 375


def test_languages(open_page):
    page = open_page(locale="ja-JP")
    assert page.page.title() == "数字を描いてみよう"
    assert page.page.get_attribute("html", "lang") == "ja"
    page.draw(CROSS)
    assert page.answer.startswith("予測結果：")
    page.page.click("#language")
    assert page.page.title() == "Draw a digit"
    assert page.answer.startswith("This looks like: ")
    for words in ("en", "ja"):
        page.page.goto(f"{page.page.url.split('?')[0]}?lang={words}")
        page.wait()
        assert page.page.get_attribute("html", "lang") == words


def test_everything_has_a_name_for_screen_readers(page):
    for role, name in (
        ("button", "Clear"),
        ("slider", "Pen"),
        ("application", "Drawing area"),
        ("img", "What the network sees: 28 × 28 pixels"),
    ):
        assert page.page.get_by_role(role, name=name).count() == 1


def test_screenshots(open_page, tmp_path):
    page = open_page(viewport={"width": 1000, "height": 900})
    page.draw(STYLES[0].strokes(3))
    images = []
    for scheme in ("light", "dark"):
        page.page.emulate_media(color_scheme=scheme)
        images.append(page.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True))
    assert images[0] != images[1]


# -- Other models ----------------------------------------------------------------------------------

LONG = [f"a rather long name of class {number} <b>猫</b>" for number in range(20)]


def other(*layers: xpcnn.Layer, classes: int, size=(28, 28), names=None, loss="cross_entropy"):
    convolution = xpcnn.Conv2d(out_channels=3, kernel_size=3, padding="same")
    head = [convolution, xpcnn.ReLU(), xpcnn.Flatten(), xpcnn.Linear(out_features=classes)]
    model = xpcnn.Model([*layers, *head], device="cpu", seed=2)
    model.build((None, 1, *size))
    model.compile("adam", loss)
    model.class_names = names
    return model


@pytest.mark.parametrize(
    ("model", "shape", "bars"),
    [
        (lambda: other(xpcnn.Rescale(1 / 255), classes=10), (28, 28), 10),
        (lambda: other(classes=10, size=(8, 12)), (8, 12), 10),
        (lambda: other(classes=1, names=["cat"], loss="bce_with_logits"), (28, 28), 2),
        (lambda: other(classes=20, names=LONG), (28, 28), 12),
    ],
    ids=["bytes", "small", "yes-or-no", "many"],
)
def test_other_models(browser, exported, tmp_path, model, shape, bars):
    model = model()
    xpcnn.web.export(model, tmp_path, runtime=exported / "sub" / "page")
    with serving(tmp_path) as root:
        window = browser.new_page(viewport={"width": 375, "height": 700})
        page = DigitPage(window, root)
        page.draw(STYLES[0].strokes(2))
        assert page.image.shape == shape
        bytes_are_taken = isinstance(model.layers[0], xpcnn.Rescale)
        x = page.image.astype(np.float32)[None, None] / (1 if bytes_are_taken else 255)
        (expected,) = class_probabilities(model, model.predict(x))
        np.testing.assert_allclose(page.probabilities, expected, atol=1e-5)
        assert window.locator("#bars li").count() == bars
        names = model.class_names or list("0123456789")
        names = ["not cat", "cat"] if len(names) == 1 else names
        assert page.best == names[expected.argmax()]
        assert page.problems == []
        assert window.evaluate("document.documentElement.scrollWidth") <= 375
        window.close()


def test_networks_without_convolutions(browser, exported, tmp_path):
    model = xpcnn.Model(xpcnn.networks.mlp(), device="cpu", seed=2)
    model.build((None, 1, 28, 28))
    xpcnn.web.export(model, tmp_path, runtime=exported / "sub" / "page")
    with serving(tmp_path) as root:
        window = browser.new_page()
        page = DigitPage(window, root)
        page.draw(CROSS)
        assert window.get_by_text("This network has no two-dimensional convolution.").is_visible()
        assert window.is_hidden("#scale")
        assert page.problems == []
        window.close()


# -- What goes wrong is said on the page -----------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.onnx", "Is “model.onnx” beside this page?"),
        ("ort/ort.wasm.min.mjs", "Are the files in the folder “ort” beside this page?"),
        (
            "ort/ort-wasm-simd-threaded.wasm",
            "Are the files in the folder “ort” beside this page?",
        ),
    ],
)
def test_missing_files(browser, exported, tmp_path, missing, message):
    folder = shutil.copytree(exported / "sub" / "page", tmp_path / "page")
    (folder / missing).unlink()
    with serving(folder) as root:
        page = browser.new_page()
        page.goto(root)
        page.wait_for_selector("#problem:not([hidden])")
        assert message in page.inner_text("#problem-text")
        page.click("#language")
        assert "ください" in page.inner_text("#problem-text")
        page.close()


def test_opened_as_a_file(browser, exported):
    page = browser.new_page()
    page.goto((exported / "sub" / "page" / "index.html").as_uri())
    page.wait_for_selector("#problem:not([hidden])")
    assert "Serve the folder of this page" in page.inner_text("#problem-text")
    assert "python -m http.server" in page.inner_text("#problem-detail")
    page.close()


def test_without_webassembly(browser, address):
    page = browser.new_page()
    page.add_init_script("delete globalThis.WebAssembly")
    page.goto(address)
    page.wait_for_selector("#problem:not([hidden])")
    assert "has no WebAssembly" in page.inner_text("#problem-text")
    page.close()
