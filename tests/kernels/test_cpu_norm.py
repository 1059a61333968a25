"""The compiled batch normalisation, against its definition in float64."""

import hashlib

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, error32, lay
from tests.kernels.norms import LARGE, draw
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import buffers, norm

needs_compiled_kernels()

XP = numpy_namespace()
EPS = 1e-3


def per_channel(values, x):
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def expected(x, other, gamma, beta, statistics, y, dy):
    """Work everything out in float64; `y` says which gradients ReLU lets through (None: all)."""
    axes = (0, *range(2, x.ndim))
    x, dy = x.astype("float64"), dy.astype("float64")
    count = x.size // x.shape[1]
    mean = x.mean(axis=axes) if statistics is None else statistics[0].astype("float64")
    var = x.var(axis=axes) if statistics is None else statistics[1].astype("float64")
    gamma = np.ones(x.shape[1]) if gamma is None else gamma.astype("float64")
    beta = np.zeros(x.shape[1]) if beta is None else beta.astype("float64")
    inv_std = 1 / np.sqrt(var + EPS)
    x_hat = (x - per_channel(mean, x)) * per_channel(inv_std, x)
    out = x_hat * per_channel(gamma, x) + per_channel(beta, x)
    if other is not None:
        out = out + other
    if y is not None:
        out = np.maximum(out, 0)
        dy = np.where(y > 0, dy, 0)
    dgamma, dbeta = (dy * x_hat).sum(axis=axes), dy.sum(axis=axes)
    dx = dy
    if statistics is None:
        dx = dy - per_channel(dbeta / count, x) - x_hat * per_channel(dgamma / count, x)
    dx = dx * per_channel(gamma * inv_std, x)
    return (out, mean, var), (dx, dgamma, dbeta, dy)


@pytest.mark.parametrize("seed", [*range(45), LARGE])
@pytest.mark.parametrize("op", ["plain", "relu", "add_relu"])
def test_agrees_with_the_definition(op, seed):
    rng, x, gamma, beta, statistics = draw(seed)
    dy, other = rng.standard_normal((2, *x.shape)).astype("float32")
    layouts = [int(v) for v in rng.integers(0, 7, 3)]
    x_laid, dy_laid, other_laid = (lay(a, h) for a, h in zip((x, dy, other), layouts, strict=True))
    arguments = (gamma, beta, EPS, statistics)
    if op == "plain":
        (y, *seen), saved = norm.batch_norm_forward(XP, x_laid, *arguments)
        got = norm.batch_norm_backward(XP, dy_laid, saved, True)
    elif op == "relu":
        (y, *seen), saved = norm.batch_norm_forward(XP, x_laid, *arguments, relu=True)
        got = norm.batch_norm_backward(XP, dy_laid, saved, True)
    else:
        (y, *seen), saved = norm.batch_norm_add_relu_forward(XP, x_laid, *arguments, other_laid)
        got = norm.batch_norm_add_relu_backward(XP, dy_laid, saved, True)
    forward, backward = expected(
        x, other if op == "add_relu" else None, gamma, beta, statistics,
        None if op == "plain" else y, dy,
    )  # fmt: skip
    results = [y, *seen, *got]
    assert len(got) == (4 if op == "add_relu" else 3)
    for a, e in zip(results, [*forward, *backward[: len(got)]], strict=True):
        assert error32(a, e) < 1e-5


def test_output_is_channels_last_and_dense():
    x = np.ones((2, 12, 3, 4), np.float32)
    (y, _, _), saved = norm.batch_norm_forward(XP, x, None, None, EPS, None)
    dx, _, _ = norm.batch_norm_backward(XP, y, saved, True)
    for a in (y, dx):
        assert a.transpose(0, 2, 3, 1).flags.c_contiguous


def test_no_dx_unless_needed():
    x = np.ones((2, 12, 3, 4), np.float32)
    _, saved = norm.batch_norm_forward(XP, x, None, None, EPS, None)
    assert norm.batch_norm_backward(XP, x, saved, False)[0] is None


def test_variance_of_data_far_from_zero():
    """Squares of the raw numbers would leave nothing of a variance of 1 at a mean of 4096."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 8, 20, 20)) + 4096
    x[0, :, 0, 0] = -1e4
    x = x.astype("float32")
    (y, mean, variance), _ = norm.batch_norm_forward(XP, x, None, None, 1e-5, None)
    wide = x.astype("float64")
    exact, spread = wide.mean(axis=(0, 2, 3)), wide.var(axis=(0, 2, 3))
    np.testing.assert_allclose(mean, exact, rtol=1e-6)
    np.testing.assert_allclose(variance, spread, rtol=1e-5)
    # The mean itself is rounded to float32: one part in 10^7 of 4096.
    wanted = (wide - per_channel(mean.astype("float64"), x)) / per_channel(np.sqrt(spread), x)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_spoil_their_channel_only(value):
    x = np.random.default_rng(0).standard_normal((4, 10, 5, 5)).astype("float32")
    x[1, 9, 2, 3] = value
    with np.errstate(invalid="ignore"):
        (y, mean, _), saved = norm.batch_norm_forward(XP, x, None, None, EPS, None)
        dx, dgamma, _ = norm.batch_norm_backward(XP, np.ones_like(x), saved, True)
    assert np.isfinite(y[:, :9]).all()
    assert np.isfinite(dx[:, :9]).all()
    assert np.isnan(y[1, 9, 2, 3])
    assert not np.isfinite(mean[9])
    assert np.isnan(dgamma[9])


def test_relu_passes_nan_on():
    x = np.full((2, 8, 2, 2), np.nan, np.float32)
    (y, _, _), _ = norm.batch_norm_forward(XP, x, None, None, EPS, None, relu=True)
    assert np.isnan(y).all()


def test_what_is_declined():
    x = np.ones((2, 8, 2, 2), np.float32)
    declined = [
        norm.batch_norm_forward(XP, x.astype("float64"), None, None, EPS, None),
        norm.batch_norm_forward(XP, x, np.ones(8), np.ones(8), EPS, None),
        norm.batch_norm_forward(XP, x[:0], None, None, EPS, None),
        norm.batch_norm_add_relu_forward(XP, x, None, None, EPS, None, x[:1]),
    ]
    assert [a.reason for a in declined] == [
        "float64 arrays",
        "float64 arrays",
        "arrays of shape (0, 8, 2, 2)",
        "adding shape (1, 8, 2, 2) to (2, 8, 2, 2)",
    ]


def test_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, other, dy = (lay(a, 1) for a in rng.standard_normal((3, 40, 20, 40, 40)).astype("float32"))
    digests = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            out, saved = norm.batch_norm_add_relu_forward(XP, x, None, None, EPS, None, other)
            gradients = norm.batch_norm_add_relu_backward(XP, dy, saved, True)
            digest = hashlib.sha256()
            for a in (*out, *gradients):
                digest.update(np.ascontiguousarray(a).tobytes())
            digests.add(digest.hexdigest())
    finally:
        xpcnn.set_num_threads(None)
    assert len(digests) == 1


@pytest.mark.parametrize("channels", [1, 3, 8, 30, 33])
def test_nothing_is_written_outside(channels, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    x = np.random.default_rng(0).standard_normal((5, channels, 7, 9)).astype("float32")
    for how in range(7):
        a = lay(x, how)
        _, saved = norm.batch_norm_add_relu_forward(XP, a, None, None, EPS, None, a)
        norm.batch_norm_add_relu_backward(XP, a, saved, True)
    guards.assert_whole(11)
