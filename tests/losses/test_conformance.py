"""What every loss keeps to: values by hand on every library, PyTorch, descriptions, training."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import xpcnn
from tests.pytorch import check_loss, nn, torch
from xpcnn import _xp, losses
from xpcnn.gradcheck import gradcheck

LOG2, LOG3 = math.log(2.0), math.log(3.0)


SETTINGS = [
    losses.CrossEntropyLoss([0.5, 2.0, 0.0, 1.0], ignore_index=7, label_smoothing=0.1),
    losses.NLLLoss([0.5, 2.0, 0.0, 1.0], ignore_index=-1, reduction="sum"),
    losses.MSELoss("none"),
    losses.L1Loss("sum"),
    losses.HuberLoss(delta=0.5),
    losses.BCEWithLogitsLoss([1.0, 2.0, 3.0, 4.0], pos_weight=[0.5, 1.0, 2.0, 3.0]),
]


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


def by_name(loss: losses.Loss) -> str:
    return type(loss).__name__


# -- By hand, on every library ---------------------------------------------------------------------


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


# -- PyTorch, at random ----------------------------------------------------------------------------


PER_TEST = 40


REDUCTIONS = ["mean", "sum", "none"]


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
            check_loss(rng, *case)
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


# -- Gradients against differences -----------------------------------------------------------------


@pytest.mark.parametrize("loss", SETTINGS, ids=by_name)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_with_and_without_sample_weights(
    rng: np.random.Generator, loss: losses.Loss, weighted: bool
) -> None:
    x = rng.normal(size=(5, 4))
    labels = by_name(loss) in ("CrossEntropyLoss", "NLLLoss")
    target = np.array([0, 3, 2, 1, 1]) if labels else rng.random((5, 4))
    options = {"sample_weight": rng.random(5)} if weighted else {}
    assert gradcheck(loss, x, target, **options)


@pytest.mark.parametrize("loss", DIFFERENTIABLE, ids=str)
def test_gradients_against_differences(rng, loss):
    x = rng.uniform(0.1, 0.9, size=(5, 4))
    target = rng.uniform(0.1, 0.9, size=(5, 4))
    if isinstance(loss, losses.MultiMarginLoss):
        target = np.array([0, 3, 2, 1, 1])
    elif isinstance(loss, (losses.SoftMarginLoss, losses.HingeEmbeddingLoss)):
        target = np.where(target > 0.5, 1.0, -1.0)
    assert gradcheck(loss, x, target, sample_weight=rng.random(5))


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


def test_nan_predictions_give_a_nan_loss():
    """So that training stops at their source, and not at the loss."""
    x = np.array([[np.nan, 0.5]])
    assert math.isnan(losses.BCELoss()(x, np.ones((1, 2))))


# -- Targets and inputs that do not fit ------------------------------------------------------------


LABELS, ROWS = np.array([0, 1]), np.eye(3)[:2]


def test_other_wrong_targets() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        losses.L1Loss().prepare_target((2, 1), np.array([[np.inf], [0.0]]), "float32")
    with pytest.raises(ValueError, match="from 0 to 1"):
        losses.BCEWithLogitsLoss().prepare_target((2, 1), np.array([[2], [0]]), "float32")


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


@pytest.mark.parametrize(
    ("loss", "x", "target", "weights", "error", "message"),
    [
        (losses.MSELoss(), np.zeros((2, 1)), np.zeros((3, 1)), None, ValueError, "2 predictions"),
        (losses.MSELoss(), np.zeros((2, 1), int), ROWS, None, TypeError, "expected dtype float32"),
        (losses.MSELoss(), [[1.0]], np.zeros((1, 1)), None, TypeError, "MSELoss"),
        (losses.MSELoss(), ROWS, ROWS, np.ones((2, 2)), ValueError, "sample_weight .* \\(2,\\)"),
        (losses.CrossEntropyLoss(), np.zeros(3), LABELS, None, ValueError, "labels of shape"),
        (losses.CrossEntropyLoss(), np.zeros(()), LABELS, None, ValueError, "one prediction"),
        (losses.CrossEntropyLoss(), ROWS, np.array([0, 3]), None, ValueError, "from 0 to 2"),
        (losses.CrossEntropyLoss([1.0, 1.0]), ROWS, LABELS, None, ValueError, "3 classes"),
        (losses.CrossEntropyLoss(None, 0), ROWS, ROWS, None, ValueError, "integer labels only"),
        (losses.BCEWithLogitsLoss([1.0] * 4), ROWS, ROWS, None, ValueError, "does not broadcast"),
    ],
)
def test_wrong_input(
    loss: losses.Loss,
    x: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray | None,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        loss(x, target, sample_weight=weights)
    with pytest.raises(RuntimeError, match="needs a forward"):
        type(loss)().backward()


def test_mixed_libraries_and_devices() -> None:
    strict = pytest.importorskip("array_api_strict")
    loss = losses.MSELoss()
    with pytest.raises(TypeError, match="different libraries"):
        loss(strict.asarray(ROWS), ROWS)
    elsewhere = strict.asarray(ROWS, device=strict.Device("device1"))
    with pytest.raises(TypeError, match="move one of them"):
        loss(strict.asarray(ROWS), elsewhere)


# -- Settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [*SETTINGS, *DIFFERENTIABLE, *PAIRS], ids=str)
def test_configuration_round_trip(loss: losses.Loss) -> None:
    description = json.loads(json.dumps(losses.to_config(loss)))
    again = losses.from_config(description)
    assert type(again) is type(loss)
    assert again.config() == loss.config()
    assert repr(again) == repr(loss)


def test_get() -> None:
    assert isinstance(losses.get("cross_entropy"), losses.CrossEntropyLoss)
    assert isinstance(losses.get(losses.MSELoss), losses.MSELoss)
    loss = losses.HuberLoss()
    assert losses.get(loss) is loss
    with pytest.raises(ValueError, match="'crossentropy'.*'cross_entropy', 'nll', 'mse'"):
        losses.get("crossentropy")
    with pytest.raises(TypeError, match="loss must be a Loss"):
        losses.get(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "description",
    [
        None,
        {"class": "MSELoss"},
        {"class": "os.system", "config": {}},
        {"class": ["MSELoss"], "config": {}},
        {"class": "MSELoss", "config": []},
        {"class": "MSELoss", "config": {"reduction": "median"}},
        {"class": "MSELoss", "config": {"surprise": 1}},
        {"class": "CrossEntropyLoss", "config": {"weight": "heavy"}},
        {"class": "HuberLoss", "config": {"delta": None}},
        {"class": "HuberLoss", "config": {"delta": {"class": "Adam", "config": {}}}},
    ],
)
def test_hostile_descriptions(description: object) -> None:
    with pytest.raises(ValueError):
        losses.from_config(description)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.MSELoss("median"), "reduction must be one of"),
        (lambda: losses.HuberLoss(delta=0.0), "delta"),
        (lambda: losses.CrossEntropyLoss(label_smoothing=1.5), "label_smoothing"),
        (lambda: losses.CrossEntropyLoss([[1.0]]), "one finite number"),
        (lambda: losses.CrossEntropyLoss([math.nan, 1.0]), "one finite number"),
        (lambda: losses.BCEWithLogitsLoss(pos_weight=float("nan")), "pos_weight"),
    ],
)
def test_wrong_settings(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
    with pytest.raises(TypeError, match="ignore_index"):
        losses.CrossEntropyLoss(ignore_index=1.5)  # type: ignore[arg-type]


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
        (
            lambda: losses.MultiMarginLoss(weight=[math.inf]),
            ValueError,
            "weight must be one finite",
        ),
        (lambda: losses.CosineEmbeddingLoss(math.inf), ValueError, "margin must be a finite"),
        (lambda: losses.MSELoss("batchmean"), ValueError, "reduction must be one of"),
        (lambda: losses.KLDivLoss("median"), ValueError, "'none', 'batchmean'; got 'median'"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("base", [xpcnn.MSELoss, xpcnn.CrossEntropyLoss, xpcnn.GaussianNLLLoss])
def test_a_call_is_the_forward_of_a_subclass(base):
    """Also where only `forward` is overridden."""

    class Ten(base):
        def forward(self, *arrays, **options):
            return 10.0

    assert Ten()(np.ones((2, 3)), np.ones((2, 3))) == 10.0
