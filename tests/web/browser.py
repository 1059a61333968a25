"""A real Chromium, a web server for it, and a hand that draws."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.web.digits import Point

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_A_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_browser() -> str | None:
    """Return the path of a Chromium or Chrome that is installed."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or (ON_A_MAC if Path(ON_A_MAC).exists() else None)


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder as ``python -m http.server`` does; gives its address."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class DigitPage:
    """The page in a browser: what one does with it, and what it shows."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.set_default_timeout(60_000)
        page.goto(address)
        self.wait()

    def wait(self) -> None:
        """Wait for the prediction of what is drawn."""
        self.page.wait_for_selector("#answer[aria-busy=false]")

    def check(self) -> None:
        """Check that nothing has gone wrong."""
        assert self.problems == []
        assert self.page.is_hidden("#problem")

    def draw(self, strokes: list[list[Point]], pen: int = 20) -> None:
        """Draw strokes, whose points are shares of the paper, with the mouse on empty paper."""
        self.page.click("#clear")
        self.page.locator("#pen").fill(str(pen))
        box = self.page.locator("#paper").bounding_box()
        mouse = self.page.mouse
        for stroke in strokes:
            points = [
                (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke
            ]
            mouse.move(*points[0])
            mouse.down()
            for point in points[1:]:
                mouse.move(*point)
            mouse.up()
        self.wait()

    @property
    def answer(self) -> str:
        return str(self.page.inner_text("#answer"))

    @property
    def best(self) -> str:
        """The name beside the longest bar."""
        return str(self.page.inner_text("#bars .best .name"))

    @property
    def probabilities(self) -> np.ndarray:
        return np.array(self.page.evaluate("[...page.probabilities]"))

    @property
    def image(self) -> np.ndarray:
        """The image that is shown as what the network sees, 0 to 255, read from the screen."""
        pixels, height, width = self.page.evaluate(
            """(() => {
              const canvas = document.getElementById("seen");
              const {width, height} = canvas;
              const all = canvas.getContext("2d").getImageData(0, 0, width, height).data;
              return [[...all].filter((_, i) => i % 4 === 0), height, width];
            })()"""
        )
        return np.array(pixels, np.uint8).reshape(height, width)

    @property
    def features(self) -> np.ndarray:
        data, dims = self.page.evaluate("[[...page.maps.data], page.maps.dims]")
        return np.array(data, np.float32).reshape(dims)
