"""What a learner reads to see the code that runs a convolution: three files, and no more."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

import xpcnn

PACKAGE = Path(xpcnn.__file__).parent
FILES = ("layers/conv.py", "ops/conv.py", "ops/im2col.py")
MOST_LINES = 300
NOT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip


def lines_of_code(text):
    """Count the lines with something on them besides docstrings and comments."""
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            docstrings.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            found.update(range(token.start[0], token.end[0] + 1))
    return len(found - docstrings)


def test_the_lines_are_few():
    assert sum(lines_of_code((PACKAGE / file).read_text("utf-8")) for file in FILES) <= MOST_LINES


@pytest.mark.parametrize("file", FILES)
def test_each_name_from_elsewhere_is_explained(file):
    tree = ast.parse((PACKAGE / file).read_text("utf-8"))
    explained = ast.get_docstring(tree)
    own = {f"xpcnn.{name.removesuffix('.py').replace('/', '.')}" for name in FILES}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("xpcnn"):
            for name in node.names:
                assert f"``{name.name}" in explained or node.module in own, name.name
