"""Learning rates: searches, schedules, histories."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import optim
from xpcnn.training.lr_finder import RateSearch

plt = pytest.importorskip("matplotlib.pyplot")


def drawn(ax, number=0):
    line = ax.lines[number]
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


def test_a_search():
    found = RateSearch([1e-3, 1e-2, 1e-1], [2.0, 1.0, 3.0], [2.0, 1.5, 2.0], 0.01)
    ax = xpcnn.plot.learning_rate(found)
    assert ax.get_xscale() == "log"
    assert drawn(ax) == ([1e-3, 1e-2, 1e-1], [2, 1, 3])
    assert drawn(ax, 1) == ([1e-3, 1e-2, 1e-1], [2, 1.5, 2])
    assert drawn(ax, 2)[0] == [0.01, 0.01]
    assert ax.lines[2].get_label() == "suggestion: 0.01"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "loss")


def test_a_search_without_a_suggestion_and_with_an_outlier():
    found = RateSearch([1e-3, 1e-2], [1.0, 50.0], [1.0, 2.0], None)
    ax = xpcnn.plot.learning_rate(found)
    assert ax.get_title() == "Search for a learning rate (no suggestion)"
    assert len(ax.lines) == 2
    assert ax.get_ylim()[1] == 3.0


def test_what_find_lr_returns():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    model = xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu", seed=0)
    model.compile("sgd", "cross_entropy")
    found = model.find_lr(x, (x.sum(axis=1) > 0).astype(int), steps=30)
    assert drawn(xpcnn.plot.learning_rate(found)) == (found.lrs, found.losses)


@pytest.mark.parametrize(
    ("what", "options", "x", "y"),
    [
        (optim.StepLR(2), {"epochs": 5, "base_lr": 1.0}, 5, [1, 1, 0.1, 0.1, 0.01]),
        (optim.SGD(0.5, schedule=optim.StepLR(1, 0.5)), {"epochs": 3}, 3, [0.5, 0.25, 0.125]),
        # From 1 / 4 a straight line to the top in half of the five steps, and down again.
        (
            optim.OneCycleLR(
                1.0, 5, pct_start=0.6, anneal_strategy="linear", div_factor=4, final_div_factor=1
            ),
            {"steps": 5},
            5,
            [0.25, 0.625, 1.0, 0.625, 0.25],
        ),
        (optim.StepLR(2), {"epochs": 1, "base_lr": 1.0}, 1, [1]),
    ],
)
def test_schedules(what, options, x, y):
    ax = xpcnn.plot.learning_rate(what, **options)
    assert drawn(ax)[0] == list(range(1, x + 1))
    np.testing.assert_allclose(drawn(ax)[1], y, rtol=1e-12)
    assert ax.get_xlabel() == ("step" if "steps" in options else "epoch")
    assert ax.get_ylim()[0] == 0


def test_a_history():
    ax = xpcnn.plot.learning_rate({"loss": [3, 2], "lr": [0.1, 0.01]})
    assert drawn(ax) == ([1, 2], [0.1, 0.01])


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        (optim.StepLR(2), {"epochs": 5}, "StepLR changes a learning rate; say which by base_lr"),
        (optim.StepLR(2), {"base_lr": 1.0}, "StepLR counts epochs; say how many by epochs="),
        (optim.StepLR(2), {"steps": 5, "base_lr": 1}, "by epochs=, not by steps"),
        (optim.OneCycleLR(1.0, 5), {"epochs": 5}, "OneCycleLR counts steps; .* not by epochs"),
        (optim.OneCycleLR(1.0, 5), {"steps": 5, "base_lr": 1}, "leave base_lr out"),
        (optim.StepLR(2), {"epochs": 0, "base_lr": 1}, "epochs must be at least 1"),
        (optim.StepLR(2), {"epochs": 2, "base_lr": "1"}, "base_lr must be a number"),
        (optim.ReduceLROnPlateau(), {"epochs": 5, "base_lr": 1}, "goes by 'val_loss'"),
        (optim.SGD(0.5), {"epochs": 5}, "SGD has no schedule"),
        (optim.SGD(0.5, schedule=optim.StepLR(1)), {"epochs": 5, "base_lr": 1}, "its own, lr"),
        ({"loss": [1.0]}, {}, "the history has no 'lr', only 'loss'"),
        ({"lr": [1.0]}, {"epochs": 1}, "epochs is for schedules"),
        (3, {}, "plot.learning_rate: a history must be"),
    ],
)
def test_errors(what, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xpcnn.plot.learning_rate(what, **options)
    assert not plt.get_fignums()
