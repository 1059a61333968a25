"""Loss and metrics of a data set: the same for all sizes of batches."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn.device import Device

rng = np.random.default_rng(5)
X = rng.normal(size=(50, 4)).astype("float32")
LABELS = rng.integers(0, 3, 50)
LABELS[:8] = 2
SIZES = [1, 7, 8, 50, 256]


def model_on(device: str | Device, loss: xpcnn.losses.Loss) -> xpcnn.Model:
    model = xpcnn.Model([xpcnn.Linear(4, 3)], device=device, seed=2)
    model.compile(xpcnn.optim.SGD(lr=0.0), loss, ["accuracy"])
    return model


def expected_of(scores: np.ndarray, loss: xpcnn.CrossEntropyLoss) -> tuple[float, float]:
    """Return loss and accuracy, sample by sample in float64."""
    total = divisor = right = counted = 0.0
    for score, label in zip(scores.astype(np.float64), LABELS, strict=True):
        if label == loss.ignore_index:
            continue
        weight = 1.0 if loss.weight is None else loss.weight[label]
        total += weight * (np.log(np.exp(score).sum()) - score[label])
        divisor += weight
        right += score.argmax() == label
        counted += 1
    return total if loss.reduction == "sum" else total / divisor, right / counted


LOSSES = [
    xpcnn.CrossEntropyLoss(ignore_index=2),
    xpcnn.CrossEntropyLoss(weight=[1.0, 5.0, 0.0]),
    xpcnn.CrossEntropyLoss(weight=[1.0, 5.0, 0.5], ignore_index=1),
    xpcnn.CrossEntropyLoss(reduction="sum"),
]


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_evaluation_and_epochs(device: Device, loss: xpcnn.CrossEntropyLoss) -> None:
    model = model_on(device, loss)
    model.build((None, 4))
    value, accuracy = expected_of(model.predict(X), loss)
    for size in SIZES:
        logs = model.evaluate(X, LABELS, batch_size=size)
        assert logs["loss"] == pytest.approx(value, rel=1e-5)
        assert logs["accuracy"] == pytest.approx(accuracy)
        # With a rate of 0 the weights stay, and training gives the same figures.
        history = model.fit(X, LABELS, batch_size=size, validation_data=(X, LABELS), verbose=0)
        logs = {name: column[0] for name, column in history.history.items()}
        assert logs["loss"] == pytest.approx(value, rel=1e-5)
        assert logs["val_loss"] == pytest.approx(value, rel=1e-5)
        assert logs["accuracy"] == logs["val_accuracy"] == pytest.approx(accuracy)


def test_a_batch_with_nothing_to_count_is_no_failure() -> None:
    model = model_on("cpu", xpcnn.CrossEntropyLoss(ignore_index=2))
    model.compile("sgd", model.loss, ["accuracy"])
    seen: list[float] = []

    class Watch(xpcnn.Callback):
        def on_batch_end(self, batch, logs):
            seen.append(logs["loss"])

    # The first batch of eight holds ignored labels alone.
    model.fit(X, LABELS, batch_size=8, shuffle=False, callbacks=[Watch()], verbose=0)
    assert np.isnan(seen[0])
    assert np.isfinite(seen[1:]).all()
    assert all(np.isfinite(p.data).all() for p in model.parameters().values())


def test_epochs_of_many_batches_add_up_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each batch is read once: the work of an epoch grows with the number of batches, not its
    # square.
    from xpcnn.losses.running import LossPart, RunningLoss

    reads = 0

    class Total(float):
        def __float__(self) -> float:
            nonlocal reads
            reads += 1
            return super().__float__()

    running = RunningLoss()
    monkeypatch.setattr("xpcnn.losses.running._xp.on_host", lambda x: True)
    for _ in range(300):
        running.add((LossPart(Total(2.0), 1),))
        assert running.result() == 2.0
    assert reads == 300
