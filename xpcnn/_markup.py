"""What HTML and SVG of all parts share: safe text, fonts, and colours that follow the page.

Colours are light or dark as a notebook or a site says (JupyterLab, VS Code, ``data-theme`` of
Sphinx sites), else as the system does.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

LIGHT_PAGES = ('[data-jp-theme-light="true"]', "body.vscode-light", 'html[data-theme="light"]')
DARK_PAGES = ('[data-jp-theme-light="false"]', "body.vscode-dark", 'html[data-theme="dark"]')
SANS = (
    'system-ui,-apple-system,"Segoe UI","Noto Sans","Hiragino Sans","Yu Gothic UI",'
    '"Noto Sans CJK JP",Helvetica,Arial,sans-serif'
)
"""Fonts for text, those for Japanese among them."""


def variables(root: str, light: Mapping[str, str], dark: Mapping[str, str]) -> str:
    """Return rules that give what has the class `root` its colours, as CSS variables ``--xp-…``."""
    lit, unlit = (
        "{" + ";".join(f"--xp-{name}:{value}" for name, value in colours.items()) + "}"
        for colours in (light, dark)
    )
    on_light = ",".join(f"{page} .{root}" for page in LIGHT_PAGES)
    on_dark = ",".join(f"{page} .{root}" for page in DARK_PAGES)
    return (
        f".{root}{lit}\n@media (prefers-color-scheme:dark){{.{root}{unlit}}}\n"
        f"{on_light}{lit}\n{on_dark}{unlit}\n"
    )


def escape(text: str) -> str:
    """Make a text safe in SVG and HTML, also one with characters that XML does not allow."""
    return html.escape(
        re.sub(
            r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", text
        )
    )
