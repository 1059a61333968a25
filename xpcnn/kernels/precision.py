"""What kernels may do for speed: round more, or give other bits every time.

Here it is chosen, for all array libraries; the kernels for each of them read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from xpcnn.errors import choice_error

PRECISIONS = ("fast", "exact")
PRODUCTS = ("float32", "tf32")
_chosen = "fast"
_deterministic = False

float32_products: ContextVar[str] = ContextVar("xpcnn_float32_products", default="float32")
"""How float32 numbers are multiplied, in matrix products and convolutions, in this thread: as they
are, or rounded to TF32 where a GPU does that. A model sets it around what it does."""


def set_precision(precision: str) -> None:
    """Choose between the fastest algorithms and the most accurate ones, for the whole process.

    Parameters
    ----------
    precision : {"fast", "exact"}
        "fast", the default, lets 3x3 convolutions of float32 use Winograd's algorithm where it is
        faster: relative errors of about 2e-6 (float32 sums have about 1e-6), and an input that is
        NaN or infinite spoils outputs up to three pixels further. "exact" computes every sum
        directly. It matters to the compiled kernels only.

    Raises
    ------
    ValueError
        If there is no such choice.

    Examples
    --------
    >>> import xpcnn
    >>> xpcnn.set_precision("exact")
    >>> xpcnn.get_precision()
    'exact'
    >>> xpcnn.set_precision("fast")
    """
    global _chosen
    if precision not in PRECISIONS:
        raise choice_error("set_precision", "precision", precision, PRECISIONS)
    _chosen = precision


def get_precision() -> str:
    """Return the choice made by :func:`set_precision`.

    Examples
    --------
    >>> import xpcnn
    >>> xpcnn.get_precision()
    'fast'
    """
    return _chosen


@contextmanager
def products(kind: str) -> Iterator[None]:
    """Choose how float32 numbers are multiplied inside a ``with`` block, where a model does not.

    Parameters
    ----------
    kind : {"float32", "tf32"}
        "tf32" lets GPUs that can (Ampere, 2020, or newer) round the factors of matrix products and
        convolutions to eleven bits: faster by a multiple, with relative errors of about 1e-3.
        Elsewhere it means float32.

    Raises
    ------
    ValueError
        If there is no such choice.
    """
    if kind not in PRODUCTS:
        raise choice_error("products", "kind", kind, PRODUCTS)
    token = float32_products.set(kind)
    try:
        yield
    finally:
        float32_products.reset(token)


def set_deterministic(on: bool) -> None:
    """Choose whether the same computation must give the same bits every time, on a GPU too.

    Parameters
    ----------
    on : bool
        ``True`` leaves out the algorithms of cuDNN and PyTorch whose sums depend on which thread
        comes first; others are slower, as a rule. ``False`` is the default. On the CPU results are
        the same bits either way. It holds for the whole process.

    Raises
    ------
    TypeError
        If `on` is not a truth value.

    Examples
    --------
    >>> import xpcnn
    >>> xpcnn.set_deterministic(True)
    >>> xpcnn.get_deterministic()
    True
    >>> xpcnn.set_deterministic(False)
    """
    global _deterministic
    if not isinstance(on, bool):
        raise TypeError(f"set_deterministic: expected True or False, got {on!r}")
    _deterministic = on


def get_deterministic() -> bool:
    """Return the choice made by :func:`set_deterministic`.

    Examples
    --------
    >>> import xpcnn
    >>> xpcnn.get_deterministic()
    False
    """
    return _deterministic
