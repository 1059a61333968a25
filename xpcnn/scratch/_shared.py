"""What the course modules share: dtypes, labels, columns, random numbers, numerical gradients."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._registry import Named
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.errors import NonFiniteError, cast_hint, dtype_error, rank_error
from xpcnn.ops import im2col as gather
from xpcnn.window import Ints, Window, as_ints, as_padding


class CourseClass(Named):
    """Names itself and its arguments in errors and in notebooks."""

    def __repr__(self) -> str:
        parts = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, parameter.default)
            if value is parameter.default:
                continue
            if hasattr(value, "shape") and getattr(value, "ndim", None):
                value = f"array {tuple(value.shape)}"
            elif isinstance(value, (list, tuple, dict)) and len(value) > 20:
                value = f"{len(value)} of them"
            else:
                value = repr(value)
            parts.append(f"{name}={value}")
        return f"{type(self).__name__}({', '.join(parts)})"


LAYOUTS = {1: "(N, C, L)", 2: "(N, C, H, W)"}


def as_array(x: Any) -> Array:
    """Return arrays as they are, and lists and numbers as NumPy arrays."""
    return x if hasattr(x, "ndim") and _xp.is_array(x) else np.asarray(x)


def as_floats(who: str, *values: Any) -> tuple[Array, ...]:
    """Bring arrays of one library to the one floating-point dtype that holds them all.

    The worked examples of the courses are written in integers, and a float32 image meets float64
    weights there; NumPy promotes without being asked, the library's own layers do not.
    """
    arrays = [as_array(value) for value in values]
    for array in arrays:
        if isinstance(array, np.ndarray) and array.dtype.kind not in "fiub":
            what = repr(array.item()) if array.ndim == 0 else f"an array of dtype {array.dtype}"
            raise TypeError(f"{who}: expected an array of numbers, got {what}")
    xp = _xp.namespace(*arrays, who=who)
    floats = {a.dtype for a in arrays if "float" in str(a.dtype)}
    if not floats:
        floats = {default_float(xp, arrays[0])}
    dtype = floats.pop() if len(floats) == 1 else xp.result_type(*floats)
    return tuple(a if a.dtype == dtype else xp.astype(a, dtype) for a in arrays)


def as_number(
    value: Any, who: str, argument: str, low: float = 0.0, high: float = math.inf
) -> float:
    """Return a number that lies from `low` to `high`, or say which argument was wrong."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{who}: {argument} must be a number, got {value!r}")
    if not (low <= value <= high and math.isfinite(value)):
        limits = (
            f"at least {low:g} and finite" if high == math.inf else f"between {low:g} and {high:g}"
        )
        raise ValueError(f"{who}: {argument} must be {limits}, got {value!r}")
    return value  # type: ignore[return-value]


def check_training(
    x: Any, labels: np.ndarray, x_val: Any, y_val: Any, who: str, x_name: str = "x_val"
) -> None:
    """Raise unless a classifier can be trained on samples, with labels that are integers from 0."""
    check_samples(x, labels, who)
    if labels.dtype.kind not in "iu":
        got = "text" if labels.dtype.kind in "US" else _xp.dtype_name(labels)
        raise dtype_error(who, "integer labels", got, "number the classes from 0")
    if int(labels.min()) < 0:
        raise ValueError(f"{who}: labels must be numbers from 0, got {int(labels.min())}")
    if (x_val is None) != (y_val is None):
        given, missing = (x_name, "y_val") if y_val is None else ("y_val", x_name)
        raise ValueError(f"{who}: got {given} without {missing}; give both or neither")


def check_samples(x: Array, labels: np.ndarray, who: str, kind: str = "samples") -> None:
    """Raise unless there is a label for every sample, and at least one sample."""
    if labels.shape[0] != x.shape[0]:
        raise ValueError(f"{who}: got {x.shape[0]} {kind} but {labels.shape[0]} labels")
    if not labels.size:
        raise ValueError(f"{who}: there are no {kind}")


def check_finite(loss: float, epoch: int, batch: int, who: str) -> None:
    """Raise if training has left the numbers."""
    if not math.isfinite(loss):
        raise NonFiniteError(
            f"{who}: the loss became NaN or infinite in epoch {epoch}, batch {batch}; try a "
            "smaller learning rate, or look for NaN and outliers in the data",
            epoch=epoch,
            batch=batch,
            layer=None,
        )


def default_float(xp: ModuleType, like: Array) -> Any:
    """Return the dtype the library uses for Python's floats: float64 in NumPy."""
    info = xp.__array_namespace_info__()
    return info.default_dtypes(device=_xp.device_of(like))["real floating"]


def store(old: Array, new: Array) -> Array:
    """Write `new` into `old` where the library can, so that whoever holds `old` sees it.

    The courses' layers and ``params`` hold the same arrays. An immutable array cannot be written
    to: then the new one is returned, and the caller puts it where the old one was.
    """
    xp = _xp.namespace(old)
    if new.dtype != old.dtype:
        new = xp.astype(new, old.dtype)
    if isinstance(old, np.ndarray) and not old.flags.writeable:
        return new
    return _xp.set_at(old, ..., new)


def move_by(old: Array, step: Array) -> Array:
    """Add `step` to `old`, in place where the library can; see :func:`store`."""
    if isinstance(old, np.ndarray) and not old.flags.writeable:
        return old + step
    return _xp.add_at(old, ..., step)


def one_hot_targets(y: Array, t: Any, who: str) -> Array:
    """Bring targets to the shape and dtype of the outputs y (N, K).

    Parameters
    ----------
    t : array or list
        Of the shape of `y`, or integer labels (N,) or (N, 1).
    """
    xp = _xp.namespace(y, who=who)
    t = Device.of(y).asarray(t)
    if tuple(t.shape) == tuple(y.shape):
        return t if t.dtype == y.dtype else xp.astype(t, y.dtype)
    if t.ndim == 2 and t.shape[1] == 1:
        t = t[:, 0]
    if y.ndim != 2 or t.ndim != 1 or t.shape[0] != y.shape[0]:
        raise ValueError(
            f"{who}: expected targets of shape {tuple(y.shape)}, or {y.shape[0]} integer labels, "
            f"for outputs of shape {tuple(y.shape)}; got shape {tuple(t.shape)}"
        )
    if not xp.isdtype(t.dtype, "integral"):
        raise dtype_error(
            who, "integer labels", _xp.dtype_name(t), "convert them, e.g. labels.astype('int64')"
        )
    low, high = int(xp.min(t)), int(xp.max(t))
    if low < 0 or high >= y.shape[1]:
        raise ValueError(
            f"{who}: labels must lie from 0 to {y.shape[1] - 1}, one for each of the "
            f"{y.shape[1]} outputs; got {low} to {high}"
        )
    return F.one_hot(t, y.shape[1], y.dtype)


def class_labels(t: Any) -> np.ndarray:
    """Return the class of every sample, on the host: (N,), from labels, one-hot or scores."""
    labels = _xp.to_numpy(as_array(t))
    if labels.ndim == 2 and labels.shape[1] > 1:
        return np.argmax(labels, axis=1)
    return labels.reshape(-1)


def count_correct(scores: Array, labels: np.ndarray) -> int:
    """Count the rows of `scores` whose largest entry is the one `labels` names."""
    xp = _xp.namespace(scores)
    return int(np.sum(_xp.to_numpy(xp.argmax(scores, axis=1)) == labels))


def batch_slices(n: int, batch_size: int) -> Iterator[slice]:
    """Cut n samples into batches; the last one may be smaller."""
    for start in range(0, n, batch_size):
        yield slice(start, min(start + batch_size, n))


def sliding_window(
    spatial: Sequence[int], kernel: Any, stride: Any, pad: Any, who: str, kernel_name: str
) -> Window:
    """Make the window of a convolution or pooling, and check that it fits."""
    ndim = len(spatial)
    window = Window.resolve(
        tuple(spatial),
        as_ints(kernel, ndim, who, kernel_name),
        as_ints(stride, ndim, who, "stride"),
        as_padding(pad, ndim, who),
        (1,) * ndim,
    )
    window.output_shape(spatial, who)
    return window


def columns(x: Any, kernel: Ints, stride: Any, pad: Any, constant_values: float, who: str) -> Array:
    """Lay out images as the courses do: one row for every window position.

    (N, C, *spatial) becomes (N * positions, C * taps).
    """
    ndim = len(kernel)
    x = as_array(x)
    _xp.namespace(x, who=who)  # refuses what is no array
    if x.ndim != ndim + 2:
        raise rank_error(who, ndim + 2, LAYOUTS[ndim], x.shape)
    if not math.isfinite(constant_values) or constant_values != int(constant_values):
        (x,) = as_floats(who, x)
    window = sliding_window(x.shape[2:], kernel, stride, pad, who, "filter size")
    return window_rows(x, window, constant_values)


def window_rows(x: Array, window: Window, constant_values: float = 0.0) -> Array:
    """Do as :func:`columns`, for a window that is known to fit."""
    xp = _xp.namespace(x)
    padded = gather.pad_spatial(xp, x, window, constant_values)
    by_image = F.im2col(padded, window.kernel, window.stride)
    rows = xp.permute_dims(by_image, (0, 2, 1))
    return xp.reshape(rows, (rows.shape[0] * rows.shape[1], rows.shape[2]))


def channels_last(x: Array) -> Array:
    """Return (N, C, *spatial) as rows (N * positions, C), which is how the courses compute."""
    xp = _xp.namespace(x)
    return xp.reshape(xp.permute_dims(x, (0, *range(2, x.ndim), 1)), (-1, x.shape[1]))


def images(
    col: Any, shape: Sequence[int], kernel: Ints, stride: Any, pad: Any, add: bool, who: str
) -> Array:
    """Put rows of :func:`columns` back into images of the given shape.

    Where windows overlap their contributions are added (the transpose of :func:`columns`, which
    is what a gradient needs), or overwrite each other, so that an image comes back.
    """
    ndim = len(kernel)
    shape, col = tuple(shape), as_array(col)
    xp = _xp.namespace(col, who=who)
    if len(shape) != ndim + 2:
        raise rank_error(f"{who} input_shape", ndim + 2, LAYOUTS[ndim], shape)
    n, c, *spatial = shape
    window = sliding_window(spatial, kernel, stride, pad, who, "filter size")
    out = window.output_shape(spatial)
    rows, width = n * prod(out), c * window.taps
    if prod(col.shape) != rows * width:
        raise ValueError(
            f"{who}: expected columns of shape {(rows, width)} for images of shape {shape}, "
            f"got {tuple(col.shape)}"
        )
    if add:
        by_image = xp.permute_dims(xp.reshape(col, (n, prod(out), width)), (0, 2, 1))
        return F.col2im(by_image, tuple(spatial), window.kernel, window.stride, window.padding)
    by_tap = xp.reshape(col, (n, *out, c, window.taps))
    by_tap = xp.permute_dims(by_tap, (ndim + 2, 0, ndim + 1, *range(1, ndim + 1)))
    padded = (n, c, *window.padded_shape(spatial))
    image = xp.zeros(padded, dtype=col.dtype, device=_xp.device_of(col))
    for tap, offset in enumerate(window.offsets()):
        image = _xp.set_at(image, window.tap(offset, out), by_tap[tap, ...])
    return gather.crop_spatial(image, window, spatial)


def numerical_gradient(f: Callable[[Array], Any], W: Array) -> Array:
    """Estimate the gradient of a function by central differences, one element at a time.

    Parameters
    ----------
    f : callable
        Takes an array like `W` and returns a number. A function that ignores its argument and
        reads `W` itself works too, as in the courses: where the library's arrays can be written
        to, each element of `W` is moved in place and put back afterwards.
    W : array of floats, any shape

    Returns
    -------
    array of the shape of `W`
        ``(f(W + h) - f(W - h)) / (2 h)`` for each element, with h = 1e-4.

    Raises
    ------
    TypeError
        If `W` holds integers: a step of 1e-4 would vanish in them.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.scratch.deep_conv_net import numerical_gradient
    >>> numerical_gradient(lambda w: (w**2).sum(), np.array([1.0, 3.0])).round(6)
    array([2., 6.])
    """
    who = "numerical_gradient"
    if not callable(f):
        raise TypeError(f"{who}: f must be a function of an array, got {f!r}")
    xp = _xp.namespace(W, who=who)
    if not _xp.is_floating(W):
        got = _xp.dtype_name(W)
        raise dtype_error(who, "float64 (or another float)", got, cast_hint("float64", got))
    h = 1e-4
    slopes = np.zeros(tuple(W.shape))
    for index in np.ndindex(*W.shape):
        value = float(W[index])
        try:
            W = _xp.set_at(W, index, value + h)
            above = _single_number(f(W), who)
            W = _xp.set_at(W, index, value - h)
            below = _single_number(f(W), who)
        finally:
            W = _xp.set_at(W, index, value)
        slopes[index] = (above - below) / (2 * h)
    return xp.asarray(slopes, dtype=W.dtype, device=_xp.device_of(W))


def _single_number(value: Any, who: str) -> float:
    shape = tuple(getattr(value, "shape", ()))
    if prod(shape) != 1:
        raise ValueError(f"{who}: f must return one number, got an array of shape {shape}")
    return float(value.reshape(()) if shape else value)
