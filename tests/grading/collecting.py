"""Learners' classes and functions with one mistake each, collected where they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import xpcnn


def collector() -> tuple[list[Any], Callable[[str, str], Callable[[Any], Any]]]:
    """Return a list of cases, and the decorator ``@mistake("name", "like")`` that fills it."""
    cases: list[Any] = []

    def mistake(name: str, like: str) -> Callable[[Any], Any]:
        def collect(theirs: Any) -> Any:
            cases.append(pytest.param(theirs, like, name, id=f"{name}-{like}-{len(cases)}"))
            return theirs

        return collect

    return cases, mistake


def assert_named(theirs: Any, like: str, name: str) -> None:
    """Fail unless the mistake, and no other one, is named."""
    report = xpcnn.check(theirs, like=like)
    assert not report.passed
    assert report.mistakes == [name], report.text
