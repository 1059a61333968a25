"""The textbook: every operation in the Array API standard alone, for any array library."""

from xpcnn.kernels.op import OPS
from xpcnn.ops import (
    activation,
    adaptive_pool,
    bilinear,
    conv,
    conv_pool,
    conv_transpose,
    dropout,
    embedding,
    group_norm,
    linear,
    lp_pool,
    norm,
    pad,
    piecewise,
    pool,
    resize,
    update,
)

__all__ = [
    "OPS",
    "activation",
    "adaptive_pool",
    "bilinear",
    "conv",
    "conv_pool",
    "conv_transpose",
    "dropout",
    "embedding",
    "group_norm",
    "linear",
    "lp_pool",
    "norm",
    "pad",
    "piecewise",
    "pool",
    "resize",
    "update",
]
