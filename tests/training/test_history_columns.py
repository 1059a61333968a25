"""The learning rate and the loss of each output among the figures of an epoch."""

from __future__ import annotations

import io

import numpy as np
import pytest

import xpcnn
from xpcnn import optim

RNG = np.random.default_rng(2)
X = RNG.normal(size=(12, 4)).astype("float32")
Y = RNG.integers(0, 3, 12)


def rates(schedule, epochs=4, **options):
    model = xpcnn.Model([xpcnn.Linear(4, 3)], device="cpu", seed=1)
    model.compile(optim.SGD(lr=1.0, schedule=schedule), "cross_entropy")
    return model.fit(X, Y, epochs=epochs, batch_size=4, verbose=0, **options).history["lr"]


def test_the_rate_of_the_last_update_of_each_epoch():
    assert rates(None) == [1.0] * 4
    assert rates(optim.StepLR(2)) == pytest.approx([1.0, 1.0, 0.1, 0.1])
    # three updates an epoch: (1 / 12, ...), the third is 1/12 + 2/12 * 11/12 in a line to 1
    warm = optim.Warmup(6, start_factor=0.0)
    assert rates(warm) == pytest.approx([2 / 6, 5 / 6, 1.0, 1.0])


def test_a_callback_may_change_the_rate():
    class Halving(xpcnn.Callback):
        def on_epoch_begin(self, epoch):
            self.model.optimizer.lr /= 2

        def on_batch_end(self, batch, logs):
            if batch == 3:
                self.model.optimizer.lr *= 1.5  # after the last update of the epoch

    expected = [0.5, 0.5 * 1.5 / 2]
    assert rates(None, 2, callbacks=[Halving()]) == pytest.approx(expected)


def test_it_is_not_part_of_the_progress_line():
    stream = io.StringIO()
    rates(None, 1, callbacks=[xpcnn.ProgressBar(stream)])
    assert "loss" in stream.getvalue()
    assert "lr" not in stream.getvalue()


def two_outputs(names=("digit", "size"), **options):
    graph = xpcnn.Graph(
        "x", [(name, xpcnn.Linear(4, 3 - i), "x") for i, name in enumerate(names)], list(names)
    )
    model = xpcnn.Model(graph, device="cpu", seed=0)
    losses = dict(zip(names, ["cross_entropy", "mse"], strict=True))
    model.compile(optim.SGD(lr=0.0), losses, loss_weights=[2.0, 0.5], **options)
    return model


def test_losses_of_outputs_are_not_weighted():
    model = two_outputs()
    y = {"digit": Y, "size": X[:, :2]}
    digit, size = model.predict(X)
    scores = digit.astype("float64")
    entropy = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(12), Y]
    expected = {
        "digit_loss": entropy.mean(),
        "size_loss": ((size.astype("float64") - X[:, :2]) ** 2).mean(),
    }
    expected["loss"] = 2.0 * expected["digit_loss"] + 0.5 * expected["size_loss"]
    history = model.fit(X, y, batch_size=5, validation_data=(X, y), verbose=0).history
    for name, value in expected.items():
        assert history[name] == [pytest.approx(value, rel=1e-5)]
        assert history[f"val_{name}"] == [pytest.approx(value, rel=1e-5)]
    logs = model.evaluate(X, y, batch_size=5)
    assert list(logs) == ["loss", "digit_loss", "size_loss"]
    assert logs == pytest.approx(expected, rel=1e-5)
    assert model.train_on_batch(X, y) == pytest.approx(expected, rel=1e-5)


def test_they_can_be_watched():
    stopping = xpcnn.EarlyStopping("val_size_loss", patience=1)
    y = {"digit": Y, "size": X[:, :2]}
    model = two_outputs()
    model.fit(X, y, epochs=3, validation_data=(X, y), callbacks=[stopping], verbose=0)
    assert stopping.stopped_epoch == 2  # a rate of 0 improves nothing
    with pytest.raises(ValueError, match="no 'val_sise_loss' to monitor.*did you mean"):
        model.fit(X, y, callbacks=[xpcnn.EarlyStopping("val_sise_loss")], verbose=0)


@pytest.mark.parametrize("names", [("val", "size"), ("val_size", "size")])
def test_names_that_clash(names):
    model = two_outputs(names)
    y = dict(zip(names, [Y, X[:, :2]], strict=True))
    with pytest.raises(ValueError, match="two columns of the logs would be called 'val_"):
        model.fit(X, y, validation_data=(X, y), verbose=0)
    assert model.epoch == 0
    model.fit(X, y, verbose=0)  # without validation they do not


def test_metrics_must_have_names_of_their_own():
    with pytest.raises(ValueError, match="'lr', that of .* and that of the learning rate"):
        xpcnn.Model([xpcnn.Linear(4, 3)], device="cpu").compile(
            "sgd", "cross_entropy", [xpcnn.metrics.Accuracy(name="lr")]
        )
    model = two_outputs(metrics={"digit": [xpcnn.metrics.Accuracy(name="loss")]})
    with pytest.raises(ValueError, match="two columns of the logs would be called 'digit_loss'"):
        model.fit(X, {"digit": Y, "size": X[:, :2]}, verbose=0)
