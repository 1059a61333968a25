"""One update from the gradients of several batches."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn.operations import Add

RNG = np.random.default_rng(11)
X = RNG.normal(size=(22, 4))
LABELS = RNG.integers(0, 3, 22)
LABELS[[0, 1, 2, 9, 17]] = 2  # so that places that do not count are unevenly spread


def model_of(loss, device="cpu", dtype="float64", **options):
    layers = [xpcnn.Linear(4, 5), xpcnn.Tanh(), xpcnn.Linear(5, 3)]
    model = xpcnn.Model(layers, device=device, dtype=dtype, seed=3, **options)
    model.build((None, 4))
    model.compile(xpcnn.optim.SGD(lr=0.2, momentum=0.9, clip_norm=0.5), loss, ["accuracy"])
    return model


def fitted(loss, batch_size, accumulate=1, device="cpu", **options):
    model = model_of(loss, device)
    model.fit(
        X, LABELS, epochs=2, batch_size=batch_size, accumulate=accumulate, verbose=0, **options
    )
    return model


LOSSES = [
    xpcnn.CrossEntropyLoss(),
    xpcnn.CrossEntropyLoss(ignore_index=2),
    xpcnn.CrossEntropyLoss(weight=[1.0, 5.0, 0.25]),
    xpcnn.CrossEntropyLoss(reduction="sum"),
    xpcnn.CrossEntropyLoss(weight=[1.0, 0.0, 3.0], label_smoothing=0.1),
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_it_is_the_update_of_one_large_batch(device, loss):
    """22 samples: groups of 4 batches of 2 are batches of 8, 8 and 6."""
    weights = np.linspace(0.0, 3.0, 22)
    small = fitted(loss, 2, 4, device, sample_weight=weights)
    large = fitted(loss, 8, 1, device, sample_weight=weights)
    assert small.step == large.step == small.optimizer.iterations == 6
    assert small.forwards == 22
    for name, expected in large.state_dict().items():
        got = small.state_dict()[name]
        np.testing.assert_allclose(
            xpcnn._xp.to_numpy(got), xpcnn._xp.to_numpy(expected), rtol=1e-10, atol=1e-13
        )
    for name, column in large.history.history.items():
        assert small.history.history[name] == pytest.approx(column, rel=1e-10)


def test_against_pytorch():
    """Sums of gradients of sums, over the number of labels that count."""
    loss = xpcnn.CrossEntropyLoss(ignore_index=2)
    model = model_of(loss)
    model.optimizer = xpcnn.optim.SGD(lr=0.2)
    theirs = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    theirs.load_state_dict({n: torch.tensor(a) for n, a in model.state_dict().items()})
    updates = torch.optim.SGD(theirs.parameters(), lr=0.2)
    model.fit(X, LABELS, batch_size=3, accumulate=3, shuffle=False, verbose=0)
    for start in range(0, 22, 9):
        rows = slice(start, min(start + 9, 22))
        count = int((LABELS[rows] != 2).sum())
        updates.zero_grad()
        for first in range(rows.start, rows.stop, 3):
            part = slice(first, min(first + 3, rows.stop))
            total = nn.functional.cross_entropy(
                theirs(torch.tensor(X[part])), torch.tensor(LABELS[part]), ignore_index=2,
                reduction="sum",
            )  # fmt: skip
            (total / count).backward()
        updates.step()
    for name, expected in theirs.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], expected, rtol=1e-10)


def test_by_hand():
    """y = w x with w = 1: the gradient of the mean of (x - t)^2 is the mean of 2 x (x - t)."""
    model = xpcnn.Model([xpcnn.Linear(1, 1, bias=False)], device="cpu", dtype="float64", seed=0)
    model.build((None, 1))
    model.load_state_dict({"0.weight": np.ones((1, 1))})
    model.compile(xpcnn.optim.SGD(lr=1.0), "mse")
    x, t = np.array([[1.0], [2.0], [3.0]]), np.array([[0.0], [1.0], [5.0]])
    history = model.fit(x, t, batch_size=2, accumulate=2, shuffle=False, verbose=0)
    # 2 * (1 * 1 + 2 * 1 + 3 * -2) / 3 = -2, so that w = 3; batch by batch it would be another
    assert model.state_dict()["0.weight"].item() == pytest.approx(3.0)
    assert history.history["loss"] == [pytest.approx((1 + 1 + 4) / 3)]
    assert model.step == 1


def two_outputs(loss, device="cpu"):
    graph = xpcnn.Graph(
        "x",
        [
            ("inner", xpcnn.Linear(4, 5), "x"),
            ("bent", xpcnn.Tanh(), "inner"),
            ("label", xpcnn.Linear(5, 3), "bent"),
            ("both", Add(), ["bent", "inner"]),
            ("value", xpcnn.Linear(5, 2), "both"),
        ],
        ["label", "value"],
    )
    model = xpcnn.Model(graph, device=device, dtype="float64", seed=3)
    model.compile(xpcnn.optim.SGD(lr=0.1), {"label": loss, "value": "mse"}, loss_weights=[2.0, 0.5])
    return model


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_several_outputs_whose_divisors_differ(device, loss):
    targets = {"label": LABELS, "value": X[:, :2] ** 2}
    made = []
    for size, accumulate in ((2, 4), (8, 1)):
        model = two_outputs(loss, device)
        model.fit(X, targets, epochs=2, batch_size=size, accumulate=accumulate, verbose=0)
        made.append(model)
    small, large = made
    for name, expected in large.state_dict().items():
        got = small.state_dict()[name]
        np.testing.assert_allclose(
            xpcnn._xp.to_numpy(got), xpcnn._xp.to_numpy(expected), rtol=1e-10, atol=1e-13
        )
    assert small.history.history["label_loss"] == pytest.approx(large.history.history["label_loss"])


def test_where_no_label_counts():
    loss = xpcnn.CrossEntropyLoss(ignore_index=2)
    model = model_of(loss)
    model.optimizer = xpcnn.optim.SGD(lr=0.2)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    labels = np.full(8, 2)
    labels[-1] = 1  # in the second group
    model.fit(X[:8], labels, batch_size=2, accumulate=2, shuffle=False, verbose=0)
    assert all(np.isfinite(array).all() for array in model.state_dict().values())
    one = model_of(loss)
    one.optimizer = xpcnn.optim.SGD(lr=0.2)
    one.load_state_dict(before)
    one.fit(X[7:8], labels[7:], verbose=0)
    for name, expected in one.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], expected, rtol=1e-10)


def test_counts():
    seen = []

    class Counting(xpcnn.Callback):
        def on_train_begin(self, epochs, batches):
            seen.append(("train", epochs, batches))

        def on_batch_end(self, batch, logs):
            seen.append((batch, self.model.step, "loss" in logs))

    model = model_of("cross_entropy")
    model.fit(X, LABELS, batch_size=2, accumulate=4, callbacks=[Counting()], verbose=0)
    assert seen == [("train", 1, 3), (1, 1, True), (2, 2, True), (3, 3, True)]


def test_schedules_count_updates():
    schedule = xpcnn.optim.Warmup(3, start_factor=0.25)
    model = model_of("cross_entropy")
    model.optimizer = xpcnn.optim.SGD(lr=1.0, schedule=schedule)
    history = model.fit(X, LABELS, batch_size=2, accumulate=4, verbose=0)
    # 3 updates: 0.25, 0.5 and 0.75 of the rate
    assert history.history["lr"] == [pytest.approx(0.75)]


def test_a_failure_undoes_the_whole_group():
    """The third batch of the second group overflows; the update of the first one stays."""
    model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    model.compile(xpcnn.optim.SGD(lr=1e-3), "mse")
    x = np.ones((8, 1), dtype="float32")
    targets = np.zeros((8, 1), dtype="float32")
    targets[6] = 1e30
    once = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    once.compile(xpcnn.optim.SGD(lr=1e-3), "mse")
    once.fit(x[:4], targets[:4], batch_size=4, shuffle=False, verbose=0)
    with pytest.raises(xpcnn.NonFiniteError, match="batch 2") as caught:
        model.fit(x, targets, batch_size=1, accumulate=4, shuffle=False, verbose=0)
    assert caught.value.batch == 2
    assert model.step == 1
    for name, expected in once.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], expected, rtol=1e-6)


@pytest.mark.parametrize("device", ["torch:cpu"])
def test_losses_read_late_lead_back_too(device, monkeypatch):
    """Where the loss waits on the device, the groups before are made again."""
    pytest.importorskip("torch")
    from xpcnn import _xp

    monkeypatch.setattr(_xp, "on_host", lambda x: False)
    model = xpcnn.Model([xpcnn.Linear(1, 1)], device=device, seed=0)
    model.compile(xpcnn.optim.SGD(lr=1e-3), "mse")
    x = np.ones((8, 1), dtype="float32")
    targets = np.zeros((8, 1), dtype="float32")
    targets[6] = 1e30
    with pytest.raises(xpcnn.NonFiniteError, match="batch 2"):
        model.fit(x, targets, batch_size=1, accumulate=4, shuffle=False, verbose=0)
    once = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    once.compile(xpcnn.optim.SGD(lr=1e-3), "mse")
    once.fit(x[:4], targets[:4], batch_size=4, shuffle=False, verbose=0)
    for name, expected in once.state_dict().items():
        got = _xp.to_numpy(model.state_dict()[name])
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_half_precision():
    pytest.importorskip("torch")
    x = X.astype("float32")
    made = []
    for size, accumulate in ((2, 4), (8, 1)):
        model = model_of("cross_entropy", "torch:cpu", "float32", precision="float16")
        model.fit(x, LABELS, batch_size=size, accumulate=accumulate, shuffle=False, verbose=0)
        made.append(xpcnn._xp.to_numpy(model.state_dict()["2.weight"]))
    np.testing.assert_allclose(made[0], made[1], atol=2e-3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"accumulate": 0}, ValueError, "accumulate must be at least 1, got 0"),
        ({"accumulate": 1.5}, TypeError, "accumulate must be an integer"),
        ({"accumulate": True}, TypeError, "accumulate"),
        ({"accumulate": 2, "capture": True}, ValueError, "leave out capture or accumulate"),
    ],
)
def test_wrong_use(options, error, message):
    model = model_of("cross_entropy")
    with pytest.raises(error, match=message):
        model.fit(X, LABELS, verbose=0, **options)
    assert model.step == 0
