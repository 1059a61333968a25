"""Kernels for NumPy float32 arrays, compiled by Numba.

What they do not take (other dtypes, three dimensions, groups of few channels) they decline, and
the generic kernels run.
"""

from __future__ import annotations

from xpcnn.kernels.cpu import conv, fused, linear
from xpcnn.kernels.generic import OpPair

PAIRS: dict[str, OpPair] = {
    "conv": OpPair(conv.conv_forward, conv.conv_backward),
    "conv_relu_max_pool": OpPair(fused.forward, fused.backward),
    "linear": OpPair(linear.linear_forward, linear.linear_backward),
}
