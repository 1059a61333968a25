"""Dropout, losses and optimizers."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder
from xpcnn.interop.onnx.node import OnnxNode, UnsupportedError
from xpcnn.interop.onnx.table import Attribute, operator, same_names
from xpcnn.interop.onnx.writer import LayerCall, Writer

# -- Dropout ---------------------------------------------------------------------------------------

DROPOUT = operator("Dropout", inputs=(1, 3), outputs=2, keeps="samples")


@DROPOUT.reads
def _read_dropout(b: Builder, node: OnnxNode) -> None:
    ratio = node.float("ratio", 0.5)
    if node.version >= 12:
        given = b.array(node.input(1)) if node.input(1) else np.asarray(ratio)
        switch = b.array(node.input(2)) if node.input(2) else np.asarray(False)
        if switch is None:
            b.emit(op.MaskedDropout(), node.inputs, [*node.outputs, ""][:2])
            return
        # it matters in training only; what comes at run time is as good as left out
        ratio = 0.5 if given is None else float(given.item())
    if node.has_output(1):
        b.emit(op.MaskedDropout(ratio), node.inputs[:1], node.outputs)
    else:
        b.emit(layers.Dropout(ratio), node.inputs[:1], node.outputs[:1])


@DROPOUT.writes(op.MaskedDropout)
def _write_masked_dropout(w: Writer, call: LayerCall) -> tuple[str, ...]:
    x, p, switch = call.x, call.input_at(1), call.input_at(2)
    call.dtypes = [x.dtype, "bool"][: len(call.shapes)]
    if w.opset < 12:
        if p is not None or switch is not None:
            raise UnsupportedError("inputs that steer it need version 12 of ONNX's operators")
        return w.node_of("Dropout", [x], len(call.shapes), ratio=call.layer.p)
    # the operator takes a single number, of any dtype of floats
    share = w.number(call.layer.p) if p is None else w.reshape(p, ())
    given = switch if switch is None else w.reshape(switch, ())
    return w.node_of("Dropout", [x, share, given], len(call.shapes))


# -- Losses ----------------------------------------------------------------------------------------

LOSS = same_names(reduction="mean") | {"ignore_index": Attribute("ignore_index", int)}
NLL_LOSS = operator(
    "NegativeLogLikelihoodLoss", op.NegativeLogLikelihood, LOSS, since=12, inputs=(2, 3)
)
CROSS_ENTROPY = operator("SoftmaxCrossEntropyLoss", since=12, inputs=(2, 3), outputs=2)


@NLL_LOSS.writes_before
def _refuse_loss(w: Writer, call: LayerCall) -> str:
    raise UnsupportedError("ONNX has losses from version 12 of its operators on")


@CROSS_ENTROPY.reads
def _read_softmax_cross_entropy(b: Builder, node: OnnxNode) -> None:
    layer = op.NegativeLogLikelihood(node.text("reduction", "mean"), node.int("ignore_index"))
    scores = node.outputs[1] if node.has_output(1) else b.fresh("log_prob")
    b.emit(layers.LogSoftmax(dim=1), node.inputs[:1], [scores])
    b.emit(layer, [scores, *node.inputs[1:]], node.outputs[:1])


# -- Optimizers, in a set of operators of their own, which is still a preview ----------------------

PREVIEW = "ai.onnx.preview.training"
UPDATE: dict[str, Any] = {"since": 1, "inputs": (1, inf), "outputs": inf, "domain": PREVIEW}

ADAGRAD = operator(
    "Adagrad",
    op.AdagradUpdate,
    same_names(decay_factor=0.0, epsilon=1e-6, norm_coefficient=0.0),
    **UPDATE,
)
ADAM_ATTRIBUTES = same_names(
    alpha=0.9, beta=0.999, epsilon=1e-6, norm_coefficient=0.0, norm_coefficient_post=0.0
)
ADAM = operator("Adam", op.AdamUpdate, ADAM_ATTRIBUTES, **UPDATE)
MOMENTUM = operator(
    "Momentum",
    op.MomentumUpdate,
    {"alpha": Attribute("alpha", float), "beta": Attribute("beta", float)}
    | same_names(norm_coefficient=0.0, mode="standard"),
    **UPDATE,
)


@ADAGRAD.writes(op.AdagradUpdate)
@ADAM.writes(op.AdamUpdate)
@MOMENTUM.writes(op.MomentumUpdate)
def _write_update(w: Writer, call: LayerCall) -> tuple[str, ...]:
    w.domains[PREVIEW] = 1
    attributes: dict[str, Any] = call.layer.arguments()
    name = type(call.layer).__name__.removesuffix("Update")
    call.dtypes = [value.dtype if value is not None else w.dtype for value in call.inputs[2:]][
        : len(call.shapes)
    ]
    return w.node_of(name, call.inputs, len(call.shapes), domain=PREVIEW, **attributes)
