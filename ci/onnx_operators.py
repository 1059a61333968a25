"""Write the list of ONNX's operators in docs/onnx.md from the table that the code goes by.

python ci/onnx_operators.py
"""

from __future__ import annotations

from pathlib import Path

from xpcnn.interop.onnx.ops import OPERATORS, WRITES

PAGE = Path(__file__).parents[1] / "docs" / "onnx.md"
BEGIN = "<!-- The list is written by ci/onnx_operators.py. -->\n"
END = "<!-- The list ends here. -->\n"


def listing() -> str:
    """Return the list: a table of operators, and the layers that have none of their own."""
    lines = ["", "| operator | since version | written for |", "|---|---|---|"]
    for name in sorted(OPERATORS):
        row = OPERATORS[name]
        set_of = f" of `{row.domain}`" if row.domain else ""
        lines.append(f"| `{name}` | {row.since}{set_of} | {_names(row.written)} |")
    alone = WRITES.keys() - {layer for row in OPERATORS.values() for layer in row.written}
    lines += ["", f"Written as several operators, or as none: {_names(list(alone))}.", "", ""]
    return "\n".join(lines)


def _names(layers: list[type]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(layer.__name__ for layer in layers))


def page() -> str:
    """Return the page with the list as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + listing() + END + after


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
