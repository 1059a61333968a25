"""The textbook: every operation in the Array API standard alone, for any array library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from xpcnn.kernels.generic import (
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
from xpcnn.kernels.generic.half import in_float32


class OpPair(NamedTuple):
    """A forward function and the backward function that belongs to it."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]


PAIRS: dict[str, OpPair] = {
    "conv": OpPair(conv.conv_forward, conv.conv_backward),
    "conv_relu_max_pool": OpPair(conv_pool.forward, conv_pool.backward),
    "conv_transpose": OpPair(conv_transpose.forward, conv_transpose.backward),
    "linear": OpPair(linear.linear_forward, linear.linear_backward),
    "max_pool": OpPair(pool.max_pool_forward, pool.max_pool_backward),
    "max_pool_indices": OpPair(pool.max_pool_indices_forward, pool.max_pool_backward),
    "avg_pool": OpPair(pool.avg_pool_forward, pool.avg_pool_backward),
    "global_avg_pool": OpPair(pool.global_avg_pool_forward, pool.global_avg_pool_backward),
    "global_max_pool": OpPair(pool.global_max_pool_forward, pool.global_max_pool_backward),
    "adaptive_avg_pool": OpPair(adaptive_pool.avg_forward, adaptive_pool.avg_backward),
    "adaptive_max_pool": OpPair(adaptive_pool.max_forward, adaptive_pool.max_backward),
    "lp_pool": OpPair(lp_pool.forward, lp_pool.backward),
    "batch_norm": OpPair(norm.batch_norm_forward, norm.batch_norm_backward),
    "group_norm": OpPair(group_norm.group_norm_forward, group_norm.group_norm_backward),
    "layer_norm": OpPair(group_norm.layer_norm_forward, group_norm.layer_norm_backward),
    "rms_norm": OpPair(group_norm.rms_norm_forward, group_norm.rms_norm_backward),
    "local_response_norm": OpPair(
        group_norm.local_response_norm_forward, group_norm.local_response_norm_backward
    ),
    "dropout": OpPair(dropout.dropout_forward, dropout.dropout_backward),
    "pad": OpPair(pad.pad_forward, pad.pad_backward),
    "resize": OpPair(resize.resize_forward, resize.resize_backward),
    "embedding": OpPair(embedding.embedding_forward, embedding.embedding_backward),
    "bilinear": OpPair(bilinear.bilinear_forward, bilinear.bilinear_backward),
    "adam": OpPair(update.adam, update.no_backward),
    "sgd": OpPair(update.sgd, update.no_backward),
    **{name: OpPair(*pair) for name, pair in activation.PAIRS.items()},
    **{name: OpPair(*pair) for name, pair in piecewise.PAIRS.items()},
}

for _name in ("softmax", "log_softmax", "softplus", "gelu"):
    PAIRS[_name] = OpPair(*in_float32(*PAIRS[_name]))
