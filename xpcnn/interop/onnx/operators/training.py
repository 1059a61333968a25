"""Dropout, losses and optimizers."""

from __future__ import annotations

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Handler
from xpcnn.interop.onnx.node import OnnxNode


def _dropout(b: Builder, node: OnnxNode) -> None:
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


def _negative_log_likelihood(b: Builder, node: OnnxNode) -> None:
    layer = op.NegativeLogLikelihood(node.text("reduction", "mean"), node.int("ignore_index"))
    b.emit(layer, node.inputs, node.outputs)


def _softmax_cross_entropy(b: Builder, node: OnnxNode) -> None:
    layer = op.NegativeLogLikelihood(node.text("reduction", "mean"), node.int("ignore_index"))
    scores = node.outputs[1] if node.has_output(1) else b.fresh("log_prob")
    b.emit(layers.LogSoftmax(dim=1), node.inputs[:1], [scores])
    b.emit(layer, [scores, *node.inputs[1:]], node.outputs[:1])


def _adagrad(b: Builder, node: OnnxNode) -> None:
    layer = op.AdagradUpdate(
        node.float("decay_factor", 0.0),
        node.float("epsilon", 1e-6),
        node.float("norm_coefficient", 0.0),
    )
    b.emit(layer, node.inputs, node.outputs)


def _adam(b: Builder, node: OnnxNode) -> None:
    layer = op.AdamUpdate(
        node.float("alpha", 0.9),
        node.float("beta", 0.999),
        node.float("epsilon", 1e-6),
        node.float("norm_coefficient", 0.0),
        node.float("norm_coefficient_post", 0.0),
    )
    b.emit(layer, node.inputs, node.outputs)


def _momentum(b: Builder, node: OnnxNode) -> None:
    layer = op.MomentumUpdate(
        node.float("alpha"),
        node.float("beta"),
        node.float("norm_coefficient", 0.0),
        node.text("mode", "standard"),
    )
    b.emit(layer, node.inputs, node.outputs)


HANDLERS: dict[str, Handler] = {
    "Dropout": _dropout,
    "NegativeLogLikelihoodLoss": _negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": _softmax_cross_entropy,
}
PREVIEW: dict[str, Handler] = {"Adagrad": _adagrad, "Adam": _adam, "Momentum": _momentum}
