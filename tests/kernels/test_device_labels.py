"""Cross-entropy of labels that lie on a device: its kernel is asked, and nobody waits for it."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp, kernels, losses
from xpcnn.device import resolve
from xpcnn.kernels.dispatch import OpPair
from xpcnn.kernels.trace import Declined

SEEN = []


def forward(xp, x, labels, ignore_index, weight, smoothing, whole):
    """Do as the kernels of a device do: the number of labels that count stays there."""
    if weight is not None or smoothing:
        return Declined("plain cross-entropy only")
    SEEN.append(labels)
    classes = xp.arange(x.shape[1], dtype=labels.dtype, device=_xp.device_of(x))
    chosen = xp.expand_dims(labels, axis=1) == classes
    chosen = xp.logical_and(chosen, xp.expand_dims(labels != ignore_index, axis=1))
    e = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    p = e / xp.sum(e, axis=1, keepdims=True)
    valid = xp.any(chosen, axis=1)
    terms = -xp.sum(xp.where(chosen, xp.log(p), 0.0), axis=1)
    one_hot = xp.astype(chosen, x.dtype)
    slopes = xp.where(xp.expand_dims(valid, axis=1), p - one_hot, 0.0)
    found = xp.sum(terms, dtype=terms.dtype) if whole else terms
    return (found, xp.sum(xp.astype(valid, xp.int32))), slopes


def backward(xp, scale, slopes):
    if isinstance(scale, float):
        return slopes * scale
    return slopes * (scale if scale.ndim == 0 else xp.expand_dims(scale, axis=1))


@pytest.fixture
def own_kernel(monkeypatch):
    """Give every library a kernel for cross-entropy, as CuPy has one."""
    real = kernels.dispatch._candidates
    own = (("own", OpPair(forward, backward)),)
    monkeypatch.setattr(
        kernels.dispatch,
        "_candidates",
        lambda op, *rest: own if op == "cross_entropy" else real(op, *rest),
    )
    SEEN.clear()


@pytest.fixture
def no_waiting(monkeypatch):
    """Make it an error to read a number of an array of array-api-strict."""
    strict = pytest.importorskip("array_api_strict")

    def wait(self):
        raise AssertionError("the host waits for the device")

    kind = type(strict.zeros(1))
    for name in ("__bool__", "__int__", "__float__", "__index__"):
        monkeypatch.setattr(kind, name, wait)


def run(device, reduction, weights):
    rng = np.random.default_rng(5)
    x = device.asarray(rng.normal(size=(6, 4)))
    labels = device.asarray(np.array([0, 3, -1, 1, 2, -1]))
    weights = device.asarray(rng.random(6)) if weights else None
    loss = losses.CrossEntropyLoss(ignore_index=-1, reduction=reduction)
    value = loss(x, labels, sample_weight=weights)
    return value, loss.backward()


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_numbers_are_those_without_it(device, request, reduction, weights):
    expected = run(device, reduction, weights)
    request.getfixturevalue("own_kernel")
    found = run(device, reduction, weights)
    assert len(SEEN) == 1
    for a, b in zip(found, expected, strict=True):
        assert _xp.device_of(a) == device.physical
        np.testing.assert_allclose(_xp.to_numpy(a), _xp.to_numpy(b), rtol=1e-13)


def test_where_every_label_is_ignored(own_kernel):
    device = resolve("strict:1")
    x, labels = device.asarray(np.ones((3, 2))), device.asarray(np.full(3, 7))
    loss = losses.CrossEntropyLoss(ignore_index=7)
    assert np.isnan(float(loss(x, labels)))
    assert not _xp.to_numpy(loss.backward()).any()


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nobody_waits(own_kernel, no_waiting, reduction, weights):
    run(resolve("strict:1"), reduction, weights)
    assert len(SEEN) == 1


def test_training_asks_it(own_kernel):
    device = resolve("strict:1")
    model = xpcnn.Model([xpcnn.Linear(3, 2)], device=device, seed=0)
    x, y = np.random.default_rng(0).random((5, 3), "float32"), np.array([0, 1, 0, 1, 1])
    model.fit(x, y, batch_size=3, optimizer="sgd", loss="cross_entropy", verbose=0)
    assert [labels.shape for labels in SEEN] == [(3,), (2,)]
    assert all(_xp.device_of(labels) == device.physical for labels in SEEN)
