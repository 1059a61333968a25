"""The five course notebooks, cut into cells that run.

They lie outside the repository, as text from which some indentation and a few characters were
lost. What is done to them here follows general rules; nothing of their code is repeated.
"""

from __future__ import annotations

import ast
import re
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np

from xpcnn.data import load_digits_subset, load_mnist

ROOT = Path(__file__).resolve().parents[3] / "shared"
COURSES, MNIST = ROOT / "courses", ROOT / "data" / "mnist"
MODULES = {
    "000": "conv1d",
    "001": "deep_conv_net",
    "002": "tanh_cnn",
    "003": "deep_nn",
    "004": "simple_conv_net",
}

MARKER = re.compile(r"^In \[[\d ]*(?:None)?\]:[ ]?(.*)$", re.MULTILINE)
OUTPUT = re.compile(r"^(\(\d|\[\[|dtype\(|\w+: )")
OPENS = re.compile(r"^(class|def|for|if|else|elif|while|with|try)\b.*:$|^(else|try):$")
REPAIRS = (
    (r"^%.*$", ""),  # what only Jupyter understands
    (r"\bnp\.(int|float|bool|object)\b", r"\1"),  # aliases that NumPy has dropped
    (r"\bsparse=False", "sparse_output=False"),  # scikit-learn's name for it today
    (r"\bba=", "optimizer="),  # lost in the extraction
)
SHORTER = (
    (r"\brange\(\d{2,}\)", "range(2)"),
    (r"\bn_epoch=\d+", "n_epoch=2"),
    (r"\b(epoch|n_epochs)=\d+", r"\1=2"),
    (r"\biters_num = \d+", "iters_num = 10"),
)


def text_of(number: str) -> str:
    """Return a notebook's text, or None where the folder is not there."""
    (path,) = COURSES.glob(f"{number}_*.txt")
    text = path.read_text(encoding="utf-8")
    for pattern, by in REPAIRS:
        text = re.sub(pattern, by, text, flags=re.MULTILINE)
    return text


def cells(number: str) -> list[str]:
    """Return the code of every cell, outputs and prose left out."""
    text = text_of(number)
    if "```" in text:
        fences = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        found = [cell for fence in fences for cell in _between_markers(fence)]
    elif MARKER.search(text):
        found = list(_between_markers(text))
    else:
        found = [text]
    return [_readable_part(cell) for cell in found]


def _between_markers(text: str) -> Iterator[str]:
    marks = list(MARKER.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=bool(marks)):
        first, rest = mark.group(1), text[mark.end() + 1 : end]
        if first:  # the first line stood behind the marker, the others hang below it
            rest = textwrap.dedent(rest)
            rest = textwrap.indent(rest, "    ") if OPENS.match(first.strip()) else rest
        yield f"{first}\n{rest}"


def _readable_part(cell: str) -> str:
    """Return the longest beginning, in paragraphs, that is Python and no output."""
    paragraphs = re.split(r"\n[ \t]*\n", cell.strip())
    outputs = [i for i, paragraph in enumerate(paragraphs) if i and OUTPUT.match(paragraph)]
    for count in range(min(outputs, default=len(paragraphs)), 0, -1):
        code = "\n\n".join(paragraphs[:count])
        try:
            ast.parse(code)
        except SyntaxError:
            continue
        return code
    return _imports(cell)


def _imports(text: str) -> str:
    """Return what stands before the first definition of a text without indentation."""
    before = re.split(r"^(?:class|def)\b", text, maxsplit=1, flags=re.MULTILINE)[0]
    return "\n".join(line for line in before.splitlines() if re.match(r"(import|from) \w", line))


def without_definitions(code: str, names: set[str], module: str) -> str:
    """Put an import of everything in the place of the definitions that it replaces."""
    tree = ast.parse(code)
    kept = [
        node
        for node in tree.body
        if not (isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name in names)
    ]
    replaced = len(kept) < len(tree.body)
    code = ast.unparse(ast.Module(kept, []))
    return f"from xpcnn.scratch.{module} import *\n{code}" if replaced else code


def shorter(code: str) -> str:
    """Let what would take minutes take a moment."""
    for pattern, by in SHORTER:
        code = re.sub(pattern, by, code)
    return code


def digits(n_train: int = 120, n_test: int = 40) -> tuple[tuple, tuple]:
    """Return images (N, 28, 28) of bytes and labels, from MNIST or from the package."""
    parts = load_mnist(MNIST) if MNIST.is_dir() else load_digits_subset()
    (x, t), (x_test, t_test) = parts

    def small(x: np.ndarray, t: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.rint(x[:n, 0] * 255).astype(np.uint8), t[:n].astype(np.uint8)

    return small(x, t, n_train), small(x_test, t_test, n_test)


def stand_ins(scratch: types.ModuleType) -> dict[str, Any]:
    """Return modules that the notebooks import: data, plots, progress, the course's own."""

    def load_course_mnist(flatten: bool = True) -> tuple[tuple, tuple]:
        return tuple(
            ((x / 255.0).reshape((len(x), -1) if flatten else (len(x), 1, 28, 28)), t.astype(int))
            for x, t in digits()
        )  # type: ignore[return-value]

    def module(name: str, **attributes: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        made.__dict__.update(attributes)
        return made

    mnist = module("mnist", load_data=digits, load_mnist=load_course_mnist)
    datasets = module("datasets", mnist=mnist)
    keras = module("keras", datasets=datasets)
    pyplot = MagicMock()
    return {
        "keras": keras,
        "keras.datasets": datasets,
        "tensorflow": module("tensorflow", keras=keras),
        "tensorflow.keras": keras,
        "tensorflow.keras.datasets": datasets,
        "pandas": module(
            "pandas", DataFrame=type("DataFrame", (), {}), Series=type("Series", (), {})
        ),
        "matplotlib": module("matplotlib", pyplot=pyplot),
        "matplotlib.pyplot": pyplot,
        "tqdm.notebook": module("tqdm.notebook", tqdm=lambda iterable: iterable),
        "common": module("common", layers=scratch, optimizer=scratch),
        "data": module("data", mnist=mnist),
        "data.mnist": mnist,
    }


def run(codes: list[str]) -> dict[str, Any]:
    """Run cells one after the other; return what they leave behind."""
    space: dict[str, Any] = {"__name__": "notebook"}
    for position, code in enumerate(codes):
        try:
            exec(compile(code, f"<cell {position}>", "exec"), space)
        except Exception as error:
            error.add_note(f"in this cell:\n{code}")
            raise
    return space


def definitions(number: str) -> dict[str, dict[str, Any]]:
    """Return what the notebook defines: functions with arguments, classes with methods and more.

    For a function ``{"": arguments}``; for a class also ``"kept"``, the attributes it sets. Read
    from the text alone, so that lost indentation does not matter.
    """
    text = text_of(number).replace("\\_", "_").replace("\\*", "*")
    text = re.sub(r"^(In \[[\d ]*\]: )?\*\*(.*)\*\*$", r"\2", text, flags=re.MULTILINE)
    text = re.sub(r"^In \[[\d ]*(?:None)?\]: ?", "", text, flags=re.MULTILINE)
    found: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] | None = None
    pattern = (
        r"^\s*class (?P<cls>\w+)|^\s*def (?P<fn>\w+)\((?P<args>.*?)\):\s*$|self\.(?P<at>\w+) *=[^=]"
    )
    for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        if match["cls"]:
            current = found[match["cls"]] = {"kept": set()}
        elif match["fn"]:
            arguments = ast.parse(f"def f({match['args']}): pass").body[0].args  # type: ignore[attr-defined]
            if arguments.args and arguments.args[0].arg == "self":
                if current is not None and not match["fn"].startswith("__f"):
                    current[match["fn"]] = arguments
            else:
                current = None
                found[match["fn"]] = {"": arguments}
        elif current is not None:
            current["kept"].add(match["at"])
    return found


def optional_modules_missing(number: str) -> str | None:
    """Name a module that the notebook needs and no stand-in replaces, if it is not installed."""
    from importlib.util import find_spec

    wants = "sklearn" in text_of(number)
    return "scikit-learn" if wants and find_spec("sklearn") is None else None
