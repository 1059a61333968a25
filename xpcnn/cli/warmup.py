"""``xpcnn warmup``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GroupNorm,
    InstanceNorm2d,
    Layer,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    PixelShuffle,
    ReflectionPad2d,
    ReLU,
    Upsample,
)
from xpcnn.networks import NETWORKS
from xpcnn.training.model import Model

IMAGES, CLASSES = 4, 10


def run(args: argparse.Namespace) -> None:
    """Compile ahead what networks need: a step of training and a prediction of each."""
    reason = kernels.why_not_compiled(numpy_namespace())
    if reason is not None:
        raise RuntimeError(f"there is nothing to compile: {reason}")
    from xpcnn.kernels.cpu import compiling, kept

    chosen: dict[str, Callable[[int], list[Layer]]] = dict(NETWORKS)
    if args.networks is not None:
        chosen = {name: NETWORKS[name] for name in args.networks}
    else:
        chosen["other layers"] = other_layers
    before = 0
    for name, make in chosen.items():
        started = time.perf_counter()
        train_a_little(make(CLASSES))
        count = compiling.report()[0]
        seconds = time.perf_counter() - started
        print(f"{name}: {count - before} kernels compiled, {seconds:.1f} s", flush=True)
        before = count
    print(f"machine code lies in {kept.where()}")


def train_a_little(layers: list[Layer]) -> None:
    """Make training steps with both kinds of optimizer, and a prediction, on a few images."""
    rng = np.random.default_rng(0)
    x = rng.random((IMAGES, 1, 28, 28), dtype="float32")
    y = rng.integers(0, CLASSES, IMAGES)
    model = Model(layers, device="cpu", seed=0)
    for optimizer in ("adam", "sgd"):
        model.compile(optimizer, "cross_entropy")
        model.fit(x, y, batch_size=IMAGES, verbose=0)
    model.predict(x)


def other_layers(classes: int) -> list[Layer]:
    """Return layers that the named networks lack: those of ResNet and MobileNet, and others."""
    return [
        InstanceNorm2d(1),
        Conv2d(1, 64, 3, padding=1, bias=False),
        BatchNorm2d(64),
        ReLU(),
        Conv2d(64, 64, 3, padding=1, groups=64),
        ReLU(),
        MaxPool2d(3, stride=2, padding=1),
        Conv2d(64, 64, 3, padding=1),
        BatchNorm2d(64),
        ReLU(),
        Conv2d(64, 128, 3, stride=2, padding=1),
        AvgPool2d(2),
        GroupNorm(4, 128),
        Upsample(scale_factor=2, mode="bilinear"),
        LocalResponseNorm(5),
        AdaptiveAvgPool2d(5),
        PixelShuffle(2),
        ReflectionPad2d(1),
        Conv2d(32, 16, 1),
        Flatten(),
        LayerNorm(16 * 12 * 12),
        Linear(out_features=classes),
    ]
