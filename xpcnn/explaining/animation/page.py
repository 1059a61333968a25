"""An animation as HTML: one drawing, which a short script changes from step to step.

What is in the page without the script is two pictures, of the first and of the last step. The
script puts the drawing itself in their place, with a slider and buttons.
"""

from __future__ import annotations

import base64
import json
import secrets

from xpcnn._markup import escape
from xpcnn.explaining.animation.layout import Layout, is_drawn, lay_out, lines_of
from xpcnn.explaining.animation.player import SCRIPT, STYLE
from xpcnn.explaining.animation.scene import ROLES, Frame, Scene
from xpcnn.explaining.animation.words import WORDS

CODES = {role: role[0] if role != "padding" else "d" for role in ROLES}
"""The class of a cell in the drawing, by what the cell is."""


def document(scene: Scene, lang: str) -> str:
    """Return a page of its own."""
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(scene.title)}</title>\n</head>\n<body>\n"
        f"{fragment(scene, lang)}\n</body>\n</html>\n"
    )


def fragment(scene: Scene, lang: str) -> str:
    """Return a part of a page, which needs nothing from outside; each has a name of its own."""
    name = f"xpcnn-animation-{secrets.token_hex(6)}"
    words, layout = WORDS[lang], lay_out(scene)
    figures = [_figure(drawing(scene, layout, 0), words["first"], scene.frames[0], layout)]
    if len(scene.frames) > 1:
        last = drawing(scene, layout, len(scene.frames) - 1)
        figures.append(_figure(last, words["last"], scene.frames[-1], layout))
    data = {
        "words": {key: words[key] for key in ("play", "pause", "back", "next", "position")},
        "steps": _changes(scene),
        "width": layout.width,
    }
    payload = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    script = SCRIPT.replace("NAME", json.dumps(name)).replace("DATA", payload)
    return (
        f'<div id="{name}" class="xpcnn-animation" lang="{lang}">\n{"".join(figures)}'
        f"<script>\n{script}</script>\n</div>"
    )


def drawing(scene: Scene, layout: Layout, step: int) -> str:
    """Return one step as SVG."""
    frame = scene.frames[step]
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        'class="xpcnn-animation xpcnn-animation-drawing" '
        f'aria-label="{escape(frame.caption)}" viewBox="0 0 {layout.width} {layout.height}" '
        f'width="{layout.width}" height="{layout.height}"><style>{STYLE}</style>'
        f'<rect class="page" width="{layout.width}" height="{layout.height}"/>'
    ]
    for box, cell in zip(layout.boxes, frame.cells, strict=True):
        x, y, width, height = box
        code = CODES[cell.role]
        if is_drawn(cell.role, box):
            parts.append(
                f'<rect class="k {code}" x="{x}" y="{y}" width="{width}" height="{height}"/>'
            )
        else:
            parts.append('<rect class="k"/>')
        middle = f'x="{x + width / 2:g}" y="{y + height / 2 + 4:g}"'
        parts.append(f'<text class="k {code}" {middle}>{escape(cell.text)}</text>')
    for x, y, text, kind in layout.texts:
        parts.append(f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>')
    for kind, base_lines, texts in _below(layout, frame):
        for n, y in enumerate(base_lines):
            text = texts[n] if n < len(texts) else ""
            parts.append(f'<text class="{kind}" x="14" y="{y}">{escape(text)}</text>')
    return "".join(parts) + "</svg>"


def _below(layout: Layout, frame: Frame) -> tuple[tuple[str, tuple[int, ...], list[str]], ...]:
    return (
        ("line", layout.lines, lines_of(frame.lines)),
        ("caption", layout.captions, lines_of(frame.caption)),
    )


def _figure(svg: str, title: str, frame: Frame, layout: Layout) -> str:
    encoded = base64.b64encode(svg.encode()).decode()
    alternative = escape(f"{title}: {' '.join(frame.lines)} {frame.caption}")
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<img alt="{alternative}" width="{layout.width}" '
        f'src="data:image/svg+xml;base64,{encoded}"></figure>\n'
    )


def _changes(scene: Scene) -> list[list[object]]:
    """Return for each step what differs from the one before: cells, then formulas and caption."""
    steps: list[list[object]] = []
    before = scene.frames[0]
    for frame in scene.frames:
        changed = [
            [n, CODES[new.role], new.text]
            for n, (old, new) in enumerate(zip(before.cells, frame.cells, strict=True))
            if old != new
        ]
        steps.append([changed, lines_of(frame.lines), lines_of(frame.caption)])
        before = frame
    return steps
