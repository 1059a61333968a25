"""Preprocessing: it is part of a network, and so of its file."""

from __future__ import annotations

import numpy as np

from xpcnn import layers
from xpcnn.interop.onnx.table import writes
from xpcnn.interop.onnx.writer import LayerCall, Writer


@writes(layers.Rescale)
def _write_rescale(w: Writer, call: LayerCall) -> str:
    x = w.node("Mul", call.x, w.number(call.layer.scale))
    return w.node("Add", x, w.number(call.layer.offset)) if call.layer.offset else x


@writes(layers.Normalize)
def _write_normalize(w: Writer, call: LayerCall) -> str:
    mean, std = (
        w.constant(np.asarray(numbers).reshape(-1, *(1,) * (call.x.rank - 2)))
        for numbers in (call.layer.mean, call.layer.std)
    )
    return w.node("Div", w.node("Sub", call.x, mean), std)
