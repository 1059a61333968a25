"""Mistakes in convolution and pooling: a learner's class with just that one, and its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.grading.collecting import assert_named, collector
from tests.grading.courses import AvgPool, Conv, Conv1dLoops, MaxPool, col2im, im2col

CASES, mistake = collector()


@pytest.mark.parametrize(("theirs", "like", "name"), CASES)
def test_it_is_named(theirs: Any, like: str, name: str) -> None:
    assert_named(theirs, like, name)


# -- Convolution, forward --------------------------------------------------------------------------


@mistake("filter_flipped", "conv2d")
class FilterFlippedConv2d(Conv):
    def filters(self):
        return self.W[:, :, ::-1, ::-1].reshape(len(self.W), -1)


@mistake("filter_transposed", "conv2d")
class FilterTransposedConv2d(Conv):
    def filters(self):
        return self.W.transpose(0, 1, 3, 2).reshape(len(self.W), -1)


@mistake("bias_missing", "conv2d")
class BiasMissingConv2d(Conv):
    def forward(self, x):
        return super().forward(x) - self.b.reshape(1, -1, 1, 1)


@mistake("bias_missing", "conv1d")
def conv_without_bias(x, w, b):
    out = np.zeros((len(x), len(w), x.shape[2] - w.shape[2] + 1))
    for i in range(out.shape[2]):
        out[:, :, i] = np.einsum("nck,fck->nf", x[:, :, i : i + w.shape[2]], w)
    return out


@mistake("bias_sign", "conv2d")
class BiasSignConv2d(Conv):
    def forward(self, x):
        return super().forward(x) - 2 * self.b.reshape(1, -1, 1, 1)


@mistake("bias_added_too_often", "conv1d")
class SimpleConv1d:
    """The bias stands inside of the loop over channels."""

    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        n, c, length = x.shape
        f, _, k = self.W.shape
        out = np.zeros((n, f, length - k + 1))
        for ch in range(c):
            for i in range(length - k + 1):
                out[:, :, i] += x[:, ch, i : i + k] @ self.W[:, ch].T + self.b
        return out


@mistake("columns_in_wrong_order", "conv2d")
class ColumnsInWrongOrderConv2d(Conv):
    def columns(self, x):
        _, c, fh, fw = self.W.shape
        cols = super().columns(x)
        return cols.reshape(-1, c, fh * fw).transpose(0, 2, 1).reshape(len(cols), -1)


@mistake("reshape_instead_of_transpose", "conv2d")
class ReshapeInsteadOfTransposeConv2d(Conv):
    def forward(self, x):
        super().forward(x)
        out = self.cols @ self.filters().T + self.b
        return out.reshape(len(x), len(self.W), *self.size(x))


@mistake("only_first_channel", "conv2d")
class OnlyFirstChannelConv2d(Conv):
    def forward(self, x):
        whole, self.W = self.W, self.W.copy()
        self.W[:, 1:] = 0
        out = super().forward(x)
        self.W = whole
        return out


@mistake("only_last_channel", "conv1d")
class OnlyLastChannelConv1d:
    """The output is assigned for each channel instead of added to."""

    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        n, c, length = x.shape
        f, _, k = self.W.shape
        out = np.zeros((n, f, length - k + 1))
        for ch in range(c):
            for i in range(length - k + 1):
                out[:, :, i] = x[:, ch, i : i + k] @ self.W[:, ch].T + self.b
        return out


@mistake("channels_averaged", "conv1d")
class ChannelsAveragedConv1d:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        k = self.W.shape[2]
        cols = np.stack([x[:, :, i : i + k] for i in range(x.shape[2] - k + 1)], axis=2)
        out = np.einsum("ncik,fck->nfci", cols, self.W).mean(axis=2)
        return out + self.b[:, None]


@mistake("stride_ignored", "conv2d")
class StrideIgnoredConv2d(Conv):
    def __init__(self, W, b, stride=1, pad=0):
        super().__init__(W, b, 1, pad)


@mistake("padding_ignored", "conv2d")
class PaddingIgnoredConv2d(Conv):
    def __init__(self, W, b, stride=1, pad=0):
        super().__init__(W, b, stride, 0)


@mistake("padded_on_one_side", "conv1d")
class PaddedOnOneSideConv1d(Conv1dLoops):
    def forward(self, x):
        self.p, pad = 0, self.p
        return super().forward(np.pad(x, ((0, 0), (0, 0), (pad, 0))))


@mistake("padding_not_zero", "conv1d")
class PaddingNotZeroConv1d(Conv1dLoops):
    def forward(self, x):
        self.p, pad = 0, self.p
        return super().forward(np.pad(x, ((0, 0), (0, 0), (pad, pad)), mode="edge"))


@mistake("output_size_too_small", "conv1d")
class OutputSizeTooSmallConv1d(Conv1dLoops):
    def forward(self, x):
        return super().forward(x)[:, :, :-1]


@mistake("output_size_too_large", "conv1d")
class OutputSizeTooLargeConv1d(Conv1dLoops):
    """The size is rounded up, and the signal lengthened by zeros to make it fit."""

    def forward(self, x):
        k, length = self.w.shape[2], x.shape[2] + 2 * self.p
        more = -(length - k) % self.s
        return super().forward(np.pad(x, ((0, 0), (0, 0), (0, more))))


@mistake("height_and_width_exchanged", "max_pool2d")
class HeightAndWidthExchangedMaxPool2d(MaxPool):
    def forward(self, x):
        return super().forward(x).transpose(0, 1, 3, 2)


@mistake("only_first_sample", "conv2d")
class OnlyFirstSampleConv2d(Conv):
    def forward(self, x):
        return super().forward(np.broadcast_to(x[:1], x.shape))


@mistake("forward_changes_x", "conv1d")
class ForwardChangesXConv1d(Conv1dLoops):
    def forward(self, x):
        out = super().forward(x.copy())
        x *= 0.5
        return out


@mistake("integers_cut_off", "conv1d")
class IntegersCutOffConv1d(Conv1dLoops):
    def forward(self, x):
        return super().forward(x).astype(x.dtype)


@mistake("square_only", "conv2d")
class SquareOnlyConv2d(Conv):
    def forward(self, x):
        if x.shape[2] != x.shape[3] or self.W.shape[2] != self.W.shape[3]:
            raise IndexError("index 6 is out of bounds for axis 2 with size 6")
        return super().forward(x)


# -- Convolution, backward -------------------------------------------------------------------------


class Backward(Conv):
    """Changes one of the gradients after they were computed rightly."""

    def backward(self, dout):
        dx = super().backward(dout)
        return self.spoil(dx, dout)


@mistake("col2im_overwrites", "conv2d")
class Col2imOverwritesConv2d(Conv):
    def image(self, cols):
        n, c, h, w = self.x.shape
        _, _, fh, fw = self.W.shape
        (oh, ow), s, p = self.size(self.x), self.stride, self.pad
        cols = cols.reshape(n, oh, ow, c, fh, fw).transpose(0, 3, 4, 5, 1, 2)
        img = np.zeros((n, c, h + 2 * p + s - 1, w + 2 * p + s - 1))
        for y in range(fh):
            for x in range(fw):
                img[:, :, y : y + s * oh : s, x : x + s * ow : s] = cols[:, :, y, x]
        return img[:, :, p : p + h, p : p + w]


@mistake("col2im_overwrites", "conv1d")
class Col2imOverwritesConv1d(Conv1dLoops):
    """By windows: the one behind overwrites the one before."""

    def backward(self, dout):
        super().backward(dout)
        dx, k = np.zeros_like(self.x), self.w.shape[2]
        for i in range(dout.shape[2]):
            at = slice(i * self.s, i * self.s + k)
            dx[:, :, at] = np.einsum("nf,fck->nck", dout[:, :, i], self.w)
        return dx[:, :, self.p : dx.shape[2] - self.p]


@mistake("padding_not_removed", "conv1d")
class PaddingNotRemovedConv1d(Conv1dLoops):
    def backward(self, dout):
        p, self.p = self.p, 0
        dx = super().backward(dout)
        self.p = p
        return dx


@mistake("padding_removed_on_one_side", "conv1d")
class PaddingRemovedOnOneSideConv1d(Conv1dLoops):
    def backward(self, dout):
        p, self.p = self.p, 0
        dx = super().backward(dout)
        self.p = p
        return dx[:, :, : dx.shape[2] - 2 * p]


@mistake("filter_flipped_in_backward", "conv1d")
class FilterFlippedInBackwardConv1d(Conv1dLoops):
    def backward(self, dout):
        w, self.w = self.w, self.w[:, :, ::-1]
        dx = super().backward(dout)
        self.w = w
        return dx


@mistake("stride_ignored", "conv1d")
class StrideIgnoredConv1d(Conv1dLoops):
    """In backward only."""

    def backward(self, dout):
        s, self.s = self.s, 1
        dx = super().backward(dout)
        self.s = s
        return dx


@mistake("dw_flipped", "conv2d")
class DwFlippedConv2d(Backward):
    def spoil(self, dx, dout):
        self.dW = self.dW[:, :, ::-1, ::-1]
        return dx


@mistake("reshape_instead_of_transpose", "conv2d")
class ReshapeInsteadOfTransposeConv2dAgain(Backward):
    """``col.T @ dout`` is reshaped without the transpose."""

    def spoil(self, dx, dout):
        self.dW = (self.cols.T @ self.rows(dout)).reshape(self.W.shape)
        return dx


@mistake("reshape_instead_of_transpose", "conv2d")
class ReshapeInsteadOfTransposeConv2dAgainAgain(Conv):
    def rows(self, dout):
        return dout.reshape(-1, len(self.W))

    def backward(self, dout):
        dx = super().backward(dout)
        self.db = dout.sum(axis=(0, 2, 3))
        return dx


@mistake("only_last_sample", "conv1d")
class OnlyLastSampleConv1d(Conv1dLoops):
    def backward(self, dout):
        dx = super().backward(dout)
        for n in range(len(dout)):
            self.dw = np.zeros_like(self.w)
            for i in range(dout.shape[2]):
                at = slice(i * self.s, i * self.s + self.w.shape[2])
                self.dw += dout[n, :, i, None, None] * self.x[n, :, at]
        return dx


@mistake("only_first_sample", "conv2d")
class OnlyFirstSampleConv2dAgain(Backward):
    def spoil(self, dx, dout):
        self.db = dout[0].sum(axis=(1, 2))
        return dx


@mistake("averaged_over_batch", "conv2d")
class AveragedOverBatchConv2d(Backward):
    def spoil(self, dx, dout):
        self.dW = self.dW / len(dout)
        return dx


@mistake("divided_by_batch_twice", "conv2d")
class DividedByBatchTwiceConv2d(Backward):
    def spoil(self, dx, dout):
        self.dW = self.dW / len(dout) / len(dout)
        return dx


@mistake("times_batch_size", "conv2d")
class TimesBatchSizeConv2d(Backward):
    def spoil(self, dx, dout):
        self.dW = sum(self.dW for _ in dout)
        return dx


@mistake("twice_too_large", "conv2d")
class TwiceTooLargeConv2d(Backward):
    def spoil(self, dx, dout):
        self.dW += self.dW
        return dx


@mistake("averaged_over_positions", "conv2d")
class AveragedOverPositionsConv2d(Backward):
    def spoil(self, dx, dout):
        self.db = dout.mean(axis=(2, 3)).sum(axis=0)
        return dx


@mistake("positions_not_summed", "conv2d")
class PositionsNotSummedConv2d(Backward):
    def spoil(self, dx, dout):
        self.db = dout.sum(axis=0)
        return dx


@mistake("batch_not_summed", "conv2d")
class BatchNotSummedConv2d(Backward):
    def spoil(self, dx, dout):
        self.db = dout.sum(axis=(2, 3))
        return dx


@mistake("summed_over_everything", "conv2d")
class SummedOverEverythingConv2d(Backward):
    def spoil(self, dx, dout):
        self.db = np.sum(dout)
        return dx


@mistake("wrong_sign", "conv2d")
class WrongSignConv2d(Backward):
    def spoil(self, dx, dout):
        return -dx


@mistake("all_zero", "conv2d")
class AllZeroConv2d(Backward):
    def spoil(self, dx, dout):
        self.db = np.zeros_like(self.b)
        return dx


@mistake("accumulates_over_calls", "conv2d")
class AccumulatesOverCallsConv2d(Conv):
    def backward(self, dout):
        before = getattr(self, "dW", 0.0)
        dx = super().backward(dout)
        self.dW = self.dW + before
        return dx


@mistake("backward_changes_dout", "conv2d")
class BackwardChangesDoutConv2d(Backward):
    def spoil(self, dx, dout):
        dout *= 2
        return dx


@mistake("changes_parameters", "conv2d")
class ChangesParametersConv2d(Backward):
    def spoil(self, dx, dout):
        self.b = self.b - 0.1 * self.db
        return dx


# -- Pooling ---------------------------------------------------------------------------------------


@mistake("max_pool_padded_with_zero", "max_pool2d")
class MaxPoolPaddedWithZeroMaxPool2d(MaxPool):
    def __init__(self, pool_h, pool_w, stride=1, pad=0):
        super().__init__(pool_h, pool_w, stride, pad)
        self.fill = 0.0


@mistake("mean_instead_of_max", "max_pool2d")
class MeanInsteadOfMaxMaxPool2d(MaxPool):
    def reduce(self, window):
        return window.mean(axis=(2, 3))


@mistake("max_instead_of_mean", "avg_pool2d")
class MaxInsteadOfMeanAvgPool2d(AvgPool):
    def reduce(self, window):
        return window.max(axis=(2, 3))


@mistake("sum_instead_of_mean", "avg_pool2d")
class SumInsteadOfMeanAvgPool2d(AvgPool):
    def reduce(self, window):
        return window.sum(axis=(2, 3))


@mistake("gradient_to_all_maxima", "max_pool2d")
class GradientToAllMaximaMaxPool2d(MaxPool):
    def share(self, window):
        return window == window.max(axis=(2, 3), keepdims=True)


@mistake("gradient_to_every_position", "max_pool2d")
class GradientToEveryPositionMaxPool2d(MaxPool):
    def share(self, window):
        return np.ones(window.shape)


@mistake("gradient_shared_over_window", "max_pool2d")
class GradientSharedOverWindowMaxPool2d(MaxPool):
    def share(self, window):
        return np.full(window.shape, 1 / np.prod(self.kernel))


@mistake("gradient_to_minimum", "max_pool2d")
class GradientToMinimumMaxPool2d(MaxPool):
    def share(self, window):
        return window == window.min(axis=(2, 3), keepdims=True)


@mistake("average_backward_not_divided", "avg_pool2d")
class AverageBackwardNotDividedAvgPool2d(AvgPool):
    def share(self, window):
        return np.ones(window.shape)


@mistake("col2im_overwrites", "avg_pool2d")
class Col2imOverwritesAvgPool2d(AvgPool):
    def backward(self, dout):
        dx = np.zeros(self.x.shape)
        for i, j, at in self.windows(self.x):
            dx[at] = self.share(self.x[at]) * dout[:, :, i, j, None, None]
        h, w = dx.shape[2:]
        return dx[:, :, self.pad : h - self.pad, self.pad : w - self.pad]


@mistake("stride_ignored", "max_pool2d")
class StrideIgnoredMaxPool2d(MaxPool):
    def __init__(self, pool_h, pool_w, stride=1, pad=0):
        super().__init__(pool_h, pool_w, 1, pad)


@mistake("reshape_instead_of_transpose", "max_pool2d")
class ReshapeInsteadOfTransposeMaxPool2d(MaxPool):
    def forward(self, x):
        out = super().forward(x)
        return out.transpose(0, 2, 3, 1).reshape(out.shape)


# -- im2col and col2im -----------------------------------------------------------------------------


@mistake("columns_in_wrong_order", "im2col")
def taps_first(x, filter_h, filter_w, stride=1, pad=0):
    cols = im2col(x, filter_h, filter_w, stride, pad)
    rows = cols.reshape(len(cols), x.shape[1], -1).transpose(0, 2, 1)
    return rows.reshape(len(cols), -1)


@mistake("reshape_instead_of_transpose", "im2col")
def not_transposed(x, filter_h, filter_w):
    n, c, h, w = x.shape
    oh, ow = h - filter_h + 1, w - filter_w + 1
    cols = np.empty((n, c, filter_h, filter_w, oh, ow))
    for i in range(filter_h):
        for j in range(filter_w):
            cols[:, :, i, j] = x[:, :, i : i + oh, j : j + ow]
    return cols.reshape(n * oh * ow, -1)


@mistake("col2im_overwrites", "col2im")
def overwrites(col, input_shape, filter_h, filter_w, stride=1, pad=0):
    n, c, h, w = input_shape
    oh, ow = (h + 2 * pad - filter_h) // stride + 1, (w + 2 * pad - filter_w) // stride + 1
    col = col.reshape(n, oh, ow, c, filter_h, filter_w)
    image = np.zeros((n, c, h + 2 * pad, w + 2 * pad))
    for i in range(oh):
        for j in range(ow):
            top, left = i * stride, j * stride
            image[:, :, top : top + filter_h, left : left + filter_w] = col[:, i, j]
    return image[:, :, pad : pad + h, pad : pad + w]


@mistake("padding_not_removed", "col2im")
def keeps_padding(col, input_shape, filter_h, filter_w, stride=1, pad=0):
    n, c, h, w = input_shape
    return col2im(col, (n, c, h + 2 * pad, w + 2 * pad), filter_h, filter_w, stride)
