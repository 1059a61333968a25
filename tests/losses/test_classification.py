"""Cross-entropy and negative log-likelihood: by hand, PyTorch, and targets that are classes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.pytorch import compare_loss, nn, torch
from xpcnn import losses
from xpcnn._xp import device_of, dtype_name, to_numpy
from xpcnn.device import Device

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


def test_weights_follow_the_prediction(device: Device) -> None:
    loss = losses.CrossEntropyLoss([1.0, 3.0])
    for dtype in ("float32", "float64"):
        x = device.asarray(np.zeros((2, 2)), dtype)
        value = loss(x, device.asarray(np.array([0, 1])))
        assert dtype_name(value) == dtype
        assert dtype_name(loss.backward()) == dtype
        np.testing.assert_allclose(float(value), math.log(2), rtol=1e-6)


# -- Against PyTorch -------------------------------------------------------------------------------


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
    x = rng.normal(size=shape) * 3
    target = rng.integers(0, 4, (shape[0], *shape[2:]))
    ignore = 1 if form == "ignored class" else -100
    if form == "ignored":
        target.flat[::3] = -100
    elif form == "soft":
        target = rng.random(shape)
    elif form == "one-hot":
        target = np.moveaxis(np.eye(4)[target], -1, 1)
    theirs = nn.CrossEntropyLoss(
        None if weight is None else torch.tensor(weight, dtype=torch.float64),
        ignore_index=ignore,
        reduction=reduction,
        label_smoothing=smoothing,
    )
    compare_loss(losses.CrossEntropyLoss(weight, ignore, reduction, smoothing), theirs, x, target)
    if form in ("labels", "ignored", "ignored class") and smoothing == 0.0:
        theirs = nn.NLLLoss(theirs.weight, ignore_index=ignore, reduction=reduction)
        compare_loss(losses.NLLLoss(weight, ignore, reduction), theirs, -np.abs(x), target)


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
