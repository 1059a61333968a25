"""Whether kernels may save arithmetic at the price of some rounding."""

from __future__ import annotations

from xpcnn.errors import choice_error

PRECISIONS = ("fast", "exact")
_chosen = "fast"


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
