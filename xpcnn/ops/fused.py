"""Operations that stand for several; sets of kernels may have them in one go."""

from __future__ import annotations

from types import ModuleType

from xpcnn._xp import Array
from xpcnn.kernels.dispatch import Fused, Op
from xpcnn.ops.activation import LEAKY_RELU, RELU
from xpcnn.ops.conv import CONV
from xpcnn.ops.linear import LINEAR
from xpcnn.ops.norm import BATCH_NORM
from xpcnn.ops.piecewise import HARDSWISH, HARDTANH


def add_forward(xp: ModuleType, a: Array, b: Array) -> tuple[Array, None]:
    """Add two arrays of one shape."""
    return a + b, None


def add_backward(xp: ModuleType, dy: Array, saved: None) -> tuple[Array, Array]:
    """Return the gradients of both."""
    return dy, dy


ADD = Op("add", add_forward, add_backward)
ADD_RELU = Fused("add_relu", (ADD, RELU))
CONV_RELU = Fused("conv_relu", (CONV, RELU))
CONV_HARDTANH = Fused("conv_hardtanh", (CONV, HARDTANH))
LINEAR_RELU = Fused("linear_relu", (LINEAR, RELU))
BATCH_NORM_AND = {
    part.name: Fused(f"batch_norm_{part.name}", (BATCH_NORM, part))
    for part in (RELU, LEAKY_RELU, HARDTANH, HARDSWISH)
}
"""Batch normalisation and an activation, by the name of that one."""
BATCH_NORM_ADD_RELU = Fused("batch_norm_add_relu", (BATCH_NORM, ADD_RELU))
