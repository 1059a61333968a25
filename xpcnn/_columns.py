"""How wide a text is where all signs have one width, or two."""

from __future__ import annotations

import unicodedata


def columns_of(text: str) -> int:
    """Count the columns of a terminal that a text takes; Chinese and Japanese signs take two."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )
