"""The border of a model: what users hand in is checked here, once, and brought to the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.errors import cast_hint, dtype_error


def as_features(x: Any, device: Device, dtype: str, who: str, *, finite: bool = True) -> Array:
    """Check the input of a network.

    Parameters
    ----------
    x : array of any library, or nested lists
        Lists of numbers take the model's dtype; arrays must have it.
    device : Device
        Arrays that are there already stay there; all others come to the host.
    dtype : str
        The model's dtype.
    who : str
        Name for messages.
    finite : bool
        Whether NaN and infinity are refused.

    Raises
    ------
    TypeError
        If `x` does not hold numbers of the model's dtype.
    ValueError
        If it is empty, or has NaN or infinity.
    """
    x = _as_array(x, device, dtype, who)
    if isinstance(x, np.ndarray):
        dtype = host_dtype(dtype)
    got = _xp.dtype_name(x)
    if got == "object":
        raise TypeError(
            f"{who}: expected numbers, got an array of dtype object and shape {tuple(x.shape)}; "
            "its rows probably differ in length"
        )
    if got != dtype:
        raise dtype_error(who, dtype, got, cast_hint(dtype, got))
    if x.ndim == 0:
        raise ValueError(
            f"{who}: expected samples along the first axis, got a single number; give an array of "
            "shape (N, ...)"
        )
    if 0 in x.shape:
        raise ValueError(
            f"{who}: got an empty array of shape {tuple(x.shape)}; every axis needs at least one "
            "element"
        )
    if finite:
        xp = _xp.namespace(x)
        good = xp.isfinite(x)
        if not bool(xp.all(good)):
            bad = np.argwhere(~_xp.to_numpy(good))
            raise ValueError(
                f"{who}: {len(bad)} of {x.size} values are NaN or infinite, the first at index "
                f"{tuple(int(i) for i in bad[0])}; remove or replace them, e.g. with "
                "numpy.nan_to_num"
            )
    return x


def _as_array(x: Any, device: Device, dtype: str, who: str) -> Array:
    if isinstance(x, np.ndarray):
        return _plain(x, who)
    if _xp.is_array(x):
        return x if _xp.namespace(x, who=who) is device.xp else _xp.to_numpy(x)
    if hasattr(x, "__dlpack__") or hasattr(x, "__array__"):
        return _plain(_xp.to_numpy(x), who)
    try:
        host = np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{who}: the rows of the nested list differ in length ({error})") from None
    if host.dtype.kind not in "biuf":
        raise TypeError(f"{who}: expected numbers, got {type(x).__name__} of {host.dtype}")
    return host.astype(host_dtype(dtype))


def host_dtype(dtype: str) -> str:
    """Return the dtype in which NumPy holds the data of a model: it has no bfloat16."""
    return "float32" if dtype == "bfloat16" else dtype


def _plain(x: np.ndarray, who: str) -> np.ndarray:
    """Return a plain array in the machine's byte order, the only kind the kernels know."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise TypeError(
            f"{who}: got a masked array, and a network has no notion of missing values; fill them "
            "first, e.g. with x.filled(0)"
        )
    return np.asarray(x).astype(x.dtype.newbyteorder("="), copy=False)


def as_labels(y: Any, n: int, who: str) -> np.ndarray:
    """Bring labels to the host and check that there is one for each of `n` samples."""
    try:
        labels = _xp.to_numpy(y)
    except ValueError as error:
        raise ValueError(f"{who}: the rows of the nested list differ in length ({error})") from None
    if labels.ndim == 0 or labels.shape[0] != n:
        raise ValueError(
            f"{who}: expected one label for each of the {n} samples, got an array of shape "
            f"{labels.shape}"
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{who}: the labels contain NaN or infinity")
    return labels


def as_weights(
    sample_weight: Any,
    class_weight: Mapping[int, float] | Sequence[float] | None,
    labels: np.ndarray,
    dtype: str,
) -> np.ndarray | None:
    """Combine weights per sample and per class into one weight per sample, or ``None``.

    Raises
    ------
    ValueError
        If the number of weights is wrong, one is negative or not finite, or a class has none.
    """
    if sample_weight is None and class_weight is None:
        return None
    weights = np.ones(len(labels), dtype=dtype)
    if sample_weight is not None:
        given = _numbers(_xp.to_numpy(sample_weight), "sample_weight", dtype)
        if given.shape != (len(labels),):
            raise ValueError(f"sample_weight: expected shape ({len(labels)},), got {given.shape}")
        weights = weights * given
    if class_weight is not None:
        weights = weights * _per_class(class_weight, labels, dtype)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("sample_weight and class_weight must be finite and not negative")
    return weights


def _per_class(
    class_weight: Mapping[int, float] | Sequence[float], labels: np.ndarray, dtype: str
) -> np.ndarray:
    if isinstance(class_weight, (str, bytes)) or not hasattr(class_weight, "__iter__"):
        raise TypeError(
            "class_weight must be a mapping such as {0: 1.0, 1: 5.0}, or one number for each "
            f"class; got {class_weight!r}"
        )
    classes = labels
    if labels.ndim == 2 and labels.shape[1] == 1:  # yes/no answers in a column
        classes = labels[:, 0]
    elif labels.ndim == 2 and labels.dtype.kind == "f":  # shares of classes
        classes = labels.argmax(axis=1)
    if classes.ndim != 1:
        raise ValueError(
            f"class_weight needs one label per sample, got labels of shape {labels.shape}; use "
            "sample_weight, or the weight argument of the loss"
        )
    if classes.dtype.kind == "f" and (classes != np.floor(classes)).any():
        raise ValueError("class_weight needs classes, and these labels are not whole numbers")
    table = dict(class_weight if isinstance(class_weight, Mapping) else enumerate(class_weight))
    missing = sorted({int(c) for c in np.unique(classes)} - set(table))
    if missing:
        raise ValueError(f"class_weight has no weight for the classes {missing}")
    return _numbers([table[int(c)] for c in classes], "class_weight", dtype)


def _numbers(values: Any, who: str, dtype: str) -> np.ndarray:
    try:
        return np.asarray(values, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{who} must hold numbers ({error})") from None


def split_validation(
    x: Array, arrays: Sequence[np.ndarray | None], share: float
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Cut the last `share` of the samples off, before any shuffling, as Keras does.

    Raises
    ------
    ValueError
        If `share` is not between 0 and 1, or leaves one part empty.
    """
    if not isinstance(share, (int, float, np.number)) or not 0.0 < share < 1.0:
        raise ValueError(f"validation_split must lie between 0 and 1, got {share!r}")
    cut = int(x.shape[0] * (1.0 - share))
    if cut == 0 or cut == x.shape[0]:
        raise ValueError(f"validation_split={share} of {x.shape[0]} samples leaves one part empty")
    everything = (x, *arrays)
    front = tuple(None if a is None else a[:cut, ...] for a in everything)
    back = tuple(None if a is None else a[cut:, ...] for a in everything)
    return front, back


class Samples:
    """Inputs, labels and weights from which batches are taken to the device."""

    def __init__(
        self,
        x: Array,
        y: np.ndarray | None,
        weights: np.ndarray | None,
        device: Device,
        dtype: str,
    ) -> None:
        self.x, self.y, self.weights = x, y, weights
        self.device, self.dtype = device, dtype

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def batch(self, indices: np.ndarray) -> tuple[Array, Array | None, Array | None]:
        """Return (x, y, weights) of some samples on the device."""
        if isinstance(self.x, np.ndarray):
            x = self._bring(self.x[indices])
        else:
            x = self.device.xp.take(self.x, self.device.asarray(indices), axis=0)
        y = None if self.y is None else self._bring(self.y[indices])
        weights = None if self.weights is None else self._bring(self.weights[indices])
        return x, y, weights

    def _bring(self, host: np.ndarray) -> Array:
        return self.device.asarray(host, self.dtype if host.dtype.kind == "f" else None)
