"""Which operations have compiled kernels."""

from __future__ import annotations

from functools import partial

from xpcnn.kernels.cpu import (
    activations,
    adaptive_pool,
    concat,
    conv_transpose,
    dropout,
    elementwise,
    embedding,
    fold,
    fused,
    glu,
    group_norm,
    layer_norm,
    layout,
    leaky_relu,
    linear,
    local_response_norm,
    loss,
    lp_pool,
    margin_loss,
    methods,
    norm,
    norm_activation,
    pad,
    pointwise_loss,
    pool,
    prelu,
    rearrange,
    resize,
    softmax,
    update,
)
from xpcnn.kernels.cpu.activations import BEHIND
from xpcnn.kernels.cpu.epilogue import RELU
from xpcnn.kernels.dispatch import OpPair
from xpcnn.ops.update import no_backward

PAIRS: dict[str, OpPair] = {
    "conv": OpPair(methods.conv_forward, methods.conv_backward),
    "conv_relu_max_pool": OpPair(fused.forward, fused.backward),
    "conv_relu": OpPair(partial(methods.conv_forward, epilogue=RELU), methods.conv_backward),
    **{
        f"conv_{name}": OpPair(
            partial(methods.conv_and_forward, name), partial(methods.conv_and_backward, name)
        )
        for name in BEHIND
    },
    "conv_add": OpPair(partial(methods.conv_add_forward, ""), no_backward),
    **{
        f"conv_add_{name}": OpPair(partial(methods.conv_add_forward, name), no_backward)
        for name in ("relu", *BEHIND)
    },
    "conv_concat": OpPair(methods.conv_concat_forward, no_backward),
    "conv_transpose": OpPair(conv_transpose.forward, conv_transpose.backward),
    "linear": OpPair(linear.linear_forward, linear.linear_backward),
    **{
        f"linear_{name}": OpPair(
            partial(linear.linear_and_forward, name), partial(linear.linear_and_backward, name)
        )
        for name in BEHIND
    },
    "linear_add": OpPair(partial(linear.linear_add_forward, ""), no_backward),
    **{
        f"linear_add_{name}": OpPair(partial(linear.linear_add_forward, name), no_backward)
        for name in ("relu", *BEHIND)
    },
    "linear_relu": OpPair(partial(linear.linear_forward, epilogue=RELU), linear.linear_backward),
    "batch_norm": OpPair(norm.batch_norm_forward, norm.batch_norm_backward),
    "batch_norm_relu": OpPair(
        partial(norm.batch_norm_forward, relu=True), norm.batch_norm_backward
    ),
    "batch_norm_add_relu": OpPair(
        norm.batch_norm_add_relu_forward, norm.batch_norm_add_relu_backward
    ),
    **norm_activation.PAIRS,
    "group_norm": OpPair(group_norm.group_norm_forward, group_norm.group_norm_backward),
    "layer_norm": OpPair(layer_norm.layer_norm_forward, layer_norm.layer_norm_backward),
    "rms_norm": OpPair(layer_norm.rms_norm_forward, layer_norm.rms_norm_backward),
    "local_response_norm": OpPair(local_response_norm.forward, local_response_norm.backward),
    "max_pool": OpPair(pool.max_pool_forward, pool.max_pool_backward),
    "avg_pool": OpPair(pool.avg_pool_forward, pool.avg_pool_backward),
    "adaptive_max_pool": OpPair(adaptive_pool.max_forward, adaptive_pool.max_backward),
    "adaptive_avg_pool": OpPair(adaptive_pool.avg_forward, adaptive_pool.avg_backward),
    "lp_pool": OpPair(lp_pool.forward, lp_pool.backward),
    "global_avg_pool": OpPair(pool.global_avg_pool_forward, pool.global_avg_pool_backward),
    "global_max_pool": OpPair(pool.global_max_pool_forward, pool.global_max_pool_backward),
    "pad": OpPair(pad.forward, pad.backward),
    "resize": OpPair(resize.resize_forward, resize.resize_backward),
    "relu": OpPair(elementwise.relu_forward, elementwise.relu_backward),
    "leaky_relu": OpPair(leaky_relu.leaky_relu_forward, leaky_relu.leaky_relu_backward),
    "prelu": OpPair(prelu.prelu_forward, prelu.prelu_backward),
    "dropout": OpPair(dropout.dropout_forward, dropout.dropout_backward),
    "alpha_dropout": OpPair(dropout.alpha_dropout_forward, dropout.dropout_backward),
    "glu": OpPair(glu.glu_forward, glu.glu_backward),
    **activations.PAIRS,
    "softmax": OpPair(softmax.softmax_forward, softmax.softmax_backward),
    "softmin": OpPair(softmax.softmin_forward, softmax.softmax_backward),
    "log_softmax": OpPair(softmax.log_softmax_forward, softmax.log_softmax_backward),
    "add": OpPair(elementwise.add_forward, elementwise.add_backward),
    "add_relu": OpPair(elementwise.add_relu_forward, elementwise.add_relu_backward),
    **pointwise_loss.PAIRS,
    "cross_entropy": OpPair(loss.cross_entropy_forward, loss.cross_entropy_backward),
    "multi_margin_loss": OpPair(
        margin_loss.multi_margin_forward, margin_loss.multi_margin_backward
    ),
    "multi_label_margin_loss": OpPair(
        margin_loss.multi_label_margin_forward, margin_loss.multi_label_margin_backward
    ),
    "triplet_margin_loss": OpPair(
        margin_loss.triplet_margin_forward, margin_loss.triplet_margin_backward
    ),
    "cosine_embedding_loss": OpPair(
        margin_loss.cosine_embedding_forward, margin_loss.cosine_embedding_backward
    ),
    "nll_loss": OpPair(loss.nll_forward, loss.nll_backward),
    "embedding": OpPair(embedding.embedding_forward, embedding.embedding_backward),
    "col2im": OpPair(fold.col2im, no_backward),
    "concat": OpPair(concat.concat, no_backward),
    "rearrange": OpPair(rearrange.rearrange, no_backward),
    "in_order": OpPair(layout.in_order, no_backward),
    "adam": OpPair(update.adam, no_backward),
    "sgd": OpPair(update.sgd, no_backward),
}
