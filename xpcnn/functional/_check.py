"""Checks that several public functions share."""

from __future__ import annotations

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import cast_hint, dtype_error

LAYOUTS = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}


def check_float(x: Array, who: str) -> None:
    """Raise unless `x` holds floating-point numbers and is not empty."""
    check_float_dtype(x, who)
    _check_not_empty(x, who)


def check_float_dtype(x: Array, who: str) -> None:
    """Raise unless `x` holds floating-point numbers."""
    if not _xp.is_floating(x):
        got = _xp.dtype_name(x)
        raise dtype_error(who, "float32 (or another float)", got, cast_hint("float32", got))


def check_integers(x: Array, who: str) -> None:
    """Raise unless `x` holds whole numbers of an integer dtype and is not empty."""
    check_integer_dtype(x, who)
    _check_not_empty(x, who)


def check_integer_dtype(x: Array, who: str) -> None:
    """Raise unless `x` holds whole numbers of an integer dtype."""
    got = _xp.dtype_name(x)
    if not got.startswith(("int", "uint")):
        raise dtype_error(who, "int64 (or another integer)", got, "the input holds indices")


def _check_not_empty(x: Array, who: str) -> None:
    if 0 in x.shape:
        raise ValueError(
            f"{who}: got an empty array of shape {tuple(x.shape)}; every axis needs at least one "
            "element"
        )
