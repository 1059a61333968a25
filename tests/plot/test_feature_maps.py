"""Feature maps: what a layer gives for one sample."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn

plt = pytest.importorskip("matplotlib.pyplot")

WEIGHT = np.array([[[[1.0]]], [[[-2.0]]]], "float32")  # once, and minus twice, the input


def network(device="cpu", shape=(None, 1, 3, 4)):
    layers = [xpcnn.Conv2d(1, 2, 1, bias=False), xpcnn.ReLU(), xpcnn.Flatten()]
    model = xpcnn.Model(layers, device=device, seed=0)
    model.build(shape)
    model.load_state_dict({"0.weight": WEIGHT})
    return model


X = np.arange(24, dtype="float32").reshape(2, 1, 3, 4)


def test_maps_on_one_scale(device):
    model = network(device)
    axes = xpcnn.plot.feature_maps(model, device.asarray(X), "0", sample=1)
    for panel, factor in zip(axes, (1, -2), strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), factor * X[1, 0])
        assert panel.images[0].get_clim() == (-46, 46)
    assert axes[0].figure.get_suptitle() == "Feature maps of layer '0'"
    axes = xpcnn.plot.feature_maps(model, X, 1)  # without numbers below 0
    assert [panel.images[0].get_clim() for panel in axes] == [(0, 11)] * 2
    assert axes[1].images[0].get_array().max() == 0


def test_one_sample_of_a_data_set_is_read():
    class Folder:
        targets = np.array([0, 1])

        def __len__(self):
            return 2

        def __getitem__(self, at):
            assert at == 1
            return X[at], 1

    axes = xpcnn.plot.feature_maps(network(), Folder(), "1", sample=1)
    np.testing.assert_array_equal(axes[0].images[0].get_array(), X[1, 0])
    with pytest.raises(ValueError, match="sample=2, and x has 2 samples"):
        xpcnn.plot.feature_maps(network(), Folder(), "1", sample=2)


def test_one_sample_without_a_batch_axis():
    axes = xpcnn.plot.feature_maps(network(), X[1], "1", count=1)
    np.testing.assert_array_equal(axes[0].images[0].get_array(), X[1, 0])
    assert axes[0].figure.get_suptitle() == "Feature maps of layer '1', 1 of 2 channels"


def test_a_layer_without_maps_has_bars():
    (panel,) = xpcnn.plot.feature_maps(network(), X, "2")
    heights = [bar.get_height() for bar in panel.patches]
    assert heights == [*X[0].ravel().tolist(), *[0] * 12]


def test_maps_of_signals_are_lines():
    model = xpcnn.Model([xpcnn.Conv1d(1, 2, 1, bias=False)], device="cpu")
    model.build((None, 1, 5))
    model.load_state_dict({"0.weight": WEIGHT[..., 0]})
    x = np.array([[[1.0, 2.0, 0.0, -1.0, 3.0]]], "float32")
    axes = xpcnn.plot.feature_maps(model, x, 0)
    for panel, factor in zip(axes, (1, -2), strict=True):
        np.testing.assert_array_equal(panel.lines[0].get_ydata(), factor * x[0, 0])
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_several_inputs_and_a_node():
    nodes = [("sum", xpcnn.operations.Add(), ["a", "b"]), ("out", xpcnn.ReLU(), ["sum"])]
    model = xpcnn.Model(xpcnn.Graph(["a", "b"], nodes, ["out"]), device="cpu")
    axes = xpcnn.plot.feature_maps(model, (X, 2 * X), "sum", sample=1)
    np.testing.assert_array_equal(axes[0].images[0].get_array(), 3 * X[1, 0])


@pytest.mark.parametrize(
    ("x", "layer", "options", "message"),
    [
        (X, "conv", {}, "there is no layer 'conv', only '0', '1', '2'"),
        (X, 3, {}, "there are 3 layers, from 0 to 2"),
        (X, None, {}, "layer must be a name or a place, got None"),
        (X, 0, {"sample": 2}, "sample=2, and x has 2 samples"),
        (X, 0, {"sample": -1}, "sample must be at least 0"),
        (X, 0, {"count": 0}, "count must be at least 1"),
        (X[:, 0, 0], 0, {}, "expected 4 dimensions"),
    ],
)
def test_errors(x, layer, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xpcnn.plot.feature_maps(network(), x, layer, **options)
    assert not plt.get_fignums()


def test_only_models_have_feature_maps():
    with pytest.raises(TypeError, match="model must be a Model, got Conv2d"):
        xpcnn.plot.feature_maps(xpcnn.Conv2d(1, 2, 1), X, 0)
