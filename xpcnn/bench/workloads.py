"""What is measured: what to do with which network, for which input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal

from xpcnn.bench import networks

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
        Whether convolution, max pooling, ReLU and linear layers are all it needs.
    zoo : callable, optional
        Takes ``xpcnn.zoo`` and makes the same network, where that has it: what a user of xpcnn
        runs. Its parameters come in the same order.
    fresh : bool
        Whether each turn is a new process without compiled code from before, measured from its
        start, imports included, to the end of its first step.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    build: Callable[[Any], list[Any]]
    basic: bool = False
    zoo: Callable[[Any], Any] | None = None
    fresh: bool = False

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


def _all() -> list[Workload]:
    return [*_training(), *_layers(), *_networks(), *_predictions()]


def _training() -> list[Workload]:
    """Networks of the courses."""
    return [
        Workload("simple", "train", (100, 1, 28, 28), networks.simple, basic=True),
        Workload("deep", "train", (100, 1, 28, 28), networks.deep, basic=True),
        Workload("oned", "train", (1000, 1, 784), networks.oned, basic=True),
        Workload("mlp", "train", (20, 784), networks.mlp, basic=True),
        Workload("first-step", "train", (100, 1, 28, 28), networks.simple, basic=True, fresh=True),
    ]


def _layers() -> list[Workload]:
    """Convolutions by themselves, and in pairs."""
    found = []
    for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7)):
        build, shape = partial(networks.conv3x3, channels), (8, channels, size, size)
        found.append(Workload(f"conv{channels}-forward", "forward", shape, build, basic=True))
        found.append(Workload(f"conv{channels}-gradients", "gradients", shape, build, basic=True))
    for channels, size in ((64, 56), (256, 14)):
        build, shape = partial(networks.conv_pair, channels), (8, channels, size, size)
        found.append(Workload(f"conv{channels}-pair", "train", shape, build))
    return found


def _networks() -> list[Workload]:
    """Larger networks in training."""
    return [
        Workload("vgg", "train", (32, 3, 32, 32), networks.vgg),
        Workload("odd", "train", (25, 7, 33, 33), networks.odd),
        Workload("depthwise", "train", (32, 3, 32, 32), networks.depthwise),
        Workload("resnet18", "train", (32, 3, 32, 32), partial(networks.resnet18, "small")),
        Workload("mobilenet", "train", (32, 3, 32, 32), networks.mobilenet),
        Workload(
            "mobilenetv2",
            "train",
            (8, 3, 96, 96),
            partial(networks.mobilenet_v2, 10),
            zoo=lambda zoo: zoo.mobilenet_v2(10, dropout=0.0),
        ),
    ]


def _predictions() -> list[Workload]:
    """Answers of trained networks."""
    small, imagenet = partial(networks.resnet18, "small"), partial(networks.resnet18, "imagenet")
    large = (1, 3, 224, 224)
    return [
        Workload("simple-predict", "predict", (1, 1, 28, 28), networks.simple, basic=True),
        Workload(
            "lenet5-predict",
            "predict",
            (1, 1, 28, 28),
            networks.lenet5,
            zoo=lambda zoo: zoo.lenet5(),
        ),
        Workload("resnet18-predict", "predict", (1, 3, 32, 32), small),
        Workload(
            "resnet18-64-predict",
            "predict",
            (16, 3, 64, 64),
            imagenet,
            zoo=lambda zoo: zoo.resnet18(),
        ),
        Workload(
            "resnet18-224-predict", "predict", large, imagenet, zoo=lambda zoo: zoo.resnet18()
        ),
        Workload("mobilenet-predict", "predict", (1, 3, 32, 32), networks.mobilenet),
        Workload(
            "mobilenetv2-224-predict",
            "predict",
            large,
            partial(networks.mobilenet_v2, 1000),
            zoo=lambda zoo: zoo.mobilenet_v2(),
        ),
        Workload(
            "squeezenet-224-predict",
            "predict",
            large,
            networks.squeezenet,
            zoo=lambda zoo: zoo.squeezenet1_1(),
        ),
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
