"""The documentation site: its reference, its links. `bash ci/docs.sh` builds all of it."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

import xpcnn
from tests.pages import ROOT, Page

REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.rst"))
LISTS = [path for path in REFERENCE if path.stem != "index"]


@pytest.fixture
def needs_all_parts():
    """Skip where a part of the package cannot be imported."""
    pytest.importorskip("starlette")  # serving
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")


@pytest.fixture
def extension(monkeypatch):
    """What imports an extension of the site."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    yield importlib.import_module
    for path in (ROOT / "docs" / "_ext").glob("*.py"):
        sys.modules.pop(path.stem, None)


def listed_in(text: str) -> list[str]:
    """Return the full names of what a page of the reference lists."""
    module, names = "", []
    for line in text.splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"   (\w+)$", line):
            names.append(f"{module}.{found[1]}")
    return names


def test_every_public_name_is_in_the_reference_once(extension, needs_all_parts):
    listed = Counter(name for path in LISTS for name in listed_in(path.read_text(encoding="utf-8")))
    objects = Counter()
    for name, times in listed.items():
        module, _, attribute = name.rpartition(".")
        objects[id(getattr(importlib.import_module(module), attribute))] += times
    public = extension("public_names").public()
    assert len(public) > 500
    missing = [name for name, item in public.items() if id(item) not in objects]
    assert missing == [], "list them in docs/reference/"
    assert [name for name, times in listed.items() if times > 1] == []
    assert [name for name, item in public.items() if objects[id(item)] > 1] == []


def test_every_page_of_the_reference_is_in_its_contents():
    contents = (ROOT / "docs" / "reference" / "index.rst").read_text(encoding="utf-8")
    pages = {path.stem for path in LISTS}
    assert set(re.findall(r"^   (\w+)$", contents, re.M)) == pages


def test_every_page_of_the_guide_is_in_the_contents():
    files = (ROOT / "docs" / "guide.md", ROOT / "docs" / "project.md")
    contents = "".join(path.read_text(encoding="utf-8") for path in files)
    here = {path.stem for path in (ROOT / "docs").glob("*.md")}
    listed = set(re.findall(r"^([\w-]+)$", contents, re.M))
    assert here - listed <= {"index", "guide", "project", "notebooks"}


def test_public_names_are_those_of_the_parts(extension, needs_all_parts):
    public = extension("public_names").public()
    assert public["xpcnn.Conv2d"] is xpcnn.layers.Conv2d
    assert "xpcnn.layers.Conv2d" not in public  # one page for each
    assert "xpcnn.callbacks.EMA" in public
    assert "xpcnn.initializers.partial" not in public


def test_files_of_pages_differ_by_more_than_capitals(extension, needs_all_parts):
    names = extension("public_names")
    renamed = names.file_names()
    files = [renamed.get(name, name).lower() for name in names.public()]
    assert len(set(files)) == len(files)
    assert renamed["xpcnn.metrics.accuracy"] == "xpcnn.metrics.accuracy-function"


def test_members_that_a_base_class_shows_are_not_shown_again(extension, needs_all_parts):
    names = extension("public_names")
    assert ("method", "fit") in names.members("xpcnn.Model")
    assert ("method", "state_dict") in names.members("xpcnn.Layer")
    assert ("method", "state_dict") not in names.members("xpcnn.Conv2d")
    assert ("method", "output_shape") in names.members("xpcnn.Conv2d")  # has a text of its own
    assert names.bases("xpcnn.Conv2d") == ["xpcnn.Layer"]
    assert names.bases("xpcnn.Layer") == []


def test_links_between_files_become_links_of_the_site(extension):
    pytest.importorskip("sphinx")
    translate = extension("copied_pages").translate_links
    text = (
        "[a](metrics.md#loss) [b](../README.md#tour) [c](../CONTRIBUTING.md) [d](../xpcnn/cli.py) "
        "[e](../notebooks/practice/00-first-look.md) [f](https://x.org/a.md) [g](#here) "
        "`[h](../README.md)`\n```python\n[i](../README.md)\n```\n[j](../CHANGELOG.md)"
    )
    expected = (
        "[a](metrics.md#loss) [b](index.md) [c](project/contributing.md) [d](../xpcnn/cli.py) "
        "[e](notebooks/practice/00-first-look.md) [f](https://x.org/a.md) [g](#here) "
        "`[h](../README.md)`\n```python\n[i](../README.md)\n```\n[j](project/changelog.md)"
    )
    assert translate(text, "data.md") == expected
    there = translate("[a](../../docs/data.md) ![b](../../docs/design.svg)", "notebooks/ja/1.md")
    assert there == "[a](../../data.md) ![b](../../design.svg)"
    assert translate("[a](docs/rules.md)", "project/contributing.md") == "[a](../rules.md)"


def test_a_class_has_the_arguments_of_its_base(extension):
    pytest.importorskip("sphinx")
    docstrings = extension("docstrings")
    text = docstrings.combined(xpcnn.Conv2d)
    assert text.startswith("Two-dimensional convolution of (N, C, H, W).\n\nConvolution (cross-")
    assert "kernel_size : int or tuple of int" in text
    assert text.index("Parameters\n---") < text.index("Notes\n---") < text.index("Examples\n---")
    assert docstrings.combined(xpcnn.Model) is None  # tells all itself
    assert docstrings.sections(inspect.cleandoc(xpcnn.Conv2d.__doc__)).keys() == {"", "Examples"}


def test_a_constant_has_the_text_below_it(extension):
    pytest.importorskip("sphinx")
    text_of_constant = extension("docstrings").text_of_constant
    modes = xpcnn.functional.PADDING_MODES
    assert "What a padding may hold" in text_of_constant("xpcnn.functional.PADDING_MODES", modes)
    assert text_of_constant("xpcnn.functional.PADDING_MODES", ("other",)) == ""


def test_no_docstring_has_a_section_twice(extension):
    pytest.importorskip("sphinx")
    heading = extension("docstrings").HEADING
    twice = []
    for name, item in extension("public_names").public().items():
        found = heading.findall(inspect.getdoc(item) or "")
        twice += [name] * (len(set(found)) < len(found))
    assert twice == []


def test_lines_of_japanese_are_joined_without_a_space(extension):
    pytest.importorskip("sphinx")
    nodes = pytest.importorskip("docutils.nodes")
    text = [
        nodes.Text("画像を\n"),
        nodes.strong("", "配列\nにする"),
        nodes.Text("。\nNumPy\nの配列\nabc"),
        nodes.Text("\n"),  # as Markdown is read: each break is a text of its own
        nodes.Text("と、"),
        nodes.Text("\n"),
        nodes.Text("JAX"),
    ]
    paragraph = nodes.paragraph("", "", *text)
    tree = nodes.section("", paragraph)
    for page, expected in (
        ("data", "画像を\n配列\nにする。\nNumPy\nの配列\nabc\nと、\nJAX"),
        ("ja/index", "画像を配列にする。NumPy\nの配列\nabc\nと、JAX"),
    ):
        env = SimpleNamespace(docname=page)
        extension("japanese").on_read(SimpleNamespace(env=env), tree)
        assert paragraph.astext() == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("input (N, C, *spatial)", r"input (N, C, \*spatial)"),
        ("``(N, *spatial)`` and *this*", "``(N, *spatial)`` and *this*"),
        ("x / (1 + |x|)", r"x / (1 + \|x\|)"),
        ('begins with "val_".', r'begins with "val\_".'),
        ("`val_` and two_words and :class:`A`", "`val_` and two_words and :class:`A`"),
        ("2 * 3 ** 4", "2 * 3 ** 4"),
    ],
)
def test_what_is_no_mark_is_escaped(extension, line, expected):
    pytest.importorskip("sphinx")
    assert extension("docstrings").escaped(line) == expected


def test_code_in_tables_may_be_broken(extension):
    pytest.importorskip("sphinx")
    changed = extension("code_in_tables").with_places_to_break
    code = '<code class="a.b"><span class="pre">nn.Linear(in_features=2,</span> 3.0)</code>'
    assert changed(code) == code  # outside of a table
    marked = "nn.<wbr>Linear(<wbr>in_<wbr>features=<wbr>2,</span> 3.<wbr>0)</code>"
    expected = f'<td id="a.b">a.b <code class="a.b"><span class="pre">{marked}</td>'
    assert changed(f'<td id="a.b">a.b {code}</td>') == expected


def test_broken_links_of_the_site_are_found(tmp_path):
    problems = runpy.run_path(str(ROOT / "ci" / "site_links.py"))["problems"]
    (tmp_path / "a.html").write_text(
        '<h1 id="top"></h1><a href="b.html#there"></a><a href="b.html#no"></a><a href="#top"></a>'
        '<a href="c.html"></a><a href="https://x.org/gone"></a><script src="https://cdn.org/x.js">'
    )
    (tmp_path / "b.html").write_text('<p id="there"></p><img src="no%20picture.png">')
    assert problems(tmp_path) == [
        "a.html fetches https://cdn.org/x.js",
        "a.html links to b.html#no, which has no such anchor",
        "a.html links to c.html, which is not there",
        "b.html links to no%20picture.png, which is not there",
    ]
    assert "has no pages" in problems(tmp_path / "none")[0]


def test_the_front_page():
    history = Page("docs/index.md").run()["model"].history.history
    assert history["val_accuracy"][-1] > 0.8


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "gallery").glob("plot_*.py")))
def test_the_gallery_has_titles(path: Path):
    text = path.read_text(encoding="utf-8")
    assert re.match(r'"""\n[^\n]+\n=+\n\n', text), "title, underlined, then a text"
