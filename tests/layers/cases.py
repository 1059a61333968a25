"""Every layer, with an input shape: what the conformance test runs over.

A layer that is added to the package is added here too; a test says so if it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import xpcnn as xc
from xpcnn.operations import Add, Concat


class Case(NamedTuple):
    """How to make a layer, and the shape of an input for it.

    wrong_rank : a shape that the layer must refuse, if there is one
    wrong_channels : one that it must refuse once it has seen `shape`, if there is one
    by_hand : an input, its output, and the gradient of the input where that of the output is
        1, 2, 3, ...; for layers without a file of tests of their own
    in_onnx : whether ONNX has something like it
    """

    make: Callable[[], xc.Layer]
    shape: tuple[int, ...]
    wrong_rank: tuple[int, ...] | None = None
    wrong_channels: tuple[int, ...] | None = None
    by_hand: tuple[Any, Any, Any] | None = None
    in_onnx: bool = True


def _seeded(layer: Any) -> Any:
    layer.seed = 7
    return layer


ROW, LINE, IMAGE, VOLUME = (3, 4), (2, 3, 9), (2, 3, 6, 7), (1, 2, 4, 5, 4)
WIDE_ROW, WIDE_LINE, WIDE_IMAGE, WIDE_VOLUME = (3, 5), (2, 4, 9), (2, 4, 6, 7), (1, 3, 4, 5, 4)

# Two inputs, or one of integers, or no gradient: these have tests of their own, in
# test_bilinear.py, test_embedding.py and augmentation/test_color_jitter.py.
OTHER_INPUTS = {"Bilinear", "ColorJitter", "Embedding"}

CASES: dict[str, Case] = {
    "Conv1d": Case(lambda: xc.Conv1d(3, 4, 3, stride=2, padding=1), LINE, (3, 9), WIDE_LINE),
    "Conv2d": Case(lambda: xc.Conv2d(3, 4, 3), IMAGE, (3, 6, 7), WIDE_IMAGE),
    "Conv2d-inferred": Case(
        lambda: xc.Conv2d(out_channels=4, kernel_size=(3, 2), padding="same", stride=2),
        IMAGE,
        (2, 3, 6, 7, 1),
        WIDE_IMAGE,
    ),
    "Conv2d-groups": Case(
        lambda: xc.Conv2d(3, 6, 2, padding=((1, 0), (0, 2)), dilation=2, groups=3, bias=False),
        IMAGE,
        (2, 3),
        WIDE_IMAGE,
    ),
    "Conv2d-reflect": Case(
        lambda: xc.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"), IMAGE, (6, 7), WIDE_IMAGE
    ),
    "Conv3d": Case(lambda: xc.Conv3d(2, 3, 2), VOLUME, IMAGE, WIDE_VOLUME),
    "ConvTranspose1d": Case(
        lambda: xc.ConvTranspose1d(3, 4, 3, stride=2, padding=1, output_padding=1),
        LINE,
        IMAGE,
        WIDE_LINE,
    ),
    "ConvTranspose2d": Case(
        lambda: xc.ConvTranspose2d(3, 4, 3, stride=2, padding=1), IMAGE, LINE, WIDE_IMAGE
    ),
    "ConvTranspose2d-inferred": Case(
        lambda: xc.ConvTranspose2d(out_channels=10, kernel_size=(3, 2), bias=False),
        IMAGE,
        (2, 3, 6, 7, 1),
        WIDE_IMAGE,
    ),
    "ConvTranspose2d-groups": Case(
        lambda: xc.ConvTranspose2d(3, 6, 2, 1, dilation=3, groups=3, output_padding=2),
        IMAGE,
        (2, 3),
        WIDE_IMAGE,
    ),
    "ConvTranspose3d": Case(lambda: xc.ConvTranspose3d(2, 3, 2, 2), VOLUME, IMAGE, WIDE_VOLUME),
    "SeparableConv1d": Case(
        lambda: xc.SeparableConv1d(3, 4, 3, stride=2, padding="same"), LINE, IMAGE, WIDE_LINE
    ),
    "SeparableConv2d": Case(
        lambda: xc.SeparableConv2d(
            out_channels=5, kernel_size=3, padding=1, depth_multiplier=2, bias=False
        ),
        IMAGE,
        LINE,
        WIDE_IMAGE,
    ),
    "Linear": Case(lambda: xc.Linear(4, 5), ROW, (4,), WIDE_ROW),
    "Linear-inferred": Case(
        lambda: xc.Linear(out_features=2, bias=False), (2, 3, 4), (4,), (2, 3, 5)
    ),
    "MaxPool1d": Case(lambda: xc.MaxPool1d(3, 2, 1), LINE, IMAGE),
    "MaxPool2d": Case(lambda: xc.MaxPool2d(2), IMAGE, LINE),
    "MaxPool2d-ceil": Case(lambda: xc.MaxPool2d(2, 3, 1, 2, ceil_mode=True), IMAGE, LINE),
    "MaxPool3d": Case(lambda: xc.MaxPool3d((2, 3, 2), 2), VOLUME, IMAGE),
    "AvgPool1d": Case(lambda: xc.AvgPool1d(3, 2, 1), LINE, IMAGE),
    "AvgPool2d": Case(lambda: xc.AvgPool2d(2), IMAGE, LINE),
    "AvgPool2d-ceil": Case(
        lambda: xc.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE, LINE
    ),
    "AvgPool3d": Case(lambda: xc.AvgPool3d(2, divisor_override=3), VOLUME, IMAGE),
    "AdaptiveAvgPool1d": Case(lambda: xc.AdaptiveAvgPool1d(4), LINE, IMAGE),
    "AdaptiveAvgPool2d": Case(lambda: xc.AdaptiveAvgPool2d((4, None)), IMAGE, LINE),
    "AdaptiveAvgPool2d-global": Case(lambda: xc.AdaptiveAvgPool2d(1), IMAGE, LINE),
    "AdaptiveAvgPool3d": Case(lambda: xc.AdaptiveAvgPool3d(3), VOLUME, IMAGE),
    "AdaptiveMaxPool1d": Case(lambda: xc.AdaptiveMaxPool1d(4), LINE, IMAGE),
    "AdaptiveMaxPool2d": Case(lambda: xc.AdaptiveMaxPool2d((4, 9)), IMAGE, LINE),
    "AdaptiveMaxPool2d-even": Case(lambda: xc.AdaptiveMaxPool2d((3, 7)), IMAGE, LINE),
    "AdaptiveMaxPool3d": Case(lambda: xc.AdaptiveMaxPool3d((None, 3, 2)), VOLUME, IMAGE),
    "LPPool1d": Case(lambda: xc.LPPool1d(2, 3, 2), LINE, IMAGE),
    "LPPool2d": Case(lambda: xc.LPPool2d(2, 2, ceil_mode=True), IMAGE, LINE),
    "LPPool3d": Case(lambda: xc.LPPool3d(4.0, (2, 3, 2), 1), VOLUME, IMAGE),
    "GlobalAvgPool1d": Case(lambda: xc.GlobalAvgPool1d(), LINE, IMAGE),
    "GlobalAvgPool2d": Case(lambda: xc.GlobalAvgPool2d(keepdims=True), IMAGE, LINE),
    "GlobalAvgPool3d": Case(lambda: xc.GlobalAvgPool3d(), VOLUME, IMAGE),
    "GlobalMaxPool1d": Case(lambda: xc.GlobalMaxPool1d(), LINE, IMAGE),
    "GlobalMaxPool2d": Case(lambda: xc.GlobalMaxPool2d(keepdims=True), IMAGE, LINE),
    "GlobalMaxPool3d": Case(lambda: xc.GlobalMaxPool3d(), VOLUME, IMAGE),
    "BatchNorm1d": Case(lambda: xc.BatchNorm1d(4), ROW, IMAGE, WIDE_ROW),
    "BatchNorm1d-line": Case(lambda: xc.BatchNorm1d(momentum=None), LINE, IMAGE, WIDE_LINE),
    "BatchNorm2d": Case(lambda: xc.BatchNorm2d(3, eps=1e-3), IMAGE, LINE, WIDE_IMAGE),
    "BatchNorm2d-plain": Case(
        lambda: xc.BatchNorm2d(affine=False, track_running_stats=False), IMAGE, LINE
    ),
    "BatchNorm2d-no-bias": Case(lambda: xc.BatchNorm2d(3, bias=False), IMAGE, LINE, WIDE_IMAGE),
    "GroupNorm-no-bias": Case(lambda: xc.GroupNorm(1, 3, bias=False), IMAGE, ROW[:1], WIDE_IMAGE),
    "InstanceNorm2d-no-bias": Case(
        lambda: xc.InstanceNorm2d(3, affine=True, bias=False), IMAGE, LINE, WIDE_IMAGE
    ),
    "BatchNorm3d": Case(lambda: xc.BatchNorm3d(2), VOLUME, IMAGE, WIDE_VOLUME),
    "Dropout": Case(lambda: _seeded(xc.Dropout(0.4)), ROW),
    "Dropout2d": Case(lambda: _seeded(xc.Dropout2d(0.4)), IMAGE, ROW),
    "Dropout1d": Case(lambda: _seeded(xc.Dropout1d(0.4)), LINE, ROW),
    "Dropout3d": Case(lambda: _seeded(xc.Dropout3d(0.4)), VOLUME, IMAGE),
    "StochasticDepth": Case(lambda: _seeded(xc.StochasticDepth(0.4)), IMAGE),
    "AlphaDropout": Case(lambda: _seeded(xc.AlphaDropout(0.4)), IMAGE),
    "FeatureAlphaDropout": Case(lambda: _seeded(xc.FeatureAlphaDropout(0.4)), IMAGE, (3,)),
    "GroupNorm": Case(lambda: xc.GroupNorm(2, 4), (3, 4), (4,), (3, 6)),
    "GroupNorm-image": Case(lambda: xc.GroupNorm(3, eps=1e-3), IMAGE, (3,), WIDE_IMAGE),
    "GroupNorm-plain": Case(lambda: xc.GroupNorm(1, affine=False), VOLUME, (3,), WIDE_VOLUME),
    "LayerNorm": Case(lambda: xc.LayerNorm(4), ROW, WIDE_ROW),
    "LayerNorm-image": Case(lambda: xc.LayerNorm((3, 6, 7), bias=False), IMAGE, LINE),
    "LayerNorm-plain": Case(lambda: xc.LayerNorm([9], elementwise_affine=False), LINE, ROW),
    "RMSNorm": Case(lambda: xc.RMSNorm(9), LINE, ROW),
    "RMSNorm-plain": Case(lambda: xc.RMSNorm((6, 7), 1e-3, False), IMAGE, LINE),
    "InstanceNorm1d": Case(lambda: xc.InstanceNorm1d(3), LINE, ROW, WIDE_LINE),
    "InstanceNorm2d": Case(lambda: xc.InstanceNorm2d(affine=True), IMAGE, LINE, WIDE_IMAGE),
    "InstanceNorm2d-tracking": Case(
        lambda: xc.InstanceNorm2d(3, 1e-3, 0.3, True, True), IMAGE, LINE, WIDE_IMAGE
    ),
    "InstanceNorm3d": Case(
        lambda: xc.InstanceNorm3d(track_running_stats=True), VOLUME, IMAGE, WIDE_VOLUME
    ),
    "LocalResponseNorm": Case(lambda: xc.LocalResponseNorm(2, 0.5, 0.6, 0.8), IMAGE, ROW),
    "ConstantPad1d": Case(lambda: xc.ConstantPad1d((1, 2), 0.5), LINE, IMAGE),
    "ConstantPad2d": Case(lambda: xc.ConstantPad2d((1, -2, 0, 3), -1), IMAGE, LINE),
    "ConstantPad3d": Case(lambda: xc.ConstantPad3d(1, 2.0), VOLUME, IMAGE),
    "ZeroPad1d": Case(lambda: xc.ZeroPad1d(2), LINE, IMAGE),
    "ZeroPad2d": Case(lambda: xc.ZeroPad2d((0, 1, 2, 0)), IMAGE, LINE),
    "ZeroPad3d": Case(lambda: xc.ZeroPad3d((0, 1, 2, 0, -1, -1)), VOLUME, IMAGE),
    "ReflectionPad1d": Case(lambda: xc.ReflectionPad1d((4, 1)), LINE, IMAGE),
    "ReflectionPad2d": Case(lambda: xc.ReflectionPad2d((1, -1, 2, 3)), IMAGE, LINE),
    "ReflectionPad3d": Case(lambda: xc.ReflectionPad3d(1), VOLUME, IMAGE),
    "ReplicationPad1d": Case(lambda: xc.ReplicationPad1d((10, 1)), LINE, IMAGE),
    "ReplicationPad2d": Case(lambda: xc.ReplicationPad2d((-1, 1, 2, 0)), IMAGE, LINE),
    "ReplicationPad3d": Case(lambda: xc.ReplicationPad3d(1), VOLUME, IMAGE),
    "CircularPad1d": Case(lambda: xc.CircularPad1d((9, 1)), LINE, IMAGE),
    "CircularPad2d": Case(lambda: xc.CircularPad2d((2, -1, 0, 3)), IMAGE, LINE),
    "CircularPad3d": Case(lambda: xc.CircularPad3d(1), VOLUME, IMAGE),
    "Upsample": Case(lambda: xc.Upsample(scale_factor=2), IMAGE, ROW),
    "Upsample-exact": Case(lambda: xc.Upsample(5, mode="nearest-exact"), LINE, ROW),
    "Upsample-linear": Case(lambda: xc.Upsample(17, mode="linear"), LINE, IMAGE),
    "Upsample-bilinear": Case(
        lambda: xc.Upsample(None, (1.6, 0.5), "bilinear", False, True), IMAGE, LINE
    ),
    "Upsample-trilinear": Case(
        lambda: xc.Upsample((3, 7, 4), mode="trilinear", align_corners=True), VOLUME, IMAGE
    ),
    "Upsample-bicubic": Case(lambda: xc.Upsample(scale_factor=1.5, mode="bicubic"), IMAGE, LINE),
    "UpsamplingNearest2d": Case(lambda: xc.UpsamplingNearest2d((4, 9)), IMAGE, LINE),
    "UpsamplingBilinear2d": Case(lambda: xc.UpsamplingBilinear2d(scale_factor=2), IMAGE, LINE),
    "PixelShuffle": Case(lambda: xc.PixelShuffle(2), (2, 8, 3, 4), LINE),
    "PixelUnshuffle": Case(lambda: xc.PixelUnshuffle(2), (2, 3, 6, 4), IMAGE),
    "ChannelShuffle": Case(lambda: xc.ChannelShuffle(3), (2, 6, 4, 3), ROW),
    "Unflatten": Case(lambda: xc.Unflatten(1, (2, -1)), ROW, (3,)),
    "Unflatten-last": Case(lambda: xc.Unflatten(-1, [3, 3]), LINE, ROW),
    "Identity": Case(lambda: xc.Identity(), IMAGE),
    "Flatten": Case(lambda: xc.Flatten(), IMAGE, (3,)),
    "Flatten-some": Case(lambda: xc.Flatten(2, 3), IMAGE, LINE),
    "ReLU": Case(lambda: xc.ReLU(), IMAGE),
    "LeakyReLU": Case(lambda: xc.LeakyReLU(0.2), ROW),
    "Sigmoid": Case(lambda: xc.Sigmoid(), ROW),
    "Tanh": Case(lambda: xc.Tanh(), ROW),
    "Softmax": Case(lambda: xc.Softmax(), ROW, (3,)),
    "LogSoftmax": Case(lambda: xc.LogSoftmax(dim=-1), LINE),
    "ELU": Case(lambda: xc.ELU(0.7), ROW),
    "GELU": Case(lambda: xc.GELU(), ROW),
    "GELU-tanh": Case(lambda: xc.GELU("tanh"), ROW),
    "SiLU": Case(lambda: xc.SiLU(), ROW),
    "Softplus": Case(lambda: xc.Softplus(2.0, 10.0), ROW),
    "PReLU": Case(lambda: xc.PReLU(init=0.3), ROW),
    "PReLU-channels": Case(lambda: xc.PReLU(3), IMAGE, (3,), WIDE_IMAGE),
    "ReLU6": Case(lambda: xc.ReLU6(), ROW),
    "SELU": Case(lambda: xc.SELU(), ROW),
    "CELU": Case(lambda: xc.CELU(0.7), ROW),
    "Mish": Case(lambda: xc.Mish(), ROW),
    "Hardswish": Case(lambda: xc.Hardswish(), ROW),
    "Hardsigmoid": Case(lambda: xc.Hardsigmoid(), ROW),
    "Hardtanh": Case(lambda: xc.Hardtanh(-0.3, 0.8), ROW),
    "LogSigmoid": Case(lambda: xc.LogSigmoid(), ROW),
    "Softsign": Case(lambda: xc.Softsign(), ROW),
    "Softshrink": Case(lambda: xc.Softshrink(0.4), ROW),
    "Hardshrink": Case(lambda: xc.Hardshrink(0.4), ROW),
    "Tanhshrink": Case(lambda: xc.Tanhshrink(), ROW),
    "Threshold": Case(lambda: xc.Threshold(0.1, -0.4), ROW),
    "GLU": Case(lambda: xc.GLU(), ROW, (2, 3)),
    "GLU-channels": Case(lambda: xc.GLU(1), (2, 4, 3), (4,)),
    "Softmin": Case(lambda: xc.Softmin(), LINE, (3,)),
    "Softmax2d": Case(lambda: xc.Softmax2d(), IMAGE, LINE),
    "Sequential": Case(
        lambda: xc.Sequential(
            xc.Conv2d(3, 2, 3), xc.ReLU(), xc.MaxPool2d(2), xc.Flatten(), xc.Linear(out_features=3)
        ),
        IMAGE,
        (3, 6, 7),
        WIDE_IMAGE,
    ),
    "Residual": Case(
        lambda: xc.Residual(
            xc.Sequential(xc.Conv2d(3, 3, 3, padding=1), xc.BatchNorm2d(3), xc.Tanh())
        ),
        IMAGE,
        LINE,
        WIDE_IMAGE,
    ),
    "Residual-shortcut": Case(
        lambda: xc.Residual(xc.Conv2d(3, 4, 3, 2, 1), xc.Conv2d(3, 4, 1, 2, bias=False)),
        IMAGE,
        LINE,
        WIDE_IMAGE,
    ),
    "Graph": Case(
        lambda: xc.Graph(
            "x",
            [
                ("sum", Add(), ["long", "short"]),
                ("long.0", xc.Conv1d(3, 4, 3, padding=1), "x"),
                ("long", xc.Tanh(), "long.0"),
                ("short", xc.Conv1d(out_channels=4, kernel_size=1), "x"),
                ("y", Concat(), ["sum", "short", "x"]),
            ],
            "y",
        ),
        LINE,
        ROW,
        WIDE_LINE,
    ),
    "Parallel": Case(
        lambda: xc.Parallel([xc.Conv1d(3, 2, 1), xc.Conv1d(3, 4, 3, padding=1)]),
        LINE,
        ROW,
        WIDE_LINE,
    ),
    "Parallel-sum": Case(
        lambda: xc.Parallel([xc.Linear(4, 3), xc.Linear(4, 3)], join="sum"), ROW, (4,), WIDE_ROW
    ),
    "Unfold": Case(
        lambda: xc.Unfold((1, 2)),
        IMAGE,
        LINE,
        by_hand=([[[[1, 2, 3]]]], [[[1, 2], [2, 3]]], [[[[1, 5, 4]]]]),
    ),
    "Rescale": Case(lambda: xc.Rescale(0.5, -1.5), ROW),
    "Rescale-image": Case(lambda: xc.Rescale(1 / 255), IMAGE),
    "Normalize": Case(
        lambda: xc.Normalize([0.5, 0.4, 0.3], (0.2, 0.25, 4)), IMAGE, ROW, WIDE_IMAGE
    ),
    "Normalize-one": Case(lambda: xc.Normalize(0.5, 0.25), LINE, (3,)),
    "Normalize-rows": Case(lambda: xc.Normalize([1, 2, 3, 4], 0.5), ROW, (4,), WIDE_ROW),
    "Resize": Case(lambda: xc.Resize((4, 9)), IMAGE, LINE),
    "Resize-side": Case(lambda: xc.Resize(3), IMAGE, LINE),
    "Resize-plain": Case(lambda: xc.Resize((3, 4), antialias=False), IMAGE, LINE),
    "Resize-bicubic": Case(lambda: xc.Resize([4, 3], "bicubic"), IMAGE, LINE),
    "Resize-nearest": Case(lambda: xc.Resize(4, "nearest", 5), IMAGE, LINE),
    "CenterCrop": Case(lambda: xc.CenterCrop(3), IMAGE, LINE),
    "CenterCrop-padded": Case(lambda: xc.CenterCrop((9, 4)), IMAGE, LINE),
    "Grayscale": Case(lambda: xc.Grayscale(), IMAGE, LINE),
    "Grayscale-three": Case(lambda: xc.Grayscale(3), IMAGE, LINE),
    "Grayscale-repeat": Case(lambda: xc.Grayscale(3), (2, 1, 3, 4), LINE),
    "RandomHorizontalFlip": Case(lambda: _seeded(xc.RandomHorizontalFlip()), IMAGE, LINE),
    "RandomVerticalFlip": Case(lambda: _seeded(xc.RandomVerticalFlip(0.6)), IMAGE, LINE),
    "RandomCrop": Case(lambda: _seeded(xc.RandomCrop(4)), IMAGE, LINE),
    "RandomCrop-padded": Case(
        lambda: _seeded(xc.RandomCrop((9, 5), (1, 2), True, (0.1, 0.2, 0.3))),
        IMAGE,
        LINE,
        WIDE_IMAGE,
    ),
    "RandomCrop-reflect": Case(
        lambda: _seeded(xc.RandomCrop(9, (3, 2, 4, 5), padding_mode="reflect")), IMAGE, LINE
    ),
    "RandomResizedCrop": Case(lambda: _seeded(xc.RandomResizedCrop((4, 3))), IMAGE, LINE),
    "RandomResizedCrop-nearest": Case(
        lambda: _seeded(xc.RandomResizedCrop(5, (0.3, 0.4), (0.5, 2), "nearest")), IMAGE, LINE
    ),
    "RandomRotation": Case(lambda: _seeded(xc.RandomRotation(30, "bilinear")), IMAGE, LINE),
    "RandomRotation-nearest": Case(
        lambda: _seeded(xc.RandomRotation((10, 80), center=(2, 1), fill=0.5)), IMAGE, LINE
    ),
    "RandomAffine": Case(
        lambda: _seeded(
            xc.RandomAffine(
                20, (0.2, 0.3), (0.7, 1.3), (-9, 9, -5, 5), "bilinear", (0.1, 0.2, 0.3), (1.5, 3)
            )
        ),
        IMAGE,
        LINE,
        WIDE_IMAGE,
    ),
    "GaussianNoise": Case(lambda: _seeded(xc.GaussianNoise(0.1, 0.5)), IMAGE, ROW),
    "GaussianNoise-line": Case(lambda: _seeded(xc.GaussianNoise(clip=False)), LINE, ROW),
    "GaussianBlur": Case(lambda: _seeded(xc.GaussianBlur((5, 3))), IMAGE, LINE),
    "RandomErasing": Case(lambda: _seeded(xc.RandomErasing(0.8)), IMAGE, LINE),
    "RandomErasing-value": Case(
        lambda: _seeded(xc.RandomErasing(1, value=(1.0, 2.0, 3.0))), IMAGE, LINE, WIDE_IMAGE
    ),
    "RandomErasing-random": Case(lambda: _seeded(xc.RandomErasing(1, value="random")), IMAGE, LINE),
    "RandomShift": Case(lambda: _seeded(xc.RandomShift(4)), LINE, IMAGE),
    "RandomShift-circular": Case(
        lambda: _seeded(xc.RandomShift(8, padding_mode="circular")), LINE, IMAGE
    ),
    "RandomScale": Case(lambda: _seeded(xc.RandomScale((0.5, 2))), LINE, IMAGE),
    "TimeMask": Case(lambda: _seeded(xc.TimeMask(5, 0.5)), LINE, IMAGE),
    "Unfold-all": Case(lambda: xc.Unfold(2, 2, 1, 3), IMAGE, LINE),
}
