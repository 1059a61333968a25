"""PyTorch's and JAX's own operations against the generic kernels, in float64."""

import importlib

import numpy as np
import pytest

from xpcnn import DeviceError, kernels
from xpcnn import functional as F
from xpcnn._xp import to_numpy
from xpcnn.device import resolve
from xpcnn.kernels import Declined
from xpcnn.kernels.dispatch import OPS
from xpcnn.window import Window

WINDOWS = [
    Window((3,), (2,), ((1, 1),), (1,)),
    Window((2,), (1,), ((0, 1),), (3,)),
    Window((3, 2), (1, 2), ((1, 1), (0, 0)), (1, 2)),
    Window((2, 3), (2, 1), ((0, 1), (2, 0)), (1, 1)),
    Window((2, 1, 2), (1, 1, 2), ((1, 1), (0, 0), (1, 1)), (1, 1, 1)),
]
SPATIAL = {1: (11,), 2: (9, 8), 3: (5, 4, 6)}


@pytest.fixture(params=["torch", "jax"])
def own(request):
    """Return the name of a library, its kernels and its device."""
    try:
        device = resolve(f"{request.param}:cpu")
    except DeviceError as error:
        pytest.skip(str(error))
    pairs = importlib.import_module(f"xpcnn.kernels.{request.param}").PAIRS
    return request.param, pairs, device


def compare(own, op, arrays, settings, more, rng):
    """Run forward and backward both ways; returns whether the library's own took it."""
    _, pairs, device = own
    moved = [None if a is None else device.asarray(a) for a in arrays]
    result = pairs[op].forward(device.xp, *moved, *settings)
    if isinstance(result, Declined):
        return False
    y, state = result
    wanted, wanted_state = OPS[op].forward(np, *arrays, *settings)
    if op == "batch_norm":
        for got, value in zip(y, wanted, strict=True):
            np.testing.assert_allclose(to_numpy(got), value, rtol=1e-12, atol=1e-12)
        y, wanted = y[0], wanted[0]
    np.testing.assert_allclose(to_numpy(y), wanted, rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(wanted.shape)
    got = pairs[op].backward(device.xp, device.asarray(dy), state, *more)
    wanted = OPS[op].backward(np, dy, wanted_state, *more)
    if not isinstance(wanted, tuple):
        got, wanted = (got,), (wanted,)
    for g, value in zip(got, wanted, strict=True):
        assert (g is None) == (value is None)
        if value is not None:
            np.testing.assert_allclose(to_numpy(g), value, rtol=1e-11, atol=1e-11)
    return True


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(
    ("groups", "bias", "need_dx"), [(1, True, True), (2, False, True), (4, True, False)]
)
def test_convolution(own, window, groups, bias, need_dx, rng):
    x = rng.standard_normal((2, 4, *SPATIAL[window.ndim]))
    w = rng.standard_normal((8, 4 // groups, *window.kernel))
    b = rng.standard_normal(8) if bias else None
    assert compare(own, "conv", (x, w, b), (window, groups), (window, groups, need_dx), rng)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize(
    ("extra", "groups", "bias", "need_dx"),
    [(0, 1, True, True), (1, 2, False, True), (3, 4, True, False)],
)
def test_transposed_convolution(own, window, extra, groups, bias, need_dx, rng):
    """`extra` elements more than the smallest output, on each axis."""
    x = rng.standard_normal((2, 4, *SPATIAL[window.ndim]))
    w = rng.standard_normal((4, 8 // groups, *window.kernel))
    b = rng.standard_normal(8) if bias else None
    out = tuple(
        (n - 1) * s + e - sum(sides) + extra
        for n, s, e, sides in zip(
            x.shape[2:], window.stride, window.extent, window.padding, strict=True
        )
    )
    took = compare(
        own, "conv_transpose", (x, w, b), (window, out, groups), (window, groups, need_dx), rng
    )
    # JAX takes no more than another window would need, PyTorch what output_padding may be
    limits = window.stride if own[0] == "jax" else map(max, window.stride, window.dilation)
    if own[0] == "jax" or all(before == after for before, after in window.padding):
        assert took == all(extra < limit for limit in limits)
    else:
        assert took or extra > 0


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
def test_pooling(own, op, window, rng):
    name, pairs, _ = own
    if op not in pairs:
        pytest.skip(f"{name} pools with the generic kernels")
    x = rng.standard_normal((2, 3, *SPATIAL[window.ndim]))
    settings = [window]
    if op == "avg_pool":
        settings.append(rng.uniform(1, 3, window.output_shape(x.shape[2:])))
    took = compare(own, op, (x,), settings, (window,), rng)
    uneven = any(before != after for before, after in window.padding)
    dilated = op == "avg_pool" and max(window.dilation) > 1
    assert took == (name == "jax" or not (uneven or dilated))


def test_the_first_of_equal_elements_wins(own, rng):
    name, pairs, _ = own
    if "max_pool" not in pairs:
        pytest.skip(f"{name} pools with the generic kernels")
    window = Window((2, 2), (1, 1), ((1, 1), (1, 1)), (1, 1))
    x = rng.integers(0, 2, (2, 3, 5, 6)).astype("float64")
    assert compare(own, "max_pool", (x,), (window,), (window,), rng)


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7), (2, 3, 4, 5), (2, 3, 2, 3, 4)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("need_dx", [True, False])
def test_batch_normalisation(own, shape, affine, given, need_dx, rng):
    name, pairs, device = own
    if "batch_norm" not in pairs:
        pytest.skip(f"{name} normalises with the generic kernels")
    x = 3 + 2 * rng.standard_normal(shape)
    gamma, beta = (rng.standard_normal(3) for _ in range(2)) if affine else (None, None)
    statistics = (rng.standard_normal(3), rng.uniform(0.5, 2, 3)) if given else None
    moved = [None if a is None else device.asarray(a) for a in (x, gamma, beta)]
    theirs = None if statistics is None else tuple(map(device.asarray, statistics))
    got, state = pairs["batch_norm"].forward(device.xp, *moved, 1e-5, theirs)
    wanted, wanted_state = OPS["batch_norm"].forward(np, x, gamma, beta, 1e-5, statistics)
    dy = rng.standard_normal(shape)
    got += pairs["batch_norm"].backward(device.xp, device.asarray(dy), state, need_dx)
    wanted += OPS["batch_norm"].backward(np, dy, wanted_state, need_dx)
    assert len(got) == 6
    for a, b in zip(got, wanted, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_allclose(to_numpy(a), b, rtol=1e-11, atol=1e-11)
    if given:  # they belong to the layer
        np.testing.assert_array_equal(to_numpy(theirs[0]), statistics[0])


@pytest.mark.parametrize("decay", [(0.0, 0.0), (0.1, 0.0), (0.0, 0.1)])
def test_adam(own, decay, rng):
    name, pairs, device = own
    if "adam" not in pairs:
        pytest.skip(f"{name} updates with the generic kernels")
    shapes = [(3,), (2, 3), ()]
    p, g = ([rng.standard_normal(shape) for shape in shapes] for _ in range(2))
    state = [[None] * 3, [None] * 3]
    theirs = [[None] * 3, [None] * 3]
    for step in (1, 2, 3):
        settings = ([step, step, 2 * step], 0.01, (0.9, 0.99), 1e-8, decay)
        before = [device.asarray(a) for a in p]
        got, _ = pairs["adam"].forward(
            device.xp, before, [device.asarray(a) for a in g], *theirs, *settings
        )
        wanted, _ = OPS["adam"].forward(np, p, g, *state, *settings)
        for row, right in zip(got, wanted, strict=True):
            for a, b in zip(row, right, strict=True):
                np.testing.assert_allclose(to_numpy(a), b, rtol=1e-12, atol=1e-14)
        for a, b in zip(before, p, strict=True):
            np.testing.assert_array_equal(to_numpy(a), b)  # nothing is written to
        theirs, state, p = [list(got[1]), list(got[2])], [wanted[1], wanted[2]], wanted[0]


def test_what_runs_is_said(own, rng):
    name, _, device = own
    x = device.asarray(rng.standard_normal((2, 3, 8, 8)))
    w = device.asarray(rng.standard_normal((4, 3, 3, 3)))
    with kernels.trace() as decisions:
        y = F.conv(x, w)
        F.softmax(y, axis=1)
        F.conv_block_forward(x, w, None, WINDOWS[2], 1, None)
    with kernels.force("generic"), kernels.trace() as forced:
        F.conv(x, w)
    relu = name if name == "torch" else "generic"
    assert [(d.op, d.kernel_set) for d in decisions] == [
        ("conv", name), ("softmax", "generic"),
        ("conv_relu", None), ("conv", name), ("relu", relu),
    ]  # fmt: skip
    assert decisions[1].declined == ((name, "has no kernel for softmax"),)
    assert [(d.kernel_set, d.declined) for d in forced] == [("generic", ())]


def test_convolution_by_the_library_is_not_replaced_by_the_generic_fusion(own):
    name, _, device = own
    assert not kernels.select(device.xp, "conv_relu_max_pool")
    assert [found for found, _ in kernels.select(device.xp, "conv")] == [name, "generic"]
