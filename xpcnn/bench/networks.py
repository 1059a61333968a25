"""The networks that are measured, each described once for all libraries.

A function takes a namespace of layers, `nn`, which has PyTorch's names and arguments, and besides
them ``Residual(body, shortcut=None)``, ``Parallel(branches)``, which joins along the channels, and
``GlobalAvgPool2d()``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def simple(nn: Any) -> list[Any]:
    """One convolution and two linear layers, for images of 28 x 28."""
    body = [nn.Conv2d(1, 30, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return [*body, nn.Linear(4320, 100), nn.ReLU(), nn.Linear(100, 10)]


def deep(nn: Any) -> list[Any]:
    """Six convolutions in three groups, without the dropout, which libraries draw differently."""
    layers: list[Any] = []
    channels = 1
    for width, second_padding in ((16, 1), (32, 2), (64, 1)):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(width, width, 3, padding=second_padding), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return [*layers, nn.Flatten(), nn.Linear(1024, 50), nn.ReLU(), nn.Linear(50, 10)]


def oned(nn: Any) -> list[Any]:
    """One convolution along 784 pixels and two linear layers."""
    body = [nn.Conv1d(1, 30, 5), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten()]
    return [*body, nn.Linear(11700, 100), nn.ReLU(), nn.Linear(100, 10)]


def mlp(nn: Any) -> list[Any]:
    """Three linear layers."""
    hidden = [nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 200), nn.ReLU()]
    return [*hidden, nn.Linear(200, 10)]


def conv3x3(channels: int, nn: Any) -> list[Any]:
    """One layer as the ResNets have them."""
    return [nn.Conv2d(channels, channels, 3, padding=1)]


def resnet18(stem: str, nn: Any) -> list[Any]:
    """ResNet-18 (He et al., 2015), with the stem for small images or that for ImageNet."""
    if stem == "small":
        layers = _conv_norm(nn, 3, 64, 3)
    else:
        layers = _conv_norm(nn, 3, 64, 7, stride=2)
    layers.append(nn.ReLU())
    if stem == "imagenet":
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for step in (stride, 1):
            body = [*_conv_norm(nn, channels, width, 3, step), nn.ReLU()]
            body += _conv_norm(nn, width, width, 3)
            shortcut = None
            if step != 1 or channels != width:
                shortcut = nn.Sequential(*_conv_norm(nn, channels, width, 1, step))
            layers += [nn.Residual(nn.Sequential(*body), shortcut), nn.ReLU()]
            channels = width
    return [*layers, nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(512, _classes(stem))]


def mobilenet(nn: Any) -> list[Any]:
    """MobileNetV2 (Sandler et al., 2018) with the strides for small images and plain ReLU."""
    return _mobilenet(nn, nn.ReLU, (1, 1, 1, 2, 2, 1, 2, 1), 10)


def mobilenet_v2(classes: int, nn: Any) -> list[Any]:
    """MobileNetV2 as it was published, without the dropout."""
    return _mobilenet(nn, nn.ReLU6, (2, 1, 2, 2, 2, 1, 2, 1), classes)


def _mobilenet(
    nn: Any, activation: Callable[[], Any], strides: Sequence[int], classes: int
) -> list[Any]:
    """Make MobileNetV2 with these strides: of the first convolution, and of each stage."""
    first, *others = strides
    layers = [*_conv_norm(nn, 3, 32, 3, first), activation()]
    channels = 32
    stages = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
    for (expansion, width, count), stride in zip(stages, others, strict=True):
        for position in range(count):
            step = stride if position == 0 else 1
            block = _inverted(nn, activation, channels, width, expansion, step)
            same = step == 1 and channels == width
            layers.append(nn.Residual(block) if same else block)
            channels = width
    layers += [*_conv_norm(nn, 320, 1280, 1), activation()]
    return [*layers, nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(1280, classes)]


def _inverted(
    nn: Any,
    activation: Callable[[], Any],
    channels: int,
    width: int,
    expansion: int,
    stride: int,
) -> Any:
    """Widen, filter each channel by itself, narrow."""
    wide = channels * expansion
    layers = [*_conv_norm(nn, channels, wide, 1), activation()] if expansion != 1 else []
    layers += [*_conv_norm(nn, wide, wide, 3, stride, groups=wide), activation()]
    return nn.Sequential(*layers, *_conv_norm(nn, wide, width, 1))


def squeezenet(nn: Any) -> list[Any]:
    """SqueezeNet 1.1 (Iandola et al., 2016), without the dropout."""
    layers = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), _ceiling_pool(nn)]
    channels = 64
    for squeezed, count in ((16, 2), (32, 2), (48, 2), (64, 2)):
        if squeezed in (32, 48):
            layers.append(_ceiling_pool(nn))
        for _ in range(count):
            layers += [nn.Conv2d(channels, squeezed, 1), nn.ReLU()]
            channels = 8 * squeezed
            small = nn.Sequential(nn.Conv2d(squeezed, 4 * squeezed, 1), nn.ReLU())
            large = nn.Sequential(nn.Conv2d(squeezed, 4 * squeezed, 3, padding=1), nn.ReLU())
            layers.append(nn.Parallel([small, large]))
    return [*layers, nn.Conv2d(512, 1000, 1), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Flatten()]


def _ceiling_pool(nn: Any) -> Any:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def lenet5(nn: Any) -> list[Any]:
    """LeNet-5 (LeCun et al., 1998) with tanh and average pooling."""
    layers = [nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)]
    layers += [nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()]
    layers += [nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh()]
    return [*layers, nn.Linear(84, 10)]


def vgg(nn: Any) -> list[Any]:
    """Pairs of 3x3 convolutions with batch normalisation, as VGG has them, for 32 x 32."""
    layers: list[Any] = []
    channels = 3
    for width in (32, 64, 128):
        layers += [*_conv_norm(nn, channels, width, 3), nn.ReLU()]
        layers += [*_conv_norm(nn, width, width, 3), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return [*layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, 10)]


def conv_pair(channels: int, nn: Any) -> list[Any]:
    """Two layers as the ResNets have them, and what makes scores of their outputs."""
    layers = [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return [*layers, nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(channels, 10)]


def odd(nn: Any) -> list[Any]:
    """Channels, kernels, strides and sizes that are multiples of nothing, for 7 x 33 x 33."""
    layers = [nn.Conv2d(7, 30, 5, padding=2), nn.ReLU()]
    layers += [nn.Conv2d(30, 50, 7, stride=3, padding=3), nn.ReLU()]
    layers += [nn.Conv2d(50, 7, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return [*layers, nn.Linear(7 * 4 * 4, 10)]


def depthwise(nn: Any) -> list[Any]:
    """Blocks of MobileNet (Howard et al., 2017): filter each channel by itself, then mix them."""
    layers = [*_conv_norm(nn, 3, 32, 3), nn.ReLU()]
    channels = 32
    for width, stride in ((64, 1), (128, 2), (128, 1), (256, 2)):
        layers += [*_conv_norm(nn, channels, channels, 3, stride, groups=channels), nn.ReLU()]
        layers += [*_conv_norm(nn, channels, width, 1), nn.ReLU()]
        channels = width
    return [*layers, nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(channels, 10)]


def _conv_norm(
    nn: Any, channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[Any]:
    """Make a convolution that keeps the size, but for its stride, and batch normalisation."""
    padding = kernel // 2
    conv = nn.Conv2d(
        channels, width, kernel, stride=stride, padding=padding, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(width)]


def _classes(stem: str) -> int:
    return 10 if stem == "small" else 1000
