"""The compiled negative log-likelihood of labels, against the plain loss in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from tests.pytorch import torch
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import buffers, loss

needs_compiled_kernels()

IGNORED = -7
SHAPES = [
    (1, 2), (3, 5), (40, 3), (4, 33), (9001, 4), (2, 3, 5), (2, 9, 4), (2, 4, 5, 6), (1, 3, 70, 61),
    (1, 8, 2, 3, 4),
]  # fmt: skip

weighted = pytest.mark.parametrize("weighted", [False, True])


def make(classes, weighted, reduction="mean", ignored=IGNORED):
    weight = None
    if weighted:
        weight = np.linspace(0.5, 2, classes)
        weight[0] = 0.0
    return xpcnn.NLLLoss(weight, ignored, reduction)


def draw(shape, seed=0):
    """Return logarithms and labels, some of which are ignored."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    labels.reshape(-1)[1::5] = IGNORED
    return np.log(rng.random(shape, dtype="float32") + np.float32(1e-3)), labels


def run(loss_, x, labels, **options):
    with kernels.trace() as decisions:
        value = loss_(x, labels, **options)
    assert [(d.op, d.kernel_set) for d in decisions] == [("nll_loss", "cpu")]
    return value, loss_.backward()


def exact(loss_, x, labels, **options):
    with kernels.force("generic"):
        return loss_(x.astype("float64"), labels, **options), loss_.backward()


@weighted
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_close_to_the_definition(shape, reduction, weighted):
    x, labels = draw(shape)
    for more in ({}, {"sample_weight": np.linspace(0, 2, shape[0])}):
        wanted = exact(make(shape[1], weighted, reduction), x, labels, **more)
        for how in range(7) if len(shape) > 2 else (0, 3, 4):
            given = lay(x, how)
            found = run(make(shape[1], weighted, reduction), given, labels, **more)
            for a, b in zip(found, wanted, strict=True):
                assert a.dtype == np.float32
                np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)
            np.testing.assert_array_equal(given, x)


@weighted
def test_close_to_pytorch(weighted):
    x, labels = draw((3, 6, 5, 4), 1)
    ours = make(6, weighted)
    weight = torch.tensor(ours.weight, dtype=torch.float64) if weighted else None
    given = torch.tensor(x.astype("float64"), requires_grad=True)
    theirs = torch.nn.NLLLoss(weight, ignore_index=IGNORED)(given, torch.tensor(labels))
    theirs.backward()
    value, gradient = run(ours, x, labels)
    np.testing.assert_allclose(value, theirs.item(), rtol=2e-6)
    np.testing.assert_allclose(gradient, given.grad.numpy(), rtol=2e-6, atol=1e-9)


@weighted
def test_nan_and_infinity_are_where_the_definition_has_them(weighted):
    x, labels = draw((30, 5), 2)
    labels[3] = 0  # without weight, perhaps
    for row, special in enumerate([np.nan, np.inf, -np.inf, 3e38]):
        x[row, :] = x[row + 5, 1] = x[row + 10, labels[row + 10] % 5] = special
    with np.errstate(all="ignore"):
        with kernels.force("generic"):
            plain = make(5, weighted, "none")
            wanted = plain(x, labels), plain.backward()
        found = run(make(5, weighted, "none"), x, labels)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_where_nothing_counts_the_mean_is_nan_and_the_gradient_zero():
    x, labels = draw((6, 5), 3)
    value, gradient = run(make(5, False), x, np.full_like(labels, IGNORED))
    assert np.isnan(value)
    np.testing.assert_array_equal(gradient, np.zeros_like(x))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint64", "int32"])
def test_labels_of_any_whole_dtype(dtype):
    x, labels = draw((20, 10), 3)
    labels = np.abs(labels).astype(dtype)
    wanted = exact(make(10, True, ignored=7), x, labels)
    for a, b in zip(run(make(10, True, ignored=7), x, labels), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)


def test_a_gradient_from_outside():
    x, labels = draw((3, 4, 5), 4)
    dy = np.linspace(-1, 1, 15).reshape(3, 5)
    plain, compiled = make(4, True, "none"), make(4, True, "none")
    exact(plain, x, labels)
    run(compiled, x, labels)
    for dtype in ("float32", "float64"):
        gradient = compiled.backward(dy.astype(dtype))
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient, plain.backward(dy), rtol=2e-6, atol=1e-7)


def test_what_is_declined():
    labels = np.zeros(2, int)
    found = [
        loss.nll_forward(numpy_namespace(), x, labels, -1)
        for x in (np.ones((2, 8)), np.ones((2, 0), np.float32))
    ]
    assert [a.reason for a in found] == [
        "float64 logarithms of shape (2, 8)", "float32 logarithms of shape (2, 0)",
    ]  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("shape", [(30000, 5), (4, 9, 123, 117)])
def test_same_bits_for_any_number_of_threads(shape, reduction):
    x, labels = draw(shape, 5)
    seen = set()
    try:
        for threads in (1, 2, 2, 2):
            xpcnn.set_num_threads(threads)
            value, gradient = run(make(shape[1], True, reduction), x, labels)
            seen.add(value.tobytes() + gradient.tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_written_outside(shape, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    x, labels = draw(shape, 6)
    for reduction in ("none", "mean"):
        for how in (0, 1) if len(shape) > 2 else (0,):
            wanted = exact(make(shape[1], True, reduction), x, labels)
            found = run(make(shape[1], True, reduction), lay(x, how), labels)
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)
    guards.assert_whole(6)
