"""Matrix products and linear layers."""

from __future__ import annotations

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode
from xpcnn.interop.onnx.ops.shape import squeeze, unsqueeze
from xpcnn.interop.onnx.table import operator, writes
from xpcnn.interop.onnx.writer import LayerCall, Writer

operator("MatMul", op.MatMul, inputs=(2, 2), weights=(0, 1))

GEMM = operator("Gemm", inputs=(2, 3), weights=(0, 1, 2), names_layer=True)


@GEMM.reads
def _read_gemm(b: Builder, node: OnnxNode) -> None:
    """Alpha A B + beta C: a linear layer, if B and C come with the file."""
    alpha, beta = node.float("alpha", 1.0), node.float("beta", 1.0)
    state = b.weight_and_bias(node)
    plain = alpha == 1.0 and not node.int("transA", 0) and (not node.input(2) or beta == 1.0)
    if plain and state is not None and state["weight"].ndim == 2:
        weight = state["weight"] if node.int("transB", 0) else state["weight"].T
        bias = state.get("bias")
        if bias is None or bias.reshape(-1).shape == weight.shape[:1]:
            _read_linear(b, node, weight, bias)
            return
    left = b.apply(op.Transpose(), node.input(0)) if node.int("transA", 0) else node.input(0)
    right = b.apply(op.Transpose(), node.input(1)) if node.int("transB", 0) else node.input(1)
    outputs = node.outputs if not node.input(2) and alpha == 1.0 else [b.fresh("product")]
    b.emit(op.MatMul(), [left, right], outputs)
    value = outputs[0]
    if alpha != 1.0:
        outputs = [b.fresh("scaled")] if node.input(2) else node.outputs
        b.emit(op.Affine(alpha), [value], outputs)
        value = outputs[0]
    if node.input(2):
        added = node.input(2) if beta == 1.0 else b.apply(op.Affine(beta), node.input(2))
        b.emit(op.Add(), [value, added], node.outputs)


def _read_linear(b: Builder, node: OnnxNode, weight: np.ndarray, bias: np.ndarray | None) -> None:
    layer = layers.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    state = {"weight": np.ascontiguousarray(weight)}
    if bias is not None:
        state["bias"] = bias.reshape(-1)
    b.layer(node, layer, state)
    b.ranks[node.outputs[0]] = 2


@GEMM.writes(layers.Linear)
def _write_linear(w: Writer, call: LayerCall) -> str:
    """Rows through Gemm, so that the weight is in the file as it is."""
    layer, x = call.layer, call.x
    weights = [w.state(call, "weight")] + ([w.state(call, "bias")] if layer.bias else [])
    if x.rank == 2:
        return w.node("Gemm", x, *weights, transB=1)
    if call.output().shape[:-1].count(None) > 1:
        y = w.node("MatMul", x, w.transpose(weights[0], (1, 0)))
        return w.node("Add", y, weights[1]) if layer.bias else y
    rows = w.node("Gemm", w.reshape(x, (-1, layer.in_features)), *weights, transB=1)
    return w.reshape(rows, [-1 if n is None else n for n in call.output().shape])


@writes(layers.Bilinear)
def _write_bilinear(w: Writer, call: LayerCall) -> str:
    """x1 W x2 for each matrix W of the weight, as products with rows and columns."""
    first, second = call.inputs
    rank = call.x.rank
    row = unsqueeze(w, first, [rank - 1, rank])
    column = unsqueeze(w, second, [rank - 1, rank + 1])
    y = w.node("MatMul", w.node("MatMul", row, w.state(call, "weight")), column)
    y = squeeze(w, y, [rank, rank + 1])
    return w.node("Add", y, w.state(call, "bias")) if call.layer.bias else y
