"""Averages of weights: EMA and SWA."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.pytorch import nn, torch
from xpcnn._xp import to_numpy
from xpcnn.callbacks import EMA, SWA

RNG = np.random.default_rng(4)
X = RNG.normal(size=(20, 2, 5, 5))
Y = RNG.integers(0, 3, 20)
OPTIONS = {"batch_size": 5, "shuffle": False, "verbose": 0}


def model_of(device="cpu", dtype="float64", dropout=False):
    layers = [xpcnn.Conv2d(2, 4, 3), xpcnn.BatchNorm2d(4), xpcnn.ReLU(), xpcnn.Flatten()]
    layers += [xpcnn.Dropout(0.3)] if dropout else []
    model = xpcnn.Model([*layers, xpcnn.Linear(36, 3)], device=device, dtype=dtype, seed=2)
    model.compile(xpcnn.optim.SGD(lr=0.1, momentum=0.9), "cross_entropy")
    model.build((None, 2, 5, 5))
    return model


def arrays(model):
    return {name: np.array(to_numpy(array)) for name, array in model.state_dict().items()}


def assert_same(one, other):
    for name, expected in arrays(other).items():
        np.testing.assert_array_equal(arrays(one)[name], expected, err_msg=name)


def theirs_of(model):
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    ).double()
    net.load_state_dict({name: torch.tensor(a) for name, a in arrays(model).items()})
    return net, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def their_epoch(net, updates, after_step=lambda: None):
    net.train()
    for start in range(0, 20, 5):
        updates.zero_grad()
        scores = net(torch.tensor(X[start : start + 5]))
        nn.functional.cross_entropy(scores, torch.tensor(Y[start : start + 5])).backward()
        updates.step()
        after_step()


@pytest.mark.parametrize("start", [1, 2])
def test_ema_has_the_statistics_of_training(device, start):
    model = model_of(device)
    net, updates = theirs_of(model)
    averaged = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    )
    model.fit(X, Y, epochs=3, callbacks=[EMA(0.8, start)], **OPTIONS)
    for epoch in (1, 2, 3):
        step = (lambda: averaged.update_parameters(net)) if epoch >= start else (lambda: None)
        their_epoch(net, updates, step)
    averaged.update_parameters(net)  # takes the buffers over; the parameters of before are wanted
    buffers = dict(net.named_buffers())
    for name, ours in arrays(model).items():
        if name in buffers:
            np.testing.assert_allclose(ours, buffers[name], rtol=1e-9)


def test_ema_parameters_as_pytorch():
    model = model_of()
    net, updates = theirs_of(model)
    averaged = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    )
    history = model.fit(X, Y, epochs=3, callbacks=[EMA(0.8)], validation_data=(X, Y), **OPTIONS)
    for _ in range(3):
        their_epoch(net, updates, lambda: averaged.update_parameters(net))
    for name, expected in averaged.module.named_parameters():
        np.testing.assert_allclose(arrays(model)[name], expected.detach(), rtol=1e-9)
    averaged.eval()
    for ours, theirs in zip(
        [b for n, b in arrays(model).items() if "running" in n],
        [b for n, b in averaged.module.named_buffers() if "running" in n],
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    loss = nn.functional.cross_entropy(averaged(torch.tensor(X)), torch.tensor(Y)).item()
    assert history.history["val_loss"][-1] == pytest.approx(loss, rel=1e-9)


def test_ema_by_hand():
    """Weights of 1, 2 and 4 after the steps: 1, then 1 + 0.5 * 1 = 1.5, then 1.5 + 0.5 * 2.5."""

    class Setting(xpcnn.Callback):
        def on_batch_end(self, batch, logs):
            self.model.load_state_dict({"0.weight": [[float(2 ** (batch - 1))]]}, strict=False)

    model = xpcnn.Model([xpcnn.Linear(1, 1, bias=False)], device="cpu", seed=0)
    model.compile("sgd", "mse")
    x = np.ones((3, 1), dtype="float32")
    model.fit(x, x, batch_size=1, callbacks=[Setting(), EMA(0.5)], verbose=0)
    assert model.state_dict()["0.weight"].item() == 2.75


def test_swa_as_pytorch(device):
    model = model_of(device)
    net, updates = theirs_of(model)
    averaged = torch.optim.swa_utils.AveragedModel(net)
    model.fit(X, Y, epochs=5, callbacks=[SWA(start=2)], **OPTIONS)
    for epoch in range(1, 6):
        their_epoch(net, updates)
        if epoch >= 2:
            averaged.update_parameters(net)
    loader = [torch.tensor(X[start : start + 5]) for start in range(0, 20, 5)]
    torch.optim.swa_utils.update_bn(loader, averaged)
    for name, expected in averaged.module.state_dict().items():
        np.testing.assert_allclose(arrays(model)[name], expected, rtol=1e-8, err_msg=name)


def test_swa_is_the_mean_of_some_epochs():
    seen = []

    class Noting(xpcnn.Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(arrays(self.model)["4.weight"])

    model = model_of()
    model.fit(X, Y, epochs=6, callbacks=[SWA(start=2, every=2), Noting()], **OPTIONS)
    expected = np.mean([seen[1], seen[3], seen[5]], axis=0)
    np.testing.assert_allclose(arrays(model)["4.weight"], expected, rtol=1e-12)
    assert model.network.layers[1].momentum == 0.1
    plain = model_of()
    plain.fit(X, Y, epochs=6, callbacks=[Noting()], **OPTIONS)
    np.testing.assert_array_equal(seen[5], seen[11])  # training itself is as without it


MADE = {"ema": lambda: EMA(0.7, 2), "swa": lambda: SWA(start=2)}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
@pytest.mark.parametrize("device", ["cpu", "torch:cpu"])
@pytest.mark.parametrize("way", ["same callback", "file", "file of a checkpoint"])
def test_training_goes_on_bit_for_bit(make, way, device, tmp_path):
    if device.startswith("torch"):
        pytest.importorskip("torch")
    whole = model_of(device, dropout=True)
    whole.fit(X, Y, epochs=5, callbacks=[make()], **OPTIONS)
    model, callback = model_of(device, dropout=True), make()
    saving = xpcnn.ModelCheckpoint(tmp_path / "{epoch}", save_best_only=False)
    model.fit(X, Y, epochs=3, callbacks=[callback, saving], **OPTIONS)
    if way != "same callback":
        if way == "file":
            model.save(tmp_path / "3")
        model, callback = xpcnn.Model.load(tmp_path / "3", device=device), make()
    model.fit(X, Y, epochs=2, callbacks=[callback], **OPTIONS)
    assert_same(model, whole)
    assert (model.step, model.forwards) == (whole.step, whole.forwards)


def test_checkpoints_and_early_stopping_have_the_averages(tmp_path):
    saving = xpcnn.ModelCheckpoint(tmp_path / "best", save_best_only=False)
    model = model_of()
    options = dict(OPTIONS, validation_data=(X, Y), callbacks=[EMA(0.9), saving])
    history = model.fit(X, Y, epochs=3, **options)
    again = xpcnn.Model.load(tmp_path / "best", device="cpu")
    assert_same(again, model)
    assert again.evaluate(X, Y)["loss"] == pytest.approx(history.history["val_loss"][-1])


def test_other_weights_win():
    """Who sets weights between two epochs wants to go on from them."""

    class Zeros(xpcnn.Callback):
        def on_epoch_end(self, epoch, logs):
            zeros = {n: a * 0 for n, a in self.model.state_dict().items() if n.startswith("4")}
            self.model.load_state_dict(zeros, strict=False)

        def on_epoch_begin(self, epoch):
            if epoch == 2:
                self.found = arrays(self.model)

    zeros = Zeros()
    model_of().fit(X, Y, epochs=2, callbacks=[EMA(0.9), zeros], **OPTIONS)
    assert not zeros.found["4.weight"].any()


@pytest.mark.parametrize("make", [lambda: EMA(0.7), lambda: SWA(start=1)])
def test_an_error_leaves_the_weights_of_training(make):
    class Failing(xpcnn.Callback):
        def __init__(self, when):
            self.when = when

        def on_batch_end(self, batch, logs):
            if self.model.step == 6 and self.when == "batch":
                self.seen = arrays(self.model)
                raise KeyboardInterrupt

        def on_epoch_end(self, epoch, logs):
            if epoch == 2 and self.when == "epoch":
                raise KeyboardInterrupt

    model, failing = model_of(), Failing("batch")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=3, callbacks=[make(), failing], **OPTIONS)
    for name, expected in failing.seen.items():
        np.testing.assert_array_equal(arrays(model)[name], expected)


def test_ctrl_c_in_validation():
    """The averages are in place, and the epoch does not end: the weights are those of training."""

    class Interrupting(xpcnn.metrics.Accuracy):
        def update(self, prediction, target):
            if len(target) == 20:
                raise KeyboardInterrupt
            super().update(prediction, target)

    model, plain = model_of(), model_of()
    model.compile(model.optimizer, "cross_entropy", [Interrupting()])
    loader = [(X, Y)]
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, callbacks=[EMA(0.5)], validation_data=loader, **OPTIONS)
    plain.fit(X, Y, **OPTIONS)
    assert_same(model, plain)


def test_an_error_while_statistics_are_learnt():
    class Breaking(SWA):
        def on_epochs_done(self, inputs):
            def broken():
                yield next(inputs())
                raise OSError("the disk is gone")

            super().on_epochs_done(broken)

    model, plain = model_of(), model_of()
    with pytest.raises(OSError, match="the disk is gone"):
        model.fit(X, Y, epochs=2, callbacks=[Breaking(start=1)], **OPTIONS)
    plain.fit(X, Y, epochs=2, **OPTIONS)
    assert_same(model, plain)
    assert model.network.layers[1].momentum == 0.1
    model.fit(X, Y, **OPTIONS)
    plain.fit(X, Y, **OPTIONS)
    assert_same(model, plain)


def test_a_generator_that_has_no_batches_left_for_the_statistics():
    def batches(epochs):
        return ((X[i : i + 5], Y[i : i + 5]) for _ in range(epochs) for i in range(0, 20, 5))

    options = {"epochs": 2, "steps_per_epoch": 4, "verbose": 0}
    by_arrays, ends, goes_on, plain = (model_of() for _ in range(4))
    by_arrays.fit(X, Y, epochs=2, callbacks=[SWA(start=1)], **OPTIONS)
    goes_on.fit(batches(3), callbacks=[SWA(start=1)], **options)
    assert_same(goes_on, by_arrays)
    with pytest.raises(ValueError, match="SWA: all epochs are done, .* one more pass .* ended"):
        ends.fit(batches(2), callbacks=[SWA(start=1)], **options)
    plain.fit(batches(2), **options)
    assert_same(ends, plain)
    assert ends.history.history == plain.history.history


def test_frozen_statistics_stay():
    model = model_of()
    model.freeze("1")
    before = arrays(model)
    model.fit(X, Y, epochs=2, callbacks=[SWA(start=1)], **OPTIONS)
    for name in before:
        if name.startswith("1."):
            np.testing.assert_array_equal(arrays(model)[name], before[name])


def test_a_state_that_does_not_fit(tmp_path):
    model = model_of()
    model.fit(X, Y, epochs=1, callbacks=[EMA()], **OPTIONS)
    model.save(tmp_path / "model")
    again = xpcnn.Model.load(tmp_path / "model", device="cpu")
    (entry,) = again.states_of_callbacks()
    del entry["state"]["average/4.bias"]
    with pytest.raises(ValueError, match="EMA: the model's file has an invalid state"):
        again.fit(X, Y, callbacks=[EMA()], **OPTIONS)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EMA(1.0), ValueError, "EMA: decay must be from 0 to below 1, got 1.0"),
        (lambda: EMA(-0.1), ValueError, "decay"),
        (lambda: EMA("0.9"), TypeError, "decay"),
        (lambda: EMA(0.9, 0), ValueError, "EMA: start must be at least 1"),
        (lambda: SWA(0), ValueError, "SWA: start must be at least 1"),
        (lambda: SWA(2, 0), ValueError, "SWA: every must be at least 1"),
        (lambda: SWA(2.5), TypeError, "SWA: start must be an integer"),
    ],
)
def test_wrong_settings(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("callback", [EMA(start=4), SWA(start=4)], ids=repr)
def test_nothing_would_be_averaged(callback):
    model = model_of()
    with pytest.raises(ValueError, match="start=4, and training ends with epoch 3"):
        model.fit(X, Y, epochs=3, callbacks=[callback], **OPTIONS)
    assert model.step == 0


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([EMA(0.5), EMA(0.9)], "EMA.* and EMA.* each put an average"),
        ([EMA(0.5), SWA(1)], "use one of them"),
        ([SWA(1), xpcnn.EarlyStopping("loss", restore_best_weights=True)], "leave out restore"),
    ],
)
def test_who_has_the_last_word(chosen, message):
    model = model_of()
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, callbacks=chosen, **OPTIONS)
    assert model.step == 0
    best = xpcnn.EarlyStopping("loss", 9, restore_best_weights=True)
    model.fit(X, Y, epochs=2, callbacks=[EMA(0.5), best], **OPTIONS)
