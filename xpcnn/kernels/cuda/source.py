"""Our own CUDA kernels: reading the sources, compiling and launching them on CuPy arrays.

A ``.cu`` file is compiled by CuPy's NVRTC for one dtype at a time, when a kernel of it is first
launched on a device; CuPy keeps the machine code on disk. Nothing here waits for the GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, lru_cache
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.trace import Declined
from xpcnn.window import Ints, Window

THREADS = 256
"""Threads of a block, a power of two."""

LANES = 32
"""Threads that read side by side in memory: those that a GPU runs in step."""

MOST_BLOCKS = 1 << 16
"""Blocks for work on single elements; what is left, their threads do in further rounds."""

NARROW = 1 << 30
"""Arrays of fewer elements are indexed with 32 bits, with room for the last step of a loop."""

MOST_CONSTANTS = 256
"""Arrays of numbers that are kept on the devices."""

TYPES = {
    "float16": ("Half", "float"),
    "bfloat16": ("Brain", "float"),
    "float32": ("float", "float"),
    "float64": ("double", "double"),
}
"""Names in the sources, by dtype: what memory holds, and what is computed with."""

# The struct Window of common.cuh.
_WINDOW = np.dtype(
    [(name, np.int64, (3,)) for name in ("size", "out", "kernel", "stride", "dilation", "before")]
)


def text(file: str) -> str:
    """Return the source of a ``.cu`` file, with the common header in the place of its include.

    CuPy names what it keeps on disk by the text that it compiles, so the header must be in it.
    """
    folder = Path(__file__).parent
    header = (folder / "common.cuh").read_text(encoding="utf-8")
    source = (folder / file).read_text(encoding="utf-8")
    return source.replace('#include "common.cuh"\n', header.replace("#pragma once\n", ""))


def options(dtype: str, wide: bool) -> tuple[str, ...]:
    """Return what the compiler is told: types and sizes of blocks."""
    real, computed = TYPES[dtype]
    return (
        f"-DREAL={real}",
        f"-DMATH={computed}",
        f"-DINDEX={'Int' if wide else 'int'}",
        f"-DTHREADS={THREADS}",
        f"-DLANES={LANES}",
    )


def computed(dtype: str) -> Any:
    """Return the NumPy dtype in which numbers of a dtype are computed with."""
    return np.float64 if dtype == "float64" else np.float32


@cache
def _module(device: int, file: str, dtype: str, wide: bool) -> Any:
    import cupy

    return cupy.RawModule(code=text(file), options=(*options(dtype, wide), "-std=c++17"))


@cache
def _function(device: int, file: str, kernel: str, dtype: str, wide: bool) -> Any:
    return _module(device, file, dtype, wide).get_function(kernel)


def launch(file: str, kernel: str, like: Array, blocks: int, *arguments: Any) -> None:
    """Run a kernel on CuPy's current stream of the device that `like` lies on.

    Parameters
    ----------
    file, kernel : str
        Such as ``"pool.cu"``, and the name of a function in it.
    like : cupy.ndarray
        Has the dtype that REAL stands for.
    arguments
        Arrays; ``None`` for one that is not there; integers (Int in the source); floats (MATH);
        what :func:`geometry` returns.
    """
    dtype = _xp.dtype_name(like)
    number = computed(dtype)
    values: list[Any] = []
    wide = False
    for a in arguments:
        if isinstance(a, int):  # bool too
            values.append(np.int64(a))
        elif isinstance(a, float):
            values.append(number(a))
        else:
            wide = wide or (a is not None and a.size >= NARROW)
            values.append(a)
    run(like, file, kernel, dtype, wide, blocks, tuple(values))


def run(
    like: Array, file: str, kernel: str, dtype: str, wide: bool, blocks: int, values: tuple
) -> None:
    """Do the launch; the tests put plain C++ in the place of this."""
    with like.device:
        _function(like.device.id, file, kernel, dtype, wide)((blocks,), (THREADS,), values)


def blocks_for(count: int) -> int:
    """Return how many blocks work on `count` elements, one for each thread if possible."""
    return min(-(-count // THREADS), MOST_BLOCKS)


def refusal(*arrays: Array | None) -> Declined | None:
    """Say why kernels do not take these arrays: another dtype than the first has, or no elements.

    The first one decides on the dtype; ``None`` entries are skipped.
    """
    present = [a for a in arrays if a is not None]
    first = _xp.dtype_name(present[0])
    if first not in TYPES:
        return Declined(f"{first} arrays")
    other = next((a for a in present if _xp.dtype_name(a) != first), None)
    if other is not None:
        return Declined(f"{_xp.dtype_name(other)} and {first} arrays together")
    if present[0].size == 0:
        return Declined(f"an array of shape {tuple(present[0].shape)}")
    return None


def dense(xp: ModuleType, x: Array) -> tuple[Array, bool]:
    """Return x without gaps in its memory, and whether that is channels-last: itself if possible.

    x (N, C, ...) is copied to the order of its axes if it is neither.
    """
    if x.flags.c_contiguous:
        return x, False
    if x.ndim > 2 and _moved(xp, x).flags.c_contiguous:
        return x, True
    return xp.ascontiguousarray(x), False


def laid_out(xp: ModuleType, x: Array, last: bool) -> Array:
    """Return x (N, C, ...) in channels-last memory, or in the order of its axes."""
    if not last:
        return x if x.flags.c_contiguous else xp.ascontiguousarray(x)
    moved = _moved(xp, x)
    return x if moved.flags.c_contiguous else _back(xp, xp.ascontiguousarray(moved))


def empty(xp: ModuleType, shape: Ints, like: Array, last: bool, dtype: Any = None) -> Array:
    """Return an array on the device of `like`, with its dtype if there is no other."""
    kind = like.dtype if dtype is None else dtype
    if not last:
        return xp.empty(shape, dtype=kind, device=_xp.device_of(like))
    moved = (shape[0], *shape[2:], shape[1])
    return _back(xp, xp.empty(moved, dtype=kind, device=_xp.device_of(like)))


def _moved(xp: ModuleType, x: Array) -> Array:
    """View (N, C, ...) as (N, ..., C)."""
    return xp.permute_dims(x, (0, *range(2, x.ndim), 1))


def _back(xp: ModuleType, x: Array) -> Array:
    """View (N, ..., C) as (N, C, ...)."""
    return xp.permute_dims(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))


Memory = Callable[[], AbstractContextManager[Any]]
"""Lets arrays come from a certain memory while it is entered."""


class _Mode(threading.local):
    """Whether this thread works for a capture, and the tables to be filled after it.

    Tables stay, so their memory must not be that of captures, in which a graph uses the memory of
    one array for the next: `memory` is where they come from instead.
    """

    for_capture = False
    memory: Memory = nullcontext
    tables: list[tuple[Any, Any]] | None = None


_mode = _Mode()


def is_for_capture() -> bool:
    """Whether kernels are wanted that can be captured."""
    return _mode.for_capture


@contextmanager
def as_for_capture(memory: Memory = nullcontext) -> Iterator[None]:
    """Run kernels as they run in a capture, with the tables of :func:`constants` in `memory`."""
    before = _mode.for_capture, _mode.memory
    _mode.for_capture, _mode.memory = True, memory
    try:
        yield
    finally:
        _mode.for_capture, _mode.memory = before


@contextmanager
def tables_later(tables: list[tuple[Any, Any]]) -> Iterator[None]:
    """Add the arrays of :func:`constants` to a list, with the numbers that are not in them yet."""
    _mode.tables = tables
    try:
        yield
    finally:
        _mode.tables = None


def constants(xp: ModuleType, like: Array, numbers: tuple[Any, ...], dtype: Any) -> Array:
    """Return numbers as an array on the device of `like`; kept, as steps repeat themselves."""
    # Devices of CuPy cannot be keys of a dictionary.
    key = (xp, str(_xp.device_of(like)), numbers, dtype)
    found = _constants.pop(key, None)
    if found is None and _mode.tables is not None:
        with _mode.memory():
            found = empty(xp, (len(numbers),), like, False, dtype)
        _mode.tables.append((found, np.array(numbers, dtype)))
        return found
    if found is None:
        with _mode.memory():
            found = xp.asarray(np.array(numbers, dtype), device=_xp.device_of(like))
        if len(_constants) >= MOST_CONSTANTS:
            _constants.pop(next(iter(_constants)), None)  # the one not used for the longest time
    if _mode.tables is not None:
        _mode.tables.append((found, None))
    _constants[key] = found
    return found


_constants: dict[Any, Array] = {}


@lru_cache(maxsize=1024)
def geometry(window: Window, spatial: Ints) -> np.ndarray:
    """Return a window on an input of that size as the kernels take it, of at most three axes."""
    ndim = window.ndim
    found = np.zeros((), _WINDOW)
    values: dict[str, Sequence[int]] = {
        "size": spatial,
        "out": window.output_shape(spatial),
        "kernel": window.kernel,
        "stride": window.stride,
        "dilation": window.dilation,
        "before": [before for before, _ in window.padding],
    }
    for name, numbers in values.items():
        filler = 0 if name == "before" else 1
        found[name] = [filler] * (3 - ndim) + list(numbers)
    return found


def channels_inside(x: Array, last: bool) -> int:
    """Return how many elements of one position lie side by side: see pool.cu."""
    return x.shape[1] if last else 1


def positions_inside(x: Array, last: bool) -> int:
    """Return how many elements of one channel lie side by side: see norm.cu."""
    return 1 if last else prod(x.shape[2:])
