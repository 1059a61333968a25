"""CTC: all paths one by one, PyTorch, gradients, and a model that reads."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, nn_f, torch
from xpcnn import losses
from xpcnn._xp import device_of, dtype_name, to_numpy
from xpcnn.device import Device, resolve
from xpcnn.gradcheck import gradcheck


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def by_paths(p: np.ndarray, target: list[int], blank: int) -> float:
    """Add up the probabilities (C, T) of all paths that read as the target."""
    classes, steps = p.shape
    total = 0.0
    for path in itertools.product(range(classes), repeat=steps):
        merged = [key for key, _ in itertools.groupby(path)]
        if [c for c in merged if c != blank] == target:
            total += float(np.prod([p[c, t] for t, c in enumerate(path)]))
    return total


TARGETS = [[1, 2], [1, 1], [2], []]


@pytest.mark.parametrize("blank", [0, 2])
def test_all_paths(device: Device, rng: np.random.Generator, blank: int) -> None:
    logp = log_softmax(rng.normal(size=(4, 3, 4)), 1)
    targets = [[(c + blank) % 3 for c in row] for row in TARGETS]
    terms = [-math.log(by_paths(np.exp(x), y, blank)) for x, y in zip(logp, targets, strict=True)]
    rows = np.full((4, 3), -1)
    for row, target in zip(rows, targets, strict=True):
        row[: len(target)] = target
    for dtype, rtol in (("float64", 1e-12), ("float32", 1e-5)):
        x, y = device.asarray(logp, dtype), device.asarray(rows)
        for reduction, expected in (
            ("none", terms),
            ("sum", np.sum(terms)),
            ("mean", np.mean(np.array(terms) / [2, 2, 1, 1])),
        ):
            loss = losses.CTCLoss(blank, reduction)
            value = loss(x, y)
            np.testing.assert_allclose(to_numpy(value), expected, rtol=rtol)
            gradient = loss.backward()
            assert dtype_name(value) == dtype_name(gradient) == dtype
            assert device_of(gradient) == device.physical
            # The places of all right paths, at each step, have the probability 1.
            if reduction == "sum":
                np.testing.assert_allclose(to_numpy(gradient).sum(axis=1), -1.0, rtol=1e-5)
        weighted = losses.CTCLoss(blank, "sum")(x, y, sample_weight=device.asarray(np.arange(4.0)))
        assert float(weighted) == pytest.approx(np.dot(terms, range(4)), rel=rtol)


def draw(rng: np.random.Generator) -> Any:
    """Return log-probabilities (T, N, C), targets (N, S), and both lengths."""
    steps, samples, classes, most = (int(n) for n in rng.integers([4, 1, 2, 1], [12, 5, 6, 5]))
    logits = rng.normal(size=(steps, samples, classes))
    target = rng.integers(1, classes, (samples, most))
    inputs = rng.integers(1, steps + 1, samples)
    return logits, target, inputs, rng.integers(0, most + 1, samples)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_as_pytorch(rng: np.random.Generator, reduction: str, zero_infinity: bool) -> None:
    finite = 0
    for number in range(30):
        logits, target, inputs, counts = draw(rng)
        blank = number % 2 * (logits.shape[2] - 1)
        target = (target + blank) % logits.shape[2]
        x = torch.tensor(logits, requires_grad=True)
        theirs = nn.CTCLoss(blank, reduction, zero_infinity)
        lengths = torch.tensor(inputs), torch.tensor(counts)
        expected = theirs(nn_f.log_softmax(x, dim=2), torch.tensor(target), *lengths)
        ours = losses.CTCLoss(blank, reduction, zero_infinity)
        behind = np.concatenate([row[:n] for row, n in zip(target, counts, strict=True)])
        logp = log_softmax(logits, 2)
        for given in (target, behind):
            value = ours(logp, given, inputs, tuple(counts.tolist()))
            np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-11, atol=1e-13)
        if not np.isfinite(np.asarray(value)).all():
            continue
        finite += 1
        dy = rng.normal(size=np.shape(value))
        expected.backward(torch.tensor(dy))
        found = ours.backward(np.asarray(dy))
        found = found - np.exp(logp) * found.sum(axis=2, keepdims=True)  # through log-softmax
        np.testing.assert_allclose(found, x.grad.numpy(), rtol=1e-8, atol=1e-12)
    assert finite > 10


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_one_sample_without_a_batch_axis(rng: np.random.Generator, reduction: str) -> None:
    logp = log_softmax(rng.normal(size=(6, 4)), 1)
    target = np.array([1, 3, 3])
    x = torch.tensor(logp, requires_grad=True)
    expected = nn.CTCLoss(reduction=reduction)(
        nn_f.log_softmax(x, dim=1), torch.tensor(target), torch.tensor(6), torch.tensor(3)
    )
    loss = losses.CTCLoss(reduction=reduction)
    value = loss(logp, target, 6, 3)
    assert np.shape(value) == ()
    assert float(value) == pytest.approx(expected.item(), rel=1e-12)
    assert loss.backward(np.asarray(1.0)).shape == (6, 4)


def test_gradients_against_differences(rng: np.random.Generator) -> None:
    logp = log_softmax(rng.normal(size=(3, 4, 7)), 1)
    target = np.array([[1, 2, 2], [3, -1, -1], [1, 3, -1]])
    for reduction in ("mean", "sum", "none"):
        assert gradcheck(losses.CTCLoss(reduction=reduction), logp, target)
        assert gradcheck(
            losses.CTCLoss(3 if reduction == "sum" else 0, reduction),
            logp,
            np.where(target == 3, 2, target),
            sample_weight=rng.random(3),
        )


def test_long_sequences_in_float32(device: Device, rng: np.random.Generator) -> None:
    """Products of so many probabilities are 0 in any precision; their logarithms are not."""
    logp = log_softmax(rng.normal(size=(2, 5, 300)), 1)
    target = rng.integers(1, 5, (2, 60))
    exact = losses.CTCLoss(reduction="none")(logp, target)
    assert (np.asarray(exact) > 200).all()
    loss = losses.CTCLoss(reduction="none")
    value = loss(device.asarray(logp, "float32"), device.asarray(target))
    np.testing.assert_allclose(to_numpy(value), exact, rtol=1e-5)
    assert np.isfinite(to_numpy(loss.backward())).all()


def test_impossible_targets(device: Device) -> None:
    logp = device.asarray(log_softmax(np.zeros((2, 3, 2)), 1))
    target = device.asarray(np.array([[1, 1], [1, 2]]))  # 1, blank, 1 needs three steps
    value = losses.CTCLoss(reduction="none")(logp, target)
    np.testing.assert_allclose(to_numpy(value), [math.inf, 2 * math.log(3)])
    loss = losses.CTCLoss(reduction="none", zero_infinity=True)
    np.testing.assert_allclose(to_numpy(loss(logp, target)), [0.0, 2 * math.log(3)])
    gradient = to_numpy(loss.backward())
    assert not gradient[0].any()
    np.testing.assert_allclose(gradient[1], [[0, 0], [-1, 0], [0, -1]], atol=1e-12)


def test_no_steps(device: Device) -> None:
    """Nothing is read for sure where there are no steps, and something never."""
    logp = device.asarray(np.log(np.full((4, 3, 2), 0.5)))
    loss = losses.CTCLoss(reduction="none", zero_infinity=True)
    for counts, expected in (([0, 0, 1], [0.0, 2 * math.log(2), -math.log(10 / 16)]),):
        value = loss(logp, device.asarray(np.ones((3, 1), int)), [0, 2, 4], counts)
        np.testing.assert_allclose(to_numpy(value), expected, rtol=1e-12)
    gradient = to_numpy(loss.backward())
    assert not gradient[:, 0].any()
    np.testing.assert_allclose(gradient[:, 1], [[-1, 0], [-1, 0], [0, 0], [0, 0]], atol=1e-12)
    loss = losses.CTCLoss(reduction="none")
    value = loss(logp, device.asarray(np.ones((3, 1), int)), [0, 1, 1], [1, 1, 0])
    np.testing.assert_allclose(to_numpy(value), [math.inf, math.log(2), math.log(2)])


def test_no_samples_and_nan(device: Device) -> None:
    loss = losses.CTCLoss()
    assert math.isnan(
        float(loss(device.asarray(np.zeros((0, 3, 4))), device.asarray(np.zeros((0, 2), int))))
    )
    assert tuple(loss.backward().shape) == (0, 3, 4)
    x = np.zeros((1, 3, 4))
    x[0, 1, 2] = math.nan
    assert math.isnan(float(loss(device.asarray(x), device.asarray(np.array([[1]])))))


def test_a_model_reads(tmp_path: Any) -> None:
    """Bars of three lengths behind one another: which, in which order."""
    rng = np.random.default_rng(0)
    x, y = np.zeros((96, 1, 36), "float32"), np.full((96, 4), -1)
    for line, row in zip(x[:, 0], y, strict=True):
        at = 1
        for number in range(int(rng.integers(2, 5))):
            row[number] = kind = int(rng.integers(1, 4))
            line[at : at + 2 * kind] = 1.0
            at += 2 * kind + 2
    model = xpcnn.Model(
        [
            xpcnn.Conv1d(1, 24, 9, padding=4), xpcnn.ReLU(),
            xpcnn.Conv1d(24, 24, 5, padding=2), xpcnn.ReLU(),
            xpcnn.Conv1d(24, 4, 1), xpcnn.LogSoftmax(1),
        ],
        device="cpu",
        seed=0,
    )  # fmt: skip
    model.compile(xpcnn.optim.Adam(1e-2), "ctc")
    model.fit(x, y, epochs=40, batch_size=16, verbose=0)
    best = model.predict(x).argmax(axis=1)
    read = [[k for k, _ in itertools.groupby(row) if k != 0] for row in best.tolist()]
    right = np.mean([seen == row[row > 0].tolist() for seen, row in zip(read, y, strict=True)])
    assert right > 0.8
    model.save(tmp_path / "model.safetensors")
    again = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    logs = again.evaluate(x, y, batch_size=96)
    assert logs == pytest.approx(model.evaluate(x, y, batch_size=7), rel=1e-5)
    with pytest.raises(ValueError, match="CTCLoss has none to compare"):
        model.fit(x, y, metrics=["accuracy"], epochs=1, verbose=0)


def test_descriptions() -> None:
    loss = losses.CTCLoss(2, "sum", True)
    again = losses.from_config(json.loads(json.dumps(losses.to_config(loss))))
    assert repr(again) == repr(loss) == "CTCLoss(blank=2, reduction='sum', zero_infinity=True)"
    assert isinstance(losses.get("ctc"), losses.CTCLoss)


X, Y = log_softmax(np.zeros((2, 3, 4)), 1), np.array([[1, 2], [1, -1]])
TURNED = np.moveaxis(X, 2, 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.CTCLoss(-1), ValueError, "blank must be a whole number"),
        (lambda: losses.CTCLoss(reduction="all"), ValueError, "reduction must be one of"),
        (lambda: losses.CTCLoss(3)(X, Y), ValueError, "blank=3 is none of the 3 classes"),
        (lambda: losses.CTCLoss()(X, Y[:, 0]), ValueError, "targets \\(N, S\\), filled up with -1"),
        (lambda: losses.CTCLoss()(X, Y[:1]), ValueError, "2 predictions, but targets"),
        (lambda: losses.CTCLoss()(X, Y * 1.0), TypeError, "must be integers, got float64"),
        (lambda: losses.CTCLoss()(X, Y + 2), ValueError, "a target 3 at index \\(0, 0\\); labels"),
        (lambda: losses.CTCLoss()(X, Y - 1), ValueError, "a target 0 .* not the blank, 0"),
        (lambda: losses.CTCLoss()(X, Y[:, ::-1]), ValueError, "a target 1 .*-1 stands behind"),
        (lambda: losses.CTCLoss()(X, np.where(Y < 0, -2, Y)), ValueError, "filled up with -1"),
        (lambda: losses.CTCLoss()(TURNED, Y, [4, 4]), ValueError, "both input_lengths and"),
        (lambda: losses.CTCLoss()(TURNED, Y, [4, 5], [2, 1]), ValueError, "from 0 to 4, got 4 to"),
        (lambda: losses.CTCLoss()(TURNED, Y, [4], [2, 1]), ValueError, "input_lengths must be 2"),
        (lambda: losses.CTCLoss()(TURNED, Y, [4, 4], [2, 3]), ValueError, "target_lengths must be"),
        (lambda: losses.CTCLoss()(TURNED, Y[0], [4, 4], [2, 1]), ValueError, "add up to 3"),
        (lambda: losses.CTCLoss()(TURNED[0, 0], Y, [4, 4], [2, 1]), ValueError, "or \\(T, C\\)"),
        (
            lambda: losses.CTCLoss().prepare_target((2, 3, 2), np.array([[1, 1]]), "float32"),
            ValueError,
            "target 0 needs 3 steps .* the network gives 2",
        ),
        (
            lambda: losses.CTCLoss().prepare_target((2, 3), np.array([[1, 1]]), "float32"),
            ValueError,
            "expected a network with outputs \\(N, C, T\\)",
        ),
    ],
)
def test_wrong_use(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_jax_without_64_bits():
    """As JAX is by default; it would warn of integers that it makes smaller."""
    jax = pytest.importorskip("jax")
    rows = np.log(np.full((1, 2, 2), 0.5, np.float32))
    jax.config.update("jax_enable_x64", False)
    try:
        device = resolve("jax:cpu")
        loss = losses.CTCLoss()
        value = loss(device.asarray(rows), device.asarray(np.array([[1]])))
        np.testing.assert_allclose(float(value), -math.log(3 / 4), rtol=1e-6)
        assert loss.backward().shape == rows.shape
    finally:
        jax.config.update("jax_enable_x64", True)
