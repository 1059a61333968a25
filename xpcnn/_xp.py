"""What array code needs beside the Array API standard, through array-api-compat and -extra.

Everything above works on "some array library `xp`": here are the namespace of an array, indexed
updates, copies to the host. What differs from library to library is in :mod:`xpcnn.backends`.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn.backends import Backend, backend_of, library_of
from xpcnn.backends.numpy import numpy_namespace as numpy_namespace

Array = Any
"""An array of any library that follows the Array API standard."""

_NUMPY_TYPES = (np.ndarray, np.generic)
_NAMESPACES: dict[type, ModuleType] = {}


def is_array(x: object) -> bool:
    """Tell whether `x` is an array of a library this process has loaded."""
    if type(x) in _NAMESPACES or isinstance(x, _NUMPY_TYPES):
        return True
    from array_api_compat import is_array_api_obj

    return bool(is_array_api_obj(x))


def namespace(*arrays: Array, who: str = "xpcnn") -> ModuleType:
    """Return the one namespace that all `arrays` belong to; ``None`` entries are skipped.

    Raises
    ------
    TypeError
        If something is not an array, or the arrays come from different libraries.
    """
    found: ModuleType | None = None
    first: Array = None
    for array in arrays:
        if array is None:
            continue
        xp = _NAMESPACES.get(type(array)) or _find_namespace(array, who)
        if found is None:
            found, first = xp, array
        elif xp is not found:
            raise TypeError(
                f"{who}: the arrays come from different libraries, "
                f"{describe(first)} and {describe(array)}; "
                "move one of them, e.g. with xpcnn.device.resolve(...).asarray(x)"
            )
    if found is None:
        raise TypeError(f"{who}: expected at least one array")
    return found


def _find_namespace(array: Array, who: str) -> ModuleType:
    if isinstance(array, _NUMPY_TYPES):
        return _NAMESPACES.setdefault(type(array), numpy_namespace())
    from array_api_compat import array_namespace, is_array_api_obj

    if not is_array_api_obj(array):
        raise TypeError(
            f"{who}: expected an array of NumPy, CuPy, PyTorch, JAX or another library that "
            f"follows the Array API standard, got {type(array).__name__}; "
            "convert it, e.g. numpy.asarray(x, dtype='float32')"
        )
    xp: ModuleType = array_namespace(array)
    _NAMESPACES[type(array)] = xp
    return xp


def device_of(x: Array) -> Any:
    """Return the physical device an array lies on, as its library names it."""
    if isinstance(x, _NUMPY_TYPES):
        return "cpu"
    from array_api_compat import device

    return device(x)


def to_device(x: Array, physical: Any) -> Array:
    """Copy an array to another physical device of its library."""
    from array_api_compat import to_device as move

    return move(x, physical)


def storage(x: Array) -> tuple[int, int]:
    """Say in which piece of memory an array lies, and how many bytes that piece has.

    Views of one piece of memory have the same, as long as one of them is there.
    """
    return backend_of(namespace(x)).storage(x)


def itemsize(x: Array) -> int:
    """Return the bytes of one element of an array."""
    return backend_of(namespace(x)).itemsize(x)


def same_device(x: Array, y: Array) -> bool:
    """Tell whether two arrays of one library lie on the same physical device."""
    return bool(device_of(x) == device_of(y))


def on_host(x: Array) -> bool:
    """Tell whether an array lies in the host's memory, where caches favour small chunks."""
    if isinstance(x, _NUMPY_TYPES):
        return True
    return "cpu" in str(device_of(x)).lower()


_NUMPY = ("numpy", "array_api_compat.numpy")


def is_numpy(xp: ModuleType) -> bool:
    """Tell whether a namespace is NumPy's."""
    return xp.__name__ in _NUMPY


def library(xp: ModuleType) -> str:
    """Return the plain name of the library behind a namespace, for messages."""
    return library_of(xp)


def dtype_name(x: Array) -> str:
    """Return the name of an array's dtype without its library: ``"float32"``."""
    kind: Any = type(x)
    return _name_of_dtype(kind, x.dtype)


@lru_cache(maxsize=64)
def _name_of_dtype(kind: Any, dtype: Any) -> str:
    """Name a dtype; `kind` keeps those of different libraries from being compared."""
    return str(dtype).rsplit(".", 1)[-1]


def is_floating(x: Array) -> bool:
    """Tell whether an array holds real floating-point numbers (bfloat16 counts)."""
    return "float" in dtype_name(x)


def describe(x: Array) -> str:
    """Describe an array for an error message: library, shape, dtype and device."""
    xp = _NAMESPACES.get(type(x)) or _find_namespace(x, "xpcnn")
    return (
        f"a {library(xp)} array of shape {tuple(x.shape)}, dtype {dtype_name(x)}, "
        f"device {device_of(x)}"
    )


def add_at(x: Array, index: Any, values: Array) -> Array:
    """Return `x` with `values` added at a basic index; `x` must not be used afterwards."""
    if isinstance(x, np.ndarray):
        x[index] += values
        return x
    from array_api_extra import at

    return at(x, index).add(values)


def set_at(x: Array, index: Any, values: Any) -> Array:
    """Return `x` with `values` written at a basic index; `x` must not be used afterwards."""
    if isinstance(x, np.ndarray):
        x[index] = values
        return x
    from array_api_extra import at

    return at(x, index).set(values)


def clip(x: Array, lowest: float, highest: float) -> Array:
    """Return `x` with what is below or above the limits moved to them; NaN stays NaN.

    The ``clip`` of some libraries assigns through a mask, for which the host waits on a GPU.
    """
    if isinstance(x, np.ndarray):
        return np.clip(x, lowest, highest)
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, lowest), highest)


def sign(x: Array) -> Array:
    """Return -1, 0 or 1, and NaN for NaN, without waiting for the device."""
    if isinstance(x, np.ndarray):
        return np.sign(x)
    xp = namespace(x)
    one = xp.ones_like(x)
    return xp.where(x > 0, one, xp.where(x < 0, -one, x))


def zero_where(mask: Array, x: Array) -> Array:
    """Return `x` with zeros where `mask` is true, whatever stood there: infinity and NaN too.

    ``where`` with a mask that follows no pattern costs NumPy a mispredicted branch per element, so
    there the bits are masked instead.
    """
    if isinstance(x, np.ndarray):
        bits = np.dtype(f"i{x.dtype.itemsize}")
        # a byte of 1 becomes 0 and one of 0 becomes -1, all ones
        kept = (np.asarray(mask).view(np.int8) - np.int8(1)).astype(bits)
        return np.asarray(np.asarray(x).view(bits) & kept).view(x.dtype)
    return namespace(x).where(mask, 0.0, x)


def sum_dtype(xp: ModuleType, x: Array) -> Any:
    """Return the dtype in which to add up many elements of `x` (floating-point numbers).

    That is float64, or float32 where there is no float64: JAX has it only where it was told to,
    and Apple's GPUs never.
    """
    return xp.float64 if isinstance(x, np.ndarray) else backend_of(xp).sum_dtype(xp, x)


def to_numpy(x: Any) -> np.ndarray:
    """Copy (or view, where memory is shared) an array of any library as a NumPy array.

    PyTorch's bfloat16, which NumPy lacks, comes as float32.
    """
    if isinstance(x, np.ndarray):
        return x
    backend = backend_of(namespace(x)) if is_array(x) else Backend("unknown")
    return backend.to_numpy(x)
