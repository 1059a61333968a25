"""Functions on plain arrays of any library: they check, choose a kernel, and run it.

The layers stand on the ``*_forward`` and ``*_backward`` functions; the others are for use as they
are.
"""

from xpcnn.functional.columns import col2im, im2col
from xpcnn.functional.conv import conv, conv_backward, conv_forward
from xpcnn.functional.fused import conv_block_backward, conv_block_forward
from xpcnn.functional.pool import (
    avg_pool,
    avg_pool_divisor,
    avg_pool_forward,
    max_pool,
    max_pool_forward,
    pool_backward,
    pool_window,
)
from xpcnn.functional.simple import (
    PADDING_MODES,
    in_order,
    linear,
    linear_forward,
    log_softmax,
    one_hot,
    pad,
    pad_pairs,
    relu,
    run,
    run_backward,
    run_if_any,
    sigmoid,
    silu,
    softmax,
    tanh,
)

__all__ = [
    "PADDING_MODES",
    "avg_pool",
    "avg_pool_divisor",
    "avg_pool_forward",
    "col2im",
    "conv",
    "conv_backward",
    "conv_block_backward",
    "conv_block_forward",
    "conv_forward",
    "im2col",
    "in_order",
    "linear",
    "linear_forward",
    "log_softmax",
    "max_pool",
    "max_pool_forward",
    "one_hot",
    "pad",
    "pad_pairs",
    "pool_backward",
    "pool_window",
    "relu",
    "run",
    "run_backward",
    "run_if_any",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
]
