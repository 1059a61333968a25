"""Docstrings as pages: made for editors and terminals, they need a little for the site.

- The page of a class has the arguments that only its base class tells of. `Conv2d` says in one line
  what it is, and that its arguments are those of `Conv`, where an editor finds them; on its page
  they stand below that line.
- A constant has the text below it in its file, not that of `tuple`.
- A star as in (N, C, *spatial) is no emphasis, and |x| no substitution.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

SEE_BASE = re.compile(r"[;,.:] (for|see|the) (its |the )?arguments[^.]*(?=\.$)", re.M)
CODE_OR_MARK = re.compile(
    r"(``.+?``|`[^`]+`_?|\*\*.+?\*\*|(?<![\w*])\*\w[^*`]*\w\*(?![\w*]))"  # left as it is
    r"|(?<![\w*`\\])(?:\*(?=\w)|\|)|(?<=[a-z])\|(?=\W|$)|(?<=[a-z])_(?=\W|$)"
)
CLASSES_TO_USE = re.compile(r"^The (layers|classes) to use are .*?\.\s*(\n\n|\Z)", re.M | re.S)
HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.M)


def sections(text: str) -> dict[str, str]:
    """Split a docstring at its headings; what stands before the first has the key ""."""
    lead, *rest = HEADING.split(text)
    return {"": lead.strip()} | dict(zip(rest[::2], (t.strip() for t in rest[1::2]), strict=True))


def combined(cls: type) -> str | None:
    """Return the docstring of a class and, below its text, what its base tells more; else None."""
    own = sections(inspect.cleandoc(cls.__doc__ or ""))
    if "Parameters" in own:
        return None
    for base in cls.__mro__[1:]:
        base_text = sections(inspect.cleandoc(vars(base).get("__doc__") or ""))
        if "Parameters" in base_text and base.__module__.startswith("xpcnn"):
            more = CLASSES_TO_USE.sub("", base_text.pop(""))
            lead = f"{SEE_BASE.sub('', own.pop(''))}\n\n{more}".strip()
            parts = base_text | own
            examples = {"Examples": parts.pop("Examples")} if "Examples" in parts else {}
            below = [f"{t}\n{'-' * len(t)}\n{body}" for t, body in (parts | examples).items()]
            return "\n\n".join([lead, *below])
    return None


def escaped(line: str) -> str:
    """Return a line in which (C, *spatial), |x| and val_ are what they are, and no marks."""
    return CODE_OR_MARK.sub(lambda match: match[1] or f"\\{match[0]}", line)


def text_of_constant(name: str, value: object) -> str:
    """Return the text below a constant in the file that defines it; elsewhere it has none."""
    short = name.rpartition(".")[2]
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("xpcnn") and getattr(module, short, None) is value:
            found = ModuleAnalyzer.for_module(module_name).find_attr_docs().get(("", short))
            if found:
                return "\n".join(found)
    return ""


def on_docstring(
    app: Sphinx, what: str, name: str, item: Any, options: Any, lines: list[str]
) -> None:
    """Put the text of the base below that of a class, and escape stars, before numpydoc reads."""
    if what == "class" and isinstance(item, type):
        text = combined(item)
        if text is not None:
            lines[:] = [*text.splitlines(), ""]
    lines[:] = [
        line if line.lstrip().startswith((">>>", "...")) else escaped(line) for line in lines
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", on_docstring, priority=100)
    return {"parallel_read_safe": True}
