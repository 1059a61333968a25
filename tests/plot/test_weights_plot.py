"""Histograms of weights: by layer and by epoch."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn.callbacks import WeightHistory

plt = pytest.importorskip("matplotlib.pyplot")


def titles(axes):
    return [panel.get_title() for panel in axes]


def test_a_state_dict_by_hand():
    state = {"a": np.array([[0.0, 0.1, 0.9], [1.0, np.nan, 0.45]]), "b": np.zeros(3)}
    (panel,) = xpcnn.plot.weights(state, bins=2)
    assert panel.get_title() == "a"  # and no bias
    counts, edges, _ = panel.patches[0].get_data()
    assert (counts.tolist(), edges.tolist()) == ([3, 2], [0, 0.5, 1])
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("weight", "count")
    assert titles(xpcnn.plot.weights(state, "b")) == ["b"]  # where all numbers are the same


def test_a_model_and_a_layer(device):
    layers = [xpcnn.Conv2d(1, 6, 5), xpcnn.Flatten(), xpcnn.Linear(6 * 16, 10)]
    model = xpcnn.Model(layers, device=device, seed=0)
    model.build((None, 1, 8, 8))
    axes = xpcnn.plot.weights(model)
    assert titles(axes) == ["0.weight", "2.weight"]
    assert [panel.patches[0].get_data()[0].sum() for panel in axes] == [150, 960]
    assert titles(xpcnn.plot.weights(model, ["0", "*.bias"])) == ["0.weight", "0.bias", "2.bias"]
    assert titles(xpcnn.plot.weights(layers[2])) == ["weight"]


def test_many_parameters():
    state = {f"w{n}": np.ones((2, 2)) * n for n in range(20)}
    axes = xpcnn.plot.weights(state)
    assert len(axes) == 16
    assert axes[0].figure.get_suptitle() == "Weights, 16 of 20 parameters"
    assert len(xpcnn.plot.weights(state, "*")) == 20


def test_state_dicts_of_epochs_are_ridges(rng):
    states = [{"w": rng.normal(size=(5, 5)) * scale} for scale in (1, 2)]
    (panel,) = xpcnn.plot.weights(states, bins=10)
    assert panel.get_ylabel() == "epoch"
    tops = {round(float(line.get_ydata().min())): line.get_ydata() for line in panel.lines}
    assert sorted(tops) == [0, 1]
    heights = {}
    for number, state in enumerate(states):
        density, _ = np.histogram(state["w"], 10, density=True)
        heights[number] = (tops[number] - number) / np.maximum(density, 1e-12)
    scale = heights[0].max()  # one for all epochs
    for ratio in heights.values():
        np.testing.assert_allclose(ratio[ratio > 0], scale, rtol=1e-9)


def fitted(seen, epochs=3):
    model = xpcnn.Model([xpcnn.Linear(2, 2)], device="cpu", seed=0)
    model.compile("sgd", "mse")
    x = np.ones((4, 2), "float32")
    model.fit(x, x, epochs=epochs, callbacks=[seen], verbose=0)
    return model, x


def test_a_weight_history():
    seen = WeightHistory(bins=5)
    model, x = fitted(seen)
    (panel,) = xpcnn.plot.weights(seen)
    assert len(panel.lines) == 4  # before the first epoch, and behind each
    assert list(seen.histograms) == ["0.weight", "0.bias"]
    assert seen.shapes == {"0.weight": (2, 2), "0.bias": (2,)}
    last = seen.histograms["0.weight"][3]
    expected = np.histogram(np.asarray(model.state_dict()["0.weight"], "float64"), 5)
    np.testing.assert_array_equal(last.counts, expected[0])
    np.testing.assert_allclose(last.edges, expected[1])
    model.fit(x, x, epochs=1, callbacks=[seen], verbose=0)
    assert list(seen.histograms["0.weight"]) == [0, 1, 2, 3, 4]
    fitted(seen, epochs=1)
    assert list(seen.histograms["0.weight"]) == [0, 1]


def test_a_weight_history_keeps_a_bounded_number_of_epochs():
    seen = WeightHistory(["*.bias"], most=4)
    fitted(seen, epochs=11)
    assert list(seen.histograms) == ["0.bias"]
    assert list(seen.histograms["0.bias"]) == [0, 4, 8]


def test_a_weight_history_never_stops_a_training(monkeypatch, caplog):
    seen = WeightHistory()
    monkeypatch.setattr("xpcnn.training.callbacks.weights.histogram", lambda *_: 1 / 0)
    model, _ = fitted(seen, epochs=2)
    assert model.epoch == 2
    assert len([r for r in caplog.records if "cannot look at the weights" in r.message]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": "*.weight"}, "names must be a list of patterns, got"),
        ({"names": []}, "names must be a list of patterns"),
        ({"names": [3]}, "got 3"),
        ({"bins": 0}, "bins must be at least 1"),
        ({"most": 1}, "most must be at least 2"),
    ],
)
def test_errors_of_a_weight_history(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        WeightHistory(**options)


def test_a_pattern_that_picks_nothing_is_an_error_before_anything_is_trained():
    seen = WeightHistory(["conv"])
    with pytest.raises(ValueError, match="no layer or parameter is called 'conv'"):
        fitted(seen)
    assert not seen.histograms


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ({}, {}, "there are no parameters"),
        ([], {}, "the list of state dicts is empty"),
        (3, {}, "source must be a Model, a Layer, a state dict"),
        ([{"a": np.ones(2)}, {"b": np.ones(2)}], {}, "state dict 1 has other names"),
        ({"a": np.ones(2)}, {"names": "b"}, "is called 'b'"),
        ({"a": np.ones(2)}, {"names": []}, "names must be a name or a list"),
        ({"a": np.ones(2)}, {"bins": 0}, "bins must be at least 1"),
        (WeightHistory(), {"bins": 3}, "bins are those of the WeightHistory, 50"),
        (WeightHistory(), {}, "call fit with the WeightHistory first"),
        (xpcnn.Conv2d(1, 2, 3), {}, "'weight', 'bias' has no values yet; call fit first"),
    ],
)
def test_errors(source, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xpcnn.plot.weights(source, **options)
    assert not plt.get_fignums()
