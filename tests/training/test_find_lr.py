"""The search for a learning rate."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import xpcnn
from xpcnn import optim
from xpcnn._xp import to_numpy
from xpcnn.training.lr_finder import steepest

RNG = np.random.default_rng(6)
X = RNG.normal(size=(64, 2, 5, 5)).astype("float32")
Y = (X.mean(axis=(1, 2, 3)) > 0).astype("int64")


def model_of(optimizer=None, **options):
    layers = [
        xpcnn.Conv2d(2, 4, 3), xpcnn.BatchNorm2d(4), xpcnn.ReLU(), xpcnn.Flatten(),
        xpcnn.Dropout(0.2), xpcnn.Linear(36, 2),
    ]  # fmt: skip
    model = xpcnn.Model(layers, seed=1, **{"device": "cpu"} | options)
    model.compile(optimizer or optim.SGD(lr=0.3), "cross_entropy", ["accuracy"])
    return model


def test_losses_are_those_of_steps_with_these_rates():
    """The same steps, one by one: the loss before each, and the rate that it is made with."""
    model = model_of()
    found = model.find_lr(X, Y, start=1e-3, end=1.0, steps=7, batch_size=16)
    np.testing.assert_allclose(found.lrs, 10.0 ** np.linspace(-3, 0, 7), rtol=1e-12)
    again, losses = model_of(), []
    turns = [rows for epoch in range(2) for rows in xpcnn.data.batches(64, 16, seed=1, epoch=epoch)]
    for rate, rows in zip(found.lrs, turns, strict=False):
        again.optimizer.lr = rate
        losses.append(float(again.train_step(X[rows], Y[rows])))
    assert found.losses == losses
    average = 0.0
    for number, (loss, smooth) in enumerate(zip(losses, found.smoothed, strict=True), start=1):
        average = 0.98 * average + 0.02 * loss
        assert smooth == pytest.approx(average / (1 - 0.98**number))


STATES = {
    "fresh": lambda: model_of(),
    "schedule": lambda: model_of(optim.Adam(1e-3, schedule=optim.OneCycleLR(0.1, total_steps=9))),
    "plateau": lambda: model_of(optim.SGD(lr=0.1, schedule=optim.ReduceLROnPlateau())),
    "groups": lambda: model_of(optim.SGD(lr=0.1, groups={"*.bias": {"lr": 0.2}})),
}


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("make", STATES.values(), ids=STATES)
def test_the_model_is_as_before(make, trained, tmp_path):
    """Its file is the same, and training goes on as if there had been no search."""
    model, other = make(), make()
    if trained:
        for each in (model, other):
            each.fit(X, Y, epochs=2, batch_size=16, validation_data=(X, Y), verbose=0)
    schedule, epoch = model.optimizer.schedule, model.epoch
    model.find_lr(X, Y, batch_size=8)
    assert model.optimizer.schedule is schedule
    assert (model.epoch, model.step, model.forwards) == (epoch, other.step, other.forwards)
    for each, name in ((model, "one"), (other, "other")):
        each.build((None, 2, 5, 5))
        each.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    one, two = (
        m.fit(X, Y, batch_size=16, validation_data=(X, Y), verbose=0) for m in (model, other)
    )
    assert one.history == two.history


def test_groups_keep_their_shares():
    """The bias has twice the rate: from zero, one step changes it by twice as much."""
    model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0, dtype="float64")
    model.compile(optim.SGD(lr=0.1, groups={"*.bias": {"lr": 0.2}}), "mse")
    model.build((None, 1))
    zeros = {"0.weight": np.zeros((1, 1)), "0.bias": np.zeros(1)}
    model.load_state_dict(zeros)
    x, y = np.ones((1, 1)), np.ones((1, 1))
    # w = 2 r, b = 4 r after a step with the rate r, so that the next loss is (1 - 6 r)^2
    found = model.find_lr(x, y, start=0.01, end=0.02, steps=2)
    assert found.losses == pytest.approx([1.0, (1 - 0.06) ** 2])


def test_a_search_ends_when_the_loss_diverges():
    found = model_of().find_lr(X, Y, start=1e-4, end=1e6, steps=200, batch_size=8)
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) < 200
    assert np.isfinite(found.losses).all()
    assert found.smoothed[-1] > 4 * min(found.smoothed) or found.lrs[-1] > 1.0
    assert 1e-3 < found.suggestion < found.lrs[-1]


def test_the_suggestion_by_hand():
    """Ten rates in a decade: the loss falls by 1 in the decade around the 20th, and later again."""
    lrs = [10.0 ** (i / 10 - 5) for i in range(50)]
    losses = [2.0 - np.clip(i - 15, 0, 10) / 10 for i in range(50)]
    losses = [loss + 0.01 * (-1) ** i for i, loss in enumerate(losses)]
    assert steepest(lrs, losses) == lrs[20]
    behind_a_peak = losses[:35] + [9.0 - i for i in range(8)] + losses[43:]
    assert steepest(lrs, behind_a_peak) == lrs[20]
    assert steepest(lrs, [-loss for loss in losses[::-1]]) == lrs[29]  # read from behind
    assert steepest(lrs, list(range(50))) is None
    assert steepest(lrs[:6], losses[14:20]) is None
    noise = np.random.default_rng(0).normal(size=(200, 50))
    assert sum(steepest(lrs, list(row)) is not None for row in noise) < 0.05 * len(noise)


def test_on_every_device(device):
    model = model_of(device=device)
    before = None
    for _ in range(2):
        found = model.find_lr(X, Y, steps=20, batch_size=16)
        assert before in (None, found.losses)
        before = found.losses
    model.fit(X, Y, verbose=0)
    before = {name: np.array(to_numpy(a)) for name, a in model.state_dict().items()}
    model.find_lr(X, Y, steps=20, batch_size=16)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(to_numpy(array), before[name])


def test_half_precision_keeps_its_scale():
    pytest.importorskip("torch")
    model = model_of(device="torch:cpu", precision="float16")
    model.fit(X, Y, verbose=0)
    scale = model.scaling.state_dict()
    model.find_lr(X, Y, end=1e5, steps=60)
    assert model.scaling.state_dict() == scale


def test_it_takes_what_fit_takes():
    weights = RNG.random(64)
    by_arrays = model_of().find_lr(X, Y, steps=4, batch_size=64, sample_weight=weights)
    rows = next(iter(xpcnn.data.batches(64, 64, seed=1)))
    by_batches = model_of().find_lr([(X[rows], Y[rows], weights[rows])], steps=4)
    assert by_arrays.losses[0] == pytest.approx(by_batches.losses[0], rel=1e-6)
    endless = itertools.count()
    found = model_of().find_lr(((X, Y) for _ in endless), start=1e-5, end=1e-4, steps=9)
    assert len(found.lrs) == next(endless) == 9
    assert model_of().find_lr(X, Y, class_weight={0: 1.0, 1: 2.0}, steps=3).losses


def test_how_it_prints():
    found = model_of().find_lr(X, Y, steps=60, batch_size=64)
    text = str(found)
    assert text.splitlines()[0].split() == ["lr", "loss", "smoothed"]
    assert text.splitlines()[-1] == f"suggested lr: {found.suggestion:.2g}"
    assert repr(found) == f"RateSearch(steps={len(found.lrs)}, suggestion={found.suggestion:.2g})"
    few = model_of().find_lr(X, Y, steps=3)
    assert few.suggestion is None
    assert str(few).splitlines()[-1] == "suggested lr: none"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start": 0.0}, ValueError, "start and end must be learning rates above 0.*start=0.0"),
        ({"start": 1.0, "end": 0.1}, ValueError, "start below end"),
        ({"end": np.inf}, ValueError, "end"),
        ({"start": "small"}, TypeError, "start"),
        ({"steps": 1}, ValueError, "find_lr: steps must be at least 2"),
        ({"steps": 2.5}, TypeError, "steps must be an integer"),
        ({"batch_size": 0}, ValueError, "find_lr: batch_size must be at least 1"),
        ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight: expected shape \(64,\)"),
        ({"class_weight": 3}, TypeError, "class_weight"),
    ],
)
def test_wrong_use(options, error, message):
    model = model_of()
    with pytest.raises(error, match=message):
        model.find_lr(X, Y, **options)
    assert model.step == 0


def test_what_is_missing():
    with pytest.raises(RuntimeError, match="find_lr: the model has no loss yet"):
        xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu").find_lr(X, Y)
    model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    model.compile("sgd", "mse")
    with pytest.raises(xpcnn.NonFiniteError, match="the loss of the first batch"):
        model.find_lr(np.ones((2, 1), "float32"), np.full((2, 1), 1e30, "float32"))
