"""The notebooks run from top to bottom, as they stand and without a network."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from tests.pages import ROOT

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.md"))
TWINS = [name for name in NOTEBOOKS if name.startswith("courses/")]
SOLUTION = "```python\n"
"""Begins code that is shown and not run: the folded solutions of exercises."""
CELL = re.compile(r"^```(?:\{code-cell\}[^\n]*|python)\n(.*?)^```$", re.M | re.S)

SECONDS = 60

# What a notebook needs besides matplotlib, by the names of the modules.
NEEDS = {
    "practice/01-image-folder.md": "PIL",
    "practice/05-scikit-learn.md": "sklearn",
}


def code_of(path: Path) -> str:
    """Return the code of a notebook and of its solutions, without the options of cells."""
    cells = CELL.findall(path.read_text(encoding="utf-8"))
    return "\n".join(
        re.sub(r"^(:[\w-]+:.*\n)+|^---\n.*?^---\n", "", c, flags=re.M | re.S) for c in cells
    )


def structure(code: str) -> list[str]:
    """Return the code without comments, and with every string the same."""
    lines = [re.sub(r"^\s*[%!].*", "pass", line) for line in code.splitlines()]
    tree = ast.parse("\n".join(lines))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            node.values = [v for v in node.values if isinstance(v, ast.FormattedValue)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.unparse(tree).splitlines()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_with_its_solutions(name, tmp_path, monkeypatch):
    jupytext = pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel chooses pictures in the notebook
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    text = (FOLDER / name).read_text(encoding="utf-8")
    notebook = jupytext.reads(text.replace(SOLUTION, "```{code-cell} python\n"), fmt="md:myst")
    client = nbclient.NotebookClient(
        notebook, timeout=SECONDS, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.execution_count for cell in cells)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_stored_as_text_without_outputs(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert re.match(r"---\n.*?format_name: myst\n.*?\bname: python3\n---\n\n# ", text, re.S)
    assert "{code-cell}" in text
    assert not re.search(r"^```\{?output|data:image|<img ", text, re.M)
    assert len(text) < 40_000


def test_a_notebook_says_which_extras_it_needs():
    extras = {"PIL": "images", "sklearn": "sklearn"}
    for name in NOTEBOOKS:
        if name.startswith("practice/") and name != "practice/00-first-look.md":
            head = (FOLDER / name).read_text(encoding="utf-8").split("```{code-cell}")[0]
            (named,) = re.findall(r'pip install "xpcnn\[([\w,]+)\]"', head)
            needed = {extras[NEEDS[name]]} if name in NEEDS else set()
            assert set(named.split(",")) == needed | {"plot"}, name


def test_nothing_but_text_is_stored():
    endings = {path.suffix for path in FOLDER.rglob("*") if path.is_file()}
    assert endings <= {".md", ".png", ".svg", ".ipynb"}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/notebooks/**/*.ipynb" in ignored  # a reader makes them of the text
    assert NOTEBOOKS


@pytest.mark.parametrize("name", TWINS)
def test_the_japanese_twin_has_the_same_code(name):
    twin = FOLDER / name.replace("courses/", "ja/", 1)
    if not twin.exists():
        pytest.skip(f"no {twin.name} in notebooks/ja yet")
    assert structure(code_of(FOLDER / name)) == structure(code_of(twin))


def test_twins_may_differ_in_comments_and_strings_only():
    english = 'ax.set(title=f"loss {x}")  # draws\nprint("hello", "world")\n%matplotlib inline'
    japanese = 'ax.set(title=f"損失 {x}")\n# 表示\nprint("こんにちは", "世界")\n%matplotlib inline'
    assert structure(english) == structure(japanese)
    assert structure(english) != structure(japanese.replace("{x}", "{y}"))
    assert structure(english) != structure(japanese + "\nx = 1")
