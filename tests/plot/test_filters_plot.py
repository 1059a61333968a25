"""Filters: which numbers are drawn, and in which colors."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp

plt = pytest.importorskip("matplotlib.pyplot")


def built(*layers, shape, device="cpu"):
    model = xpcnn.Model(layers, device=device, seed=0)
    model.build(shape)
    return model


def planes(axes):
    return np.array([panel.images[0].get_array() for panel in np.ravel(axes)])


def test_filters_of_one_channel(device):
    model = built(xpcnn.ReLU(), xpcnn.Conv2d(1, 6, (3, 5)), shape=(None, 1, 9, 9), device=device)
    weight = _xp.to_numpy(model.state_dict()["1.weight"]).astype("float64")
    limit = np.abs(weight).max()
    for source, layer in ((model, None), (model.network, "1")):
        axes = xpcnn.plot.filters(source, layer)
        np.testing.assert_array_equal(planes(axes), weight[:, 0])
        for panel in axes:
            np.testing.assert_allclose(panel.images[0].get_clim(), (-limit, limit))
        assert axes[0].figure.get_suptitle() == "Filters of layer '1'"
        assert axes[0].figure.axes[-1].get_ylabel() == "weight"
    for source in (model.layers[1].weight, model.layers[1].weight.data):
        np.testing.assert_array_equal(planes(xpcnn.plot.filters(source)), weight[:, 0])


def test_ways_to_name_a_layer():
    model = built(xpcnn.Conv2d(1, 2, 3), xpcnn.Conv2d(2, 1, 3), shape=(None, 1, 9, 9))
    for layer in ("1", 1, -1):
        assert xpcnn.plot.filters(model, layer).shape == (1, 2)
    for source in (model, model.layers[0], np.zeros((2, 1, 3, 3))):
        assert xpcnn.plot.filters(source).shape == (2,)


def test_filters_of_three_channels_are_colors():
    weight = np.zeros((2, 3, 1, 2))
    weight[0, :, 0, 0] = [-2.0, 0.0, 1.0]
    axes = xpcnn.plot.filters(weight)
    assert planes(axes)[0].tolist() == [[[0, 0.5, 0.75], [0.5, 0.5, 0.5]]]
    assert axes[0].figure.get_suptitle().endswith("color = 0.5 + weight / (2 · 2)")
    axes = xpcnn.plot.filters(weight, channel=2)
    assert planes(axes)[0].tolist() == [[1, 0]]
    assert axes[0].images[0].get_clim() == (-1, 1)


def test_filters_of_many_channels_are_rows(rng):
    weight = rng.normal(size=(40, 9, 3, 3))
    axes = xpcnn.plot.filters(weight, count=4)
    assert axes.shape == (4, 8)
    np.testing.assert_array_equal(planes(axes), weight[:4, :8].reshape(32, 3, 3))
    assert axes[0, 0].figure.get_suptitle() == "Filters, 4 of 40, 8 of 9 channels"
    assert [panel.get_title() for panel in axes[0, :2]] == ["channel 0", "1"]
    assert [panel.get_ylabel() for panel in axes[:2, 0]] == ["filter 0", "1"]


def test_filters_of_one_dimension_are_lines(rng):
    weight = rng.normal(size=(3, 2, 5))
    axes = xpcnn.plot.filters(weight)
    for panel, rows in zip(axes, weight, strict=True):
        drawn = [line.get_ydata() for line in panel.lines if line.get_label()[0] != "_"]
        np.testing.assert_array_equal(drawn, rows)
    limit = np.abs(weight).max()
    assert axes[1].get_ylim() == pytest.approx((-1.1 * limit, 1.1 * limit))


def test_transposed_and_separable_convolutions():
    model = built(xpcnn.ConvTranspose2d(1, 4, 3), shape=(None, 1, 5, 5))
    weight = np.asarray(model.state_dict()["0.weight"], "float64")  # (1, 4, 3, 3)
    axes = xpcnn.plot.filters(model)
    assert axes.shape == (4,)  # four filters of one channel each
    np.testing.assert_array_equal(planes(axes), weight[0])
    model = built(xpcnn.SeparableConv2d(2, 4, 3), shape=(None, 2, 5, 5))
    weight = np.asarray(model.state_dict()["0.depthwise_weight"], "float64")
    np.testing.assert_array_equal(planes(xpcnn.plot.filters(model)), weight[:, 0])


def test_a_layer_inside_others():
    block = xpcnn.Sequential(xpcnn.ReLU(), xpcnn.Conv2d(1, 2, 3))
    model = built(block, xpcnn.ReLU(), shape=(None, 1, 5, 5))
    for layer in ("0.1", "0", 0, None):
        assert xpcnn.plot.filters(model, layer)[0].figure.get_suptitle().endswith("'0.1'")


def test_weights_of_zero_and_nan():
    assert xpcnn.plot.filters(np.zeros((1, 1, 2, 2)))[0].images[0].get_clim() == (-1, 1)
    weight = np.array([np.nan, 2.0]).reshape(1, 1, 1, 2)
    assert xpcnn.plot.filters(weight)[0].images[0].get_clim() == (-2, 2)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (np.zeros((2, 2)), {}, "filters must be of shape"),
        (np.zeros((2, 1, 3, 3, 3)), {}, r"weight\[:, :, depth\]"),
        (np.zeros((2, 1, 3, 3)), {"layer": 0}, "layer is for a model or a container, and ndarray"),
        (np.zeros((2, 1, 3, 3)), {"channel": 1}, "channel=1, and the filters have 1 channels"),
        (np.zeros((2, 4, 3, 3)), {"columns": 2}, "leave columns out"),
        (np.zeros((2, 4, 3, 3)), {"count": "all"}, "count must be an integer, got 'all'"),
        (xpcnn.Sequential(xpcnn.Linear(3, 4)), {}, "has no filters; choose a convolution"),
        (xpcnn.Conv2d(1, 2, 3), {}, "has no weights yet; call fit first"),
        (xpcnn.Sequential(xpcnn.ReLU()), {"layer": "conv"}, "there is no layer 'conv', only '0'"),
        (xpcnn.Sequential(xpcnn.ReLU()), {"layer": 1}, "there are 1 layers, from 0 to 0"),
        (xpcnn.Sequential(xpcnn.ReLU()), {"layer": -2}, "layer must be at least -1"),
        (xpcnn.Sequential(xpcnn.ReLU()), {"layer": True}, "layer must be a name or a place"),
        ("conv", {}, "source .* must be an array"),
    ],
)
def test_errors(source, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xpcnn.plot.filters(source, **options)
    assert not plt.get_fignums()
