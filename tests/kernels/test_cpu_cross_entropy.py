"""The compiled cross-entropy of labels, against the plain loss in float64."""

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

XP = numpy_namespace()
IGNORED = -7
SHAPES = [
    (1, 2), (3, 5), (40, 3), (100, 10), (4, 33), (2, 300), (2, 3, 5), (2, 9, 4), (2, 4, 5, 6),
    (2, 21, 6, 7), (1, 3, 70, 61), (3, 200, 4, 5), (1, 8, 2, 3, 4),
]  # fmt: skip
OPTIONS = ["plain", "weight", "smoothing", "both"]


def make(options, classes, reduction="mean", ignored=IGNORED):
    weight = None
    if options in ("weight", "both"):
        weight = np.linspace(0.5, 2, classes)
        weight[0] = 0.0
    smoothing = 0.2 if options in ("smoothing", "both") else 0.0
    return xpcnn.CrossEntropyLoss(weight, ignored, reduction, smoothing)


def draw(shape, seed=0):
    """Return scores and labels, some of which are ignored."""
    rng = np.random.default_rng(seed)
    scores = 3 * rng.standard_normal(shape, dtype="float32")
    labels = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    labels.reshape(-1)[1::5] = IGNORED
    return scores, labels


def run(loss_, scores, labels, **options):
    with kernels.trace() as decisions:
        value = loss_(scores, labels, **options)
    assert [(d.op, d.kernel_set) for d in decisions] == [("cross_entropy", "cpu")]
    return value, loss_.backward()


def exact(loss_, scores, labels, **options):
    with kernels.force("generic"):
        return loss_(scores.astype("float64"), labels, **options), loss_.backward()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_close_to_the_definition(shape, reduction, options):
    scores, labels = draw(shape)
    weights = np.linspace(0, 2, shape[0])
    for more in ({}, {"sample_weight": weights}):
        wanted = exact(make(options, shape[1], reduction), scores, labels, **more)
        for how in range(7) if len(shape) > 2 else (0, 4):
            given = lay(scores, how)
            found = run(make(options, shape[1], reduction), given, labels, **more)
            for a, b in zip(found, wanted, strict=True):
                assert a.dtype == np.float32
                np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
            np.testing.assert_array_equal(given, scores)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", [(40, 3), (30, 12), (2, 5, 6, 7)])
def test_close_to_pytorch(shape, options):
    scores, labels = draw(shape, 1)
    given = torch.tensor(scores.astype("float64"), requires_grad=True)
    ours = make(options, shape[1])
    weight = None if ours.weight is None else torch.tensor(ours.weight, dtype=torch.float64)
    theirs = torch.nn.CrossEntropyLoss(weight, ignore_index=IGNORED, reduction="mean",
                                       label_smoothing=ours.label_smoothing)  # fmt: skip
    expected = theirs(given, torch.tensor(labels))
    expected.backward()
    value, gradient = run(ours, scores, labels)
    np.testing.assert_allclose(value, expected.item(), rtol=2e-6)
    np.testing.assert_allclose(gradient, given.grad.numpy(), rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", [(4, 9), (12, 9), (12, 3)])
def test_sure_labels_keep_their_digits(shape, options):
    scores = np.full(shape, -40.0, np.float32)
    scores[:, 2] = np.linspace(-30, 40, shape[0])
    scores[-1, 1] = scores[-1, 2]  # a tie
    labels = np.full(shape[0], 2)
    wanted = exact(make(options, shape[1], "none"), scores, labels)
    for a, b in zip(run(make(options, shape[1], "none"), scores, labels), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-36)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("classes", [3, 9])
def test_nan_and_infinity_are_where_the_definition_has_them(options, classes):
    scores, labels = draw((30, classes), 2)
    labels[3] = 0  # without weight, perhaps
    for row, special in enumerate([np.nan, np.inf, -np.inf, 3e38, -3e38]):
        scores[row, 0] = scores[row + 5, labels[row + 5] % classes] = scores[row + 11, 1] = special
    scores[20] = -np.inf
    with np.errstate(all="ignore"):
        with kernels.force("generic"):
            plain = make(options, classes, "none")
            wanted = plain(scores, labels), plain.backward()
        found = run(make(options, classes, "none"), scores, labels)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint64", "int32"])
def test_labels_of_any_whole_dtype(dtype):
    scores, labels = draw((20, 10), 3)
    labels = np.abs(labels).astype(dtype)
    for options in ("plain", "weight"):
        wanted = exact(make(options, 10, ignored=7), scores, labels)
        for a, b in zip(run(make(options, 10, ignored=7), scores, labels), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)


def test_what_is_declined():
    labels = np.zeros(2, int)
    found = [
        loss.cross_entropy_forward(XP, x, labels, -1)
        for x in (np.ones((2, 8)), np.ones((2, 0), np.float32))
    ]
    assert [a.reason for a in found] == [
        "float64 scores of shape (2, 8)", "float32 scores of shape (2, 0)",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(9001, 33), (4, 20, 123, 117)])
@pytest.mark.parametrize("options", ["plain", "both"])
def test_same_bits_for_any_number_of_threads(shape, options):
    scores, labels = draw(shape, 4)
    seen = set()
    try:
        for threads in (1, 2, 2, 2):
            xpcnn.set_num_threads(threads)
            value, gradient = run(make(options, shape[1], "none"), scores, labels)
            mean, _ = run(make(options, shape[1]), scores, labels)
            seen.add(value.tobytes() + gradient.tobytes() + mean.tobytes())
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@pytest.mark.parametrize("options", ["plain", "both"])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_written_outside(shape, options, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    scores, labels = draw(shape, 5)
    for how in (0, 1) if len(shape) > 2 else (0,):
        wanted = exact(make(options, shape[1], "none"), scores, labels)
        found = run(make(options, shape[1], "none"), lay(scores, how), labels)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)
    guards.assert_whole(2)
