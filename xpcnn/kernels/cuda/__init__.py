"""Kernels for CuPy arrays: cuDNN's convolution, and our own CUDA kernels for the rest.

What they do not take (other dtypes, more than three dimensions) they decline, and the generic
kernels run. Importing this needs no CuPy.
"""

from __future__ import annotations

from xpcnn.kernels.cuda import conv, dropout, elementwise, linear, loss, norm, pool, update
from xpcnn.kernels.dispatch import OpPair
from xpcnn.ops.update import no_backward

PAIRS: dict[str, OpPair] = {
    # cuDNN, or our own im2col and cuBLAS
    "conv": OpPair(conv.conv_forward, conv.conv_backward),
    "conv_relu": OpPair(conv.conv_relu_forward, conv.conv_backward),
    # cuDNN
    "conv_transpose": OpPair(conv.conv_transpose_forward, conv.conv_transpose_backward),
    # cuBLAS, or in a capture cuDNN
    "linear": OpPair(linear.linear_forward, linear.linear_backward),
    # our own kernels
    "batch_norm": OpPair(norm.batch_norm_forward, norm.batch_norm_backward),
    "batch_norm_relu": OpPair(norm.batch_norm_relu_forward, norm.batch_norm_backward),
    "batch_norm_add_relu": OpPair(
        norm.batch_norm_add_relu_forward, norm.batch_norm_add_relu_backward
    ),
    "max_pool": OpPair(pool.max_pool_forward, pool.max_pool_backward),
    "avg_pool": OpPair(pool.avg_pool_forward, pool.avg_pool_backward),
    "global_avg_pool": OpPair(pool.global_avg_pool_forward, pool.global_avg_pool_backward),
    "relu": OpPair(elementwise.relu_forward, elementwise.relu_backward),
    "add": OpPair(elementwise.add_forward, elementwise.add_backward),
    "add_relu": OpPair(elementwise.add_relu_forward, elementwise.add_relu_backward),
    "dropout": OpPair(dropout.dropout_forward, dropout.dropout_backward),
    "cross_entropy": OpPair(loss.cross_entropy_forward, loss.cross_entropy_backward),
    "adam": OpPair(update.adam, no_backward),
    "sgd": OpPair(update.sgd, no_backward),
}
