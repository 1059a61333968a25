"""Checks that several operations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.errors import cast_hint, dtype_error, rank_error

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


def check_rank(shape: Sequence[int], ndim: int, who: str) -> None:
    """Raise unless a shape is (N, C, *spatial) with `ndim` spatial axes."""
    if len(shape) != ndim + 2:
        raise rank_error(who, ndim + 2, LAYOUTS[ndim], shape)


def check_spatial(shape: Sequence[int], who: str) -> None:
    """Raise unless a shape is (N, C, *spatial) with one spatial axis or more."""
    if len(shape) < 3:
        raise rank_error(who, 4, LAYOUTS[2], shape)


def check_image(x: Array, ndim: int, who: str) -> None:
    """Raise unless `x` holds floating-point numbers laid out as (N, C, *spatial)."""
    check_rank(x.shape, ndim, who)
    check_float(x, who)


def check_dtypes(x: Array, w: Array, b: Array | None, who: str) -> None:
    """Raise unless weight and bias have the dtype of the input."""
    for name, other in (("weight", w), ("bias", b)):
        if other is not None and other.dtype != x.dtype:
            raise TypeError(
                f"{who}: the input has dtype {_xp.dtype_name(x)} but the {name} "
                f"{_xp.dtype_name(other)}; convert one of them"
            )


def check_bias(b: Array | None, channels: int, who: str) -> None:
    """Raise unless a bias, if there is one, has a number for each output channel."""
    if b is not None and tuple(b.shape) != (channels,):
        raise ValueError(f"{who}: expected a bias of shape ({channels},), got {tuple(b.shape)}")


def check_floats(who: str, x: Array, *_: Any) -> None:
    """Check the first operand as :func:`check_float` does; the check of many operations."""
    check_float(x, who)
