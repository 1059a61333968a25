"""The loss of a data set does not depend on how it was cut into batches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xpcnn import losses
from xpcnn.device import Device
from xpcnn.losses.running import LossPart, RunningLoss

CUTS = [1, 3, 4, 7, 12]
"""Sizes of batches of twelve samples; with 1, many of them have nothing to count."""


def run(loss: losses.Loss, x, y, size: int, weights=None) -> float:
    running = RunningLoss()
    for at in range(0, 12, size):
        batch = slice(at, min(at + size, 12))
        if isinstance(x, tuple):
            prediction, target = tuple(a[batch] for a in x), tuple(a[batch] for a in y)
        else:
            prediction, target = x[batch, ...], y[batch, ...]
        value = loss(prediction, target, sample_weight=None if weights is None else weights[batch])
        running.add(loss.parts(value, min(size, 12 - at)))
    assert running.first_not_finite is None
    return running.result()


def entropies(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    exact = scores.astype(np.float64)
    return np.log(np.exp(exact).sum(axis=1)) - exact[np.arange(len(labels)), labels]


@pytest.mark.parametrize("size", CUTS)
def test_classes(device: Device, rng: np.random.Generator, size: int) -> None:
    scores, labels = rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    labels[:5] = 1
    factors = np.array([0.5, 0.0, 3.0])
    x, y = device.asarray(scores), device.asarray(labels)
    terms, weights = entropies(scores, labels), factors[labels]
    kept = labels != 1
    expected = {
        losses.CrossEntropyLoss(): terms.mean(),
        losses.CrossEntropyLoss(ignore_index=1): terms[kept].mean(),
        losses.CrossEntropyLoss(factors): (terms * weights).sum() / weights.sum(),
        losses.CrossEntropyLoss(reduction="sum"): terms.sum(),
        losses.CrossEntropyLoss(ignore_index=1, reduction="sum"): terms[kept].sum(),
    }
    for loss, value in expected.items():
        assert run(loss, x, y, size) == pytest.approx(value, rel=1e-12), loss
    # Sample weights multiply; the mean divides by the number of terms all the same.
    shares = rng.random(12)
    shares[3:6] = 0.0
    found = run(losses.CrossEntropyLoss(), x, y, size, device.asarray(shares))
    assert found == pytest.approx((terms * shares).mean(), rel=1e-12)


@pytest.mark.parametrize("size", CUTS)
def test_places_and_smoothing(rng: np.random.Generator, size: int) -> None:
    x, y = rng.normal(size=(12, 3, 2, 2)), rng.integers(0, 3, (12, 2, 2))
    y[:4] = -1
    loss = losses.CrossEntropyLoss([1.0, 2.0, 0.5], ignore_index=-1, label_smoothing=0.2)
    assert run(loss, x, y, size) == pytest.approx(float(loss(x, y)), rel=1e-12)


@pytest.mark.parametrize("size", CUTS)
def test_one_loss_for_each_output(rng: np.random.Generator, size: int) -> None:
    x, y = rng.normal(size=(12, 3)), rng.integers(0, 3, 12)
    y[:7] = -1
    numbers, wanted = rng.normal(size=(12, 2)), rng.normal(size=(12, 2))
    loss = losses.LossPerOutput(
        [losses.CrossEntropyLoss(ignore_index=-1), losses.MSELoss("sum")], [2.0, 0.5]
    )
    expected = 2.0 * entropies(x[7:], y[7:]).mean() + 0.5 * ((numbers - wanted) ** 2).sum()
    assert run(loss, (x, numbers), (y, wanted), size) == pytest.approx(expected, rel=1e-12)


def test_the_mean_of_many_batches_is_exact() -> None:
    # In float32 a running sum of ones stops at 2^24.
    running = RunningLoss()
    running.add((LossPart(np.float32(2.0**24), 2**24),))
    for _ in range(1000):
        running.add((LossPart(np.float32(1.0), 1),))
    running.add((LossPart(np.float32(1000.0), 0),))
    assert running.result() == (2.0**24 + 2000.0) / (2.0**24 + 1000.0)


def test_nothing_counted() -> None:
    loss, running = losses.CrossEntropyLoss(ignore_index=0), RunningLoss()
    assert math.isnan(running.result())
    running.add(loss.parts(loss(np.zeros((2, 3)), np.array([0, 0])), 2))
    assert math.isnan(running.result())
    assert running.first_not_finite is None
    running.add(loss.parts(loss(np.zeros((1, 3)), np.array([2])), 1))
    assert running.result() == pytest.approx(math.log(3.0))


def test_the_first_batch_that_is_not_finite(device: Device) -> None:
    loss, running = losses.MSELoss(), RunningLoss()
    for number in (1.0, 2.0, math.nan, math.inf):
        x = device.asarray(np.array([[number]]))
        with np.errstate(invalid="ignore"):
            running.add(loss.parts(loss(x, device.asarray(np.array([[0.0]]))), 1))
    assert math.isnan(running.result())
    assert running.first_not_finite == 3


def test_a_loss_with_a_forward_of_its_own() -> None:
    class Doubled(losses.MSELoss):
        def forward(self, *arguments, **named):
            return 2.0 * super().forward(*arguments, **named)

        __call__ = forward

    x, y = np.arange(12.0).reshape(12, 1), np.zeros((12, 1))
    # Its value counts, as the mean of a batch.
    assert run(Doubled(), x, y, 5) == pytest.approx(2.0 * (np.arange(12.0) ** 2).mean())
    assert run(Doubled("sum"), x, y, 5) == pytest.approx(2.0 * (np.arange(12.0) ** 2).sum())
