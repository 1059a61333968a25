"""An animation as GIF, drawn by Pillow: light, with the fonts of the machine."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from xpcnn.explaining.animation.layout import MARGIN, Layout, is_drawn, lay_out, lines_of
from xpcnn.explaining.animation.player import LIGHT
from xpcnn.explaining.animation.scene import (
    BEST,
    FILTER,
    LABEL,
    PADDING,
    RESULT,
    WINDOW,
    Cell,
    Frame,
    Scene,
)

MILLISECONDS, LAST_MILLISECONDS = 1000, 3000
COLOURS = 64

LATIN = (
    "DejaVuSans.ttf", "LiberationSans-Regular.ttf", "NotoSans-Regular.ttf", "Arial.ttf",
    "arial.ttf", "Helvetica.ttc",
)  # fmt: skip
JAPANESE = (
    "NotoSansCJK-Regular.ttc", "NotoSansCJKjp-Regular.otf", "NotoSansJP-Regular.otf",
    "NotoSansJP-Regular.ttf", "ipaexg.ttf", "ipag.ttf", "TakaoGothic.ttf", "VL-Gothic-Regular.ttf",
    "ヒラギノ角ゴシック W3.ttc", "Hiragino Sans GB.ttc", "YuGothM.ttc", "yugothm.ttc", "meiryo.ttc",
    "msgothic.ttc", "DroidSansFallbackFull.ttf",
)  # fmt: skip
"""Names of font files, the best ones first."""

SIZES = {"title": 15, "name": 13, "note": 13, "line": 13, "caption": 14}


def check_pillow() -> None:
    """Raise an ImportError that says what to install, unless Pillow is there."""
    if importlib.util.find_spec("PIL") is None:
        raise ImportError(
            'Animation.save: writing a GIF needs Pillow; run: pip install "xpcnn[images]", or '
            "save it as .html"
        )


def encoded(scene: Scene) -> bytes:
    """Return a scene as the bytes of a GIF, which repeats."""
    layout = lay_out(scene)
    pictures = [_picture(scene, layout, frame) for frame in scene.frames]
    colours = pictures[0].quantize(COLOURS)  # the same in all, so that only changes are stored
    pictures = [picture.quantize(palette=colours, dither=0) for picture in pictures]
    times = [MILLISECONDS] * (len(pictures) - 1) + [LAST_MILLISECONDS]
    content = io.BytesIO()
    pictures[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=times if len(times) > 1 else times[0],
        loop=0,
        optimize=True,
    )
    return content.getvalue()


def _picture(scene: Scene, layout: Layout, frame: Frame) -> Any:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (layout.width, layout.height), LIGHT["page"])
    draw = ImageDraw.Draw(picture)
    for box, cell in zip(layout.boxes, frame.cells, strict=True):
        _draw_cell(draw, box, cell)
    for x, y, text, kind in layout.texts:
        _write(draw, x, y, text, kind)
    for kind, base_lines, texts in (
        ("line", layout.lines, lines_of(frame.lines)),
        ("caption", layout.captions, lines_of(frame.caption)),
    ):
        for y, text in zip(base_lines, texts, strict=False):  # there is room for more lines
            _write(draw, MARGIN, y, text, kind)
    return picture


def _draw_cell(draw: Any, box: Any, cell: Cell) -> None:
    x, y, width, height = box
    marked = cell.role in (WINDOW, RESULT, FILTER, BEST)
    if is_drawn(cell.role, box):
        fill = LIGHT.get(cell.role, LIGHT["page"]) if cell.role != "line" else None
        line = LIGHT[f"{cell.role}-line"] if marked else LIGHT["line"]
        thick = 2 if cell.role in (RESULT, BEST) else 1
        draw.rectangle((x, y, x + width, y + height), fill, line, thick)
    colour = LIGHT["soft" if cell.role in (LABEL, PADDING) else "ink"]
    size = 11 if cell.role == LABEL else 12
    place = x + width / 2, y + height / 2
    draw.text(place, cell.text, colour, _font(cell.text, size), anchor="mm")


def _write(draw: Any, x: int, y: int, text: str, kind: str) -> None:
    colour = LIGHT["soft" if kind == "note" else "ink"]
    draw.text((x, y), text, colour, _font(text, SIZES[kind]), anchor="ls")


# -- Fonts -----------------------------------------------------------------------------------------


def has_japanese() -> bool:
    """Whether there is a font with Japanese signs."""
    return _found(JAPANESE) is not None


def _font(text: str, size: int) -> Any:
    japanese = any(ord(sign) > 0x2E7F for sign in text)
    return _loaded(_found(JAPANESE if japanese else LATIN), size)


@lru_cache(maxsize=32)
def _loaded(path: str | None, size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)


@lru_cache(maxsize=4)
def _found(names: tuple[str, ...]) -> str | None:
    """Return the path of the first of these files that is in a folder of fonts."""
    there: dict[str, str] = {}
    for folder in _folders():
        for path, _, files in os.walk(folder):
            there.update({name: str(Path(path, name)) for name in files})
    return next((there[name] for name in names if name in there), None)


def _folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", r"C:\Windows"), "Fonts")]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts"]
