"""What losses take beside batches: one sample, one number, no sample at all, any weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.pytorch import nn, torch
from xpcnn import losses
from xpcnn._xp import to_numpy
from xpcnn.device import Device

REDUCTIONS = ["mean", "sum", "none"]


def compare(ours: losses.Loss, theirs: Any, inputs: list[np.ndarray], target: Any) -> None:
    """Compare value and gradients with PyTorch's, for a random gradient of the loss."""
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    prediction = inputs[0] if len(inputs) == 1 else tuple(inputs)
    if target is None:
        value, expected = ours(prediction), theirs(*tensors)
    else:
        value, expected = ours(prediction, target), theirs(*tensors, torch.tensor(target))
    assert np.shape(value) == tuple(expected.shape)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-11, atol=1e-13)
    dy = np.random.default_rng(3).normal(size=np.shape(value))
    expected.backward(torch.tensor(dy))
    found = ours.backward(np.asarray(dy))
    for one, tensor in zip((found,) if len(inputs) == 1 else found, tensors, strict=True):
        assert one.shape == tuple(tensor.shape)
        np.testing.assert_allclose(one, tensor.grad.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_sample_without_a_batch_axis(rng: np.random.Generator, reduction: str) -> None:
    x, label, weight = rng.normal(size=5), np.array(3), rng.random(5)
    soft = rng.dirichlet(np.ones(5))
    wt = torch.tensor(weight)
    for ours, theirs, target in [
        (losses.CrossEntropyLoss(weight, reduction=reduction),
         nn.CrossEntropyLoss(wt, reduction=reduction), label),
        (losses.CrossEntropyLoss(reduction=reduction, label_smoothing=0.1),
         nn.CrossEntropyLoss(reduction=reduction, label_smoothing=0.1), soft),
        (losses.NLLLoss(weight, reduction=reduction), nn.NLLLoss(wt, reduction=reduction), label),
        (losses.MultiMarginLoss(weight=weight, reduction=reduction),
         nn.MultiMarginLoss(weight=wt, reduction=reduction), label),
        (losses.MultiLabelMarginLoss(reduction), nn.MultiLabelMarginLoss(reduction=reduction),
         np.array([2, 0, -1, 3, 1])),
        (losses.MultiLabelSoftMarginLoss(weight, reduction),
         nn.MultiLabelSoftMarginLoss(wt, reduction=reduction), np.array([0, 1, 1, 0, 1.0])),
    ]:  # fmt: skip
        compare(ours, theirs, [x], target)
    compare(
        losses.CosineEmbeddingLoss(0.1, reduction),
        nn.CosineEmbeddingLoss(0.1, reduction=reduction), [x, rng.normal(size=5)], np.array(-1),
    )  # fmt: skip
    compare(
        losses.TripletMarginLoss(reduction=reduction), nn.TripletMarginLoss(reduction=reduction),
        [x, rng.normal(size=5), rng.normal(size=5)], None,
    )  # fmt: skip


SINGLE: list[tuple[str, float]] = [
    ("MSELoss", 0.3), ("L1Loss", 0.3), ("HuberLoss", 0.3), ("SmoothL1Loss", 0.3),
    ("BCELoss", 1.0), ("BCEWithLogitsLoss", 1.0), ("KLDivLoss", 0.3), ("PoissonNLLLoss", 2.0),
    ("SoftMarginLoss", -1.0), ("HingeEmbeddingLoss", -1.0),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # PyTorch's
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("name", "target"), SINGLE)
def test_one_number(name: str, target: float, reduction: str) -> None:
    ours = getattr(losses, name)(reduction=reduction)
    theirs = getattr(nn, name)(reduction=reduction)
    compare(ours, theirs, [np.array(0.7)], np.array(target))
    with pytest.raises(ValueError, match="needs predictions with a batch axis"):
        ours(np.array(0.7), np.array(target), sample_weight=np.ones(1))
    with pytest.raises(ValueError, match="targets of shape"):
        ours(np.array(0.7), np.array([target]))


def test_one_number_of_several_predictions() -> None:
    compare(losses.MarginRankingLoss(0.2), nn.MarginRankingLoss(0.2),
            [np.array(0.7), np.array(0.6)], np.array(1.0))  # fmt: skip
    compare(losses.KLDivLoss("batchmean"), nn.KLDivLoss(reduction="batchmean"),
            [np.array(-0.7)], np.array(0.6))  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", [name for name, _ in SINGLE] + ["CrossEntropyLoss", "NLLLoss"])
def test_no_samples(device: Device, name: str, reduction: str) -> None:
    loss = getattr(losses, name)(reduction=reduction)
    classes = name in ("CrossEntropyLoss", "NLLLoss")
    for shape in ((0, 3), (2, 3, 0)):
        x = device.asarray(np.zeros(shape))
        places = (shape[0], *shape[2:])
        y = device.asarray(np.zeros(places, "int64") if classes else np.zeros(shape))
        value = to_numpy(loss(x, y))
        if reduction == "none":
            assert value.shape == (places if classes else shape)
        else:
            np.testing.assert_array_equal(value, 0.0 if reduction == "sum" else math.nan)
        assert tuple(loss.backward().shape) == shape


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_of_any_sign_and_shape(rng: np.random.Generator, reduction: str) -> None:
    x, y = rng.normal(size=(4, 3)), rng.random((4, 3))
    for shape in ((), (1,), (3,), (4, 1), (1, 3), (4, 3)):
        w, p = rng.normal(size=shape), rng.normal(size=shape)
        wt, pt = torch.tensor(w), torch.tensor(p)
        compare(losses.BCEWithLogitsLoss(w, reduction, p),
                nn.BCEWithLogitsLoss(wt, reduction=reduction, pos_weight=pt), [x], y)  # fmt: skip
        compare(losses.BCELoss(w, reduction), nn.BCELoss(wt, reduction=reduction),
                [rng.random((4, 3))], y)  # fmt: skip
    w = np.array([-2.0, 0.5, 0.25])
    wt, labels = torch.tensor(w), np.array([0, 1, 0, 2])
    for ours, theirs in [
        (losses.CrossEntropyLoss(w, reduction=reduction),
         nn.CrossEntropyLoss(wt, reduction=reduction)),
        (losses.CrossEntropyLoss(w, 1, reduction, 0.2),
         nn.CrossEntropyLoss(wt, None, 1, None, reduction, 0.2)),
        (losses.NLLLoss(w, reduction=reduction), nn.NLLLoss(wt, reduction=reduction)),
        (losses.MultiMarginLoss(weight=w, reduction=reduction),
         nn.MultiMarginLoss(weight=wt, reduction=reduction)),
    ]:  # fmt: skip
        compare(ours, theirs, [x], labels)


# -- Losses of lists, of ranks and of triplets -----------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_lists_of_classes_as_pytorch(rng: np.random.Generator, reduction: str) -> None:
    for _ in range(20):
        samples, classes = rng.integers(1, 5, size=2)
        x = rng.normal(size=(samples, classes))
        # Anything may stand behind the first -1, and a class may come twice.
        y = rng.integers(-1, classes, size=(samples, classes))
        ours = losses.MultiLabelMarginLoss(reduction)
        compare(ours, nn.MultiLabelMarginLoss(reduction=reduction), [x], y)


def test_lists_of_classes_by_hand(device: Device) -> None:
    x = device.asarray(np.array([[0.1, 0.2, 0.4, 0.8]]))
    y = device.asarray(np.array([[3, 0, -1, 1]]))
    loss = losses.MultiLabelMarginLoss()
    # Of 3: 0.4 by 1 and 0.6 by 2; of 0: 1.1 by 1 and 1.3 by 2.
    assert float(loss(x, y)) == pytest.approx(3.4 / 4)
    np.testing.assert_allclose(to_numpy(loss.backward()), [[-0.5, 0.5, 0.5, -0.5]])


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_soft_margins_of_several_labels_as_pytorch(
    rng: np.random.Generator, reduction: str
) -> None:
    for shape in ((4, 3), (1, 1), (2, 3, 4)):
        x, y = rng.normal(size=shape) * 10, rng.integers(0, 2, shape).astype(float)
        w = rng.normal(size=shape[-1])
        for weight in (None, w):
            wt = None if weight is None else torch.tensor(weight)
            ours = losses.MultiLabelSoftMarginLoss(weight, reduction)
            theirs = nn.MultiLabelSoftMarginLoss(wt, reduction=reduction)
            compare(ours, theirs, [x], y)


def test_soft_margins_of_several_labels_by_hand(device: Device) -> None:
    x, y = np.array([[0.0, 17.0], [-17.0, -40.0]]), np.array([[1.0, 1.0], [0.0, 1.0]])
    loss = losses.MultiLabelSoftMarginLoss(reduction="none")
    value = loss(device.asarray(x, "float32"), device.asarray(y, "float32"))
    small = math.log1p(math.exp(-17.0))
    np.testing.assert_allclose(
        to_numpy(value), [(math.log(2.0) + small) / 2, (small + 40.0) / 2], rtol=1e-6
    )
    dy = device.asarray(np.array([1.0, 2.0]), "float32")
    s = 1.0 / (1.0 + math.exp(17.0))
    np.testing.assert_allclose(to_numpy(loss.backward(dy)), [[-0.25, -s / 2], [s, -1.0]], rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ranks_as_pytorch(rng: np.random.Generator, reduction: str) -> None:
    for shape in ((6,), (3, 2), (1,)):
        a, b = rng.normal(size=(2, *shape))
        y = rng.choice([-1.0, 1.0], size=shape)
        for margin in (0.0, 0.5, -0.2):
            theirs = nn.MarginRankingLoss(margin, reduction=reduction)
            compare(losses.MarginRankingLoss(margin, reduction), theirs, [a, b], y)
        # At the margin itself the gradient counts.
        compare(losses.MarginRankingLoss(0.0, reduction),
                nn.MarginRankingLoss(reduction=reduction), [a, a.copy()], y)  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("swap", [False, True])
def test_triplets_as_pytorch(
    rng: np.random.Generator, reduction: str, p: float, swap: bool
) -> None:
    for shape in ((6, 3), (2, 3, 4), (1, 1)):
        inputs = list(rng.normal(size=(3, *shape)))
        for margin, eps in ((1.0, 1e-6), (3.0, 0.1)):
            theirs = nn.TripletMarginLoss(margin, p, eps, swap, reduction=reduction)
            ours = losses.TripletMarginLoss(margin, p, eps, swap, reduction)
            compare(ours, theirs, inputs, None)
        value = ours(tuple(inputs))
        np.testing.assert_array_equal(value, ours(*inputs))  # PyTorch's order


def test_triplets_by_hand(device: Device) -> None:
    a, b, c = (device.asarray(np.array([v])) for v in ([0.0, 0.0], [3.0, 4.0], [0.0, 6.0]))
    loss = losses.TripletMarginLoss(2.0, eps=0.0)
    assert float(loss((a, b, c))) == pytest.approx(5.0 - 6.0 + 2.0)
    by_a, by_b, by_c = map(to_numpy, loss.backward())
    np.testing.assert_allclose(by_a, [[-0.6, 0.2]], atol=1e-15)
    np.testing.assert_allclose(by_b, [[0.6, 0.8]], atol=1e-15)
    np.testing.assert_allclose(by_c, [[0.0, -1.0]], atol=1e-15)
    # Equal vectors have no slope; in float32 nothing overflows.
    big = device.asarray(np.full((1, 2), 1e30), "float32")
    zero = device.asarray(np.zeros((1, 2)), "float32")
    loss = losses.TripletMarginLoss(eps=0.0)
    np.testing.assert_allclose(float(loss(zero, big, zero)), math.sqrt(2) * 1e30, rtol=1e-6)
    assert all(np.isfinite(to_numpy(g)).all() for g in loss.backward())


def test_wrong_arguments() -> None:
    x = np.zeros((2, 3))
    for make, message in [
        (lambda: losses.TripletMarginLoss(0.0), "margin must be above 0"),
        (lambda: losses.TripletMarginLoss(p=0.0), "p must be above 0"),
        (lambda: losses.TripletMarginLoss(eps=math.nan), "eps"),
        (lambda: losses.MarginRankingLoss(math.inf), "margin must be a finite"),
        (lambda: losses.TripletMarginLoss()((x, x, x), x), "there is no target"),
        (lambda: losses.TripletMarginLoss()(x, x, x[:1]), "one shape"),
        (lambda: losses.MarginRankingLoss()(x, x, x[:, :1]), "one shape"),
        (lambda: losses.MultiLabelMarginLoss()(x, np.zeros((2, 2), int)), "one shape"),
        (lambda: losses.MultiLabelMarginLoss()(x, np.full((2, 3), 3)), "from 0 to 2"),
        (lambda: losses.CrossEntropyLoss()(np.zeros((2, 0)), np.zeros(2, int)), "expected pred"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
    for make in (
        lambda: losses.TripletMarginLoss()((x, x)),
        lambda: losses.MultiLabelMarginLoss()(x, x),
    ):
        with pytest.raises(TypeError):
            make()
    loss = losses.MultiLabelMarginLoss()
    with pytest.raises(ValueError, match="names a class twice.*zeros and ones"):
        loss.prepare_target((2, 3), np.array([[0, -1, -1], [1, 0, 1]]), "float32")
    prepared = loss.prepare_target((2, 3), np.array([[0, -1, -1], [2, 0, 1]]), "float32")
    assert prepared.dtype == np.int64


def test_training_on_triplets(tmp_path: Any) -> None:
    import xpcnn

    graph = xpcnn.Graph(
        inputs=["x"],
        nodes=[(name, xpcnn.Linear(4, 2), "x") for name in "abc"],
        outputs=["a", "b", "c"],
    )
    model = xpcnn.Model(graph, device="cpu", seed=0)
    model.compile(xpcnn.optim.SGD(lr=0.1), xpcnn.TripletMarginLoss(margin=0.5, swap=True))
    x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    history = model.fit(x, None, epochs=4, batch_size=8, validation_split=0.2, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    with pytest.raises(ValueError, match="TripletMarginLoss has no targets; pass None"):
        model.fit(x, x[:, 0], verbose=0)
    model.save(tmp_path / "model.safetensors")
    again = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert again.loss.config() == model.loss.config()
    assert again.evaluate(x, None) == model.evaluate(x, None)
