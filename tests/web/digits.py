"""Ten digits as strokes, and ways to draw them."""

from __future__ import annotations

import math
from dataclasses import dataclass

Point = tuple[float, float]


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[Point]:
    """Return a part of an ellipse; angles in degrees from the right, clockwise as y goes down."""
    count = max(2, round(abs(end - start) / 15))
    angles = [math.radians(start + (end - start) * i / count) for i in range(count + 1)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


# In a box that is 0 to 1 downward, and about 0 to 0.7 across.
DIGITS: dict[int, list[list[Point]]] = {
    0: [arc(0.32, 0.5, 0.32, 0.5, -90, 270)],
    1: [[(0.12, 0.25), (0.35, 0.0), (0.33, 1.0)]],
    2: [[*arc(0.33, 0.28, 0.32, 0.28, -170, 35), (0.3, 0.72), (0.0, 1.0), (0.7, 0.97)]],
    3: [[*arc(0.3, 0.25, 0.3, 0.25, -150, 90), *arc(0.3, 0.74, 0.34, 0.26, -90, 150)]],
    4: [[(0.12, 0.0), (0.02, 0.55), (0.66, 0.52)], [(0.56, 0.05), (0.5, 1.0)]],
    5: [[(0.62, 0.0), (0.12, 0.0), (0.08, 0.42), *arc(0.28, 0.68, 0.34, 0.31, -110, 140)]],
    6: [[(0.48, 0.0), (0.2, 0.3), (0.04, 0.65), *arc(0.3, 0.74, 0.28, 0.26, 180, -190)]],
    7: [[(0.0, 0.03), (0.62, 0.0), (0.42, 0.45), (0.25, 1.0)]],
    8: [[*arc(0.32, 0.25, 0.25, 0.25, -60, -270), *arc(0.32, 0.75, 0.29, 0.25, -90, 270),
         *arc(0.32, 0.25, 0.25, 0.25, 90, -60)]],
    9: [[*arc(0.32, 0.28, 0.28, 0.28, -20, -360), (0.58, 0.4), (0.52, 1.0)]],
}  # fmt: skip


@dataclass
class Style:
    """How the digits are drawn: height and upper left corner of them, as shares of the paper."""

    name: str
    height: float
    left: float
    top: float
    pen: int
    slant: float = 0.0

    def strokes(self, digit: int) -> list[list[Point]]:
        """Return the strokes of a digit, as shares of the paper."""
        return [
            [
                (self.left + self.height * (x + self.slant * (0.5 - y)), self.top + self.height * y)
                for x, y in points
            ]
            for points in DIGITS[digit]
        ]


STYLES = [
    Style("middle", 0.7, 0.28, 0.15, 20),
    Style("thin", 0.7, 0.28, 0.15, 10),
    Style("small", 0.3, 0.4, 0.35, 10),
    Style("in the upper left corner", 0.4, 0.06, 0.05, 14),
    Style("thick", 0.7, 0.28, 0.15, 32),
    Style("large", 0.9, 0.18, 0.05, 24),
    Style("in the lower right corner", 0.4, 0.66, 0.55, 14),
    Style("slanted", 0.65, 0.28, 0.17, 20, slant=0.25),
]
