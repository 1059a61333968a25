"""The compiled transposed convolution, against the generic one in float64."""

import numpy as np
import pytest

from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error, lay
from xpcnn import functional as F
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels import cpu
from xpcnn.kernels.dispatch import OPS
from xpcnn.window import Window

needs_compiled_kernels()

XP = numpy_namespace()
PAIR, REFERENCE = cpu.PAIRS["conv_transpose"], OPS["conv_transpose"]


def draw(seed, ndim=None):
    """Draw the arguments; `window` and `out` are those of the convolution that is transposed."""
    rng = np.random.default_rng(seed)
    ndim = ndim or int(rng.integers(1, 3))
    ints = lambda low, high: tuple(int(v) for v in rng.integers(low, high, ndim))  # noqa: E731
    padding = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (ndim, 2)))
    window = Window(ints(1, 4), ints(1, 4), padding, ints(1, 3))
    groups = 2 if seed % 6 == 0 else 1
    if seed % 4 == 0:  # what Winograd's transform takes
        window, groups = Window((3,) * ndim, (1,) * ndim, padding, (1,) * ndim), 1
    channels = int(rng.integers(1, 30)) * groups
    filters = 64 if seed % 7 == 3 else int(rng.integers(1, 40)) * groups
    out = ints(6, 14)
    shape = (int(rng.integers(1, 4)), filters, *window.output_shape(out))
    x = lay(rng.standard_normal(shape).astype("float32"), seed % 7)
    w = rng.standard_normal((filters, channels // groups, *window.kernel)).astype("float32")
    b = rng.standard_normal(channels).astype("float32") if seed % 5 else None
    return rng, x, w, b, window, out, groups


def compare(seed, ndim=None):
    """Return the largest relative error of the output and all gradients."""
    rng, x, w, b, window, out, groups = draw(seed, ndim)
    need_dx = seed % 3 > 0
    y, saved = PAIR.forward(XP, x, w, b, window, out, groups)
    wide = [None if a is None else a.astype("float64") for a in (x, w, b)]
    expected, expected_saved = REFERENCE.forward(XP, *wide, window, out, groups)
    dy = lay(rng.standard_normal(y.shape).astype("float32"), seed % 5)
    got = PAIR.backward(XP, dy, saved, window, groups, need_dx)
    wanted = REFERENCE.backward(XP, dy.astype("float64"), expected_saved, window, groups, need_dx)
    assert [a is None for a in got] == [a is None for a in wanted]
    pairs = [(y, expected), *zip(got, wanted, strict=True)]
    return max(error(a, e) for a, e in pairs if e is not None)


@pytest.mark.parametrize("seed", range(80))
def test_it_agrees(seed):
    assert compare(seed) < 1e-5


@pytest.mark.parametrize("seed", range(24))
def test_volumes_agree(seed):
    assert compare(300 + seed, ndim=3) < 1e-5


@pytest.mark.parametrize("seed", range(8))
def test_nothing_outside_is_written_or_used(seed, monkeypatch):
    """Every buffer lies between sentinels that must survive, and starts as NaN."""
    guards = Guards(0xFF)
    monkeypatch.setattr(cpu.buffers, "empty", guards)
    assert compare(100 + seed) < 1e-5
    guards.assert_whole(3)


def test_which_way_is_said():
    x, w = np.ones((2, 64, 32, 32), "float32"), np.ones((64, 64, 3, 3), "float32")
    with kernels.trace() as decisions:
        F.conv_transpose(x, w, padding=1)
        F.conv_transpose(x, w, stride=2)
        F.conv_transpose(x, w, dilation=2, output_padding=1)
        F.conv_transpose(x[:, :4], w[:4])
    assert [(d.kernel_set, d.notes) for d in decisions] == [
        ("cpu", ("Winograd",)), ("cpu", ()), ("generic", ()), ("cpu", ()),
    ]  # fmt: skip
    assert "another window" in decisions[2].declined[0][1]


def test_winograd_adds_the_bias():
    rng = np.random.default_rng(0)
    x, w, b = (
        rng.standard_normal(s).astype("float32") for s in ((2, 64, 16, 16), (64, 64, 3, 3), (64,))
    )
    with kernels.trace() as decisions:
        y = F.conv_transpose(x, w, b)
    assert decisions[0].notes == ("Winograd",)
    with kernels.force("generic"):
        expected = F.conv_transpose(*(a.astype("float64") for a in (x, w, b)))
    assert error(y, expected) < 1e-5
