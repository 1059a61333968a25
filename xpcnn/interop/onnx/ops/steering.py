"""Numbers that steer an operator: an attribute in old versions, a second input in newer ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.table import Operator
from xpcnn.interop.onnx.writer import LayerCall, Name, Value, Writer

Steering = Sequence[int] | Value | None


def read_steering(
    b: Builder, node: OnnxNode, attribute: str = "", since: int = 0
) -> tuple[tuple[int, ...] | None, list[str]]:
    """Return the numbers, if they are known, and the inputs that are left for the layer."""
    if node.version < since:
        return node.ints(attribute), node.inputs[:1]
    numbers = b.ints(node.input(1))
    known = numbers is not None or not node.input(1)
    return numbers, node.inputs[:1] if known else node.inputs


def write_steered(
    w: Writer, name: str, x: Name, numbers: Steering, since: int = 0, **attributes: Any
) -> str:
    """Append an operator with its axes, or other numbers, which may come at run time.

    Raises
    ------
    UnsupportedError
        If they come at run time, and the version takes an attribute.
    """
    if numbers is None:
        return w.node(name, x, **attributes)
    if isinstance(numbers, Value):
        if w.opset < since:
            raise UnsupportedError(
                f"numbers given at run time need version {since} of the operators"
            )
        return w.node(name, x, numbers, **attributes)
    if w.opset < since:
        return w.node(name, x, axes=list(numbers), **attributes)
    return w.node(name, x, w.ints(numbers), **attributes)


def steering(call: LayerCall, argument: str) -> Steering:
    """Return the numbers that a layer has as an argument, or else as its second input."""
    own: Sequence[int] | None = getattr(call.layer, argument)
    return call.input_at(1) if own is None else own


def steer(row: Operator, argument: str, attribute: str = "", since: int = 0) -> None:
    """Read and write an operator of whose layer the numbers are the one argument."""
    assert row.layer is not None
    layer: Any = row.layer

    def read(b: Builder, node: OnnxNode) -> None:
        numbers, inputs = read_steering(b, node, attribute, since)
        b.emit(layer(numbers), inputs, node.outputs)

    def write(w: Writer, call: LayerCall) -> str:
        return write_steered(w, row.name, call.x, steering(call, argument), since)

    row.reads(read)
    row.writes(layer)(write)
