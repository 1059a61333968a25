"""How far it is from a method of the model to a layer, and to the columns of a convolution.

A traceback should be short, and a debugger soon where the numbers are.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from xpcnn import kernels
from xpcnn.ops import conv

PACKAGE = str(Path(xpcnn.__file__).parent)


def frames():
    """Name the functions of the package that led to the function that asks, the innermost first."""
    found, frame = [], sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            found.append(frame.f_code.co_name)
        frame = frame.f_back
    return found


class Watched(xpcnn.Linear):
    """Notes which functions of the package led to it."""

    def forward(self, x, training=False):
        self._frames = frames()
        return super().forward(x, training=training)


CALLS = {
    "fit": (5, lambda model, x, y: model.fit(x, y, verbose=0)),
    "train_on_batch": (4, lambda model, x, y: model.train_on_batch(x, y)),
    "train_step": (4, lambda model, x, y: model.train_step(x, y)),
    "predict": (5, lambda model, x, y: model.predict(x)),
    "__call__": (5, lambda model, x, y: model(x)),
}


@pytest.mark.parametrize("method", CALLS)
def test_from_the_model_to_a_layer(method, rng):
    most, call = CALLS[method]
    layer = Watched(3, 2)
    model = xpcnn.Model([layer], device="cpu", seed=0)
    model.compile("sgd", "cross_entropy")
    x = rng.normal(size=(4, 3)).astype("float32")
    call(model, x, np.array([0, 1, 1, 0]))  # the first call builds the layer
    call(model, x, np.array([0, 1, 1, 0]))
    assert layer._frames[-1] == method
    assert len(layer._frames) <= most, layer._frames


def chain(*layers):
    return xpcnn.Sequential(*layers, xpcnn.Flatten(), xpcnn.Linear(out_features=2))


def graph():
    """Two convolutions of one image, one of them with ReLU, and their sum."""
    return xpcnn.Graph(
        "x",
        [
            ("a", xpcnn.Conv2d(3, 4, 3), "x"),
            ("b", xpcnn.Conv2d(3, 4, 3), "x"),
            ("c", xpcnn.ReLU(), "b"),
            ("d", xpcnn.operations.Add(), ["a", "c"]),
            ("e", xpcnn.Flatten(), "d"),
            ("y", xpcnn.Linear(out_features=2), "e"),
        ],
        "y",
    )


NETWORKS = {
    "convolution": lambda: chain(xpcnn.Conv2d(3, 4, 3)),
    "ReLU": lambda: chain(xpcnn.Conv2d(3, 4, 3), xpcnn.ReLU()),
    "batch normalisation": lambda: chain(xpcnn.Conv2d(3, 4, 3), xpcnn.BatchNorm2d(4)),
    "residual": lambda: chain(xpcnn.Residual(xpcnn.Conv2d(3, 3, 3, padding=1), xpcnn.ReLU())),
    "overlapping pools": lambda: chain(
        xpcnn.Conv2d(3, 4, 3), xpcnn.ReLU(), xpcnn.MaxPool2d(3, stride=1)
    ),
    "graph": graph,
}
MOST = 9


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", CALLS)
def test_from_the_model_to_the_columns(method, network, rng, monkeypatch):
    found = []

    def note(*args, **options):
        found.append(["im2col", *frames()])
        return im2col(*args, **options)

    im2col = conv.im2col
    monkeypatch.setattr(conv, "im2col", note)
    model = xpcnn.Model(NETWORKS[network](), device="cpu", seed=0)
    model.compile("sgd", "cross_entropy")
    x = rng.normal(size=(4, 3, 8, 8)).astype("float32")
    with kernels.force("generic"):
        for _ in range(4):  # the first call builds, and later ones may be recorded
            CALLS[method][1](model, x, np.array([0, 1, 1, 0]))
    assert all(names[-1] == method for names in found)
    assert max(map(len, found[1:])) <= MOST, max(found[1:], key=len)
