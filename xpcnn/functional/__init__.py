"""Functions on plain arrays of any library: they check, choose a kernel, and run it.

The layers stand on the ``*_forward`` and ``*_backward`` functions; the others are for use as they
are.
"""

from xpcnn.functional.adaptive_pool import (
    adaptive_avg_pool,
    adaptive_max_pool,
    adaptive_pool_backward,
    adaptive_pool_forward,
    adaptive_size,
    as_output_size,
)
from xpcnn.functional.columns import col2im, im2col
from xpcnn.functional.conv import conv, conv_backward, conv_forward
from xpcnn.functional.conv_transpose import (
    conv_transpose,
    conv_transpose_backward,
    conv_transpose_forward,
    transposed_window,
)
from xpcnn.functional.fused import conv_block_backward, conv_block_forward
from xpcnn.functional.pool import (
    as_norm_type,
    avg_pool,
    avg_pool_divisor,
    avg_pool_forward,
    lp_pool,
    lp_pool_backward,
    lp_pool_forward,
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
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "adaptive_pool_backward",
    "adaptive_pool_forward",
    "adaptive_size",
    "as_norm_type",
    "as_output_size",
    "avg_pool",
    "avg_pool_divisor",
    "avg_pool_forward",
    "col2im",
    "conv",
    "conv_backward",
    "conv_block_backward",
    "conv_block_forward",
    "conv_forward",
    "conv_transpose",
    "conv_transpose_backward",
    "conv_transpose_forward",
    "im2col",
    "in_order",
    "linear",
    "linear_forward",
    "log_softmax",
    "lp_pool",
    "lp_pool_backward",
    "lp_pool_forward",
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
    "transposed_window",
]
