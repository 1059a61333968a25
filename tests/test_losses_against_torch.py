"""Losses of probabilities, margins and pairs against PyTorch in float64, arguments at random."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import losses

torch = pytest.importorskip("torch")
nn = torch.nn

PER_TEST = 40
REDUCTIONS = ["mean", "sum", "none"]


def check(rng, ours, theirs, inputs, target):
    """Compare the loss, and the gradients of all inputs for a random gradient of the loss.

    PyTorch gets sample weights as a factor on its terms.
    """
    weighted = rng.random() < 0.4
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    target_theirs = torch.tensor(target)
    before = [x.copy() for x in inputs]
    prediction = inputs[0] if len(inputs) == 1 else tuple(inputs)
    weights = rng.uniform(0.0, 2.0, size=len(target)) if weighted else None
    value = ours(prediction, target, sample_weight=weights)
    expected = theirs(tensors, target_theirs)
    if weights is not None:
        factor = torch.tensor(weights).reshape(-1, *(1,) * (expected.ndim - 1))
        expected = expected * factor
    count = {"none": None, "sum": 1, "batchmean": len(target)}.get(ours.reduction, expected.numel())
    if count is not None:
        expected = expected.sum() / count
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    dy = rng.normal(size=np.shape(value))
    expected.backward(torch.tensor(dy))
    got = ours.backward(np.asarray(dy))
    for one, tensor in zip((got,) if len(inputs) == 1 else got, tensors, strict=True):
        assert one.shape == tuple(tensor.shape)
        np.testing.assert_allclose(one, tensor.grad.numpy(), rtol=1e-11, atol=1e-12)
    for x, old in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, old)


def draw_shape(rng, low=1):
    return tuple(int(n) for n in rng.integers(1, 5, size=int(rng.integers(low, 5))))


def signs(rng, shape):
    return rng.choice([-1.0, 1.0], size=shape)


def bce(rng, reduction):
    shape = draw_shape(rng)
    weight = None
    if rng.random() < 0.5:
        weight = rng.random(shape if rng.random() < 0.5 else shape[-1:])
    theirs = nn.BCELoss(None if weight is None else torch.tensor(weight), reduction="none")
    x, target = rng.random(shape), rng.random(shape)
    x.flat[0] = rng.choice([0.0, 1.0, x.flat[0]])
    target.flat[0] = rng.choice([0.0, 1.0])
    return losses.BCELoss(weight, reduction), lambda x, t: theirs(x[0], t), [x], target


def smooth_l1(rng, reduction):
    shape, beta = draw_shape(rng), float(rng.choice([0.0, 0.5, 1.0, rng.uniform(0.1, 3)]))
    x, target = rng.normal(size=(2, *shape))
    x.flat[0] = target.flat[0] + rng.choice([0.0, beta, -beta])
    theirs = nn.SmoothL1Loss(reduction="none", beta=beta)
    return losses.SmoothL1Loss(reduction, beta), lambda x, t: theirs(x[0], t), [x], target


def kl_div(rng, reduction):
    shape = draw_shape(rng)
    log_target = bool(rng.random() < 0.5)
    reduction = str(rng.choice([reduction, "batchmean"]))
    target = np.log(rng.random(shape)) if log_target else rng.random(shape)
    if not log_target:
        target.flat[0] = 0.0
    theirs = nn.KLDivLoss(reduction="none", log_target=log_target)
    ours = losses.KLDivLoss(reduction, log_target)
    return ours, lambda x, t: theirs(x[0], t), [np.log(rng.random(shape))], target


def poisson_nll(rng, reduction):
    shape = draw_shape(rng)
    options = {
        "log_input": bool(rng.random() < 0.5),
        "full": bool(rng.random() < 0.5),
        "eps": float(rng.choice([1e-8, 0.1])),
    }
    x = rng.normal(size=shape) if options["log_input"] else rng.random(shape) * 5
    theirs = nn.PoissonNLLLoss(reduction="none", **options)
    target = rng.poisson(2.0, size=shape).astype(float)
    if rng.random() < 0.3:
        target = rng.random(shape) * 4
    ours = losses.PoissonNLLLoss(reduction=reduction, **options)
    return ours, lambda x, t: theirs(x[0], t), [x], target


def gaussian_nll(rng, reduction):
    shape = draw_shape(rng)
    options = {"full": bool(rng.random() < 0.5), "eps": float(rng.choice([1e-6, 0.3]))}
    form = int(rng.integers(3))
    var_shape = shape
    if form == 1 and len(shape) > 1:
        var_shape = shape[:-1]
    elif form == 2:
        axis = int(rng.integers(len(shape)))
        var_shape = (*shape[:axis], 1, *shape[axis + 1 :])
    mean, target, var = rng.normal(size=shape), rng.normal(size=shape), rng.random(var_shape)
    var.flat[0] = rng.choice([0.0, var.flat[0]])
    theirs = nn.GaussianNLLLoss(reduction="none", **options)
    ours = losses.GaussianNLLLoss(reduction=reduction, **options)
    return ours, lambda x, t: theirs(x[0], t, x[1]), [mean, var], target


def multi_margin(rng, reduction):
    samples, classes = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    weight = rng.random(classes) if rng.random() < 0.5 else None
    p, margin = int(rng.integers(1, 3)), float(rng.choice([1.0, 0.5, rng.normal()]))
    x = np.round(rng.normal(size=(samples, classes)) * 2) / 2  # with ties and exact margins
    tensor = None if weight is None else torch.tensor(weight)
    theirs = nn.MultiMarginLoss(p, margin, tensor, reduction="none")
    target = rng.integers(0, classes, size=samples)
    ours = losses.MultiMarginLoss(p, margin, weight, reduction)
    return ours, lambda x, t: theirs(x[0], t), [x], target


def soft_margin(rng, reduction):
    shape = draw_shape(rng)
    theirs = nn.SoftMarginLoss(reduction="none")
    x = rng.normal(size=shape) * 10
    return losses.SoftMarginLoss(reduction), lambda x, t: theirs(x[0], t), [x], signs(rng, shape)


def hinge_embedding(rng, reduction):
    shape, margin = draw_shape(rng), float(rng.choice([1.0, 0.5, rng.normal()]))
    x = np.round(rng.normal(size=shape) * 2) / 2
    theirs = nn.HingeEmbeddingLoss(margin, reduction="none")
    target = signs(rng, shape)
    target.flat[0] = rng.choice([1.0, 0.0])
    return losses.HingeEmbeddingLoss(margin, reduction), lambda x, t: theirs(x[0], t), [x], target


def cosine_embedding(rng, reduction):
    samples, features = int(rng.integers(1, 5)), int(rng.integers(1, 6))
    margin = float(rng.choice([0.0, 0.5, -0.5]))
    first, second = rng.normal(size=(2, samples, features))
    if rng.random() < 0.3:
        first[0] = 0.0
    if rng.random() < 0.3:
        second = first.copy()
    theirs = nn.CosineEmbeddingLoss(margin, reduction="none")
    target = signs(rng, samples)
    ours = losses.CosineEmbeddingLoss(margin, reduction)
    return ours, lambda x, t: theirs(x[0], x[1], t), [first, second], target


FAMILIES = [
    bce,
    smooth_l1,
    kl_div,
    poisson_nll,
    gaussian_nll,
    multi_margin,
    soft_margin,
    hinge_embedding,
    cosine_embedding,
]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_agrees_with_torch(family, reduction):
    rng = np.random.default_rng([len(reduction), *family.__name__.encode()])
    for number in range(PER_TEST):
        case = family(rng, reduction)
        try:
            check(rng, *case)
        except Exception as error:
            error.add_note(f"draw {number}: {case[0]} on shape {case[2][0].shape}")
            raise


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_torch_reduces_alike(rng, reduction):
    """The comparison above reduces PyTorch's terms itself; here PyTorch does."""
    x, y = rng.random((2, 3, 4))
    labels, ones = rng.integers(0, 4, size=3), signs(rng, (3, 4))
    cases = [
        ("BCELoss", {}, [x], y),
        ("SmoothL1Loss", {"beta": 0.3}, [x], y),
        ("KLDivLoss", {}, [np.log(x)], y),
        ("PoissonNLLLoss", {"full": True}, [x], y),
        ("MultiMarginLoss", {"weight": [0.5, 1.0, 2.0, 3.0]}, [x], labels),
        ("SoftMarginLoss", {}, [x], ones),
        ("HingeEmbeddingLoss", {}, [x], ones),
        ("GaussianNLLLoss", {}, [x, y], y[::-1].copy()),
        ("CosineEmbeddingLoss", {}, [x, y], ones[:, 0]),
    ]
    for name, options, inputs, target in cases:
        ours = getattr(losses, name)(reduction=reduction, **options)
        if "weight" in options:
            options = {"weight": torch.tensor(options["weight"], dtype=torch.float64)}
        theirs = getattr(nn, name)(reduction=reduction, **options)
        tensors = [torch.tensor(a) for a in inputs]
        # in PyTorch's order of arguments, which ours takes too
        order = (0, 2, 1) if name == "GaussianNLLLoss" else (0, 1, 2)
        order = order[: len(inputs) + 1]
        place, host = [*tensors, torch.tensor(target)], [*inputs, target]
        expected = theirs(*(place[i] for i in order))
        value = ours(*(host[i] for i in order))
        np.testing.assert_allclose(value, expected.numpy(), rtol=1e-12, err_msg=name)


def test_kl_div_batchmean_is_that_of_torch(rng):
    x, y = rng.random((2, 3, 4))
    expected = nn.KLDivLoss(reduction="batchmean")(torch.tensor(np.log(x)), torch.tensor(y))
    np.testing.assert_allclose(losses.KLDivLoss("batchmean")(np.log(x), y), expected, rtol=1e-13)


def test_a_number_for_the_variance(rng):
    mean, target = rng.normal(size=(2, 3, 2))
    expected = nn.GaussianNLLLoss()(torch.tensor(mean), torch.tensor(target), 0.7)
    np.testing.assert_allclose(losses.GaussianNLLLoss()(mean, target, 0.7), expected, rtol=1e-13)
