"""The border of a model: what users hand in is checked here, once, and brought to the device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.errors import cast_hint, dtype_error
from xpcnn.layers.layer import Layer
from xpcnn.layers.preprocessing import takes_bytes
from xpcnn.training.sources.kinds import is_lazy
from xpcnn.window import as_int

PIECE = 2**22
"""Numbers that are looked at together."""


def one_each(given: Any, names: Sequence[str], who: str, what: str) -> list[Any]:
    """Return a list with one thing for each input or output of a network.

    Parameters
    ----------
    given : mapping, sequence, or the thing itself
        By name, or in order; where there is just one name, not in a sequence.
    names : sequence of str
        Names of the inputs or outputs.
    who : str
        Name for messages.
    what : {"input", "output"}

    Raises
    ------
    ValueError
        If there is not one thing for each name.
    """
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise ValueError(
                f"{who}: expected one for each {what}, {', '.join(map(repr, names))}; got "
                f"{', '.join(map(repr, given)) or 'an empty dict'}"
            )
        return [given[name] for name in names]
    if len(names) == 1:
        return [given]
    if not isinstance(given, (tuple, list)) or len(given) != len(names):
        found = f" of {len(given)}" if isinstance(given, (tuple, list)) else ""
        raise ValueError(
            f"{who}: the network has the {what}s {', '.join(names)}; give a tuple with one for "
            f"each, or a dict; got {type(given).__name__}{found}"
        )
    return list(given)


def as_shape(shape: Any, who: str) -> tuple[int, ...]:
    """Check the shape of an input; an open batch axis, given as ``None``, becomes 1."""
    if isinstance(shape, str) or not hasattr(shape, "__iter__"):
        raise TypeError(
            f"{who}: input_shape must be a tuple with the batch axis in front, such as "
            f"(None, 1, 28, 28), got {shape!r}"
        )
    return tuple(1 if n is None else as_int(n, who, "input_shape", 1) for n in shape)


def as_inputs(
    given: Sequence[Any],
    names: Sequence[str],
    device: Device,
    dtypes: Sequence[str],
    who: str,
    *,
    finite: bool = True,
    whole: bool = False,
    numbers: np.ndarray | None = None,
    network: Layer | None = None,
) -> tuple[Array, ...]:
    """Check all inputs of a network, one array for each name; see :func:`as_features`.

    Parameters
    ----------
    whole : bool
        Whether they may be something else than samples along the first axis.
    numbers : numpy.ndarray, optional
        Of the samples, for messages, where they are not counted from 0.
    network : Layer, optional
        What may take bytes, which stay bytes then.

    Raises
    ------
    ValueError
        If they differ in the number of samples.
    """
    labels = [who] if len(names) == 1 else [f"{who}[{name!r}]" for name in names]
    inputs = tuple(
        as_features(
            x,
            device,
            dtype,
            label,
            finite=finite,
            whole=whole,
            numbers=numbers,
            network=network,
            position=position,
        )
        for position, (x, dtype, label) in enumerate(zip(given, dtypes, labels, strict=True))
    )
    counts = {n: int(x.shape[0]) if x.ndim else 0 for n, x in zip(names, inputs, strict=True)}
    if len(set(counts.values())) > 1 and not whole:
        raise ValueError(f"{who}: the inputs differ in the number of samples: {counts}")
    return inputs


def as_features(
    x: Any,
    device: Device,
    dtype: str,
    who: str,
    *,
    finite: bool = True,
    whole: bool = False,
    numbers: np.ndarray | None = None,
    network: Layer | None = None,
    position: int = 0,
) -> Array:
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
    whole : bool
        Whether it may be something else than samples along the first axis.
    numbers : numpy.ndarray, optional
        Of the samples, for messages.
    network : Layer, optional
        Where it scales this input itself, images may be bytes, and stay so.
    position : int
        Of the input among those of the network.

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
    if "int" in dtype and ("int" in got or got == "bool"):
        x = x.astype(dtype) if isinstance(x, np.ndarray) else device.asarray(x, dtype)
        got = dtype
    if got == "object":
        raise _object_error(x, who)
    if got == "uint8" != dtype and network is not None:
        if not takes_bytes(network)[position]:
            hint = cast_hint(dtype, got)
            raise dtype_error(who, dtype, got, f"{hint}, or begin with xpcnn.Rescale(1/255)")
    elif got != dtype:
        raise dtype_error(who, dtype, got, cast_hint(dtype, got))
    if x.ndim == 0 and not whole:
        raise ValueError(
            f"{who}: expected samples along the first axis, got a single number; give an array of "
            "shape (N, ...)"
        )
    if 0 in x.shape and not whole:
        raise ValueError(
            f"{who}: got an empty array of shape {tuple(x.shape)}; every axis needs at least one "
            "element"
        )
    if finite and "float" in got:
        check_finite(x, who, numbers)
    return x


def check_finite(x: Array, who: str, numbers: np.ndarray | None = None) -> None:
    """Raise if an array holds NaN or infinity; it is looked at piece by piece.

    Parameters
    ----------
    x : array
    who : str
        Name for messages.
    numbers : numpy.ndarray, optional
        Of the samples along the first axis; the error names that of the first with such a value.
    """
    if 0 in x.shape:
        return
    xp = _xp.namespace(x)
    rows = xp.reshape(x, (1,)) if x.ndim == 0 else x
    step = max(1, PIECE * rows.shape[0] // math.prod(rows.shape))
    count, first = 0, None
    for start in range(0, rows.shape[0], step):
        good = xp.isfinite(rows[start : min(start + step, rows.shape[0]), ...])
        if not bool(xp.all(good)):
            bad = ~_xp.to_numpy(good)
            count += int(bad.sum())
            if first is None:
                row, *place = (int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
                first = (row + start, *place) if x.ndim else ()
    if first is None:
        return
    where = f"at index {first}"
    if numbers is not None:
        where = f"in sample {numbers[first[0]]}, at index {first[1:]} of it"
    raise ValueError(
        f"{who}: {count} of {math.prod(x.shape)} values are NaN or infinite, the first {where}; "
        "remove or replace them, e.g. with numpy.nan_to_num"
    )


def _as_array(x: Any, device: Device, dtype: str, who: str) -> Array:
    if isinstance(x, np.ndarray):
        return _plain(x, who)
    if _xp.is_array(x):
        return x if _xp.namespace(x, who=who) is device.xp else _xp.to_numpy(x)
    if hasattr(x, "__dlpack__") or hasattr(x, "__array__"):
        return _plain(_xp.to_numpy(x), who)
    host = _read(x, who)
    if host.dtype.kind not in "biuf":
        raise TypeError(f"{who}: expected numbers, got {type(x).__name__} of {host.dtype}")
    return host.astype(host_dtype(dtype)) if "float" in dtype else host


def _read(x: Any, who: str) -> np.ndarray:
    """Make an array of the host of another array, or of nested lists."""
    try:
        return _xp.to_numpy(x)
    except ValueError as error:
        raise ValueError(f"{who}: the rows of the nested list differ in length ({error})") from None


def _object_error(x: np.ndarray, who: str) -> TypeError:
    """Say what an array of Python objects holds, and how to make numbers of it."""
    shapes = {np.shape(entry) for entry in x.ravel() if isinstance(entry, (np.ndarray, list))}
    if len(shapes) == 1:
        fix = f"its entries are arrays of shape {shapes.pop()}; make one array with numpy.stack(x)"
    elif shapes:
        some = " and ".join(map(str, sorted(shapes)[:2]))
        fix = f"its entries differ in shape, as {some} do; bring them to one shape first"
    else:
        kinds = ", ".join(sorted({type(entry).__name__ for entry in x.ravel()}))
        fix = f"its entries are of type {kinds}; make numbers of them, as with x.astype('float32')"
    return TypeError(
        f"{who}: expected numbers, got an array of dtype object and shape {x.shape}; {fix}"
    )


def host_dtype(dtype: str) -> str:
    """Return the dtype in which NumPy holds the data of a model: it has no bfloat16."""
    return "float32" if dtype == "bfloat16" else dtype


def _plain(x: np.ndarray, who: str) -> np.ndarray:
    """Return a plain array in the machine's byte order, the only kind the kernels know."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise TypeError(
            f"{who}: got a masked array, and a network cannot handle missing values; fill them "
            "first, e.g. with x.filled(0)"
        )
    return np.asarray(x).astype(x.dtype.newbyteorder("="), copy=False)


def to_host(x: Any, who: str) -> np.ndarray:
    """Bring labels or weights to the host."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise TypeError(
            f"{who}: got a masked array, and what is masked cannot be left out; take the rows that "
            "are not, or use ignore_index or sample_weight"
        )
    if is_lazy(x) and not hasattr(x, "__array__"):
        x = x[0 : x.shape[0]]
    host = _read(x, who)
    if host.dtype.kind == "O":
        raise _object_error(host, who)
    return host


def as_labels(y: Any, n: int, who: str) -> np.ndarray:
    """Bring labels to the host and check that there is one for each of `n` samples."""
    labels = to_host(y, who)
    if labels.ndim == 0 or labels.shape[0] != n:
        raise ValueError(
            f"{who}: expected one label for each of the {n} samples, got an array of shape "
            f"{labels.shape}"
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{who}: the labels contain NaN or infinity")
    return labels


def check_weights(weights: np.ndarray, who: str) -> None:
    """Raise if a weight is negative or not finite."""
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"{who} must be finite and not negative")


def as_numbers(values: Any, who: str, dtype: str) -> np.ndarray:
    """Return numbers as an array of a dtype, or raise if they are none."""
    try:
        return np.asarray(values, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{who} must hold numbers ({error})") from None
