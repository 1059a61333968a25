"""Docstrings stand in the source as text, where editors find them."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

import xpcnn
from tests.pages import ROOT

PACKAGE = Path(xpcnn.__file__).parent
TREES = {
    ".".join(("xpcnn", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}


def lists_names(node: ast.AST) -> bool:
    """Whether a statement is ``__all__ = [...]``."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)


PUBLIC = [module for module, tree in TREES.items() if any(map(lists_names, ast.walk(tree)))]


def is_text(node: ast.stmt | None) -> bool:
    """Whether a statement is a string that is not empty."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and bool(node.value.value.strip())
    )


def defines(module: str, name: str) -> bool:
    """Whether a module has a name."""
    return hasattr(importlib.import_module(module), name)


def has_docstring(module: str, name: str) -> bool:
    """Whether a module defines a name with a docstring, or imports it from where it has one.

    What is made by a call, ``relu = activation(...)``, has its text in the statement below.
    """
    body = list(TREES[module].body)
    for node in TREES[module].body:  # what is imported when it is asked for
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            body += node.body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return is_text(node.body[0])
        if isinstance(node, ast.ImportFrom) and node.module in TREES:
            for alias in node.names:
                original = name if alias.name == "*" else alias.name
                if name == (alias.asname or original) and defines(node.module, original):
                    return has_docstring(node.module, original)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if name in [target.id for target in targets if isinstance(target, ast.Name)]:
                if isinstance(node.value, ast.Name):
                    return has_docstring(module, node.value.id)
                return is_text(after)
    return False


@pytest.mark.parametrize("module", PUBLIC)
def test_what_is_public_has_a_docstring_in_the_source(module: str) -> None:
    if module in ("xpcnn", "xpcnn.sklearn"):  # the first has the second among its names
        pytest.importorskip("sklearn")
    found = importlib.import_module(module)
    callables = [name for name in found.__all__ if callable(getattr(found, name))]
    assert [name for name in callables if not has_docstring(module, name)] == []


def test_layers_and_operations_are_among_them() -> None:
    assert {"xpcnn", "xpcnn.layers", "xpcnn.operations", "xpcnn.functional"} <= set(PUBLIC)
    assert has_docstring("xpcnn.layers", "Conv2d")
    assert not has_docstring("xpcnn.layers", "Conv4d")


LAYERS = [cls for name in xpcnn.layers.__all__ if inspect.isclass(cls := getattr(xpcnn, name))]


@pytest.mark.parametrize("cls", LAYERS)
def test_what_a_layer_takes_is_told_by_it_or_its_base(cls: type) -> None:
    told = "\n".join(base.__doc__ or "" for base in cls.__mro__ if base is not object)
    parameters = list(inspect.signature(cls).parameters.values())
    names = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert [name for name in names if not re.search(rf"\b{name}\b", told)] == []


@pytest.mark.parametrize("cls", LAYERS)
def test_a_reader_finds_the_class_that_is_referred_to(cls: type) -> None:
    known = vars(xpcnn.layers) | vars(sys.modules[cls.__module__])
    for name in re.findall(r":class:`(\w+)`", cls.__doc__ or ""):
        assert name in known, (
            f"{cls.__name__} refers to {name}, which is neither a layer nor in its file"
        )


@pytest.mark.parametrize("module", TREES)
def test_no_docstring_is_made_at_run_time(module: str) -> None:
    for node in ast.walk(TREES[module]):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
            targets = [node.target]
        for target in targets:
            assigned = getattr(target, "attr", getattr(target, "id", ""))
            assert assigned != "__doc__", f"{module}, line {node.lineno}: write the text out"
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr":
            assert "__doc__" not in ast.unparse(node), f"{module}, line {node.lineno}"


WITHOUT_EXAMPLE = {
    "xpcnn.functional.PADDING_MODES": "a constant",
    "xpcnn.functional.UPSAMPLE_MODES": "a constant",
    "xpcnn.grading.MISTAKES": "a constant",
    "xpcnn.initializers.Initializer": "a type, for annotations",
    "xpcnn.networks.NETWORKS": "a constant",
}
"""Public names that need no example, and why. No class and no function is among them."""


def shows_something(text: str) -> bool:
    """Whether a docstring has an example, and one that says what comes out of it."""
    return any(example.want for example in doctest.DocTestParser().get_examples(text))


def test_every_public_name_has_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("starlette")  # serving
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    public = importlib.import_module("public_names").public()
    sys.modules.pop("public_names")
    texts = {name: inspect.getdoc(item) or "" for name, item in public.items()}
    found = {name for name, text in texts.items() if shows_something(text)}
    assert sorted(set(public) - found - set(WITHOUT_EXAMPLE)) == []
    assert sorted(found & set(WITHOUT_EXAMPLE)) == []
    assert set(public) >= set(WITHOUT_EXAMPLE)


def test_an_example_says_what_comes_out() -> None:
    assert shows_something("Add.\n\n>>> 1 + 2\n3\n")
    assert not shows_something("Add.\n\n>>> x = 1 + 2\n")
    assert not shows_something("Add 1 and 2.")
