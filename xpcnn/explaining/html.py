"""An explanation as HTML: self-contained, without scripts, for light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence

from xpcnn._markup import escape
from xpcnn.explaining.parts import Formula, Lines, Section, Table, Text

# Backgrounds are translucent and text has the colour of the page, so that one set of colours does
# for light and for dark pages. Orange and blue (Okabe and Ito) are told apart by everybody.
STYLE = """
.xpcnn-explain { max-width: 62em; line-height: 1.45; text-align: left; }
.xpcnn-explain h3 { margin: .2em 0 .5em; }
.xpcnn-explain details { margin: .4em 0; border: 1px solid rgba(128,128,128,.4);
  border-radius: 6px; padding: .2em .8em; overflow-x: auto; }
.xpcnn-explain summary { font-weight: 600; cursor: pointer; padding: .25em 0; }
.xpcnn-explain p { margin: .4em 0; }
.xpcnn-explain .xf, .xpcnn-explain .xw { font-family: ui-monospace, Menlo, Consolas,
  "Noto Sans Mono", "Noto Sans Mono CJK JP", monospace; font-size: .92em; margin: .35em 0;
  padding: .3em .7em; background: rgba(128,128,128,.13); border-radius: 4px;
  white-space: pre-wrap; color: inherit; border: 0; }
.xpcnn-explain .xs { display: inline-block; vertical-align: top; margin: .4em 1.6em .6em 0; }
.xpcnn-explain table { border-collapse: collapse; font-size: .92em; margin: 0;
  border: 0; color: inherit; background: none; width: auto; display: table; }
.xpcnn-explain caption { caption-side: top; text-align: left; font-weight: 600; color: inherit;
  padding: 0 0 .2em; white-space: nowrap; }
.xpcnn-explain th, .xpcnn-explain td { padding: .15em .55em; text-align: right;
  border: 1px solid rgba(128,128,128,.35); font-variant-numeric: tabular-nums;
  color: inherit; background: none; white-space: nowrap; }
.xpcnn-explain th { font-weight: 500; background: rgba(128,128,128,.16); }
.xpcnn-explain td.xa, .xpcnn-explain .xka { background: rgba(230,159,0,.45); }
.xpcnn-explain td.xb, .xpcnn-explain .xkb { background: rgba(0,114,178,.45); }
.xpcnn-explain td.xab, .xpcnn-explain .xkab { background: linear-gradient(135deg,
  rgba(230,159,0,.45) 50%, rgba(0,114,178,.45) 50%); }
.xpcnn-explain td.xmax { background: rgba(230,159,0,.5); font-weight: 700; }
.xpcnn-explain td.xpad { opacity: .5; font-style: italic; }
.xpcnn-explain tr:hover td { box-shadow: inset 0 0 0 99px rgba(128,128,128,.12); }
"""


def as_html(title: str, sections: Sequence[Section], lang: str) -> str:
    """Return a ``<div>`` with everything in it, the style included."""
    found = [f'<div class="xpcnn-explain" lang="{lang}"><style>{STYLE}</style>']
    found.append(f"<h3>{escape(title)}</h3>")
    for number, section in enumerate(sections, start=1):
        found.append(f"<details open><summary>{number}. {escape(section.heading)}</summary>")
        found += [_part(part) for part in section.parts]
        found.append("</details>")
    return "\n".join([*found, "</div>"])


def as_page(title: str, body: str, lang: str) -> str:
    """Return a whole page for a file."""
    return (
        f'<!doctype html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>:root { color-scheme: light dark; } body { font-family: system-ui, "
        '"Noto Sans", "Noto Sans CJK JP", sans-serif; margin: 1.5em; }</style>\n'
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _part(part: Text | Formula | Lines | Table) -> str:
    if isinstance(part, Text):
        return f"<p>{escape(part.in_html or part.text)}</p>"
    if isinstance(part, Formula):
        return f'<pre class="xf">{escape(part.text)}</pre>'
    if isinstance(part, Lines):
        return f'<pre class="xw">{escape(chr(10).join(part.rows))}</pre>'
    return _table(part)


def _table(part: Table) -> str:
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in part.columns)
    rows = [f"<tr><th>{escape(part.corner)}</th>{head}</tr>"]
    for r, (label, cells) in enumerate(zip(part.rows, part.cells, strict=True)):
        row = "".join(f"<td{_class(part, r, c)}>{escape(v)}</td>" for c, v in enumerate(cells))
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{row}</tr>')
    caption = f"<caption>{escape(part.title)}</caption>" if part.title else ""
    return f'<div class="xs"><table>{caption}{"".join(rows)}</table></div>'


def _class(part: Table, row: int, column: int) -> str:
    mark = part.marks.get((row, column))
    return f' class="x{mark}"' if mark else ""
