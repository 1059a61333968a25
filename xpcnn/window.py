"""Sliding windows as integers: how a kernel steps over a padded image of any rank.

Nothing here touches an array. Convolution and pooling share this geometry; for one dimension of
length ``n`` with padding ``p`` on both sides the output length is

    floor((n + 2 p - dilation (kernel - 1) - 1) / stride) + 1
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


def as_int(value: Any, who: str, argument: str, minimum: int) -> int:
    """Return `value` as an ``int`` of at least `minimum`, or say which argument was wrong."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{who}: {argument} must be an integer, got {value!r}") from None
    if number < minimum:
        raise ValueError(f"{who}: {argument} must be at least {minimum}, got {number}")
    return number


def as_flag(value: Any, who: str, argument: str) -> bool:
    """Return `value` as a ``bool`` if it is one, or say which argument was wrong."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{who}: {argument} must be True or False, got {value!r}")
    return bool(value)


def as_number(
    value: Any,
    who: str,
    argument: str,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    finite: bool = True,
) -> float:
    """Return `value` as a ``float`` between two limits, or say which argument was wrong.

    Truth values and strings are no numbers; NaN and infinity only where `finite` is ``False``.
    """
    if isinstance(value, (bool, str, bytes, type)) or not hasattr(value, "__float__"):
        raise TypeError(f"{who}: {argument} must be a number, got {value!r}")
    if getattr(getattr(value, "dtype", None), "kind", "f") == "b" or getattr(value, "shape", ()):
        raise TypeError(f"{who}: {argument} must be one number, got {value!r}")
    number = float(value)
    if finite and not math.isfinite(number):
        raise ValueError(f"{who}: {argument} must be finite, got {value!r}")
    if number < least or number > most:
        limits = f"at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ValueError(f"{who}: {argument} must be {limits}, got {value!r}")
    return number


def is_sequence(value: Any) -> bool:
    """Whether a value is a list of things: ordered, of known length, and no text."""
    if isinstance(value, Sequence):
        return not isinstance(value, (str, bytes))
    return bool(getattr(value, "shape", ()))


def as_ints(value: Any, ndim: int, who: str, argument: str, minimum: int = 1) -> Ints:
    """Turn one integer, or one per dimension, into a tuple of `ndim` integers."""
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{who}: {argument} must be an integer or {ndim} of them, got {value!r}")
    if not is_sequence(value):
        return (as_int(value, who, argument, minimum),) * ndim
    values = tuple(value)
    if len(values) == 1:
        values *= ndim
    if len(values) != ndim:
        raise ValueError(
            f"{who}: {argument} must be one integer or {ndim}, one per spatial dimension; "
            f"got {values!r}"
        )
    return tuple(as_int(v, who, argument, minimum) for v in values)


def as_padding(value: Any, ndim: int, who: str, *, lower: bool = False) -> str | Ints | Pairs:
    """Normalise a `padding` argument.

    Accepts ``"same"``, ``"valid"``, one integer, one integer per dimension (both sides alike), or
    one ``(before, after)`` pair per dimension. With `lower` also ``"same_lower"``, which is "same"
    with an odd element in front.
    """
    if isinstance(value, str):
        if value not in ("same", "valid") and not (lower and value == "same_lower"):
            raise ValueError(
                f"{who}: padding must be 'same', 'valid', an integer, {ndim} integers or "
                f"{ndim} (before, after) pairs; got {value!r}"
            )
        return value
    if hasattr(value, "__iter__"):
        values = tuple(value)
        if values and all(hasattr(v, "__iter__") and not isinstance(v, str) for v in values):
            pairs = tuple(as_ints(v, 2, who, "padding", 0) for v in values)
            if len(pairs) != ndim:
                raise ValueError(
                    f"{who}: padding needs one (before, after) pair per spatial dimension, "
                    f"that is {ndim}; got {values!r}"
                )
            return tuple((before, after) for before, after in pairs)
    return as_ints(value, ndim, who, "padding", 0)


def as_window(
    spatial: Sequence[int],
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    who: str,
    *,
    lower: bool = False,
) -> Window:
    """Make the window for an input of size `spatial` from a user's arguments.

    `lower` is that of :func:`as_padding`.
    """
    ndim = len(spatial)
    return Window.resolve(
        spatial,
        as_ints(kernel, ndim, who, "kernel_size"),
        as_ints(stride, ndim, who, "stride"),
        as_padding(padding, ndim, who, lower=lower),
        as_ints(dilation, ndim, who, "dilation"),
    )


class Window(NamedTuple):
    """A window of `kernel` taps per dimension, `dilation` apart, moved by `stride`.

    Attributes
    ----------
    kernel, stride, dilation : tuple of int
        One integer per spatial dimension.
    padding : tuple of (int, int)
        Elements added before and after each spatial dimension.
    """

    kernel: Ints
    stride: Ints
    padding: Pairs
    dilation: Ints

    @classmethod
    def resolve(
        cls,
        spatial: Sequence[int],
        kernel: Ints,
        stride: Ints,
        padding: str | Ints | Pairs,
        dilation: Ints,
    ) -> Window:
        """Make the window for an input of size `spatial`, turning "same" into numbers.

        "same" gives ``ceil(n / stride)`` outputs; where the total padding is odd the extra
        element goes to the end, as in Keras and (for stride 1) in PyTorch; with "same_lower" it
        goes to the front.
        """
        return _resolve(tuple(spatial), kernel, stride, padding, dilation)

    @classmethod
    def _resolve(
        cls, spatial: Ints, kernel: Ints, stride: Ints, padding: str | Ints | Pairs, dilation: Ints
    ) -> Window:
        pairs: Pairs
        if padding == "valid":
            pairs = ((0, 0),) * len(kernel)
        elif padding in ("same", "same_lower"):
            totals = [
                max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
                for n, k, s, d in zip(spatial, kernel, stride, dilation, strict=True)
            ]
            pairs = tuple((total // 2, total - total // 2) for total in totals)
            if padding == "same_lower":
                pairs = tuple((after, before) for before, after in pairs)
        else:
            pairs = tuple((p, p) if isinstance(p, int) else p for p in padding)  # type: ignore[misc]
        return cls(kernel, stride, pairs, dilation)

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.kernel)

    @property
    @lru_cache(maxsize=1024)  # noqa: B019
    def taps(self) -> int:
        """Number of elements under the window."""
        taps = 1
        for k in self.kernel:
            taps *= k
        return taps

    @property
    @lru_cache(maxsize=1024)  # noqa: B019
    def extent(self) -> Ints:
        """Length the window covers in each dimension, gaps of the dilation included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    @lru_cache(maxsize=1024)  # noqa: B019
    def is_padded(self) -> bool:
        """Whether any side has padding."""
        return any(before or after for before, after in self.padding)

    def without_padding(self) -> Window:
        """Return the same window for an input that has been padded already."""
        return self._replace(padding=((0, 0),) * self.ndim)

    def padded_shape(self, spatial: Sequence[int]) -> Ints:
        """Return the spatial size of the input with its padding."""
        return _padded_shape(self.padding, tuple(spatial))

    def output_shape(self, spatial: Sequence[int], who: str = "window") -> Ints:
        """Return the spatial size of the output.

        Raises
        ------
        ValueError
            If the window does not fit into the padded input.
        """
        found = _output_shape(self, tuple(spatial))
        if found is None:
            padded = self.padded_shape(spatial)
            raise ValueError(
                f"{who}: the kernel covers {self.extent} (kernel {self.kernel}, dilation "
                f"{self.dilation}) but the padded input is only {padded} (input "
                f"{tuple(spatial)}, padding {self.padding}); use a smaller kernel or more padding"
            )
        return found

    def with_ceil(self, spatial: Sequence[int]) -> Window:
        """Return the window whose end padding makes the output size round up.

        A last window that would start inside the end padding is dropped, as in PyTorch.
        """
        pairs = []
        for n, e, s, (before, after) in zip(
            spatial, self.extent, self.stride, self.padding, strict=True
        ):
            out = -(-(n + before + after - e) // s) + 1
            if (out - 1) * s >= n + before:
                out -= 1
            pairs.append((before, max(after, (out - 1) * s + e - n - before)))
        return self._replace(padding=tuple(pairs))

    def offsets(self) -> Iterator[Ints]:
        """Yield the index of every tap, last dimension fastest."""
        return itertools.product(*map(range, self.kernel))

    def views(self, out: Ints, starts: Sequence[Ints] = ((),)) -> tuple[tuple[Any, ...], ...]:
        """Index of every tap for every start, the starts of one tap side by side."""
        return _views(self, out, tuple(starts))

    def tap(self, offset: Ints, out: Ints, start: Ints | None = None) -> tuple[Any, ...]:
        """Index of what tap `offset` sees over all window positions.

        The index keeps the two leading axes whole and takes a strided slice of every spatial axis
        of a padded input; `start` moves the first window position.
        """
        starts = start or (0,) * self.ndim
        return (slice(None), slice(None)) + tuple(
            slice(a + o * d, a + o * d + (m - 1) * s + 1, s)
            for o, d, s, m, a in zip(offset, self.dilation, self.stride, out, starts, strict=True)
        )


@lru_cache(maxsize=1024)
def _resolve(
    spatial: Ints, kernel: Ints, stride: Ints, padding: str | Ints | Pairs, dilation: Ints
) -> Window:
    return Window._resolve(spatial, kernel, stride, padding, dilation)


@lru_cache(maxsize=1024)
def _padded_shape(padding: Pairs, spatial: Ints) -> Ints:
    return tuple(n + before + after for n, (before, after) in zip(spatial, padding, strict=True))


@lru_cache(maxsize=1024)
def _output_shape(window: Window, spatial: Ints) -> Ints | None:
    """Return the size of the output, or ``None`` if the window does not fit."""
    padded, extent = window.padded_shape(spatial), window.extent
    if any(n < e for n, e in zip(padded, extent, strict=True)):
        return None
    return tuple((n - e) // s + 1 for n, e, s in zip(padded, extent, window.stride, strict=True))


@lru_cache(maxsize=256)
def _views(window: Window, out: Ints, starts: tuple[Ints, ...]) -> tuple[tuple[Any, ...], ...]:
    return tuple(window.tap(offset, out, s) for offset in window.offsets() for s in starts)
