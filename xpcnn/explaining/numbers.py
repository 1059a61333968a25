"""Numbers as text: whole numbers without a point, others with four significant digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

DIGITS = 4


def written(value: float) -> str:
    """Write one number.

    Examples
    --------
    >>> [written(v) for v in (35.0, -2.5, 1 / 3, 0.000012345, 1e9)]
    ['35', '-2.5', '0.3333', '1.234e-05', '1000000000']
    """
    value = float(value)
    if not math.isfinite(value):
        return "NaN" if value != value else ("∞" if value > 0 else "-∞")
    if value == int(value) and abs(value) < 1e10:
        return str(int(value))
    return f"{value:.{DIGITS}g}"


def format_of(values: np.ndarray) -> Callable[[float], str]:
    """Return a function that writes all numbers of one table alike, so that points are aligned.

    Examples
    --------
    >>> write = format_of(np.array([0.25, -0.5, -1e-9]))
    >>> [write(v) for v in (0.25, -0.5, -1e-9)]
    ['0.2500', '-0.5000', '0.0000']
    """
    finite = np.abs(values[np.isfinite(values)]) if values.size else values
    if not finite.size or ((finite == np.floor(finite)) & (finite < 1e10)).all():
        return written
    largest = float(finite.max())
    if largest >= 1e6 or largest < 1e-3:
        return lambda v: f"{v:.{DIGITS - 1}e}" if math.isfinite(v) and v else written(v)
    decimals = max(0, DIGITS - 1 - math.floor(math.log10(largest)))
    while decimals > 1 and (np.round(finite, decimals - 1) == finite).all():
        decimals -= 1
    return lambda v: f"{v:z.{decimals}f}" if math.isfinite(v) else written(v)


def factor(value: float) -> str:
    """Write a number behind a sign or in a product: in brackets if it is negative."""
    text = written(value)
    return f"({text})" if text.startswith("-") else text


MOST_TERMS = 9


def worked(
    name: str,
    terms: Sequence[Sequence[float]],
    result: float,
    more: str = "",
    *,
    over: float | None = None,
    squared: bool = False,
) -> str:
    """Write a sum of products and its value: ``a[0] = 1·3 + 2·5 + 3·7 + 1 = 35``.

    Parameters
    ----------
    terms : sequence of sequences of numbers
        The factors of each term.
    more : str
        What is said of terms that are left out, with ``{count}``.
    over : float, optional
        What the sum is divided by: ``a[0] = (1 + 2) / 2 = 1.5``.
    squared : bool
        Whether the terms are squares: ``a[0] = 3² + 4² = 25``.
    """
    if over is None and not squared and (not terms or len(terms) == len(terms[0]) == 1):
        return f"{name} = {written(result)}"
    parts = ["·".join(map(factor, t)) + "²" * squared for t in terms]
    total = " + ".join(shortened(parts, more))
    total = total if over is None else f"({total}) / {written(over)}"
    products = [[*t, *t] for t in terms] if squared else terms
    sign = "=" if _holds(products, result, 1.0 if over is None else over) else "≈"
    return f"{name} = {total} {sign} {written(result)}"


def shortened(terms: list[str], more: str) -> list[str]:
    """Return the terms of a sum, or the first and the last and between them `more`."""
    if len(terms) <= MOST_TERMS:
        return terms
    count = len(terms) - MOST_TERMS + 1
    return [*terms[: MOST_TERMS - 3], more.format(count=count), *terms[-2:]]


def _holds(terms: Sequence[Sequence[float]], result: float, over: float) -> bool:
    """Tell whether the line is true as it is written, with every number rounded."""
    if not all(math.isfinite(v) for v in [*(v for term in terms for v in term), result]):
        return True
    total = sum((math.prod(map(_as_written, term)) for term in terms), Fraction(0))
    return total == _as_written(result) * _as_written(over)


def _as_written(value: float) -> Fraction:
    return Fraction(written(value))


def shares(name: str, terms: Sequence[tuple[float, float]], result: float, more: str) -> str:
    """Write a sum of quotients and its value: ``a[0] = 1/4 + 6/4 = 1.75``."""
    total = " + ".join(shortened([f"{factor(a)}/{written(b)}" for a, b in terms], more))
    holds = not all(map(math.isfinite, [result, *(a for a, _ in terms)])) or (
        sum(_as_written(a) / _as_written(b) for a, b in terms) == _as_written(result)
    )
    return f"{name} = {total} {'=' if holds else '≈'} {written(result)}"


def first_and_last(n: int, limit: int) -> list[int | None]:
    """Choose what is shown of n things: all, or the first and the last with ``None`` between.

    Examples
    --------
    >>> first_and_last(3, 4), first_and_last(9, 4)
    ([0, 1, 2], [0, 1, 2, None, 8])
    """
    if n <= limit:
        return list(range(n))
    return [*range(limit - 1), None, n - 1]
