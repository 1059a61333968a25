"""Losses of segmentation, and focal loss: by hand, and against what PyTorch differentiates."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import xpcnn
from tests.pytorch import torch
from xpcnn import losses
from xpcnn._xp import dtype_name, to_numpy
from xpcnn.device import Device
from xpcnn.gradcheck import gradcheck

# Two images of four places, probabilities of yes.
P = np.array([[[0.5, 1.0, 0.0, 0.25]], [[0.0, 0.5, 0.5, 1.0]]])
YES = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
# Intersections 1.5 and 1.5; areas 1.75 and 2, 2 and 2.
DICE = np.array([[1 - 3.0 / 3.75], [1 - 3.0 / 4.0]])
JACCARD = np.array([[1 - 1.5 / 2.25], [1 - 1.5 / 2.5]])
TVERSKY = np.array([[1 - 1.5 / (1.5 + 0.3 * 0.25 + 0.7 * 0.5)], [1 - 1.5 / (1.5 + 0.5)]])
TINY = {"smooth": 1e-12, "from_logits": False}


@pytest.mark.parametrize(
    ("cls", "options", "terms"),
    [
        (losses.DiceLoss, {}, DICE),
        (losses.DiceLoss, {"squared": True}, [[1 - 3 / 3.3125], [1 - 3 / 3.5]]),
        (losses.JaccardLoss, {}, JACCARD),
        (losses.TverskyLoss, {"alpha": 0.3, "beta": 0.7}, TVERSKY),
    ],
)
def test_overlap_by_hand(device: Device, cls: Any, options: Any, terms: Any) -> None:
    x, terms = device.asarray(P), np.array(terms)
    for target in (YES, YES[:, None], YES[:, None] == 1, YES[:, None].astype("float32")):
        y = device.asarray(target)
        value = to_numpy(cls(reduction="none", **options, **TINY)(x, y))
        np.testing.assert_allclose(value, terms, rtol=1e-9)
        assert float(cls(**options, **TINY)(x, y)) == pytest.approx(terms.mean())
        assert float(cls(reduction="sum", **options, **TINY)(x, y)) == pytest.approx(terms.sum())
    weights = device.asarray(np.array([1.0, 3.0]))
    value = cls(**options, **TINY)(x, y, sample_weight=weights)
    assert float(value) == pytest.approx((terms[0, 0] + 3 * terms[1, 0]) / 2)


def test_images_put_together(device: Device) -> None:
    x, y = device.asarray(P), device.asarray(YES)
    loss = losses.DiceLoss(batch=True, **TINY)
    assert float(loss(x, y)) == pytest.approx(1 - 6.0 / 7.75)
    none = losses.DiceLoss(batch=True, reduction="none", **TINY)
    np.testing.assert_allclose(to_numpy(none(x, y)), [1 - 6.0 / 7.75], rtol=1e-9)
    with pytest.raises(ValueError, match="batch=True .* sample_weight cannot tell"):
        loss(x, y, sample_weight=device.asarray(np.ones(2)))


def test_places_and_images_that_do_not_count(device: Device) -> None:
    y = YES.copy()
    y[0, 3] = 255
    y[1] = 255
    for target in (y, y.astype("float32")[:, None]):
        loss = losses.DiceLoss(ignore_index=255, **TINY)
        value = loss(device.asarray(P), device.asarray(target))
        assert float(value) == pytest.approx(1 - 3.0 / 3.5)  # of the first image alone
        gradient = to_numpy(loss.backward())
        assert not gradient[1].any()
        assert gradient[0, 0, 3] == 0.0
        assert gradient[0, 0, :3].all()
        focal = losses.FocalLoss(1.0, ignore_index=255)
        assert float(focal(device.asarray(P * 0), device.asarray(target))) == pytest.approx(
            0.5 * math.log(2)
        )
    nothing = losses.DiceLoss(ignore_index=255, **TINY)(
        device.asarray(P), device.asarray(np.full_like(YES, 255))
    )
    assert math.isnan(float(nothing))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_focal_by_hand(device: Device, dtype: str) -> None:
    rtol = 1e-5 if dtype == "float32" else 1e-12
    x = device.asarray(np.log(np.array([[3.0, 1.0, 1 / 3]])), dtype)  # 3/4, 1/2, 1/4
    y = device.asarray(np.array([[1, 0, 1]]))
    terms = np.array([[1 / 16 * math.log(4 / 3), 1 / 4 * math.log(2), 9 / 16 * math.log(4)]])
    value = losses.FocalLoss(reduction="none", multilabel=True)(x, y)
    np.testing.assert_allclose(to_numpy(value), terms, rtol=rtol)
    value = losses.FocalLoss(2.0, 0.25, reduction="none", multilabel=True)(x, y)
    np.testing.assert_allclose(to_numpy(value), terms * [0.25, 0.75, 0.25], rtol=rtol)
    # The same numbers as scores of classes: 9/13, 3/13 and 1/13.
    loss = losses.FocalLoss(2.0, [1.0, 2.0, 3.0], reduction="none")
    value = loss(x, device.asarray(np.array([1])))
    np.testing.assert_allclose(to_numpy(value), [2 * (10 / 13) ** 2 * math.log(13 / 3)], rtol=rtol)
    assert dtype_name(value) == dtype_name(loss.backward()) == dtype


# -- Formulas, differentiated by PyTorch -----------------------------------------------------------


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.moveaxis(np.eye(classes)[labels], -1, 1)


def overlap(loss: Any, x: Any, t: Any, counted: Any, columns: bool) -> Any:
    """Return the terms (N, C) and their weights, written as in the papers."""
    p = x
    if loss.from_logits:
        p = torch.sigmoid(x) if columns else torch.softmax(x, dim=1)
    p, t = p * counted, t * counted
    dims = ((0,) if loss.batch else ()) + tuple(range(2, x.ndim))

    def area(x: Any) -> Any:
        return x.sum(dims) if dims else x  # PyTorch sums over all axes where none are named

    power = 2 if loss.squared else 1
    both, of_p, of_t = area(p * t), area(p**power), area(t**power)
    s = loss.smooth
    if isinstance(loss, losses.DiceLoss):
        ratio = (2 * both + s) / (of_p + of_t + s)
    elif isinstance(loss, losses.JaccardLoss):
        ratio = (both + s) / (of_p + of_t - both + s)
    else:
        wrong, missed = of_p - both, of_t - both
        ratio = (both + s) / (both + loss.alpha * wrong + loss.beta * missed + s)
    weight = torch.ones(x.shape[1]) if loss.weight is None else torch.tensor(np.array(loss.weight))
    weight = weight.double() * (area(counted.expand(x.shape).double()) > 0)
    return weight * (1 - ratio), weight


def focal(loss: Any, x: Any, t: Any, columns: bool) -> Any:
    if not columns:
        logp = torch.log_softmax(x, dim=1)
        alpha = torch.ones(x.shape[1]) if loss.alpha is None else torch.tensor(np.array(loss.alpha))
        alpha = alpha.double().reshape(1, -1, *(1,) * (x.ndim - 2))
        return -(t * alpha * (1 - logp.exp()) ** loss.gamma * logp).sum(1)
    p = torch.sigmoid(x)
    entropy = -t * torch.log(p) - (1 - t) * torch.log(1 - p)
    alpha = 1.0 if loss.alpha is None else loss.alpha * t + (1 - loss.alpha) * (1 - t)
    return alpha * (1 - (p * t + (1 - p) * (1 - t))) ** loss.gamma * entropy


def draw(rng: np.random.Generator, columns: bool, form: str) -> Any:
    """Return scores, targets for us, shares, and which of them count."""
    shape = (3, int(rng.integers(2, 5)), *rng.integers(1, 4, size=int(rng.integers(0, 3))))
    places = (3, *shape[2:])
    x = 2 * rng.normal(size=shape)
    counted = np.ones((3, 1, *shape[2:]), bool)
    if columns:
        y = rng.integers(0, 2, shape).astype(float)
        if form == "soft":
            y = rng.random(shape)
        t = y
        if form == "ignored":
            counted = rng.random(shape) < 0.7
            counted[0, 0] = True
            y = np.where(counted, y, 9)
        return x, y, t, counted
    y = rng.integers(0, shape[1], places)
    t = one_hot(y, shape[1])
    if form == "soft":
        y = t = np.moveaxis(rng.dirichlet(np.ones(shape[1]), places), -1, 1)
    if form == "ignored":
        kept = rng.random(places) < 0.7
        kept[0] = True
        y, counted = np.where(kept, y, 9), kept[:, None]
    return x, y, t, counted


@pytest.mark.parametrize("form", ["labels", "soft", "ignored"])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("name", ["DiceLoss", "JaccardLoss", "TverskyLoss", "FocalLoss"])
def test_as_the_formula(rng: np.random.Generator, name: str, columns: bool, form: str) -> None:
    for number in range(12):
        x, y, t, counted = draw(rng, columns, form)
        options: dict[str, Any] = {"multilabel": columns, "reduction": ["mean", "sum"][number % 2]}
        if form == "ignored":
            options["ignore_index"] = 9
        if name == "FocalLoss":
            options["gamma"] = [0.0, 0.5, 1.0, 2.0, 3.0][number % 5]
            alpha = float(rng.random()) if columns else rng.random(x.shape[1]).tolist()
            options["alpha"] = alpha if number % 3 else None
        else:
            options["smooth"] = [1e-5, 1.0][number % 2]
            options["weight"] = rng.random(x.shape[1]).tolist() if number % 3 == 0 else None
            options["batch"] = number % 4 == 0
            options["from_logits"] = number % 5 != 0
            if not options["from_logits"]:
                x = 1 / (1 + np.exp(-x))
            if name == "DiceLoss":
                options["squared"] = number % 3 == 1
            if name == "TverskyLoss":
                options |= {"alpha": 0.3, "beta": 0.8}
        loss = getattr(losses, name)(**options)
        a, b, c = torch.tensor(x, requires_grad=True), torch.tensor(t), torch.tensor(counted)
        if name == "FocalLoss":
            terms = focal(loss, a, b, columns)
            weight = (c if columns else c[:, 0]).expand(terms.shape).double()
            terms = terms * weight
        else:
            terms, weight = overlap(loss, a, b, c, columns)
        expected = terms.sum() / (weight.sum() if loss.reduction == "mean" else 1)
        value = loss(x, y)
        np.testing.assert_allclose(value, expected.item(), rtol=1e-11, err_msg=repr(loss))
        expected.backward()
        np.testing.assert_allclose(
            loss.backward(), a.grad.numpy(), rtol=1e-8, atol=1e-12, err_msg=repr(loss)
        )
        none = type(loss)(**options | {"reduction": "none"})
        np.testing.assert_allclose(none(x, y), terms.detach().numpy(), rtol=1e-10, atol=1e-13)
        weights = {} if options.get("batch") else {"sample_weight": rng.random(3)}
        assert gradcheck(loss, x, y, **weights)
        assert gradcheck(none, x, y, **weights)


def test_as_torchvision(rng: np.random.Generator) -> None:
    ops = pytest.importorskip("torchvision.ops")
    x, y = 3 * rng.normal(size=(4, 3, 5)), rng.integers(0, 2, (4, 3, 5)).astype(float)
    for reduction in ("mean", "sum", "none"):
        for alpha, gamma in ((0.25, 2.0), (-1.0, 1.5)):
            expected = ops.sigmoid_focal_loss(
                torch.tensor(x), torch.tensor(y), alpha, gamma, reduction
            )
            ours = losses.FocalLoss(
                gamma, None if alpha < 0 else alpha, reduction=reduction, multilabel=True
            )
            np.testing.assert_allclose(ours(x, y), expected.numpy(), rtol=1e-10)


def test_focal_without_focus_is_cross_entropy(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(4, 3, 5)), rng.integers(0, 3, (4, 5))
    entropy, loss = losses.CrossEntropyLoss(), losses.FocalLoss(0.0)
    assert float(loss(x, y)) == pytest.approx(float(entropy(x, y)))
    np.testing.assert_allclose(loss.backward(), entropy.backward(), rtol=1e-12)
    x, y = x[:, :1], y[:, None] % 2
    entropy, loss = losses.BCEWithLogitsLoss(), losses.FocalLoss(0.0)
    assert float(loss(x, y)) == pytest.approx(float(entropy(x, y)))
    np.testing.assert_allclose(loss.backward(), entropy.backward(), rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sure_answers(device: Device, gamma: float, dtype: str) -> None:
    """No overflow and no NaN, however sure the network is."""
    x = device.asarray(np.array([[1000.0, -1000.0], [0.0, 40.0]]), dtype)
    loss = losses.FocalLoss(gamma, multilabel=True, reduction="none")
    value = to_numpy(loss(x, device.asarray(np.array([[1, 1], [0, 1]]))))
    assert value[0].tolist() == [0.0, 1000.0]
    gradient = to_numpy(loss.backward())
    assert gradient[0].tolist() == [0.0, -1.0]
    assert np.isfinite(gradient).all()
    loss = losses.FocalLoss(gamma, reduction="none")
    value = to_numpy(loss(x, device.asarray(np.array([0, 0]))))
    np.testing.assert_allclose(value, [0.0, 40.0], rtol=1e-6)
    np.testing.assert_allclose(to_numpy(loss.backward()), [[0, 0], [-1, 1]], atol=1e-6)
    for cls in (losses.DiceLoss, losses.JaccardLoss, losses.TverskyLoss):
        loss = cls(multilabel=True)
        assert float(loss(x, device.asarray(np.array([[1, 0], [0, 1]])))) >= 0.0
        assert np.isfinite(to_numpy(loss.backward())).all()


def test_float32_sums_over_a_million_places(device: Device, rng: np.random.Generator) -> None:
    p = rng.random((1, 1, 1000, 1000)).astype("float32")
    y = (rng.random((1, 1000, 1000)) < 0.3).astype("int64")
    wide = p.astype("float64")
    expected = 1 - 2 * wide[:, 0][y == 1].sum() / (wide.sum() + y.sum())
    loss = losses.DiceLoss(**TINY)
    for x in (p, np.swapaxes(np.ascontiguousarray(np.swapaxes(p, 2, 3)), 2, 3)):
        value = loss(device.asarray(x), device.asarray(y))
        assert float(value) == pytest.approx(expected, rel=1e-6)


def test_nan_shows() -> None:
    x = np.zeros((2, 3, 4))
    x[0, 0, 0] = math.nan
    for name in ("dice", "jaccard", "tversky", "focal"):
        loss = losses.get(name)
        assert math.isnan(float(loss(x, np.zeros((2, 4), int))))
        assert np.isnan(loss.backward()).any()


# -- Settings and targets --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        losses.DiceLoss([1.0, 2.0], 255, "sum", multilabel=True, smooth=1.0, squared=True),
        losses.JaccardLoss(batch=True, from_logits=False),
        losses.TverskyLoss(alpha=0.3, beta=0.7),
        losses.FocalLoss(1.0, [0.5, 1.0], 255, "none"),
        losses.FocalLoss(alpha=0.25, multilabel=True),
    ],
    ids=str,
)
def test_descriptions(loss: losses.Loss) -> None:
    again = losses.from_config(json.loads(json.dumps(losses.to_config(loss))))
    assert repr(again) == repr(loss)
    assert (again.reads, again.answers) == (loss.reads, loss.answers)
    assert type(loss) is type(losses.get(type(loss).__name__.removesuffix("Loss").lower()))


def test_weights_of_single_terms(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(3, 2, 4)), rng.integers(0, 2, (3, 4))
    for loss, target, shapes in (
        (losses.FocalLoss(reduction="none"), y, [(3,), (3, 4)]),
        (losses.FocalLoss(reduction="none", multilabel=True), (x > 0) * 1.0, [(3, 2), (3, 2, 4)]),
        (losses.DiceLoss(reduction="none"), y, [(3,), (3, 2)]),
    ):
        terms = loss(x, target)
        assert loss.terms_shape(x.shape) == terms.shape
        for shape in shapes:
            weights = rng.random(shape)
            spread = weights.reshape(*shape, *(1,) * (terms.ndim - len(shape)))
            np.testing.assert_allclose(loss(x, target, sample_weight=weights), terms * spread)
            mean = type(loss)(**loss.arguments() | {"reduction": "mean"})
            assert gradcheck(mean, x, target, sample_weight=weights)
    model = xpcnn.Model([xpcnn.Conv1d(2, 2, 1)], device="cpu", seed=0)
    model.compile("sgd", losses.DiceLoss(batch=True))
    with pytest.raises(ValueError, match="sample_weight cannot tell them apart"):
        model.fit(x.astype("float32"), y, sample_weight=np.ones(3), verbose=0)


def test_settings_that_change() -> None:
    dice = losses.DiceLoss()
    dice.from_logits, dice.multilabel = False, True
    assert (dice.reads, dice.answers) == ("probabilities", "columns")
    assert repr(dice) == "DiceLoss(multilabel=True, from_logits=False)"
    focal = losses.FocalLoss(0.0)
    before = float(focal(np.zeros((1, 2)), np.array([1])))
    focal.alpha = [1.0, 3.0]
    assert float(focal(np.zeros((1, 2)), np.array([1]))) == pytest.approx(3 * before)


LOGITS = np.zeros((2, 3, 4))
LABELS = np.zeros((2, 4), int)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.DiceLoss(smooth=0.0), ValueError, "smooth must be a finite number above 0"),
        (lambda: losses.DiceLoss(reduction="median"), ValueError, "reduction must be one of"),
        (lambda: losses.DiceLoss(ignore_index=2.5), TypeError, "ignore_index must be a whole"),
        (lambda: losses.TverskyLoss(alpha=-1.0), ValueError, "TverskyLoss: alpha must be"),
        (lambda: losses.FocalLoss(-1.0), ValueError, "FocalLoss: gamma must be a finite number"),
        (lambda: losses.FocalLoss(alpha=1.5), ValueError, "alpha, the factor of yes"),
        (lambda: losses.FocalLoss(alpha=[math.nan]), ValueError, "one finite number"),
        (lambda: losses.FocalLoss(alpha=0.25)(LOGITS, LABELS), ValueError, "there are 3 classes"),
        (lambda: losses.FocalLoss(alpha=[1.0])(LOGITS, LABELS), ValueError, "alpha has 1 numbers"),
        (
            lambda: losses.FocalLoss(alpha=[1.0] * 3, multilabel=True)(LOGITS, LOGITS),
            ValueError,
            "give one number, the factor of yes",
        ),
        (lambda: losses.DiceLoss([1.0])(LOGITS, LABELS), ValueError, "weight has 1 numbers"),
        (lambda: losses.DiceLoss()(LOGITS, LABELS[:, :3]), ValueError, "expected integer labels"),
        (lambda: losses.DiceLoss()(LOGITS, LABELS + 3), ValueError, "labels must be from 0 to 2"),
        (lambda: losses.DiceLoss()(LOGITS[:, 0, 0], LABELS[:, 0]), ValueError, "of shape \\(N, C"),
        (
            lambda: losses.DiceLoss(multilabel=True)(LOGITS, LABELS),
            ValueError,
            "expected targets of shape",
        ),
        (
            lambda: losses.DiceLoss(ignore_index=255)(LOGITS, LOGITS),
            ValueError,
            "integer labels only",
        ),
        (lambda: setattr(losses.FocalLoss(), "weight", [1.0]), AttributeError, "are alpha here"),
        (lambda: setattr(losses.DiceLoss(), "label_smoothing", 0.1), AttributeError, "has none"),
        (lambda: setattr(losses.DiceLoss(), "smooth", -1.0), ValueError, "smooth must be"),
    ],
)
def test_wrong_use(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("loss", "shape", "target", "message"),
    [
        (losses.DiceLoss(), (2, 1, 4), LABELS + 2, "must lie from 0 to 1 .*got 2 at index"),
        (losses.DiceLoss(ignore_index=255), (2, 1, 4), LABELS + 255, "all 8 targets are 255"),
        (losses.DiceLoss(ignore_index=255), (2, 3, 4), LABELS + 255, "all 8 targets are 255"),
        (losses.DiceLoss(ignore_index=255), (2, 3, 4), LOGITS + 1 / 3, "integer labels only"),
        (losses.DiceLoss([1.0]), (2, 3, 4), LABELS, "weight has 1 numbers"),
        (losses.DiceLoss([1.0], multilabel=True), (2, 3, 4), LOGITS, "weight has 1 numbers"),
        (losses.FocalLoss(alpha=0.25), (2, 3, 4), LABELS, "there are 3 classes"),
        (losses.FocalLoss(alpha=[1.0]), (2, 1, 4), LABELS, "give one number, the factor of yes"),
        (losses.FocalLoss(), (2, 3, 4), LABELS + 3, "labels must be from 0 to 2"),
        (losses.FocalLoss(multilabel=True), (2, 3, 4), LOGITS - 1, "must lie from 0 to 1"),
        (losses.FocalLoss(multilabel=True), (2, 3), np.zeros(2, int), "expected targets of shape"),
        (losses.FocalLoss(), (2, 3), np.array([0.0, math.nan]), "must be integers|NaN"),
    ],
)
def test_wrong_targets(loss: losses.Loss, shape: Any, target: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"{type(loss).__name__}: .*({message})"):
        loss.check_something_counts(loss.prepare_target(shape, target, "float32"))


def test_prepared_targets() -> None:
    loss = losses.DiceLoss(ignore_index=255)
    mask = np.array([[0, 1, 255, 0], [1, 1, 0, 0]], "uint8")
    prepared = loss.prepare_target((2, 1, 4), mask, "float32")
    assert prepared.dtype == np.float32
    np.testing.assert_array_equal(prepared, mask[:, None])
    prepared = losses.FocalLoss(alpha=0.25).prepare_target((2, 1, 4), mask % 2, "float32")
    np.testing.assert_array_equal(prepared, mask[:, None] % 2)
    prepared = loss.prepare_target((2, 2, 4), mask, "float32")
    assert prepared.dtype == np.int64
    np.testing.assert_array_equal(prepared, mask)


def test_the_loss_of_a_data_set_does_not_depend_on_the_batches(rng: np.random.Generator) -> None:
    x = rng.normal(size=(13, 2, 6, 6)).astype("float32")
    y = rng.integers(0, 3, (13, 6, 6))
    y[rng.random(y.shape) < 0.3] = 255
    y[5] = 255
    model = xpcnn.Model([xpcnn.Conv2d(2, 3, 3, padding=1)], device="cpu", seed=0)
    for loss in (losses.DiceLoss([0.0, 1.0, 2.0], 255), losses.FocalLoss(ignore_index=255)):
        model.compile("adam", loss)
        whole = model.evaluate(x, y, batch_size=13)["loss"]
        assert model.evaluate(x, y, batch_size=4)["loss"] == pytest.approx(whole, rel=1e-5)


def test_areas_of_batches_are_averaged_by_their_images(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(7, 2, 5)).astype("float32"), rng.integers(0, 3, (7, 5))
    model = xpcnn.Model([xpcnn.Conv1d(2, 3, 1)], device="cpu", seed=0)
    loss = losses.DiceLoss(batch=True)
    model.compile("adam", loss)
    p = model.predict(x)
    expected = (5 * float(loss(p[:5], y[:5])) + 2 * float(loss(p[5:], y[5:]))) / 7
    assert model.evaluate(x, y, batch_size=5)["loss"] == pytest.approx(expected, rel=1e-5)
