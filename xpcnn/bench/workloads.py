"""What is measured: networks and layers, each described once for all libraries.

A builder takes a namespace of layers, `nn`, which has PyTorch's names and arguments, and besides
them ``Residual(body, shortcut=None)`` and ``GlobalAvgPool2d()``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal

Kind = Literal["train", "forward", "gradients", "predict"]


@dataclass(frozen=True)
class Workload:
    """A computation that every library is asked to do.

    Attributes
    ----------
    name : str
    kind : {"train", "forward", "gradients", "predict"}
        A step of training with Adam; the forward of a layer; its forward and all its gradients,
        that of the input included; what a user calls for an answer from a trained network.
    shape : tuple of int
        Of the input, in the order N, C, spatial axes.
    build : callable
        Makes the list of layers from a namespace of layers.
    basic : bool
        Whether convolution, pooling, ReLU and linear layers are all it needs.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    build: Callable[[Any], list[Any]]
    basic: bool = False

    def with_batch(self, size: int) -> Workload:
        """Return the same workload for another batch size."""
        return replace(self, shape=(size, *self.shape[1:]))

    def multiply_adds(self) -> int:
        """Count those of one step; a network's first layer needs no gradient of its input."""
        import xpcnn

        shape, counts = self.shape, []
        for layer in self.build(xpcnn.layers):
            counts.append(layer.multiply_adds(shape))
            shape = layer.output_shape(shape)
        total = sum(counts)
        if self.kind == "train":
            return 3 * total - next(count for count in counts if count)
        return 3 * total if self.kind == "gradients" else total


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
    layers = [*_conv_norm(nn, 3, 32, 3), nn.ReLU()]
    channels = 32
    for expansion, width, count, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for position in range(count):
            step = stride if position == 0 else 1
            block = nn.Sequential(*_inverted(nn, channels, width, expansion, step))
            same = step == 1 and channels == width
            layers.append(nn.Residual(block) if same else block)
            channels = width
    layers += [*_conv_norm(nn, 320, 1280, 1), nn.ReLU()]
    return [*layers, nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(1280, 10)]


def _inverted(nn: Any, channels: int, width: int, expansion: int, stride: int) -> list[Any]:
    """Widen, filter each channel by itself, narrow."""
    wide = channels * expansion
    layers = [*_conv_norm(nn, channels, wide, 1), nn.ReLU()] if expansion != 1 else []
    layers += [*_conv_norm(nn, wide, wide, 3, stride, groups=wide), nn.ReLU()]
    return [*layers, *_conv_norm(nn, wide, width, 1)]


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


def _all() -> list[Workload]:
    found = [
        Workload("simple", "train", (100, 1, 28, 28), simple, basic=True),
        Workload("deep", "train", (100, 1, 28, 28), deep, basic=True),
        Workload("oned", "train", (1000, 1, 784), oned, basic=True),
        Workload("mlp", "train", (20, 784), mlp, basic=True),
    ]
    for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7)):
        build, shape = partial(conv3x3, channels), (8, channels, size, size)
        found.append(Workload(f"conv{channels}-forward", "forward", shape, build, basic=True))
        found.append(Workload(f"conv{channels}-gradients", "gradients", shape, build, basic=True))
    small, imagenet = partial(resnet18, "small"), partial(resnet18, "imagenet")
    return [
        *found,
        Workload("resnet18", "train", (32, 3, 32, 32), small),
        Workload("mobilenet", "train", (32, 3, 32, 32), mobilenet),
        Workload("simple-predict", "predict", (1, 1, 28, 28), simple, basic=True),
        Workload("resnet18-predict", "predict", (1, 3, 32, 32), small),
        Workload("resnet18-224-predict", "predict", (1, 3, 224, 224), imagenet),
        Workload("mobilenet-predict", "predict", (1, 3, 32, 32), mobilenet),
    ]


WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in _all()}


def choose(patterns: Sequence[str]) -> list[Workload]:
    """Return the workloads whose names fit one of some patterns such as ``"conv*"``, in order.

    Raises
    ------
    ValueError
        If a pattern fits none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in WORKLOADS):
            raise ValueError(
                f"there is no workload {pattern!r}; choose from "
                f"{', '.join(WORKLOADS)}, or write a pattern such as 'conv*'"
            )
    return [
        workload
        for name, workload in WORKLOADS.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
