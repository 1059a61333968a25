"""The compiled losses of margins, against the plain ones in float64."""

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from tests.kernels.arrays import Guards, lay
from tests.pytorch import torch
from xpcnn import kernels
from xpcnn.kernels.cpu import buffers

needs_compiled_kernels()

WEIGHT = np.linspace(0.0, 2.0, 400)


LOSSES = {
    "multi_margin": lambda classes, **options: xpcnn.MultiMarginLoss(margin=0.7, **options),
    "squared_multi_margin": lambda classes, **options: xpcnn.MultiMarginLoss(
        p=2, weight=WEIGHT[:classes], **options
    ),
    "multi_label_margin": lambda classes, **options: xpcnn.MultiLabelMarginLoss(**options),
    "margin_ranking": lambda classes, **options: xpcnn.MarginRankingLoss(margin=0.3, **options),
    "cosine_embedding": lambda classes, **options: xpcnn.CosineEmbeddingLoss(margin=0.1, **options),
    "triplet_margin": lambda classes, **options: xpcnn.TripletMarginLoss(margin=0.6, **options),
}
SHAPES = [(1, 2), (5, 7), (3, 16), (40, 3), (33, 17), (6, 300)]

each_loss = pytest.mark.parametrize("name", LOSSES)


def draw(name, shape, seed=0):
    """Return the predictions of a loss, and the target or ``None``."""
    rng = np.random.default_rng(seed)
    rows, classes = shape
    numbers = list(rng.standard_normal((3, *shape), dtype="float32"))
    if name == "triplet_margin":
        return tuple(numbers), None
    if name == "cosine_embedding":
        return tuple(numbers[:2]), rng.integers(-1, 2, rows)  # 0 counts nothing
    if name == "margin_ranking":
        return tuple(numbers[:2]), np.where(numbers[2] < 0, -1, 1).astype("float32")
    if name == "multi_label_margin":
        lists = np.argsort(rng.random(shape), axis=1)
        lists[np.arange(classes) >= rng.integers(0, classes + 1, (rows, 1))] = -1
        return numbers[0], lists
    return numbers[0], rng.integers(0, classes, rows)


def changed(function, given):
    """Apply a function to one array, or to each of several."""
    return tuple(map(function, given)) if isinstance(given, tuple) else function(given)


def run(loss, given, target, **options):
    """Return the loss and the gradients, by compiled kernels."""
    with kernels.trace() as decisions:
        value = loss(given, target, **options)
    assert [d.kernel_set for d in decisions] == ["cpu"]
    return value, gradients(loss)


def gradients(loss, *dy):
    found = loss.backward(*dy)
    return found if isinstance(found, tuple) else (found,)


def exact(loss, given, target, **options):
    with kernels.force("generic"):
        value = loss(changed(lambda x: x.astype("float64"), given), target, **options)
        return value, gradients(loss)


def assert_alike(found, expected, **tolerance):
    np.testing.assert_allclose(found[0], expected[0], **tolerance)
    for a, b in zip(found[1], expected[1], strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, **tolerance)


@each_loss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_close_to_the_definition(name, reduction, shape):
    loss = LOSSES[name](shape[1], reduction=reduction)
    given, target = draw(name, shape)
    for more in ({}, {"sample_weight": np.linspace(0, 2, shape[0])}):
        expected = exact(loss, given, target, **more)
        for how in (0, 1, 3, 4):
            laid = changed(lambda x, how=how: lay(x, how), given)
            assert_alike(run(loss, laid, target, **more), expected, rtol=3e-6, atol=1e-6)
            for a, b in zip(laid, given, strict=True):
                np.testing.assert_array_equal(a, b)


def test_close_to_pytorch():
    """With class weights, labels in other dtypes, and lists of all lengths."""
    given, target = draw("multi_margin", (33, 17), 1)
    weight = WEIGHT[:17].astype("float32")
    theirs = torch.nn.MultiMarginLoss(p=2, margin=0.7, weight=torch.tensor(weight))
    ours = xpcnn.MultiMarginLoss(p=2, margin=0.7, weight=weight)
    compare(ours, theirs, (given,), target.astype("uint8"), target)
    given, target = draw("multi_label_margin", (33, 17), 2)
    ours, theirs = xpcnn.MultiLabelMarginLoss(), torch.nn.MultiLabelMarginLoss()
    compare(ours, theirs, (given,), target.astype("int32"), target)
    given, _ = draw("triplet_margin", (33, 17), 3)
    pair, target = draw("cosine_embedding", (33, 17), 3)
    target = np.where(target < 0, -1, 1)
    compare(xpcnn.CosineEmbeddingLoss(), torch.nn.CosineEmbeddingLoss(), pair, target, target)
    compare(xpcnn.TripletMarginLoss(), torch.nn.TripletMarginLoss(), given, None, None)


def compare(ours, theirs, given, target, wanted):
    tensors = [torch.tensor(x, requires_grad=True) for x in given]
    expected = theirs(*tensors, *([] if wanted is None else [torch.tensor(wanted)]))
    expected.backward()
    found = run(ours, given if len(given) > 1 else given[0], target)
    assert_alike(found, (expected.item(), [t.grad.numpy() for t in tensors]), rtol=2e-5, atol=1e-7)


def test_a_class_named_twice_counts_twice():
    x = np.array([[0.1, 0.2, 0.4, 0.8]], np.float32)
    target = np.array([[3, 3, -1, 0]])
    loss = xpcnn.MultiLabelMarginLoss()
    assert_alike(run(loss, x, target), exact(loss, x, target), rtol=1e-6)
    # 2 * (0.3 + 0.4 + 0.6) / 4
    np.testing.assert_allclose(loss(x, target), 0.65, rtol=1e-6)


def test_triplets_of_more_axes_and_sizes():
    rng = np.random.default_rng(4)
    loss = xpcnn.TripletMarginLoss(reduction="none")
    for factor in (1e-20, 1.0, 1e25):  # squares of these are beyond float32
        given = tuple(rng.standard_normal((3, 2, 5, 9), dtype="float32") * np.float32(factor))
        expected = exact(loss, given, None)
        assert expected[0].shape == (2, 5)
        with np.errstate(all="ignore"):
            for how in range(7):
                laid = tuple(lay(x, how) for x in given)
                assert_alike(run(loss, laid, None), expected, rtol=1e-5, atol=1e-6)


def test_cosines_of_no_length_and_of_nan():
    given, target = draw("cosine_embedding", (12, 9), 8)
    given[0][0], given[1][1], given[0][2, 3], given[1][3, 4] = 0, 0, np.nan, np.inf
    given[0][4], given[1][4] = 0, 0
    loss = xpcnn.CosineEmbeddingLoss(reduction="none")
    with np.errstate(all="ignore"):
        found = run(loss, given, target)
        with kernels.force("generic"):
            expected = loss(given, target), gradients(loss)
    assert_alike(found, expected, rtol=2e-5, atol=1e-6)


def test_equal_vectors_have_no_slope():
    same = np.ones((2, 5), np.float32)
    loss = xpcnn.TripletMarginLoss(eps=0.0)
    value, found = run(loss, (same, same, same + 3), None)
    assert value == 0.0
    value, found = run(loss, (same, same, same), None)
    assert value == 1.0
    for gradient in found:
        np.testing.assert_array_equal(gradient, np.zeros_like(same))


@pytest.mark.parametrize("options", [{"p": 1.0}, {"p": np.inf}, {"swap": True}])
def test_other_distances_are_left_to_the_definition(options):
    given, _ = draw("triplet_margin", (5, 9))
    with kernels.trace() as decisions:
        xpcnn.TripletMarginLoss(**options)(given)
    assert decisions == []


@each_loss
def test_gradients_from_outside(name):
    given, target = draw(name, (5, 9), 5)
    plain, compiled = (LOSSES[name](9, reduction="none") for _ in range(2))
    terms = exact(plain, given, target)[0]
    run(compiled, given, target)
    dy = np.linspace(-1, 1, terms.size).reshape(terms.shape)
    for dtype in ("float32", "float64"):
        for a, b in zip(gradients(compiled, dy.astype(dtype)), gradients(plain, dy), strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["multi_margin", "squared_multi_margin", "margin_ranking"])
def test_nan_and_infinity_are_where_the_definition_has_them(name):
    given, target = draw(name, (40, 19), 6)
    x = given[0] if isinstance(given, tuple) else given
    for row, special in enumerate([np.nan, np.inf, -np.inf, 3e38, -3e38]):
        x[row, 3] = x[row + 5, :] = x[row + 10, ::2] = special
        x[row + 15, target[row + 15] if target.ndim == 1 else 2] = special
    loss = LOSSES[name](19, reduction="none")
    with np.errstate(all="ignore"):
        found = run(loss, given, target)
        with kernels.force("generic"):
            expected = loss(given, target), gradients(loss)
    assert_alike(found, expected, rtol=2e-5, atol=1e-6)


def test_the_lists_of_a_row_meet_its_nan():
    x, target = draw("multi_label_margin", (30, 9), 7)
    for row, special in enumerate([np.nan, np.inf, -np.inf]):
        x[row, 3] = x[row + 5, :] = x[row + 10, target[row + 10]] = special
    loss = xpcnn.MultiLabelMarginLoss(reduction="none")
    with np.errstate(all="ignore"):
        found = run(loss, x, target)
        with kernels.force("generic"):
            expected = loss(x, target), gradients(loss)
    assert_alike(found, expected, rtol=2e-6, atol=1e-6)


def test_triplets_of_nan_and_infinity():
    given, _ = draw("triplet_margin", (12, 9), 8)
    for row, special in enumerate([np.nan, np.inf, -np.inf]):
        for number in range(3):
            given[number][3 * row + number, 4] = special
    loss = xpcnn.TripletMarginLoss(reduction="none")
    with np.errstate(all="ignore"):
        found = run(loss, given, None)
        with kernels.force("generic"):
            expected = loss(given), gradients(loss)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for a, b in zip(found[1], expected[1], strict=True):
        # Of a row that is not finite more numbers may be NaN.
        rows = np.isfinite(b).all(axis=1)
        assert rows.sum() >= 3
        np.testing.assert_allclose(a[rows], b[rows], rtol=1e-5, atol=1e-6)
        assert not np.isfinite(a[~rows]).all(axis=1).any()


@each_loss
def test_same_bits_for_any_number_of_threads(name):
    given, target = draw(name, (900, 333), 9)
    seen = set()
    try:
        for threads in (1, 2, 2, 2):
            xpcnn.set_num_threads(threads)
            value, found = run(LOSSES[name](333), given, target)
            seen.add(value.tobytes() + b"".join(g.tobytes() for g in found))
    finally:
        xpcnn.set_num_threads(None)
    assert len(seen) == 1


@each_loss
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_written_outside(name, shape, monkeypatch):
    guards = Guards(0xA5)
    monkeypatch.setattr(buffers, "empty", guards)
    given, target = draw(name, shape, 10)
    for reduction in ("none", "mean"):
        loss = LOSSES[name](shape[1], reduction=reduction)
        expected = exact(loss, given, target)
        assert_alike(run(loss, given, target), expected, rtol=3e-6, atol=1e-6)
    guards.assert_whole(4)
