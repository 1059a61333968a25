"""The error for a name that a module does not have; it says which name was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

DIMENSIONS = re.compile("_?[123]d$", re.IGNORECASE)


def missing_name(
    module: str,
    name: str,
    places: Mapping[str, Iterable[str]],
    hint: str = "",
    meant: Mapping[str, str] | None = None,
) -> AttributeError:
    """Build the error for a name that a module lacks.

    Parameters
    ----------
    module, name : str
        The module that was asked, and what it was asked for.
    places : mapping of str to iterable of str
        Where such a name may be, the likeliest place first, and the names there.
    hint : str
        What to say if no name is near.
    meant : mapping of str to str, optional
        Names of other libraries, and what they are called here.

    Examples
    --------
    >>> missing_name("xpcnn.functional", "conv2d", {"xpcnn.functional": ["conv", "pad"]})
    AttributeError("module 'xpcnn.functional' has no attribute 'conv2d'; did you mean \
xpcnn.functional.conv, which takes one to three dimensions?")
    """
    message = f"module {module!r} has no attribute {name!r}"
    if name.startswith("_"):  # asked for by Python's own machinery
        return AttributeError(message)
    near = _near(
        (meant or {}).get(name, name), {place: list(names) for place, names in places.items()}
    )
    if near:  # told without the module, in whose names Python would look for a near one too
        return AttributeError(f"{message}; did you mean {near}?", name=name, obj=None)
    return AttributeError(f"{message}; {hint}" if hint else message)


def _near(name: str, places: dict[str, list[str]]) -> str:
    """Return the likeliest name with its place: the same but for case, dimensions, letters."""
    for place, names in places.items():
        same = [known for known in names if _plain(known) == _plain(name)]
        if same:
            return f"{place}.{same[0]}"
    for place, names in places.items():
        without = DIMENSIONS.sub("", name)
        if without != name and without in names:
            return f"{place}.{without}, which takes one to three dimensions"
        like = {_plain(known): known for known in reversed(names)}
        match = difflib.get_close_matches(_plain(name), list(like), 1, 0.75)
        if match:
            return f"{place}.{like[match[0]]}"
    return ""


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
