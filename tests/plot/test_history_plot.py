"""Learning curves: which numbers are drawn where."""

from __future__ import annotations

import math

import numpy as np
import pytest

import xpcnn

plt = pytest.importorskip("matplotlib.pyplot")

LOG = {
    "loss": [0.9, 0.5, 0.4],
    "accuracy": [0.6, 0.8, 0.9],
    "val_loss": [1.0, 0.7, 0.8],
    "lr": [0.1, 0.1, 0.01],
}


def points(line):
    return line.get_xdata().tolist(), line.get_ydata().tolist()


def lines(panel):
    """The curves of a panel by their names, without marks."""
    return {
        line.get_label(): points(line)
        for line in panel.lines
        if line.get_label() in ("training", "validation")
    }


def recorded(log, first=1):
    history = xpcnn.History()
    for number, row in enumerate(zip(*log.values(), strict=True), start=first):
        history.append(number, dict(zip(log, row, strict=True)))
    return history


def test_panels_of_a_history():
    axes = xpcnn.plot.history(recorded(LOG, first=4))
    assert [panel.get_title() for panel in axes] == ["loss", "accuracy"]  # and no learning rate
    assert lines(axes[0]) == {
        "training": ([4, 5, 6], [0.9, 0.5, 0.4]),
        "validation": ([4, 5, 6], [1.0, 0.7, 0.8]),
    }
    assert lines(axes[1]) == {"training": ([4, 5, 6], [0.6, 0.8, 0.9])}
    for panel in axes:
        assert panel.get_xlabel() == "epoch"
        assert panel.get_ylabel()
    training, validation = axes[0].lines[:2]
    assert training.get_color() != validation.get_color()


def test_everything_that_has_epochs():
    model = xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu", seed=0)
    model.compile("sgd", "mse")
    x = np.ones((4, 1), "float32")
    model.fit(x, x, epochs=2, verbose=0)
    given = model.fit(x, x, epochs=1, verbose=0)
    whole = model.history.history["loss"]
    assert lines(xpcnn.plot.history(model, "loss"))["training"] == ([1, 2, 3], whole)
    assert lines(xpcnn.plot.history(given, "loss"))["training"] == ([3], whole[2:])
    for same in (
        LOG,
        [dict(zip(LOG, row, strict=True)) for row in zip(*LOG.values(), strict=True)],
    ):
        assert lines(xpcnn.plot.history(same, "loss"))["validation"][1] == LOG["val_loss"]
    rows = [{"epoch": 7, "loss": 1.0}, {"epoch": 9, "loss": 2.0}]
    assert lines(xpcnn.plot.history(rows, "loss"))["training"] == ([7, 9], [1.0, 2.0])

    class History:  # as Keras has it
        epoch = (0, 1, 2)
        history = LOG

    assert lines(xpcnn.plot.history(History(), "loss"))["training"][0] == [1, 2, 3]


def test_one_name_is_one_axes_and_several_are_an_array():
    figure, ax = plt.subplots()
    assert xpcnn.plot.history(LOG, "lr", ax=ax) is ax
    assert lines(ax)["training"][1] == LOG["lr"]
    assert len(figure.axes) == 1
    assert xpcnn.plot.history(LOG, ["loss"]).shape == (1,)
    axes = xpcnn.plot.history(LOG, ["lr", "val_loss"])
    assert [panel.get_title() for panel in axes] == ["learning rate", "loss"]


def marked(axes):
    """The epoch that all panels mark, and what the legend of the first says."""
    found = {line.get_xdata()[0] for panel in axes for line in panel.lines if line.get_ls() == ":"}
    texts = [text.get_text() for text in axes[0].get_legend().get_texts()]
    return found, [text for text in texts if text.startswith("best")]


def test_the_best_epoch():
    assert marked(xpcnn.plot.history(LOG)) == ({2}, ["best val_loss: epoch 2"])
    best = xpcnn.plot.history(LOG, best="accuracy", mode="max")
    assert marked(best) == ({3}, ["best accuracy: epoch 3"])
    assert marked(xpcnn.plot.history(LOG, best="accuracy", mode="min"))[0] == {1}
    assert marked(xpcnn.plot.history(LOG, best=None)) == (set(), [])
    assert marked(xpcnn.plot.history({"loss": [1.0, 0.5]}))[0] == {2}
    infinite = {"loss": [1.0, -math.inf, 0.5, math.nan]}
    assert marked(xpcnn.plot.history(infinite))[0] == {3}
    nothing = {"loss": [1.0, 2.0], "val_loss": [math.nan, math.nan]}
    assert marked(xpcnn.plot.history(nothing)) == (set(), [])


def test_gaps_of_validation_are_joined_and_lost_epochs_are_not():
    nan = math.nan
    log = {"loss": [3.0, nan, 1.0, math.inf], "val_loss": [nan, 2.0, nan, 1.0]}
    ax = xpcnn.plot.history(log, "loss")
    validation = lines(ax)["validation"]
    assert validation == ([2, 4], [2.0, 1.0])
    x, y = lines(ax)["training"]
    assert x == [1, 2, 3, 4]
    np.testing.assert_equal(y, [3.0, nan, 1.0, nan])
    crosses = [line for line in ax.lines if line.get_label() == "training: not finite"]
    assert crosses[0].get_xdata().tolist() == [2, 4]


def test_one_epoch_has_a_point_and_whole_ticks():
    ax = xpcnn.plot.history({"loss": [0.5]}, "loss")
    assert ax.lines[0].get_marker() == "o"
    ax.figure.canvas.draw()
    assert all(tick == int(tick) for tick in ax.get_xticks())
    assert ax.get_xlim() == (0.5, 1.5)


def test_one_validated_epoch_among_many_has_a_point():
    log = {"loss": [1.0] * 100, "val_loss": [math.nan] * 99 + [0.5]}
    ax = xpcnn.plot.history(log, "loss")
    training, validation = ax.lines[:2]
    assert training.get_marker() == ""
    assert validation.get_marker() == "o"


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({}, {}, "no epoch in the history yet; call fit"),
        (xpcnn.History(), {}, "call fit first"),
        ({"loss": []}, {}, "call fit first"),
        (3, {}, "must be a History, a Model, a dict of lists or a list of dicts, got int"),
        ({"loss": 0.5}, {}, "'loss' must be a list of numbers, one for each epoch, got 0.5"),
        ({"loss": ["low"]}, {}, "'loss' must be numbers, got 'low'"),
        ({"loss": [1, 2], "val_loss": [1]}, {}, r"got lists of 2 \(loss\), 1 \(val_loss\)"),
        (LOG, {"names": "los"}, "no 'los', only 'loss', .*; did you mean 'loss'?"),
        (LOG, {"names": []}, "names is empty"),
        (LOG, {"names": 3}, "names must be a name, or a list of names, got 3"),
        (LOG, {"best": "accuracy"}, "needs mode='max' or mode='min'"),
        (LOG, {"best": "f1", "mode": "max"}, "best: the history has no 'f1'"),
        (LOG, {"best": None, "mode": "max"}, "best is None"),
        (LOG, {"mode": "max"}, "needs best='...'"),
        (LOG, {"best": 1}, "best must be the name"),
        (LOG, {"best": "loss", "mode": "up"}, "mode must be one of 'min', 'max'"),
    ],
)
def test_errors(given, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xpcnn.plot.history(given, **options)
    assert not plt.get_fignums()
