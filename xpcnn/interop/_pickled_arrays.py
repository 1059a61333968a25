"""What a pickle may name, and how arrays are made from what stands in it.

NumPy pickles an array as a call of ``_reconstruct``, which makes an empty one, and a state with
shape, dtype and bytes; with protocol 5 as a call of ``_frombuffer``. Nothing of NumPy is called
here but ``frombuffer``, on bytes whose number has been checked.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from xpcnn.errors import ModelFileError
from xpcnn.interop._torch_files import TORCH_NAMES, Tensor

MAX_RANK = 32

# The modules have had three names in three generations of NumPy.
NAMES = {
    "numpy.ndarray": "ndarray",
    "numpy.dtype": "dtype",
    "_codecs.encode": "encode",
    "collections.OrderedDict": "OrderedDict",
}
for _module in ("__builtin__", "builtins"):
    NAMES[f"{_module}.bytes"] = NAMES[f"{_module}.bytearray"] = "bytes"
for _module in ("numpy.core.multiarray", "numpy._core.multiarray", "multiarray"):
    NAMES[f"{_module}._reconstruct"] = "reconstruct"
    NAMES[f"{_module}.scalar"] = "scalar"
for _module in ("numpy.core.numeric", "numpy._core.numeric"):
    NAMES[f"{_module}._frombuffer"] = "frombuffer"
NAMES |= TORCH_NAMES


class Name:
    """A function or class of :data:`NAMES`."""

    def __init__(self, meaning: str) -> None:
        self.meaning = meaning


class Unfinished:
    """An array or a dtype whose state is still to come."""


class _Array(Unfinished):
    pass


class _DType(Unfinished):
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.order = "="

    def resolve(self) -> np.dtype[Any]:
        return np.dtype(self.kind).newbyteorder(self.order)  # type: ignore[arg-type]


def call(meaning: str, arguments: tuple[Any, ...]) -> Any:
    """Do what the function of that meaning would have done."""
    if meaning == "reconstruct":
        return _Array()
    if meaning == "dtype":
        return _dtype(arguments[0])
    if meaning == "scalar":
        dtype, values = arguments
        return _array(values, dtype, (), "C")[()]
    if meaning == "frombuffer":
        return _from_buffer(*arguments)
    if meaning == "tensor":
        return Tensor(*arguments[:4])
    if meaning == "parameter":
        return arguments[0]
    if meaning == "encode":
        text, encoding = arguments
        if encoding not in ("latin1", "latin-1"):
            raise ModelFileError(f"it encodes bytes as {encoding!r:.40}, expected 'latin1'")
        return _as_bytes(text)
    if meaning == "bytes":
        return _as_bytes(arguments[0], *arguments[1:]) if arguments else b""
    if meaning == "OrderedDict" and not arguments:
        return {}
    raise ModelFileError(f"it calls {meaning} in an unknown way")


def finish(target: Any, state: Any) -> Any:
    """Return the array or dtype that the state completes."""
    if isinstance(target, _DType):
        # a version comes first, but not in the oldest; then byte order, inner dtype and names
        order, inner, names = (state[1:] if type(state[0]) is int else state)[:3]
        if order not in ("<", ">", "=", "|"):
            raise ModelFileError(f"it has a dtype of the byte order {order!r:.20}")
        if inner is not None or names is not None:
            raise ModelFileError("it has an array of records; only plain numbers are read")
        target.order = order
        return target
    if isinstance(target, _Array) and isinstance(state, tuple) and len(state) in (4, 5):
        shape, dtype, is_fortran, values = state[-4:]
        return _array(values, dtype, shape, "F" if is_fortran else "C")
    raise ModelFileError(f"it sets attributes of a {type(target).__name__}")


def _dtype(kind: Any) -> _DType:
    kind = kind.decode("latin-1") if isinstance(kind, bytes) else kind
    allowed = ("b1", "?", *(k + n for k in "iu" for n in "1248"), "f2", "f4", "f8", "c8", "c16")
    if kind not in allowed:
        raise ModelFileError(
            f"it has an array of dtype {kind!r:.40}; only numbers are read, not objects or records"
        )
    return _DType(kind)


def _from_buffer(
    values: Any, dtype: Any, shape: Any, order: Any, axis_order: Any = None
) -> np.ndarray:
    """Make what ``numpy._core.numeric._frombuffer`` makes."""
    if order in ("C", "F"):
        return _array(values, dtype, shape, order)
    made = _array(values, dtype, shape, "C")
    return made if axis_order is None else np.transpose(made, axis_order)


def _array(values: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """Make an array, with the native byte order, whose bytes the pickle holds."""
    if not isinstance(dtype, _DType) or not isinstance(shape, tuple) or len(shape) > MAX_RANK:
        raise ModelFileError("it has an array without a proper dtype and shape")
    content, kind = _as_bytes(values), dtype.resolve()
    if any(type(n) is not int or not 0 <= n < 2**62 for n in shape):
        raise ModelFileError("it has an array with an invalid length")
    if prod(shape) * kind.itemsize != len(content) or prod(n for n in shape if n) >= 2**59:
        raise ModelFileError(
            f"it has an array of {len(content)} bytes, which does not fit its shape and dtype"
        )
    if kind.kind == "b":
        flat = np.frombuffer(content, np.uint8) != 0
    else:
        flat = np.frombuffer(content, kind).astype(kind.newbyteorder("="))
    return np.reshape(flat, shape, order=order)  # type: ignore[call-overload]


def _as_bytes(values: Any, encoding: Any = "latin1") -> bytes:
    """Return bytes; Python 2 and protocol 0 have them as strings."""
    if isinstance(values, str) and encoding in ("latin1", "latin-1"):
        return values.encode("latin-1")
    if isinstance(values, bytes):
        return values
    raise ModelFileError(f"it gives the bytes of an array as {type(values).__name__}")
