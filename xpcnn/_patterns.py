"""Shell patterns that pick layers and parameters by their dotted names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern picks a dotted name, or a layer around it.

    Examples
    --------
    >>> matches("features.*", "features.0.weight"), matches("features", "features.0.weight")
    (True, True)
    >>> matches("*.bias", "features.0.weight")
    False
    """
    return any(fnmatchcase(part, pattern) for part in _names_around(name))


def check_pattern(pattern: Any, who: str) -> str:
    """Return a pattern if it is a text that may match something.

    Raises
    ------
    TypeError, ValueError
        If it is something else, or empty.
    """
    if not isinstance(pattern, str):
        raise TypeError(
            f"{who}: expected the name of a layer or parameter, or a pattern such as "
            f"'features.*', got {pattern!r:.200}"
        )
    if not pattern:
        raise ValueError(f"{who}: a pattern is empty; '*' stands for everything")
    return pattern


def no_match_error(pattern: str, names: Iterable[str], who: str) -> ValueError:
    """Build the error for a pattern that picks nothing; it says which names are near."""
    known = list(dict.fromkeys(part for name in names for part in _names_around(name)))
    near = difflib.get_close_matches(pattern.replace("*", ""), known, 4, 0.5) or known[:6]
    shown = ", ".join(map(repr, near)) or "(none)"
    more = ", ..." if len(known) > len(near) else ""
    kind = "names near it are" if near != known[:6] else "there are"
    return ValueError(
        f"{who}: no layer or parameter is called {pattern!r}, and as a pattern it matches none; "
        f"{kind} {shown}{more}"
    )


def _names_around(name: str) -> Iterator[str]:
    """Yield a dotted name, and those of the layers around it."""
    while name:
        yield name
        name = name.rpartition(".")[0]
