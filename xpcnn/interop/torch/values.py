"""What the nodes of a traced module give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xpcnn.interop.torch.problems import UnsupportedError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """An array that a node gives, by its name; the shape is known where an example was run."""

    name: str
    shape: Shape | None


class Batch:
    """The length of the batch axis, whatever it is."""

    def __repr__(self) -> str:
        return "the size of the batch"


BATCH = Batch()


NO_SHAPE = "needs to know a shape; give from_torch an example of the input"


def array(x: Any) -> Value:
    """Return an argument that must be an array."""
    if not isinstance(x, Value):
        raise UnsupportedError(f"expected an array where there is {x!r}")
    return x


def shape_of(x: Any) -> Shape:
    """Return the shape of a value, or say that it is not known."""
    if array(x).shape is None:
        raise UnsupportedError(NO_SHAPE)
    return x.shape


def axis_of(x: Value, dim: int) -> int:
    """Return an axis counted from the front."""
    return dim if dim >= 0 else dim + len(shape_of(x))


def dims_of(given: Sequence[Any]) -> tuple[Any, ...]:
    """Return axes or lengths that came one by one, or as one list."""
    if len(given) == 1 and isinstance(given[0], list | tuple):
        return tuple(given[0])
    return tuple(given)
