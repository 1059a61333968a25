"""Operations that stand for several; sets of kernels may have them in one go."""

from __future__ import annotations

from types import ModuleType

from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Fused, Op
from xpcnn.ops import activation, piecewise
from xpcnn.ops.activation import RELU
from xpcnn.ops.conv import CONV
from xpcnn.ops.linear import LINEAR
from xpcnn.ops.norm import BATCH_NORM


def add_forward(xp: ModuleType, a: Array, b: Array) -> tuple[Array, None]:
    """Add two arrays of one shape."""
    return a + b, None


def add_backward(xp: ModuleType, dy: Array, saved: None) -> tuple[Array, Array]:
    """Return the gradients of both."""
    return dy, dy


ADD = Op("add", add_forward, add_backward)
ADD_RELU = Fused("add_relu", (ADD, RELU))
CONV_RELU = Fused("conv_relu", (CONV, RELU))
LINEAR_RELU = Fused("linear_relu", (LINEAR, RELU))
BATCH_NORM_AND = {
    part.name: Fused(f"batch_norm_{part.name}", (BATCH_NORM, part))
    for part in (RELU, activation.LEAKY_RELU, piecewise.HARDTANH, piecewise.HARDSWISH)
}
"""Batch normalisation and an activation, by the name of that one."""
BATCH_NORM_ADD_RELU = Fused("batch_norm_add_relu", (BATCH_NORM, ADD_RELU))

_BEHIND = (
    piecewise.HARDTANH, piecewise.HARDSIGMOID, piecewise.HARDSWISH, activation.LEAKY_RELU,
    activation.SILU, activation.SIGMOID, activation.TANH, activation.GELU, activation.SOFTPLUS,
    activation.ELU, activation.MISH,
)  # fmt: skip

CONV_AND = {
    "": CONV,
    "relu": CONV_RELU,
    **{op.name: Fused(f"conv_{op.name}", (CONV, op)) for op in _BEHIND},
}
"""A convolution and an activation, by the name of that; "" stands for none."""
CONV_ADD = {
    "": Fused("conv_add", (CONV, ADD)),
    "relu": Fused("conv_add_relu", (CONV, ADD_RELU)),
    **{op.name: Fused(f"conv_add_{op.name}", (CONV, ADD, op)) for op in _BEHIND},
}
"""A convolution, a sum with another array of that shape, and an activation."""
CONV_CONCAT = Op("conv_concat")
"""Convolutions of several images with activations, put together along the channels.

It takes a list of ``(x, w, b, window, groups, name, *options)`` without training. Only kernel sets
have it; nobody is asked to put together what can as well be done one by one.
"""
LINEAR_AND = {
    "": LINEAR,
    "relu": LINEAR_RELU,
    **{op.name: Fused(f"linear_{op.name}", (LINEAR, op)) for op in _BEHIND},
}
LINEAR_ADD = {
    "": Fused("linear_add", (LINEAR, ADD)),
    "relu": Fused("linear_add_relu", (LINEAR, ADD_RELU)),
    **{op.name: Fused(f"linear_add_{op.name}", (LINEAR, ADD, op)) for op in _BEHIND},
}
"""The same of a linear layer."""
