"""Parts of arrays, their shapes, and elements of tuples."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from xpcnn import operations
from xpcnn.interop.torch.problems import UnsupportedError
from xpcnn.interop.torch.values import BATCH, NO_SHAPE, Value, array, shape_of

FAR = 2**62


class UnknownShape:
    """The shape of a value without an example: only the length of the batch can be named."""

    def __getitem__(self, index: Any) -> Any:
        if index == 0:
            return BATCH
        raise UnsupportedError(NO_SHAPE)


def _shape(maker: Any, x: Value) -> Any:
    shape = array(x).shape
    if shape is None:
        return UnknownShape()
    return (BATCH, *shape[1:]) if shape and shape[0] == maker.batch else shape


def _size(maker: Any, x: Value, dim: int | None = None) -> Any:
    shape = _shape(maker, x)
    return shape if dim is None else shape[dim]


def _getattr(maker: Any, x: Value, name: str) -> Any:
    if name == "shape":
        return _shape(maker, x)
    if name == "ndim":
        return len(shape_of(x))
    raise UnsupportedError(f"the attribute {name} of an array")


def _getitem(maker: Any, x: Any, index: Any) -> Any:
    if not isinstance(x, Value):
        return x[index]
    index = list(index) if isinstance(index, list | tuple) else [index]
    if any(isinstance(i, Value) for i in index):
        raise UnsupportedError("an index that is an array")
    if Ellipsis in index:
        place = index.index(Ellipsis)
        taken = sum(i is not None for i in index) - 1
        index[place : place + 1] = [slice(None)] * (len(shape_of(x)) - taken)
    return _cut(maker, x, index)


def _cut(maker: Any, x: Value, index: list[Any]) -> Value:
    """Slice, then drop the axes of single numbers, then add those of None."""
    parts: list[tuple[int, int, int, int]] = []  # start, end, axis and step
    dropped: list[int] = []
    added: list[int] = []
    axis = 0
    for entry in index:
        if entry is None:
            added.append(axis + len(added) - len(dropped))
            continue
        if isinstance(entry, slice):
            first, last, step = entry.start, entry.stop, entry.step
            if any(part is BATCH for part in (first, last, step)):
                raise UnsupportedError("a slice up to the size of the batch")
            if (first, last, step) != (None, None, None):
                last, step = FAR if last is None else last, 1 if step is None else step
                parts.append((first or 0, last, axis, step))
        elif isinstance(entry, int):
            parts.append((entry, FAR if entry == -1 else entry + 1, axis, 1))
            dropped.append(axis)
        else:
            raise UnsupportedError(f"the index {entry!r}")
        axis += 1
    if parts:
        x = maker.put(operations.Slice(*map(list, zip(*parts, strict=True))), x)
    if dropped:
        x = maker.put(operations.Squeeze(dims=dropped), x)
    return maker.put(operations.Unsqueeze(dims=added), x) if added else x


HANDLERS: dict[str, Callable[..., Any]] = {
    "getattr": _getattr,
    "getitem": _getitem,
    "size": _size,
    "dim": lambda maker, x: len(shape_of(x)),
    "numel": lambda maker, x: prod(shape_of(x)),
}
