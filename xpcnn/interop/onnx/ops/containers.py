"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn import layers
from xpcnn.interop.onnx.table import writes
from xpcnn.interop.onnx.writer import LayerCall, Value, Writer
from xpcnn.layers.layer import Layer


def inside(w: Writer, call: LayerCall, name: str, layer: Layer, x: Value) -> Value:
    """Append a layer of one input that is part of another one."""
    first, second = (layer.output_shape(shape) for shape in x.shapes)
    path = f"{call.path}.{name}" if call.path else name
    return w.emit(LayerCall(layer, path, [x], [(first, second)], [path], [x.dtype]))[0]


@writes(layers.Sequential)
def _write_sequential(w: Writer, call: LayerCall) -> str:
    x = call.x
    for name, layer in call.layer.children().items():
        x = inside(w, call, name, layer, x)
    call.dtypes = [x.dtype]
    return x.name


@writes(layers.Residual)
def _write_residual(w: Writer, call: LayerCall) -> str:
    layer = call.layer
    through = inside(w, call, "body", layer.body, call.x)
    past = call.x
    if layer.shortcut is not None:
        past = inside(w, call, "shortcut", layer.shortcut, call.x)
    call.dtypes = [through.dtype]
    return w.node("Add", through, past)


@writes(layers.Parallel)
def _write_parallel(w: Writer, call: LayerCall) -> str:
    outputs = [inside(w, call, n, layer, call.x) for n, layer in call.layer.children().items()]
    call.dtypes = [outputs[0].dtype]
    if call.layer.join == "concat":
        return w.node("Concat", *outputs, axis=1)
    return w.node("Sum", *outputs)


@writes(layers.Graph)
def _write_graph(w: Writer, call: LayerCall) -> tuple[str, ...]:
    graph = call.layer
    samples = [
        graph.shapes(*(None if x is None else x.shapes[which] for x in call.inputs))
        for which in (0, 1)
    ]
    values: dict[str, Any] = dict(zip(graph.inputs, call.inputs, strict=True))
    for node in graph.in_order:
        path = f"{call.path}.{node.name}" if call.path else node.name
        inputs = [values.get(name) for name in node.inputs]
        dtype = next((x.dtype for x in inputs if x is not None), w.dtype)
        first, second = ([known[name] for name in node.outputs] for known in samples)
        made = w.emit(
            LayerCall(
                node.layer,
                path,
                inputs,
                list(zip(first, second, strict=True)),
                _names(call, node.outputs),
                [dtype] * len(node.outputs),
            )
        )
        values |= zip(node.outputs, made, strict=True)
    call.dtypes = [values[name].dtype for name in graph.outputs]
    return tuple(values[name].name for name in graph.outputs)


def _names(call: LayerCall, names: Sequence[str]) -> list[str]:
    return [f"{call.path}.{name}" if call.path else name for name in names]
