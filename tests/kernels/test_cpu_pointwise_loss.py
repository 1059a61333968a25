"""The compiled losses of numbers and of yes/no answers, against the plain ones in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from xpcnn import kernels
from xpcnn._xp import numpy_namespace
from xpcnn.kernels.cpu import buffers, pointwise_loss

needs_compiled_kernels()

XP = numpy_namespace()
LOSSES = {
    "mse": xpcnn.MSELoss,
    "l1": xpcnn.L1Loss,
    "huber": lambda **options: xpcnn.HuberLoss(delta=0.7, **options),
    "smooth_l1": lambda **options: xpcnn.SmoothL1Loss(beta=0.6, **options),
    "smooth_l1_of_0": lambda **options: xpcnn.SmoothL1Loss(beta=0.0, **options),
    "bce_with_logits": xpcnn.BCEWithLogitsLoss,
    "bce": xpcnn.BCELoss,
    "soft_margin": xpcnn.SoftMarginLoss,
    "hinge_embedding": lambda **options: xpcnn.HingeEmbeddingLoss(margin=0.8, **options),
    "kl_div": xpcnn.KLDivLoss,
    "kl_div_of_logs": lambda **options: xpcnn.KLDivLoss(log_target=True, **options),
    "poisson": xpcnn.PoissonNLLLoss,
    "poisson_of_rates": lambda **options: xpcnn.PoissonNLLLoss(log_input=False, **options),
}
SHAPES = [(1,), (7,), (8,), (2, 4), (5, 9), (3, 1, 7), (2, 3, 5, 4), (2, 30, 6, 7), (1, 9001)]

each_loss = pytest.mark.parametrize("name", LOSSES)


def draw(name, shape):
    """Return predictions and targets, some of them equal."""
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((2, *shape), dtype="float32")
    if name.startswith("bce"):
        target = rng.random(shape, dtype="float32").round(1)
    if name == "bce":
        x = rng.random(shape, dtype="float32").round(3)
        few = min(x.size, 4)
        x.reshape(-1)[:few], target.reshape(-1)[:few] = [0, 1, 0, 1][:few], [0, 0, 1, 1][:few]
    if name in ("soft_margin", "hinge_embedding"):
        target = np.where(target < 0, -1, 1).astype("float32")
    if name == "poisson_of_rates":
        x = np.abs(x) + np.float32(0.1)
    if name in ("kl_div", "poisson", "poisson_of_rates"):
        target = np.maximum(target, 0)  # about half of them zeros
    else:
        target.reshape(-1)[4:5] = x.reshape(-1)[4:5]
    return x, target


def run(loss, x, target, **options):
    """Return loss, gradient, and which kernel sets ran."""
    with kernels.trace() as decisions:
        value = loss(x, target, **options)
    return value, loss.backward(), [d.kernel_set for d in decisions]


def exact(loss, x, target, **options):
    with kernels.force("generic"):
        return run(loss, x.astype("float64"), target.astype("float64"), **options)[:2]


@each_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_close_to_the_definition(name, reduction, shape):
    loss = LOSSES[name](reduction=reduction)
    x, target = draw(name, shape)
    expected = exact(loss, x, target)
    for how in range(7) if len(shape) > 2 else (0, 4):
        for other in (how, 0):
            given, wanted = lay(x, how), lay(target, other)
            value, gradient, sets = run(loss, given, wanted)
            assert sets == ["cpu"]
            assert value.dtype == gradient.dtype == np.float32
            np.testing.assert_allclose(value, expected[0], rtol=2e-6, atol=1e-6)
            np.testing.assert_allclose(gradient, expected[1], rtol=2e-6, atol=1e-6)
            np.testing.assert_array_equal(given, x)
            np.testing.assert_array_equal(wanted, target)


@each_loss
def test_weights_and_gradients_from_outside(name):
    x, target = draw(name, (5, 9))
    weights = np.array([0.0, 1.0, 2.0, 0.5, 3.0], np.float32)
    for reduction, dy in (("mean", np.float32(2.5)), ("none", draw("mse", (5, 9))[0])):
        loss = LOSSES[name](reduction=reduction)
        exact(loss, x, target, sample_weight=weights.astype("float64"))
        expected = loss.backward(np.asarray(dy, "float64"))
        loss(x, target, sample_weight=weights)
        gradient = loss.backward(np.asarray(dy))
        assert gradient.dtype == np.float32
        np.testing.assert_allclose(gradient, expected, rtol=2e-6, atol=1e-6)
        assert loss.backward(np.asarray(dy, "float64")).dtype == np.float64


@pytest.mark.parametrize("make", [xpcnn.BCELoss, xpcnn.BCEWithLogitsLoss])
def test_weights_of_columns(make):
    x, target = draw("bce", (5, 9))
    loss = make(weight=np.linspace(0, 2, 9))
    expected = exact(loss, x, target)
    value, gradient, sets = run(loss, x, target)
    assert sets == ["cpu"]
    np.testing.assert_allclose(value, expected[0], rtol=2e-6)
    np.testing.assert_allclose(gradient, expected[1], rtol=2e-6, atol=1e-7)


def test_what_is_declined():
    x = np.ones((2, 8), np.float32)
    given = [(x.astype("float64"), x), (x, x.astype("float64")), (x, x[:1]), (x[:0], x[:0])]
    assert [pointwise_loss.forward("mse_loss", XP, *pair).reason for pair in given] == [
        "float64 arrays", "float64 arrays",
        "predictions of shape (2, 8) and targets of shape (1, 8)", "arrays of shape (0, 8)",
    ]  # fmt: skip
    loss = xpcnn.BCEWithLogitsLoss(pos_weight=np.full(8, 2.0))
    assert run(loss, x, x)[2] == []


@each_loss
def test_nan_and_infinity_are_where_the_definition_has_them(name):
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 0.5, -0.5, 200.0, -200.0, 3e38, -3e38]
    wanted = special
    if name == "bce":
        special = [np.nan, 0.0, 1e-45, 1e-30, 1e-7, 0.3, 0.99999994, 1.0]
    if name.startswith("bce"):
        wanted = [np.nan, 0.0, 0.25, 1.0]
    if name in ("soft_margin", "hinge_embedding"):
        wanted = [np.nan, 1.0, -1.0]
    x, target = (a.astype("float32") for a in np.meshgrid(special, wanted))
    loss = LOSSES[name](reduction="none")
    with np.errstate(all="ignore"):
        found = run(loss, x, target)
        with kernels.force("generic"):
            expected = run(loss, x, target)
    assert found[2] == ["cpu"]
    for a, b in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-45)


def test_sure_answers_keep_their_digits():
    x = np.linspace(-80, 80, 1000, dtype=np.float32)
    loss = xpcnn.BCEWithLogitsLoss(reduction="none")
    for target in (np.zeros_like(x), np.ones_like(x)):
        expected = exact(loss, x, target)
        for a, b in zip(run(loss, x, target)[:2], expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


@each_loss
def test_same_bits_for_any_number_of_threads(name):
    x, target = draw(name, (40, 30, 40, 41))
    seen = set()
    try:
        for threads in (1, 2, 2):
            xpcnn.set_num_threads(threads)
            value, gradient, _ = run(LOSSES[name](), x, target)
            seen.add(value.tobytes() + gradient.tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@each_loss
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_written_outside(name, shape, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    x, target = draw(name, shape)
    loss = LOSSES[name](reduction="none")
    expected = exact(loss, x, target)
    for a, b in zip(run(loss, x, target)[:2], expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)
    run(LOSSES[name](), x, target)
    guards.assert_whole(4)
