"""Dropout, losses and optimizers."""

from __future__ import annotations

import numpy as np

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.builder import Builder, Call, Handler


def _dropout(b: Builder, call: Call) -> None:
    ratio = call.float("ratio", 0.5)
    if call.version >= 12:
        given = b.array(call.input(1)) if call.input(1) else np.asarray(ratio)
        switch = b.array(call.input(2)) if call.input(2) else np.asarray(False)
        if switch is None:
            b.emit(op.MaskedDropout(), call.inputs, [*call.outputs, ""][:2])
            return
        # it matters in training only; what comes at run time is as good as left out
        ratio = 0.5 if given is None else float(given.item())
    if call.has_output(1):
        b.emit(op.MaskedDropout(ratio), call.inputs[:1], call.outputs)
    else:
        b.emit(layers.Dropout(ratio), call.inputs[:1], call.outputs[:1])


def _negative_log_likelihood(b: Builder, call: Call) -> None:
    layer = op.NegativeLogLikelihood(call.text("reduction", "mean"), call.int("ignore_index"))
    b.emit(layer, call.inputs, call.outputs)


def _softmax_cross_entropy(b: Builder, call: Call) -> None:
    layer = op.NegativeLogLikelihood(call.text("reduction", "mean"), call.int("ignore_index"))
    scores = call.outputs[1] if call.has_output(1) else b.fresh("log_prob")
    b.emit(layers.LogSoftmax(dim=1), call.inputs[:1], [scores])
    b.emit(layer, [scores, *call.inputs[1:]], call.outputs[:1])


def _adagrad(b: Builder, call: Call) -> None:
    layer = op.AdagradUpdate(
        call.float("decay_factor", 0.0),
        call.float("epsilon", 1e-6),
        call.float("norm_coefficient", 0.0),
    )
    b.emit(layer, call.inputs, call.outputs)


def _adam(b: Builder, call: Call) -> None:
    layer = op.AdamUpdate(
        call.float("alpha", 0.9),
        call.float("beta", 0.999),
        call.float("epsilon", 1e-6),
        call.float("norm_coefficient", 0.0),
        call.float("norm_coefficient_post", 0.0),
    )
    b.emit(layer, call.inputs, call.outputs)


def _momentum(b: Builder, call: Call) -> None:
    layer = op.MomentumUpdate(
        call.float("alpha"),
        call.float("beta"),
        call.float("norm_coefficient", 0.0),
        call.text("mode", "standard"),
    )
    b.emit(layer, call.inputs, call.outputs)


HANDLERS: dict[str, Handler] = {
    "Dropout": _dropout,
    "NegativeLogLikelihoodLoss": _negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": _softmax_cross_entropy,
}
PREVIEW: dict[str, Handler] = {"Adagrad": _adagrad, "Adam": _adam, "Momentum": _momentum}
