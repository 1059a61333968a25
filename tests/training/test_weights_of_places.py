"""Weights of single places in samples, and of outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn import losses
from xpcnn._xp import to_numpy

RNG = np.random.default_rng(21)
SCORES = RNG.normal(size=(4, 3, 2, 5))
LABELS = RNG.integers(0, 3, (4, 2, 5))
LABELS[0, 1, :2] = 2
ANSWERS = (RNG.random(SCORES.shape) < 0.5).astype("float64")
OF_PIXELS = RNG.random((4, 2, 5)) * 3.0
OF_NUMBERS = RNG.random((4, 3, 2, 5)) * 3.0

CASES = [
    (losses.CrossEntropyLoss(), LABELS, OF_PIXELS),
    (losses.CrossEntropyLoss(weight=[1.0, 4.0, 0.5]), LABELS, OF_PIXELS),
    (losses.CrossEntropyLoss(ignore_index=2), LABELS, OF_PIXELS),
    (losses.CrossEntropyLoss(label_smoothing=0.1, reduction="sum"), LABELS, OF_PIXELS),
    (losses.NLLLoss(), LABELS, OF_PIXELS),
    (losses.MSELoss(), ANSWERS, OF_NUMBERS),
    (losses.MSELoss(reduction="sum"), ANSWERS, OF_NUMBERS),
    (losses.L1Loss(), ANSWERS, OF_NUMBERS),
    (losses.HuberLoss(delta=0.7), ANSWERS, OF_NUMBERS),
    (losses.BCEWithLogitsLoss(pos_weight=[[[2.0]], [[1.0]], [[0.5]]]), ANSWERS, OF_NUMBERS),
    (losses.MultiLabelSoftMarginLoss(), ANSWERS, OF_NUMBERS[..., 0]),
]


def theirs_of(loss: Any, x: Any, target: Any) -> tuple[Any, float | None]:
    """Return PyTorch's terms, and what the mean divides by."""
    name, config = type(loss).__name__, dict(loss.config(), reduction="none")
    for setting in ("weight", "pos_weight"):
        if config.get(setting) is not None:
            config[setting] = torch.tensor(config[setting]).double()
    terms = getattr(nn, name)(**config)(x, torch.tensor(target))
    if name != "CrossEntropyLoss":
        return terms, float(terms.numel())
    counted = target != loss.ignore_index
    of_class = np.ones(3) if loss.weight is None else np.asarray(loss.weight)
    return terms, float((of_class[target] * counted).sum())


@pytest.mark.parametrize("axes", [1, 2, "all"])
@pytest.mark.parametrize(("loss", "target", "weights"), CASES, ids=lambda case: repr(case)[:60])
def test_as_pytorch(device, loss, target, weights, axes):
    """Terms times weights, over the divisor that there is without weights."""
    if axes != "all":
        weights = weights[(..., *(0,) * (weights.ndim - axes))]
    x = torch.tensor(SCORES, requires_grad=True)
    if isinstance(loss, losses.MultiLabelSoftMarginLoss):  # PyTorch's takes classes at axis 1
        terms = nn.functional.binary_cross_entropy_with_logits(
            x, torch.tensor(target), reduction="none"
        ).mean(-1)
        count = float(terms.numel())
    else:
        terms, count = theirs_of(loss, x, target)
    spread = torch.tensor(weights).reshape(*weights.shape, *(1,) * (terms.ndim - weights.ndim))
    total = (terms * spread).sum()
    expected = total if loss.reduction == "sum" else total / count
    expected.backward()
    arrays = [device.asarray(SCORES), device.asarray(target), device.asarray(weights)]
    value = loss(arrays[0], arrays[1], sample_weight=arrays[2])
    np.testing.assert_allclose(to_numpy(value), expected.detach(), rtol=1e-10)
    np.testing.assert_allclose(to_numpy(loss.backward()), x.grad, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("loss", "target", "weights"), CASES, ids=lambda case: repr(case)[:60])
def test_compiled_kernels_in_float32(loss, target, weights):
    """With or without a kernel for the loss, and in either memory order of the images."""
    scores = SCORES.astype("float32")
    target = target.astype("float32") if target.dtype.kind == "f" else target
    expected = loss(SCORES, target, sample_weight=weights)
    gradient = loss.backward()
    for x in (scores, np.ascontiguousarray(scores.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)):
        value = loss(x, target, sample_weight=weights.astype("float32"))
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        np.testing.assert_allclose(loss.backward(), gradient, rtol=2e-5, atol=1e-6)


def test_by_hand():
    """(1 * 1 + 2 * 4 + 0 * 9 + 3 * 16) / 4, and each gradient is 2 * weight * x / 4."""
    loss = losses.MSELoss()
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    value = loss(x, np.zeros((2, 2)), sample_weight=np.array([[1.0, 2.0], [0.0, 3.0]]))
    assert value == pytest.approx(57 / 4)
    np.testing.assert_allclose(loss.backward(), [[0.5, 2.0], [0.0, 6.0]])


def test_an_axis_of_one_is_for_all():
    loss, weights = losses.MSELoss(), RNG.random((4, 1, 2))
    by_one = loss(SCORES, ANSWERS, sample_weight=weights)
    full = np.broadcast_to(weights[..., None], SCORES.shape)
    assert by_one == pytest.approx(loss(SCORES, ANSWERS, sample_weight=full))


@pytest.mark.parametrize(
    ("loss", "target", "weights", "message"),
    [
        (losses.CrossEntropyLoss(), LABELS, np.ones((4, 5)), r"fit the terms, \(4, 2, 5\), axis"),
        (losses.CrossEntropyLoss(), LABELS, np.ones((4, 3, 2, 5)), r"got \(4, 3, 2, 5\)"),
        (losses.MSELoss(), ANSWERS, np.ones(()), r"sample_weight must have shape \(4,\)"),
        (losses.MSELoss(), ANSWERS, np.ones((1, 3)), r"sample_weight must have shape \(4,\)"),
    ],
)
def test_wrong_shapes(loss, target, weights, message):
    with pytest.raises(ValueError, match=message):
        loss(SCORES, target, sample_weight=weights)


# -- In training -----------------------------------------------------------------------------------

X = RNG.normal(size=(10, 2, 6, 6)).astype("float32")
MAPS = RNG.integers(0, 3, (10, 6, 6))
WEIGHTS = RNG.random((10, 6, 6)).astype("float32") * 2.0


def segmenting(loss: Any = "cross_entropy", device: Any = "cpu") -> xpcnn.Model:
    model = xpcnn.Model([xpcnn.Conv2d(2, 3, 3, padding=1)], device=device, seed=5)
    model.compile(xpcnn.optim.SGD(lr=0.5), loss)
    return model


def test_pixels_in_training_and_validation(device):
    """Batches of 4, in order, as PyTorch makes of weighted terms."""
    model = segmenting(device=device)
    model.build((None, 2, 6, 6))
    theirs = nn.Conv2d(2, 3, 3, padding=1)
    theirs.load_state_dict(
        {n.split(".")[1]: torch.tensor(to_numpy(a)) for n, a in model.state_dict().items()}
    )
    history = model.fit(
        X, MAPS, batch_size=4, shuffle=False, sample_weight=WEIGHTS,
        validation_data=(X[:5], MAPS[:5], WEIGHTS[5:]), verbose=0,
    ).history  # fmt: skip
    updates, totals = torch.optim.SGD(theirs.parameters(), lr=0.5), 0.0

    def terms_of(rows):
        scores, labels = theirs(torch.tensor(X[rows])), torch.tensor(MAPS[rows])
        return nn.functional.cross_entropy(scores, labels, reduction="none")

    for start in (0, 4, 8):
        rows = slice(start, start + 4)
        weighted = terms_of(rows) * torch.tensor(WEIGHTS[rows])
        totals += weighted.sum().item()
        updates.zero_grad()
        weighted.mean().backward()
        updates.step()
    assert history["loss"] == pytest.approx([totals / 360], rel=1e-5)
    validation = (terms_of(slice(0, 5)) * torch.tensor(WEIGHTS[5:])).mean().item()
    assert history["val_loss"] == pytest.approx([validation], rel=1e-5)
    evaluated = model.evaluate(X[:5], MAPS[:5], sample_weight=WEIGHTS[5:], batch_size=2)
    assert evaluated["loss"] == pytest.approx(validation, rel=1e-5)


def test_a_split_takes_its_weights_along():
    whole = segmenting().fit(X, MAPS, sample_weight=WEIGHTS, validation_split=0.5, verbose=0)
    parts = segmenting().fit(
        X[:5], MAPS[:5], sample_weight=WEIGHTS[:5],
        validation_data=(X[5:], MAPS[5:], WEIGHTS[5:]), verbose=0,
    )  # fmt: skip
    assert whole.history == parts.history


def test_class_weights_besides():
    """One-hot rows of a regression: those of classes multiply those of numbers."""
    rows, weights = np.eye(3, dtype="float32")[MAPS[:, 0, 0]], WEIGHTS[:, 0, :3]
    made = []
    for options in (
        {"class_weight": [1.0, 2.0, 3.0], "sample_weight": weights},
        {"sample_weight": weights * (1.0 + MAPS[:, 0, 0])[:, None]},
    ):
        model = xpcnn.Model([xpcnn.Linear(6, 3)], device="cpu", seed=0)
        model.compile("sgd", "mse")
        made.append(model.fit(X[:, 0, 0], rows, verbose=0, **options).history["loss"][0])
    assert made[0] == pytest.approx(made[1], rel=1e-6)


def two_outputs() -> xpcnn.Model:
    graph = xpcnn.Graph(
        "x",
        [("label", xpcnn.Linear(6, 3), "x"), ("value", xpcnn.Linear(6, 2), "x")],
        ["label", "value"],
    )
    model = xpcnn.Model(graph, device="cpu", seed=0)
    model.compile(xpcnn.optim.SGD(lr=0.1), {"label": "cross_entropy", "value": "mse"})
    return model


FLAT, VALUES = X[:, 0, 0], X[:, 1, 0, :2]
TARGETS = {"label": MAPS[:, 0, 0], "value": VALUES}
OF_LABELS, OF_VALUES = WEIGHTS[:, 0, 0], WEIGHTS[:, 1, :2]


@pytest.mark.parametrize("form", ["dict", "tuple", "list"])
def test_weights_of_each_output(form):
    given: Any = {"value": OF_VALUES, "label": OF_LABELS}
    if form != "dict":
        given = {"tuple": tuple, "list": list}[form]([OF_LABELS, OF_VALUES])
    model = two_outputs()
    label, value = (y.astype("float64") for y in model.predict(FLAT))
    entropy = np.log(np.exp(label).sum(1)) - label[np.arange(10), TARGETS["label"]]
    expected = {
        "label_loss": (entropy * OF_LABELS).mean(),
        "value_loss": ((value - VALUES) ** 2 * OF_VALUES).mean(),
    }
    expected["loss"] = sum(expected.values())
    logs = model.evaluate(FLAT, TARGETS, sample_weight=given, batch_size=3)
    assert logs == pytest.approx(expected, rel=1e-5)
    history = model.fit(
        FLAT, TARGETS, sample_weight=given, optimizer=xpcnn.optim.SGD(lr=0.0), batch_size=4,
        validation_data=(FLAT, TARGETS, given), verbose=0,
    ).history  # fmt: skip
    for name, number in expected.items():
        assert history[name] == pytest.approx([number], rel=1e-5)
        assert history[f"val_{name}"] == pytest.approx([number], rel=1e-5)


def test_an_output_without_weights():
    some = two_outputs().evaluate(FLAT, TARGETS, sample_weight={"value": OF_VALUES})
    both = two_outputs().evaluate(FLAT, TARGETS, sample_weight=[None, OF_VALUES])
    plain = two_outputs().evaluate(FLAT, TARGETS)
    assert some == both
    assert some["label_loss"] == plain["label_loss"]
    assert some["value_loss"] != plain["value_loss"]


def test_one_array_for_all_outputs():
    once = two_outputs().evaluate(FLAT, TARGETS, sample_weight=OF_LABELS)
    twice = two_outputs().evaluate(FLAT, TARGETS, sample_weight=[OF_LABELS, OF_LABELS])
    assert once == twice
    assert two_outputs().evaluate(FLAT, TARGETS, sample_weight=OF_LABELS.tolist()) == once


def test_a_step_of_an_own_loop():
    model, other = two_outputs(), two_outputs()
    given = {"label": OF_LABELS, "value": OF_VALUES}
    model.train_step(FLAT, TARGETS, sample_weight=given)
    other.fit(FLAT, TARGETS, sample_weight=given, batch_size=10, shuffle=False, verbose=0)
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_accumulated_batches():
    made = []
    for size, accumulate in ((2, 3), (6, 1)):
        model = segmenting()
        model.fit(X, MAPS, batch_size=size, accumulate=accumulate, sample_weight=WEIGHTS, verbose=0)
        made.append(model.state_dict()["0.weight"])
    np.testing.assert_allclose(made[0], made[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "y", "weights", "error", "message"),
    [
        (segmenting, MAPS, np.ones((10, 6, 5)), ValueError, r"further axes .* \(10, 6, 6\)"),
        (segmenting, MAPS, np.ones((10, 3, 6, 6)), ValueError, r"got \(10, 3, 6, 6\)"),
        (segmenting, MAPS, np.ones(9), ValueError, r"sample_weight: expected shape \(10,\)"),
        (segmenting, MAPS, -np.ones((10, 6, 6)), ValueError, "finite and not negative"),
        (segmenting, MAPS, np.zeros((10, 6)), ValueError, "all samples have the weight 0"),
        (segmenting, MAPS, [["a"] * 6] * 10, TypeError, "sample_weight must hold numbers"),
        (segmenting, MAPS, {"y": np.ones(10)}, TypeError, "expected an array, got a dict"),
        (two_outputs, TARGETS, {"size": np.ones(10)}, ValueError, "outputs label, value; got 'si"),
        (two_outputs, TARGETS, {}, ValueError, "got nothing"),
        (two_outputs, TARGETS, [None, None], ValueError, "leave it out"),
        (
            two_outputs,
            TARGETS,
            [np.ones(10)] * 3,
            ValueError,
            "of label, value; got 3",
        ),
        (two_outputs, TARGETS, np.ones((10, 2)), ValueError, r"expected shape \(10,\)"),
        (
            two_outputs,
            TARGETS,
            {"value": np.ones((10, 3))},
            ValueError,
            r"sample_weight\['value'\]: expected shape \(10,\), got \(10, 3\)",
        ),
        (two_outputs, TARGETS, [np.zeros(10)] * 2, ValueError, "all samples have the weight 0"),
    ],
)
def test_wrong_use(make, y, weights, error, message):
    model = make()
    x = X if make is segmenting else FLAT
    with pytest.raises(error, match=message):
        model.fit(x, y, sample_weight=weights, verbose=0)
    assert model.step == 0


def test_what_the_border_knows_of_the_terms():
    """Weights are checked before training against the shape that terms have."""
    scores = RNG.normal(size=(3, 2, 4, 4))
    labels, answers = RNG.integers(0, 2, (3, 4, 4)), RNG.random((3, 2, 4, 4)).round()
    cases = [
        (losses.CrossEntropyLoss, labels),
        (losses.NLLLoss, labels),
        (losses.FocalLoss, labels),
        (losses.DiceLoss, labels),
        (losses.MSELoss, answers),
        (losses.SmoothL1Loss, answers),
        (losses.KLDivLoss, answers),
        (losses.PoissonNLLLoss, answers),
        (losses.BCEWithLogitsLoss, answers),
        (losses.MultiLabelSoftMarginLoss, answers),
        (losses.SoftMarginLoss, 2 * answers - 1),
    ]
    for make, target in cases:
        loss = make(reduction="none")
        assert loss.terms_shape(scores.shape) == loss(scores, target).shape, loss
    many = losses.FocalLoss(multilabel=True, reduction="none")
    assert many.terms_shape(scores.shape) == many(scores, answers).shape


def test_weights_of_places_where_the_loss_has_one_term_a_sample():
    model = xpcnn.Model([xpcnn.Linear(6, 3)], device="cpu", seed=0)
    model.compile("sgd", "multi_margin")
    with pytest.raises(ValueError, match=r"expected shape \(10,\), got \(10, 3\)$"):
        model.fit(FLAT, TARGETS["label"], sample_weight=np.ones((10, 3)), verbose=0)
