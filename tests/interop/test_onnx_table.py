"""What the table of ONNX's operators says is right, and the documents say the same."""

from __future__ import annotations

import pytest

from ci import onnx_operators
from xpcnn.interop.onnx.ops import OPERATORS

OLDEST = 7


def first_versions(onnx) -> dict[tuple[str, str], int]:
    """Return the version at which each operator came, by domain and name."""
    found: dict[tuple[str, str], int] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        key = schema.domain, schema.name
        found[key] = min(found.get(key, schema.since_version), schema.since_version)
    return found


def test_operators_came_with_the_versions_that_the_table_says():
    first = first_versions(pytest.importorskip("onnx"))
    for name, row in OPERATORS.items():
        if (row.domain, name) in first:  # the installed package may be older than an operator
            oldest = 1 if row.domain else OLDEST
            assert row.since == max(first[row.domain, name], oldest), name


def test_required_attributes_are_those_that_onnx_requires():
    onnx = pytest.importorskip("onnx")
    for name, row in OPERATORS.items():
        if row.domain or not onnx.defs.has(name):
            continue
        schema = onnx.defs.get_schema(name)
        required = {key for key, each in schema.attributes.items() if each.required}
        assert set(row.required) == required, name


def test_the_list_in_the_documents_is_current():
    assert onnx_operators.PAGE.read_text(encoding="utf-8") == onnx_operators.page(), (
        "write it again: python ci/onnx_operators.py"
    )
