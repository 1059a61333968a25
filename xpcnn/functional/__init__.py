"""Functions on plain arrays of any library: they check, choose a kernel, and run it.

The layers stand on the ``*_forward`` and ``*_backward`` functions; the others are for use as they
are.
"""

from xpcnn.functional.pairs import (
    avg_pool_forward,
    conv_backward,
    conv_block_backward,
    conv_block_forward,
    conv_forward,
    conv_transpose_backward,
    conv_transpose_forward,
    embedding_forward,
    in_order,
    linear_forward,
    lp_pool_backward,
    lp_pool_forward,
    max_pool_forward,
    max_pool_indices_forward,
    pool_backward,
    resize_forward,
    run,
    run_backward,
    run_if_any,
)
from xpcnn.functional.simple import log_softmax, one_hot, relu, sigmoid, silu, softmax, tanh
from xpcnn.ops.adaptive_pool import (
    adaptive_avg_pool,
    adaptive_max_pool,
    adaptive_pool_backward,
    adaptive_pool_forward,
    adaptive_size,
    as_output_size,
)
from xpcnn.ops.columns import col2im, im2col
from xpcnn.ops.conv import conv
from xpcnn.ops.conv_transpose import conv_transpose, transposed_window
from xpcnn.ops.linear import linear
from xpcnn.ops.lp_pool import as_norm_type, lp_pool
from xpcnn.ops.pad import PADDING_MODES, pad, pad_pairs
from xpcnn.ops.pool import avg_pool, avg_pool_divisor, max_pool, max_pool_indices, pool_window
from xpcnn.ops.taps import (
    LARGE_IMAGE,
    UPSAMPLE_MODES,
    filter_taps,
    nearest_taps,
    source_coordinates,
    upsample_taps,
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
    "LARGE_IMAGE",
    "UPSAMPLE_MODES",
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
    "embedding_forward",
    "filter_taps",
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
    "max_pool_indices",
    "max_pool_indices_forward",
    "nearest_taps",
    "one_hot",
    "pad",
    "pad_pairs",
    "pool_backward",
    "pool_window",
    "relu",
    "resize_forward",
    "run",
    "run_backward",
    "run_if_any",
    "sigmoid",
    "silu",
    "softmax",
    "source_coordinates",
    "tanh",
    "transposed_window",
    "upsample_taps",
]
