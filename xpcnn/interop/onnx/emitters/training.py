"""Dropout with a mask, the loss of a classifier, and optimizers."""

from __future__ import annotations

from typing import Any

from xpcnn import layers
from xpcnn import operations as op
from xpcnn.interop.onnx.node import UnsupportedError
from xpcnn.interop.onnx.writer import LayerCall, Write, Writer


def _masked_dropout(w: Writer, call: LayerCall) -> tuple[str, ...]:
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


def _negative_log_likelihood(w: Writer, call: LayerCall) -> str:
    if w.opset < 12:
        raise UnsupportedError("ONNX has losses from version 12 of its operators on")
    return w.node(
        "NegativeLogLikelihoodLoss",
        *call.inputs,
        reduction=call.layer.reduction,
        ignore_index=call.layer.ignore_index,
    )


def _update(w: Writer, call: LayerCall) -> tuple[str, ...]:
    """Optimizers are in a set of operators of their own, which is still a preview."""
    domain = "ai.onnx.preview.training"
    w.domains[domain] = 1
    attributes: dict[str, Any] = call.layer.arguments()
    name = type(call.layer).__name__.removesuffix("Update")
    call.dtypes = [value.dtype if value is not None else w.dtype for value in call.inputs[2:]][
        : len(call.shapes)
    ]
    return w.node_of(name, call.inputs, len(call.shapes), domain=domain, **attributes)


def _same(w: Writer, call: LayerCall) -> str:
    """Return the input itself: nothing happens in inference."""
    return call.x.name


EMITTERS: dict[type, Write] = {
    **dict.fromkeys(
        (
            layers.Dropout,
            layers.Dropout1d,
            layers.Dropout2d,
            layers.Dropout3d,
            layers.AlphaDropout,
            layers.StochasticDepth,
        ),
        _same,
    ),
    op.MaskedDropout: _masked_dropout,
    op.NegativeLogLikelihood: _negative_log_likelihood,
    op.AdagradUpdate: _update,
    op.AdamUpdate: _update,
    op.MomentumUpdate: _update,
}
