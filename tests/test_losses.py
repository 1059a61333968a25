"""Losses against cases worked by hand and against PyTorch."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from xpcnn import losses
from xpcnn._xp import device_of, dtype_name, to_numpy
from xpcnn.device import Device
from xpcnn.gradcheck import gradcheck

SETTINGS = [
    losses.CrossEntropyLoss([0.5, 2.0, 0.0, 1.0], ignore_index=7, label_smoothing=0.1),
    losses.NLLLoss([0.5, 2.0, 0.0, 1.0], ignore_index=-1, reduction="sum"),
    losses.MSELoss("none"),
    losses.L1Loss("sum"),
    losses.HuberLoss(delta=0.5),
    losses.BCEWithLogitsLoss([1.0, 2.0, 3.0, 4.0], pos_weight=[0.5, 1.0, 2.0, 3.0]),
]


def by_name(loss: losses.Loss) -> str:
    return type(loss).__name__


# -- By hand, on every device ----------------------------------------------------------------------


def test_cross_entropy_by_hand(device: Device) -> None:
    # softmax([0, log 3]) = (1/4, 3/4) and softmax([0, 0]) = (1/2, 1/2).
    x = device.asarray(np.array([[0.0, math.log(3.0)], [0.0, 0.0]]))
    target = device.asarray(np.array([0, 1]))
    loss = losses.CrossEntropyLoss()
    value = loss(x, target)
    np.testing.assert_allclose(float(value), (math.log(4.0) + math.log(2.0)) / 2, rtol=1e-14)
    gradient = loss.backward()
    np.testing.assert_allclose(
        to_numpy(gradient), [[-0.375, 0.375], [0.25, -0.25]], rtol=1e-14, atol=1e-16
    )
    assert device_of(gradient) == device_of(x)
    assert tuple(value.shape) == ()


def test_cross_entropy_everything_on_by_hand(device: Device) -> None:
    # Logits of log probabilities (1/4, 3/4) three times; the last target is ignored.
    # Smoothed targets of class 0: (0.9, 0.1), of class 1: (0.1, 0.9); class weights (2, 1);
    # the mean divides by the weights of the targets, 2 + 1; sample weights do not change that.
    x = device.asarray(np.log([[0.25, 0.75]] * 3))
    target = device.asarray(np.array([0, 1, -100]))
    loss = losses.CrossEntropyLoss([2.0, 1.0], label_smoothing=0.2)
    first = 2 * 0.9 * math.log(4) + 1 * 0.1 * math.log(4 / 3)
    second = 2 * 0.1 * math.log(4) + 1 * 0.9 * math.log(4 / 3)
    np.testing.assert_allclose(float(loss(x, target)), (first + second) / 3, rtol=1e-14)
    weights = device.asarray(np.array([3.0, 0.5, 9.0]))
    value = loss(x, target, sample_weight=weights)
    np.testing.assert_allclose(float(value), (3 * first + 0.5 * second) / 3, rtol=1e-14)
    # d(first)/dx = p * sum(T) - T with T = (1.8, 0.1)
    expected = [
        [3 * (0.25 * 1.9 - 1.8) / 3, 3 * (0.75 * 1.9 - 0.1) / 3],
        [0.5 * (0.25 * 1.1 - 0.2) / 3, 0.5 * (0.75 * 1.1 - 0.9) / 3],
        [0.0, 0.0],
    ]
    np.testing.assert_allclose(to_numpy(loss.backward()), expected, rtol=1e-13, atol=1e-16)


def test_label_forms_give_the_same_numbers(device: Device) -> None:
    x = device.asarray(np.array([[0.3, -1.0, 2.0], [1.0, 0.0, 0.5]], dtype="float32"))
    loss = losses.CrossEntropyLoss()
    reference = loss(x, device.asarray(np.array([2, 0])))
    gradient = to_numpy(loss.backward())
    rows = np.array([[0, 0, 1], [1, 0, 0]])
    forms = [np.array([2, 0], dtype="uint8"), rows.astype(bool), rows.astype("float32")]
    for form in forms:
        value = loss(x, device.asarray(form))
        assert dtype_name(value) == "float32"
        np.testing.assert_allclose(float(value), float(reference), rtol=1e-6)
        np.testing.assert_allclose(to_numpy(loss.backward()), gradient, rtol=1e-5, atol=1e-7)


def test_nll_by_hand(device: Device) -> None:
    logp = device.asarray(np.log([[0.25, 0.75], [0.5, 0.5]]))
    loss = losses.NLLLoss(reduction="sum")
    value = loss(logp, device.asarray(np.array([1, 0])))
    np.testing.assert_allclose(float(value), math.log(4 / 3) + math.log(2), rtol=1e-14)
    np.testing.assert_array_equal(to_numpy(loss.backward()), [[0.0, -1.0], [-1.0, 0.0]])


@pytest.mark.parametrize(
    ("loss", "value", "gradient"),
    [
        (losses.MSELoss(), (0.25 + 9.0) / 2, [[0.5], [-3.0]]),
        (losses.L1Loss(), (0.5 + 3.0) / 2, [[0.5], [-0.5]]),
        (losses.HuberLoss(delta=2.0), (0.125 + 2 * (3 - 1)) / 2, [[0.25], [-1.0]]),
    ],
    ids=by_name,
)
def test_differences_by_hand(
    device: Device, loss: losses.Loss, value: float, gradient: list[list[float]]
) -> None:
    x = device.asarray(np.array([[1.5], [-1.0]]))
    target = device.asarray(np.array([[1.0], [2.0]]))
    assert float(loss(x, target)) == value
    np.testing.assert_array_equal(to_numpy(loss.backward()), gradient)
    # Sample weights multiply; the mean still divides by the number of terms.
    weights = device.asarray(np.array([2.0, 0.0]))
    loss(x, target, sample_weight=weights)
    np.testing.assert_array_equal(to_numpy(loss.backward()), [[2 * gradient[0][0]], [0.0]])


def test_bce_with_logits_by_hand(device: Device) -> None:
    x = device.asarray(np.array([[0.0, 1000.0, -1000.0, 1000.0]]))
    target = device.asarray(np.array([[1.0, 1.0, 1.0, 0.0]]))
    loss = losses.BCEWithLogitsLoss(reduction="none", pos_weight=2.0)
    np.testing.assert_allclose(
        to_numpy(loss(x, target)), [[2 * math.log(2), 0.0, 2000.0, 1000.0]], rtol=1e-14
    )
    np.testing.assert_allclose(to_numpy(loss.backward()), [[-1.0, 0.0, -2.0, 1.0]], rtol=1e-14)


def test_shares_of_a_class_of_probability_zero(device: Device) -> None:
    x = device.asarray(np.array([[0.0, -np.inf]]))
    loss = losses.CrossEntropyLoss()
    assert float(loss(x, device.asarray(np.array([0])))) == 0.0
    np.testing.assert_array_equal(to_numpy(loss.backward()), [[0.0, 0.0]])
    assert float(loss(x, device.asarray(np.array([1])))) == np.inf


def test_all_targets_ignored(device: Device) -> None:
    loss = losses.CrossEntropyLoss()
    x = device.asarray(np.array([[1.0, 2.0]]))
    assert math.isnan(float(loss(x, device.asarray(np.array([-100])))))
    np.testing.assert_array_equal(to_numpy(loss.backward()), [[0.0, 0.0]])


# -- Against PyTorch -------------------------------------------------------------------------------


def compare(ours: losses.Loss, theirs: object, x: np.ndarray, target: np.ndarray) -> None:
    """Compare value, gradient, and the gradient for a random weighting of the loss."""
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs(tensor, torch.tensor(target))  # type: ignore[operator]
    before = x.copy()
    value = ours(x, target)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-13, atol=1e-14)
    dy = np.random.default_rng(1).normal(size=np.shape(value))
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(
        ours.backward(np.asarray(dy)), tensor.grad.numpy(), rtol=1e-11, atol=1e-15
    )
    np.testing.assert_array_equal(x, before)


CLASS_CASES = list(
    itertools.product(
        [(6, 4), (3, 4, 5), (2, 4, 3, 2)],
        ["labels", "ignored", "ignored class", "soft", "one-hot"],
        [None, [0.5, 2.0, 0.25, 1.0]],
        ["mean", "sum", "none"],
        [0.0, 0.1, 1.0],
    )
)


@pytest.mark.parametrize(("shape", "form", "weight", "reduction", "smoothing"), CLASS_CASES)
def test_cross_entropy_as_pytorch(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    form: str,
    weight: list[float] | None,
    reduction: str,
    smoothing: float,
) -> None:
    torch = pytest.importorskip("torch")
    x = rng.normal(size=shape) * 3
    target = rng.integers(0, 4, (shape[0], *shape[2:]))
    ignore = 1 if form == "ignored class" else -100
    if form == "ignored":
        target.flat[::3] = -100
    elif form == "soft":
        target = rng.random(shape)
    elif form == "one-hot":
        target = np.moveaxis(np.eye(4)[target], -1, 1)
    theirs = torch.nn.CrossEntropyLoss(
        None if weight is None else torch.tensor(weight, dtype=torch.float64),
        ignore_index=ignore,
        reduction=reduction,
        label_smoothing=smoothing,
    )
    compare(losses.CrossEntropyLoss(weight, ignore, reduction, smoothing), theirs, x, target)
    if form in ("labels", "ignored", "ignored class") and smoothing == 0.0:
        theirs = torch.nn.NLLLoss(theirs.weight, ignore_index=ignore, reduction=reduction)
        compare(losses.NLLLoss(weight, ignore, reduction), theirs, -np.abs(x), target)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_regression_as_pytorch(rng: np.random.Generator, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    x, target = rng.normal(size=(2, 5, 3, 2))
    target[0, 0, 0] = x[0, 0, 0]  # the kink of the absolute value
    compare(losses.MSELoss(reduction), torch.nn.MSELoss(reduction=reduction), x, target)
    compare(losses.L1Loss(reduction), torch.nn.L1Loss(reduction=reduction), x, target)
    for delta in (0.3, 1.0, 10.0):
        theirs = torch.nn.HuberLoss(reduction=reduction, delta=delta)
        compare(losses.HuberLoss(reduction, delta), theirs, x, target)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, (4,), (1, 4), (5, 1)])
@pytest.mark.parametrize("pos_weight", [None, (4,)])
def test_bce_with_logits_as_pytorch(
    rng: np.random.Generator,
    reduction: str,
    weight: tuple[int, ...] | None,
    pos_weight: tuple[int, ...] | None,
) -> None:
    torch = pytest.importorskip("torch")
    x, target = rng.normal(size=(5, 4)) * 20, rng.random((5, 4))
    factors = [None if shape is None else rng.random(shape) for shape in (weight, pos_weight)]
    first, second = (None if f is None else torch.tensor(f) for f in factors)
    theirs = torch.nn.BCEWithLogitsLoss(first, reduction=reduction, pos_weight=second)
    compare(losses.BCEWithLogitsLoss(factors[0], reduction, factors[1]), theirs, x, target)


@pytest.mark.parametrize("loss", SETTINGS, ids=by_name)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_against_differences(
    rng: np.random.Generator, loss: losses.Loss, weighted: bool
) -> None:
    x = rng.normal(size=(5, 4))
    labels = by_name(loss) in ("CrossEntropyLoss", "NLLLoss")
    target = np.array([0, 3, 2, 1, 1]) if labels else rng.random((5, 4))
    options = {"sample_weight": rng.random(5)} if weighted else {}
    assert gradcheck(loss, x, target, **options)


# -- Targets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint64", "int64"])
def test_labels_become_int64(dtype: str) -> None:
    prepared = losses.CrossEntropyLoss().prepare_target(
        (None, 3), np.array([0, 2, 1], dtype=dtype), "float32"
    )
    assert prepared.dtype == np.int64
    np.testing.assert_array_equal(prepared, [0, 2, 1])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", "float64"])
def test_one_hot_rows_become_labels(dtype: str) -> None:
    rows = np.eye(3)[[2, 0]].astype(dtype)
    prepared = losses.CrossEntropyLoss().prepare_target((8, 3), rows, "float32")
    assert prepared.dtype == np.int64
    np.testing.assert_array_equal(prepared, [2, 0])


def test_shares_keep_their_form() -> None:
    soft = np.array([[0.5, 0.5], [1.0, 0.0]])
    loss = losses.CrossEntropyLoss()
    assert loss.prepare_target((2, 2), soft, "float32").dtype == np.float32
    # One-hot rows too, where labels would be averaged otherwise.
    weighted = losses.CrossEntropyLoss([1.0, 2.0])
    np.testing.assert_array_equal(weighted.prepare_target((2, 2), np.eye(2), "float64"), np.eye(2))


LABELS, ROWS = np.array([0, 1]), np.eye(3)[:2]


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (np.array([0, 3]), ValueError, "from 0 to 2.*got 3 at index \\(1,\\)"),
        (np.array([0, -1]), ValueError, "got -1 at index"),
        (np.array([1, 2, 3]), ValueError, "labels count from 0: pass target - 1"),
        (np.array([0.0, 1.0]), TypeError, "astype\\('int64'\\)"),
        (np.array([[0], [1]]), ValueError, "pass target\\[:, 0\\]"),
        (np.eye(4)[:2], ValueError, "gives 3 classes, the targets have 4"),
        (np.zeros((2, 3, 1)), ValueError, "expected integer labels of shape \\(N,\\)"),
        (np.array([[0.5, np.nan, 0.5]]), ValueError, "1 NaN or infinite.*\\(0, 1\\)"),
        (np.array([[1.5, -0.5, 0.0]]), ValueError, "must not be negative"),
        (np.array(["a", "b"]), TypeError, "numpy.unique"),
        (np.zeros(0, dtype=int), ValueError, "empty targets"),
    ],
)
def test_wrong_class_targets(target: np.ndarray, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"CrossEntropyLoss: .*{message}"):
        losses.CrossEntropyLoss().prepare_target((2, 3), target, "float32")


def test_ignored_labels_are_no_error() -> None:
    loss = losses.CrossEntropyLoss(ignore_index=-1)
    np.testing.assert_array_equal(
        loss.prepare_target((2, 3), np.array([-1, 2]), "float32"), [-1, 2]
    )


def test_mse_on_class_labels_speaks_of_one_hot() -> None:
    loss = losses.MSELoss()
    with pytest.raises(ValueError, match="one-hot rows with numpy.eye\\(3\\)"):
        loss.prepare_target((2, 3), LABELS, "float32")
    with pytest.raises(ValueError, match="one-hot rows"):
        loss(np.zeros((2, 3)), LABELS)
    with pytest.raises(ValueError, match="target\\[:, None\\]"):
        loss.prepare_target((2, 1), np.array([0.5, 1.0]), "float32")
    np.testing.assert_array_equal(loss.prepare_target((9, 3), ROWS.astype(int), "float32"), ROWS)


def test_other_wrong_targets() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        losses.L1Loss().prepare_target((2, 1), np.array([[np.inf], [0.0]]), "float32")
    with pytest.raises(ValueError, match="from 0 to 1"):
        losses.BCEWithLogitsLoss().prepare_target((2, 1), np.array([[2], [0]]), "float32")


@pytest.mark.parametrize(
    ("loss", "x", "target", "weights", "error", "message"),
    [
        (losses.MSELoss(), np.zeros((2, 1)), np.zeros((3, 1)), None, ValueError, "2 predictions"),
        (losses.MSELoss(), np.zeros((2, 1), int), ROWS, None, TypeError, "expected dtype float32"),
        (losses.MSELoss(), np.zeros((0, 3)), np.zeros((0, 3)), None, ValueError, "no empty axis"),
        (losses.MSELoss(), [[1.0]], np.zeros((1, 1)), None, TypeError, "MSELoss"),
        (losses.MSELoss(), ROWS, ROWS, np.ones((2, 1)), ValueError, "sample_weight .* \\(2,\\)"),
        (losses.CrossEntropyLoss(), np.zeros(3), LABELS, None, ValueError, "3 predictions"),
        (losses.CrossEntropyLoss(), np.zeros(2), LABELS, None, ValueError, "\\(N, C\\)"),
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


def test_weights_follow_the_prediction(device: Device) -> None:
    loss = losses.CrossEntropyLoss([1.0, 3.0])
    for dtype in ("float32", "float64"):
        x = device.asarray(np.zeros((2, 2)), dtype)
        value = loss(x, device.asarray(np.array([0, 1])))
        assert dtype_name(value) == dtype
        assert dtype_name(loss.backward()) == dtype
        np.testing.assert_allclose(float(value), math.log(2), rtol=1e-6)


# -- Settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", SETTINGS, ids=by_name)
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
        (lambda: losses.CrossEntropyLoss([-1.0, 1.0]), "at least 0"),
        (lambda: losses.BCEWithLogitsLoss(pos_weight=float("nan")), "pos_weight"),
    ],
)
def test_wrong_settings(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
    with pytest.raises(TypeError, match="ignore_index"):
        losses.CrossEntropyLoss(ignore_index=1.5)  # type: ignore[arg-type]
