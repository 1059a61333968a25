"""Losses of probabilities, margins and pairs: cases by hand on every library, targets, training."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp, losses
from xpcnn._xp import device_of, dtype_name, to_numpy
from xpcnn.gradcheck import gradcheck

LOG2, LOG3 = math.log(2.0), math.log(3.0)

# A loss without reduction, prediction, target, terms, gradient of their sum.
BY_HAND = [
    (
        losses.BCELoss(2.0, "none"),
        [[0.25, 0.5, 1.0, 0.0]],
        [[1.0, 0.0, 1.0, 1.0]],
        [[4 * LOG2, 2 * LOG2, 0.0, 200.0]],
        [[-8.0, 4.0, 0.0, -2e12]],
    ),
    (
        losses.SmoothL1Loss("none", beta=2.0),
        [[1.0, -5.0, 0.0]],
        [[0.0, 0.0, 0.0]],
        [[0.25, 4.0, 0.0]],
        [[0.5, -1.0, 0.0]],
    ),
    (losses.SmoothL1Loss("none", 0.0), [[3.0, 0.0]], [[1.0, 0.0]], [[2.0, 0.0]], [[1.0, 0.0]]),
    (
        losses.KLDivLoss("none"),
        [[-LOG2, -LOG2]],
        [[0.25, 0.0]],
        [[-0.25 * LOG2, 0.0]],
        [[-0.25, 0.0]],
    ),
    (losses.KLDivLoss("none", True), [[-LOG2]], [[-2 * LOG2]], [[-0.25 * LOG2]], [[-0.25]]),
    (losses.PoissonNLLLoss(reduction="none"), [[LOG3]], [[2.0]], [[3 - 2 * LOG3]], [[1.0]]),
    (
        losses.PoissonNLLLoss(False, True, 1.0, "none"),
        [[1.0, 1.0]],
        [[4.0, 1.0]],
        [[1 - 4 * LOG2 + 4 * math.log(4) - 4 + 0.5 * math.log(8 * math.pi), 1 - LOG2]],
        [[-1.0, 0.5]],
    ),
    (
        losses.MultiMarginLoss(2, 1.0, [3.0, 1.0, 1.0], "none"),
        [[1.0, 2.0, 0.5], [0.0, 0.0, 9.0]],
        [0, 2],
        [3 * (4 + 0.25) / 3, 0.0],
        [[-5.0, 4.0, 1.0], [0.0, 0.0, 0.0]],
    ),
    (
        losses.SoftMarginLoss("none"),
        [[LOG3, 1000.0, -1000.0, 1000.0]],
        [[1.0, -1.0, 1.0, 1.0]],
        [[math.log(4 / 3), 1000.0, 1000.0, 0.0]],
        [[-0.25, 1.0, -1.0, 0.0]],
    ),
    (
        losses.HingeEmbeddingLoss(2.0, "none"),
        [[3.0, 3.0, 0.5, 2.0]],
        [[1.0, -1.0, -1.0, -1.0]],
        [[3.0, 0.0, 1.5, 0.0]],
        [[1.0, 0.0, -1.0, -1.0]],
    ),
]


def name_of(case):
    return str(case) if isinstance(case, losses.Loss) else ""


@pytest.mark.parametrize(("loss", "x", "target", "terms", "gradient"), BY_HAND, ids=name_of)
def test_by_hand(device, loss, x, target, terms, gradient):
    target = device.asarray(np.array(target))
    weights = np.arange(2.0, 2.0 + len(terms))
    mean = type(loss)(**loss.arguments() | {"reduction": "mean"})
    for dtype, rtol, atol in (("float64", 1e-14, 1e-14), ("float32", 1e-5, 1e-6)):
        if dtype == "float64" and _xp.library(device.xp) == "jax":
            continue  # it compiles every operation anew, which takes long
        moved = device.asarray(np.array(x), dtype)
        value = loss(moved, target)
        np.testing.assert_allclose(_xp.to_numpy(value), terms, rtol=rtol, atol=atol)
        got = loss.backward()
        np.testing.assert_allclose(_xp.to_numpy(got), gradient, rtol=max(rtol, 1e-8), atol=atol)
        assert _xp.device_of(got) == device.physical
        assert _xp.dtype_name(value) == _xp.dtype_name(got) == dtype
        # Sample weights multiply; the mean still divides by the number of terms.
        value = mean(moved, target, sample_weight=device.asarray(weights))
        factors = weights.reshape(-1, *(1,) * (np.ndim(terms) - 1))
        np.testing.assert_allclose(float(value), np.mean(terms * factors), rtol=rtol, atol=atol)
        assert _xp.dtype_name(value) == _xp.dtype_name(mean.backward()) == dtype


def test_batchmean_by_hand(device):
    x = device.asarray(np.log(np.full((2, 2), 0.5)))
    target = device.asarray(np.array([[1.0, 0.0], [0.5, 0.5]]))
    loss = losses.KLDivLoss("batchmean")
    np.testing.assert_allclose(float(loss(x, target)), LOG2 / 2, rtol=1e-14)
    np.testing.assert_allclose(to_numpy(loss.backward()), [[-0.5, 0.0], [-0.25, -0.25]], rtol=1e-14)


def test_gaussian_by_hand(device):
    mean = device.asarray(np.array([[1.0, 3.0], [0.0, 0.0]]))
    target = device.asarray(np.array([[3.0, 3.0], [0.0, 1.0]]))
    var = device.asarray(np.array([[4.0], [1.0]]))
    loss = losses.GaussianNLLLoss(reduction="sum")
    # rows: (log 4 + 4 / 4) / 2 + log(4) / 2, and 0 + 1 / 2
    for value in (loss((mean, var), target), loss(mean, target, var)):
        np.testing.assert_allclose(float(value), math.log(4) + 1.0, rtol=1e-14)
    by_mean, by_var = loss.backward()
    np.testing.assert_allclose(to_numpy(by_mean), [[-0.5, 0.0], [0.0, -1.0]], rtol=1e-14)
    # (1 / v - d^2 / v^2) / 2, summed over the row
    np.testing.assert_allclose(to_numpy(by_var), [[0.125], [0.5]], rtol=1e-14)
    assert dtype_name(by_var) == "float64"
    assert device_of(by_var) == device_of(mean)


def test_variances_below_eps_keep_their_gradient(device):
    loss = losses.GaussianNLLLoss(eps=0.5)
    one = device.asarray(np.array([[1.0]]))
    value = loss((one, one * 0.0), one)
    np.testing.assert_allclose(float(value), 0.5 * math.log(0.5), rtol=1e-14)
    np.testing.assert_allclose(to_numpy(loss.backward()[1]), [[1.0]], rtol=1e-14)


def test_cosine_embedding_by_hand(device):
    x1 = device.asarray(np.array([[3.0, 4.0], [1.0, 0.0], [1.0, 0.0], [1.0, 2.0]]))
    x2 = device.asarray(np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0], [2.0, 1.0]]))
    target = device.asarray(np.array([1, -1, -1, 0]))
    loss = losses.CosineEmbeddingLoss(0.5, "none")
    for value in (loss((x1, x2), target), loss(x1, x2, target)):
        np.testing.assert_allclose(to_numpy(value), [0.4, 0.1, 0.0, 0.0], atol=1e-11)
    first, second = (to_numpy(g) for g in loss.backward())
    # d cos / d x1 = x2 / (|x1| |x2|) - cos * x1 / |x1|^2
    a = np.array([1 / 5 - 0.6 * 3 / 25, -0.6 * 4 / 25])
    b = np.array([3 / 5 - 0.6, 4 / 5])
    np.testing.assert_allclose(first, [-a, b, [0, 0], [0, 0]], atol=1e-11)
    np.testing.assert_allclose(second, [-b, a, [0, 0], [0, 0]], atol=1e-11)


DIFFERENTIABLE = [
    losses.BCELoss([1.0, 2.0, 3.0, 4.0]),
    losses.SmoothL1Loss(beta=0.3),
    losses.KLDivLoss("batchmean"),
    losses.KLDivLoss("sum", log_target=True),
    losses.PoissonNLLLoss(full=True),
    losses.PoissonNLLLoss(False, eps=0.1),
    losses.SoftMarginLoss(),
    losses.HingeEmbeddingLoss(0.6),
    losses.MultiMarginLoss(2, 0.5, [0.5, 1.0, 2.0, 3.0]),
]
PAIRS = [losses.GaussianNLLLoss(True, 0.01, "sum"), losses.CosineEmbeddingLoss(0.2, "none")]


@pytest.mark.parametrize("loss", DIFFERENTIABLE, ids=str)
def test_gradients_against_differences(rng, loss):
    x = rng.uniform(0.1, 0.9, size=(5, 4))
    target = rng.uniform(0.1, 0.9, size=(5, 4))
    if isinstance(loss, losses.MultiMarginLoss):
        target = np.array([0, 3, 2, 1, 1])
    elif isinstance(loss, (losses.SoftMarginLoss, losses.HingeEmbeddingLoss)):
        target = np.where(target > 0.5, 1.0, -1.0)
    assert gradcheck(loss, x, target, sample_weight=rng.random(5))


@pytest.mark.parametrize("loss", [*DIFFERENTIABLE, *PAIRS], ids=str)
def test_configuration_round_trip(loss):
    again = losses.from_config(json.loads(json.dumps(losses.to_config(loss))))
    assert type(again) is type(loss)
    assert again.config() == loss.config()
    assert repr(again) == repr(loss)


# -- Training --------------------------------------------------------------------------------------

ENDS = {
    "bce": xpcnn.Sigmoid,
    "smooth_l1": xpcnn.Tanh,
    "kl_div": xpcnn.LogSoftmax,
    "poisson_nll": xpcnn.Tanh,
    "multi_margin": xpcnn.Tanh,
    "soft_margin": xpcnn.Tanh,
    "hinge_embedding": xpcnn.Softplus,
}


@pytest.mark.parametrize("name", ENDS)
def test_a_model_learns_is_saved_and_goes_on(name, tmp_path):
    """One step moves the weights as the gradient says; the loss is in the file."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(24, 5)).astype("float32")
    target = {
        "kl_div": np.eye(3)[rng.integers(0, 3, 24)],
        "multi_margin": rng.integers(0, 3, 24).astype("uint8"),
        "soft_margin": rng.choice([-1, 1], size=(24, 3)),
        "hinge_embedding": rng.choice([-1, 1], size=(24, 3)),
    }.get(name, rng.integers(0, 2, size=(24, 3)))
    model = xpcnn.Model([xpcnn.Linear(5, 3), ENDS[name]()], device="cpu", seed=0)
    history = model.fit(
        x, target, loss=name, optimizer="adam", epochs=15, batch_size=8, verbose=0
    ).history
    assert history["loss"][-1] < history["loss"][0]
    model.save(tmp_path / "model.safetensors")
    again = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert type(again.loss) is type(losses.get(name))
    weights = rng.uniform(0.5, 1.0, 24)
    expected = model.fit(x, target, sample_weight=weights, epochs=2, verbose=0).history["loss"][-1]
    got = again.fit(x, target, sample_weight=weights, epochs=2, verbose=0).history["loss"][-1]
    assert got == expected


def test_losses_of_two_predictions_say_so_in_fit():
    model = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu")
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1))
    for name in ("gaussian_nll", "cosine_embedding"):
        with pytest.raises(ValueError, match=r"has 1 output.*Loss takes 2"):
            model.fit(x, y, loss=name, optimizer="sgd", verbose=0)


def test_targets_of_a_pair():
    loss = losses.GaussianNLLLoss()
    prepared = loss.prepare_target(((8, 3), (8, 1)), np.ones((4, 3), int), "float32")
    assert prepared.dtype == np.float32
    with pytest.raises(ValueError, match="GaussianNLLLoss: expected targets of shape"):
        loss.prepare_target(((8, 3), (8, 1)), np.ones((4, 2)), "float32")
    loss = losses.CosineEmbeddingLoss()
    prepared = loss.prepare_target(((8, 3), (8, 3)), np.array([1, -1]), "float32")
    np.testing.assert_array_equal(prepared, [1.0, -1.0])
    with pytest.raises(ValueError, match="must be 1 or -1, got 0; turn 0 and 1"):
        loss.prepare_target(((8, 3), (8, 3)), np.array([1, 0]), "float32")


# -- Targets and settings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "target", "error", "message"),
    [
        (losses.BCELoss(), [[2.0, 0.0]], ValueError, "BCELoss: targets must lie from 0 to 1"),
        (losses.KLDivLoss(), [[-1.0, 0.0]], ValueError, "not be negative, got -1; pass log_target"),
        (losses.KLDivLoss(), [1], ValueError, "one-hot rows with numpy.eye"),
        (losses.PoissonNLLLoss(), [[-1.0, 0.0]], ValueError, "counts.*got -1"),
        (losses.SoftMarginLoss(), [[1, 0]], ValueError, "got 0; turn 0 and 1.*2 \\* target - 1"),
        (losses.HingeEmbeddingLoss(), [[1, 3]], ValueError, "must be 1 or -1, got 3$"),
        (losses.MultiMarginLoss(), [2], ValueError, "from 0 to 1, got 2.*as many outputs"),
        (losses.MultiMarginLoss(), [-1, 0], ValueError, "got -1 .*labels count from 0$"),
        (losses.MultiMarginLoss(), [1.0], TypeError, "astype\\('int64'\\)"),
        (losses.MultiMarginLoss(), [[0.5, 0.5]], ValueError, "CrossEntropyLoss"),
        (losses.MultiMarginLoss(), [[1], [0]], ValueError, "labels of shape \\(N,\\)"),
        (losses.MultiMarginLoss(weight=[1.0]), [1], ValueError, "weight has 1 numbers"),
    ],
    ids=str,
)
def test_wrong_targets(loss, target, error, message):
    with pytest.raises(error, match=f"{type(loss).__name__}: .*{message}|{message}"):
        loss.prepare_target((8, 2), np.array(target), "float32")


def test_one_hot_rows_become_labels():
    prepared = losses.MultiMarginLoss().prepare_target((8, 3), np.eye(3)[[2, 0]], "float32")
    np.testing.assert_array_equal(prepared, [2, 0])
    assert prepared.dtype == np.int64
    flags = losses.MultiMarginLoss().prepare_target((8, 2), np.array([True, False]), "float32")
    np.testing.assert_array_equal(flags, [1, 0])


X = np.full((2, 3), 0.5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.BCELoss()(X + 1, X), ValueError, "BCELoss: predictions.*1.5 to 1.5.*Sigm"),
        (lambda: losses.BCELoss()(-X, X), ValueError, "BCELoss: predictions.*-0.5 to -0.5"),
        (lambda: losses.BCELoss([1.0] * 4)(X, X), ValueError, "weight of shape \\(4,\\) does not"),
        (lambda: losses.GaussianNLLLoss()(X, X), TypeError, "pair of predictions, mean and var"),
        (lambda: losses.GaussianNLLLoss()(X, X, -X), ValueError, "not be negative, got -0.5"),
        (lambda: losses.GaussianNLLLoss()(X, X, X[:, :2]), ValueError, "the shape of the mean"),
        (lambda: losses.GaussianNLLLoss()(X, X, X.astype("float32")), TypeError, "be alike"),
        (lambda: losses.GaussianNLLLoss()(X, X[:, :2], X), ValueError, "expected targets of shape"),
        (lambda: losses.CosineEmbeddingLoss()(X, X[:1], X[:, 0]), ValueError, "vectors of shape"),
        (lambda: losses.CosineEmbeddingLoss()((X, X), X), ValueError, "vectors of shape"),
        (lambda: losses.MultiMarginLoss()(X, np.array([0, 3])), ValueError, "from 0 to 2, got 3"),
        (lambda: losses.MultiMarginLoss()(X, X[:, 0]), TypeError, "expected dtype int64"),
        (lambda: losses.SoftMarginLoss()(X, X[:, :1]), ValueError, "SoftMarginLoss: expected tar"),
        (lambda: losses.SmoothL1Loss(beta=-1.0), ValueError, "beta must be a finite number"),
        (lambda: losses.PoissonNLLLoss(eps=0.0), ValueError, "PoissonNLLLoss: eps"),
        (lambda: losses.GaussianNLLLoss(eps=math.nan), ValueError, "GaussianNLLLoss: eps"),
        (lambda: losses.MultiMarginLoss(3), ValueError, "p must be 1 or 2, got 3"),
        (lambda: losses.MultiMarginLoss(weight=[-1.0]), ValueError, "weight must be one finite"),
        (lambda: losses.CosineEmbeddingLoss(math.inf), ValueError, "margin must be a finite"),
        (lambda: losses.MSELoss("batchmean"), ValueError, "reduction must be one of"),
        (lambda: losses.KLDivLoss("median"), ValueError, "'none', 'batchmean'; got 'median'"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_nan_predictions_give_a_nan_loss():
    """So that training stops at their source, and not at the loss."""
    x = np.array([[np.nan, 0.5]])
    assert math.isnan(losses.BCELoss()(x, np.ones((1, 2))))


def test_backward_of_a_pair_needs_a_forward():
    with pytest.raises(RuntimeError, match="CosineEmbeddingLoss: backward needs a forward"):
        losses.CosineEmbeddingLoss().backward()
