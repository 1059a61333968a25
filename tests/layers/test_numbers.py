"""Numbers that constructors take: neither truth values nor strings, NaN or out of range."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import xpcnn
from xpcnn.layers import Layer

NUMBERS = ("eps", "momentum", "alpha", "beta", "k", "negative_slope", "lambd", "init", "p")
NEEDED = {
    "GroupNorm": (2, 4), "LayerNorm": (4,), "RMSNorm": (4,), "LocalResponseNorm": (3,),
    "StochasticDepth": (0.5,), "Threshold": (1.0, 2.0), "TimeMask": (3,),
}  # fmt: skip


def settings():
    """Every number that some layer takes."""
    for name in sorted(xpcnn.layers.__all__):
        cls = getattr(xpcnn, name)
        if isinstance(cls, type) and issubclass(cls, Layer):
            for argument in inspect.signature(cls).parameters:
                if argument in NUMBERS:
                    yield name, argument


@pytest.mark.parametrize("value", [np.nan, np.inf, True, "1.0", [0.1], np.float32("nan")])
@pytest.mark.parametrize(("name", "argument"), list(settings()))
def test_no_number(name, argument, value):
    cls = getattr(xpcnn, name)
    needed = list(inspect.signature(cls).parameters)[: len(NEEDED.get(name, ()))]
    arguments = dict(zip(needed, NEEDED.get(name, ()), strict=True)) | {argument: value}
    with pytest.raises((ValueError, TypeError), match=f"{name}: {argument} must be"):
        cls(**arguments)


@pytest.mark.parametrize(
    "name", ["BatchNorm2d", "InstanceNorm1d", "GroupNorm", "LayerNorm", "RMSNorm"]
)
def test_eps_and_momentum_out_of_range(name):
    cls = getattr(xpcnn, name)
    with pytest.raises(ValueError, match=f"{name}: eps must be at least 0, got -1"):
        cls(*NEEDED.get(name, ()), eps=-1.0)
    assert cls(*NEEDED.get(name, ()), eps=np.float32(0.5)).eps == 0.5
    if "momentum" in inspect.signature(cls).parameters:
        with pytest.raises(ValueError, match=f"{name}: momentum must be from 0 to 1, got 1.5"):
            cls(momentum=1.5)
        assert cls(momentum=None).momentum is None


LAST = [
    (lambda: xpcnn.Conv2d(out_channels=4, kernel_size=3), (16, 32, 32, 3)),
    (lambda: xpcnn.Conv3d(out_channels=4, kernel_size=3), (2, 16, 16, 16, 1)),
    (lambda: xpcnn.ConvTranspose2d(out_channels=4, kernel_size=3), (2, 28, 28, 1)),
    (lambda: xpcnn.SeparableConv2d(out_channels=4, kernel_size=3), (2, 28, 28, 4)),
    (lambda: xpcnn.BatchNorm2d(), (2, 28, 28, 1)),
    (lambda: xpcnn.InstanceNorm2d(affine=True), (2, 28, 28, 3)),
]


@pytest.mark.parametrize(("make", "shape"), LAST)
def test_channels_that_seem_to_be_last(make, shape):
    attempts = (
        lambda: make()(np.ones(shape, np.float32)),
        lambda: make().build(shape),
        lambda: xpcnn.Model([make()], device="cpu").build((None, *shape[1:])),
    )
    for attempt in attempts:
        with pytest.raises(ValueError, match=r"seem to be last.*numpy\.moveaxis\(x, -1, 1\)"):
            attempt()


def test_signals_whose_channels_seem_to_be_last():
    layer = xpcnn.Conv1d(out_channels=4, kernel_size=1)
    with pytest.warns(UserWarning, match="seem to be last"):
        layer(np.ones((2, 100, 1), np.float32))


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 64, 1, 1), (2, 64, 4, 4), (2, 64, 8, 3)])
def test_no_false_alarm(shape):
    for make in (lambda: xpcnn.Conv2d(out_channels=4, kernel_size=1), xpcnn.BatchNorm2d):
        make()(np.ones(shape, np.float32))
    xpcnn.Conv2d(32, 4, 1)(np.ones((2, 32, 32, 3), np.float32))  # it was said


def test_images_that_do_not_fit_a_unet():
    join = xpcnn.operations.Concat(1)
    with pytest.raises(ValueError, match=r"may differ along axis 1 only.*multiples of.*16"):
        join(np.ones((2, 64, 5, 5)), np.ones((2, 64, 4, 4)))
    with pytest.raises(ValueError, match="axis 1 only") as caught:
        join(np.ones((2, 64, 50, 5)), np.ones((2, 64, 4, 4)))
    assert "multiples" not in str(caught.value)
