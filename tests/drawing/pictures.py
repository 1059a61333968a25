"""What an SVG shows, read back from its text."""

from __future__ import annotations

import re
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"


class Rect(NamedTuple):
    """A box of a drawing."""

    family: str
    x: float
    y: float
    width: float
    height: float

    def holds(self, x: float, y: float, inside: float = 0.5) -> bool:
        """Whether a point lies within, not on the edge."""
        return (
            self.x + inside < x < self.x + self.width - inside
            and self.y + inside < y < self.y + self.height - inside
        )


def parse(svg: object) -> ElementTree.Element:
    """Read an SVG, which must be well-formed."""
    return ElementTree.fromstring(str(svg))


def texts(svg: object) -> list[str]:
    """Return all texts, those of one element joined."""
    return ["".join(text.itertext()) for text in parse(svg).iter(f"{SVG}text")]


def boxes(svg: object) -> list[Rect]:
    """Return the boxes of layers, inputs and outputs."""
    found = []
    for group in parse(svg).iter(f"{SVG}g"):
        rects = group.findall(f"{SVG}rect")
        if len(rects) == 1 and group.find(f"{SVG}text") is not None and not group.get("transform"):
            values = (float(rects[0].get(name, "")) for name in ("x", "y", "width", "height"))
            found.append(Rect(rects[0].get("class", ""), *values))
    return found


def points(svg: object) -> list[tuple[float, float]]:
    """Return points along all lines, curves included."""
    (path,) = (p for p in parse(svg).iter(f"{SVG}path") if p.get("class") == "wire")
    found: list[tuple[float, float]] = []
    x = y = 0.0
    for command, text in re.findall(r"([MVHCq])([^MVHCq]*)", path.get("d", "")):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", text)]
        if command == "M":
            x, y = numbers
        elif command == "q":
            x, y = x + numbers[2], y + numbers[3]
        elif command in "VH":
            end = (x, numbers[0]) if command == "V" else (numbers[0], y)
            found += _along((x, y), (x, y), end, end)
            x, y = end
        else:
            bent = [(numbers[n], numbers[n + 1]) for n in (0, 2, 4)]
            found += _along((x, y), *bent)
            x, y = bent[-1]
    return found


def check_layout(picture: object) -> None:
    """Boxes lie in the picture and apart, and no line goes through one."""
    found = boxes(picture)
    width, height = (float(parse(picture).get(name, "")) for name in ("width", "height"))
    for box in found:
        assert box.x >= -0.1
        assert box.x + box.width <= width - 2 * 20 + 0.6
        assert box.y >= 0
        assert box.y + box.height < height - 62
    for one, other in combinations(found, 2):
        apart_x = one.x + one.width < other.x or other.x + other.width < one.x
        apart_y = one.y + one.height < other.y or other.y + other.height < one.y
        assert apart_x or apart_y
    for x, y in points(picture):
        assert not any(box.holds(x, y) for box in found)


def _along(*corners: tuple[float, float]) -> list[tuple[float, float]]:
    """Return points of a Bezier curve of the third degree."""
    found = []
    for step in range(41):
        t = step / 40
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
        found.append(
            tuple(sum(w * corner[axis] for w, corner in zip(weights, corners, strict=True))
                  for axis in (0, 1))
        )  # fmt: skip
    return found  # type: ignore[return-value]
