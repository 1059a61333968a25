"""Dropout: the masks are those that NumPy draws with Philox, whoever draws them.

The bodies of the CUDA kernels run as plain C++, as in ``test_cuda_bodies.py``.
"""

import zlib

import numpy as np
import pytest

import xpcnn
from tests.kernels.arrays import lay
from tests.kernels.plain_cpp import COMPILER, PlainCpp
from xpcnn import _xp, kernels, ops, rng
from xpcnn.kernels import Declined
from xpcnn.kernels.cuda import dropout, source
from xpcnn.kernels.dispatch import OPS

KEYS = [np.array(k, np.uint64) for k in ((1, 2), (2**64 - 1, 2**63), (0x123456789ABCDEF0, 7))]

# An input, and how many of its axes the mask has in full.
SHAPES = [((1,), 1), ((7,), 1), ((9,), 1), ((3, 333), 2), ((2, 5, 6), 3), ((2, 5, 6), 2),
          ((2, 3, 4, 5), 4), ((2, 13, 4, 5), 2), ((2, 3, 2, 3, 4), 5), ((2, 3, 2, 3, 4), 2),
          ((11, 2, 3), 1), ((4, 2, 3), 0), ((1, 2, 1, 1), 4)]  # fmt: skip


def mask_shape(shape, whole):
    return (*shape[:whole], *(1,) * (len(shape) - whole))


def kept_by_numpy(key, shape, p):
    """Return what is kept, written without the project's own functions."""
    drawn = np.random.Generator(np.random.Philox(key=key)).random(shape, dtype=np.float32)
    return drawn >= np.float32(p)


def multiplied(x, kept, p):
    """Return x times the mask; the mask is rounded to the dtype of x, and so is the product."""
    mask = np.where(kept, 1.0 / (1.0 - p), 0.0).astype(x.dtype)
    if x.dtype.itemsize > 2:
        return x * mask
    return (x.astype(np.float32) * mask.astype(np.float32)).astype(x.dtype)


@pytest.fixture(scope="module")
def plain_cpp(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("there is no C++ compiler (g++ or clang++)")
    return PlainCpp(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def cpp(plain_cpp, monkeypatch):
    """Kernels as C++, in so few threads that loops go round several times."""
    monkeypatch.setattr(source, "THREADS", 8)
    monkeypatch.setattr(source, "LANES", 4)
    monkeypatch.setattr(source, "MOST_BLOCKS", 3)
    monkeypatch.setattr(source, "run", plain_cpp)
    plain_cpp.launched.clear()
    return plain_cpp


def test_keys_and_numbers_are_numpys():
    sequence = np.random.SeedSequence([5, zlib.crc32(b"dropout"), 3])
    key = rng.key(5, "dropout", 3)
    np.testing.assert_array_equal(key, sequence.generate_state(2, np.uint64))
    expected = np.random.Generator(np.random.Philox(key=key)).random((3, 7), dtype=np.float32)
    found = rng.uniform(key, (3, 7))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert len({rng.key(*a).tobytes() for a in ((5, "a"), (5, "b"), (6, "a"), (5, "a", 1))}) == 4


@pytest.mark.parametrize(("shape", "whole"), SHAPES)
def test_generic_pair_on_every_library(device, shape, whole):
    numbers = np.random.default_rng(0)
    x, dy = numbers.standard_normal((2, *shape)).astype(np.float32)
    pair, masked = OPS["dropout"], mask_shape(shape, whole)
    for key, p in zip(KEYS, (0.1, 0.5, 0.9), strict=True):
        y, saved = pair.forward(device.xp, device.asarray(x), masked, p, key)
        assert _xp.dtype_name(y) == "float32"
        kept = kept_by_numpy(key, masked, p)
        np.testing.assert_array_equal(_xp.to_numpy(y), multiplied(x, kept, p))
        dx = pair.backward(device.xp, device.asarray(dy), saved)
        np.testing.assert_array_equal(_xp.to_numpy(dx), multiplied(dy, kept, p))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(("shape", "whole"), SHAPES)
def test_cuda_bodies(cpp, shape, whole, dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    numbers = np.random.default_rng(1)
    x, dy = numbers.standard_normal((2, *shape)).astype(dtype)
    x.flat[0] = np.nan  # stays NaN, as in PyTorch
    masked = mask_shape(shape, whole)
    for key, p in zip(KEYS, (0.1, 0.5, 0.9), strict=True):
        kept = kept_by_numpy(key, masked, p)
        # In the order of the axes, channels-last, and neither.
        for how in (0, 1, 3) if len(shape) > 2 else (0,):
            y, saved = dropout.dropout_forward(np, lay(x, how), masked, p, key)
            np.testing.assert_array_equal(saved[0].astype(bool).reshape(masked), kept)
            assert y.dtype == x.dtype
            np.testing.assert_array_equal(
                y.astype(np.float64), multiplied(x, kept, p).astype(np.float64)
            )
            for how_dy in (0, how):
                dx = dropout.dropout_backward(np, lay(dy, how_dy), saved)
                assert dx.dtype == x.dtype
                np.testing.assert_array_equal(
                    dx.astype(np.float64), multiplied(dy, kept, p).astype(np.float64)
                )


def test_long_indices(cpp, monkeypatch):
    """What runs where an array has more elements than 32 bits can number."""
    monkeypatch.setattr(source, "NARROW", 1)
    x = np.ones((3, 5, 7, 9), np.float32)
    for whole in (2, 4):
        masked = mask_shape(x.shape, whole)
        y, _ = dropout.dropout_forward(np, lay(x, 1), masked, 0.3, KEYS[0])
        np.testing.assert_array_equal(y, multiplied(x, kept_by_numpy(KEYS[0], masked, 0.3), 0.3))
    assert all(wide for _, _, _, wide in cpp.launched)


def test_a_number_that_is_p_is_kept(cpp):
    """NumPy compares in float32, to which p is rounded; also where x is float64."""
    drawn = rng.uniform(KEYS[0], (1000,))
    p = float(drawn[17]) * (1 + 1e-12)
    for x in (np.ones(1000, np.float32), np.ones(1000)):
        for pair in (ops.dropout, dropout):
            y, _ = pair.dropout_forward(np, x, (1000,), p, KEYS[0])
            np.testing.assert_array_equal(y != 0, drawn >= drawn[17])
            assert y[17] != 0


def test_everything_is_dropped(cpp):
    for pair in (ops.dropout, dropout):
        y, saved = pair.dropout_forward(np, np.ones((3, 4)), (3, 4), 1.0, KEYS[0])
        np.testing.assert_array_equal(y, np.zeros((3, 4)))
        np.testing.assert_array_equal(
            pair.dropout_backward(np, np.ones((3, 4)), saved), np.zeros((3, 4))
        )


def test_what_cuda_declines():
    def forward(x, masked):
        return dropout.dropout_forward(np, x, masked, 0.5, KEYS[0])

    assert forward(np.ones(3, np.int64), (3,)) == Declined("int64 arrays")
    assert forward(np.ones((0, 3)), (0, 3)) == Declined("an array of shape (0, 3)")
    assert forward(np.ones((2, 3)), (1, 3)) == Declined("a mask of shape (1, 3) for (2, 3)")


@pytest.mark.parametrize(
    ("layer", "shape", "masked"),
    [
        (xpcnn.Dropout(0.4), (3, 8), (3, 8)),
        (xpcnn.Dropout1d(0.4), (3, 8, 4), (3, 8, 1)),
        (xpcnn.Dropout2d(0.4), (3, 8, 2, 2), (3, 8, 1, 1)),
        (xpcnn.Dropout3d(0.4), (3, 8, 2, 2, 1), (3, 8, 1, 1, 1)),
        (xpcnn.StochasticDepth(0.4), (30, 2, 2), (30, 1, 1)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, xpcnn.Layer) else None,
)
def test_layers_draw_what_numpy_draws(layer, shape, masked):
    layer.seed, layer.step = 12, 34
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with kernels.trace() as decisions:
        y = layer.forward(x, training=True)
    assert [decision.op for decision in decisions] == ["dropout"]
    sequence = np.random.SeedSequence([12, zlib.crc32(b"dropout"), 34])
    kept = kept_by_numpy(sequence.generate_state(2, np.uint64), masked, 0.4)
    np.testing.assert_array_equal(y, multiplied(x, kept, 0.4))
    np.testing.assert_array_equal(layer.backward(x), y)
    # What a captured step is given is the mask of the step.
    layer.step = 34
    np.testing.assert_array_equal(layer.draw() > 0, kept)
    assert layer.step == 35
