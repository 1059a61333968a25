"""Containers: gradients against differences, names of states, errors of what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc


def block(channels):
    """A residual block, as in ResNet but small."""
    return xc.Residual(
        xc.Sequential(
            xc.Conv2d(channels, channels, 3, padding=1, bias=False),
            xc.BatchNorm2d(channels),
            xc.SiLU(),
            xc.Conv2d(channels, channels, 3, padding="same"),
        )
    )


NETWORKS = {
    "residual": lambda: xc.Sequential(
        xc.Conv2d(2, 3, 3), block(3), xc.Tanh(), xc.GlobalAvgPool2d(), xc.Linear(3, 2)
    ),
    "shortcut": lambda: xc.Sequential(
        xc.Residual(
            xc.Sequential(xc.Conv2d(2, 4, 3, 2, 1, groups=2), xc.GELU()),
            xc.Conv2d(2, 4, 1, 2, bias=False),
        ),
        xc.AvgPool2d(2),
        xc.Flatten(),
        xc.LogSoftmax(),
    ),
    "inception": lambda: xc.Sequential(
        xc.Parallel(
            [
                xc.Conv2d(2, 2, 1),
                xc.Sequential(xc.Conv2d(2, 1, 1), xc.ELU(), xc.Conv2d(1, 3, 3, padding=1)),
                xc.Sequential(xc.MaxPool2d(3, 1, 1), xc.Conv2d(2, 1, 1)),
            ]
        ),
        xc.Sigmoid(),
        xc.Conv2d(6, 2, 3, dilation=2, padding_mode="circular", padding=1),
    ),
    "nested": lambda: xc.Parallel(
        [
            xc.Residual(xc.Parallel([xc.Conv2d(2, 1, 1), xc.Conv2d(2, 1, 1)]), xc.BatchNorm2d(2)),
            xc.Sequential(xc.Sequential(xc.Softplus()), xc.Sequential()),
        ],
        join="sum",
    ),
    "one dimension": lambda: xc.Sequential(
        xc.Flatten(2), xc.Conv1d(2, 3, 4, stride=3), xc.LeakyReLU(0.3), xc.MaxPool1d(2, 2, 1)
    ),
}


def directional_error(net, x, seed=0):
    """Compare the gradients with the change of a weighted sum of outputs along random directions.

    A central difference of step h is off by something times h^2, and by rounding over h.
    """
    rng = np.random.default_rng(seed)
    net.zero_grad()
    y = net.forward(x, training=True)
    weights = rng.normal(size=y.shape)
    dx = net.backward(weights)
    h, worst = 1e-5, 0.0

    def slope(shift):
        values = []
        for sign in (1.0, -1.0):
            shift(sign * h)
            values.append(float((net.forward(shifted["x"], training=True) * weights).sum()))
            shift(-sign * h)
        return (values[0] - values[1]) / (2 * h)

    shifted = {"x": x}
    for name in ["x", *net.parameters()]:
        start = x if name == "x" else net.parameters()[name].data
        gradient = dx if name == "x" else net.parameters()[name].grad
        direction = rng.normal(size=start.shape)

        def shift(amount, name=name, direction=direction):
            if name == "x":
                shifted["x"] = shifted["x"] + amount * direction
            else:
                parameter = net.parameters()[name]
                parameter.data = parameter.data + amount * direction

        expected = slope(shift)
        found = float((gradient * direction).sum())
        worst = max(worst, abs(found - expected) / max(abs(expected), 1e-2))
    return worst


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_against_differences(name):
    net = NETWORKS[name]()
    x = np.random.default_rng(4).normal(size=(3, 2, 7, 6))
    net.build(x.shape, dtype="float64", rng=np.random.default_rng(5))
    for seed in range(3):
        assert directional_error(net, x, seed) < 1e-6


@pytest.mark.parametrize("name", NETWORKS)
def test_shape_build_and_multiply_adds(name):
    net = NETWORKS[name]()
    shape = (3, 2, 7, 6)
    assert net.build(shape) == net.output_shape(shape) == net(np.ones(shape, "float32")).shape
    assert net.multiply_adds(shape) >= 0


def test_multiply_adds_by_hand():
    assert xc.Linear(4, 5).multiply_adds((3, 4)) == 3 * 4 * 5
    # 2 samples, 4 filters, 5 * 4 positions, 3 channels, 3 * 2 taps
    assert xc.Conv2d(3, 4, (3, 2)).multiply_adds((2, 3, 7, 5)) == 2 * 4 * 20 * 3 * 6
    assert xc.Conv2d(4, 4, 1, groups=4).multiply_adds((1, 4, 5, 5)) == 4 * 25
    net = xc.Sequential(xc.Conv1d(1, 2, 3), xc.Flatten(), xc.Linear(4, 5))
    assert net.multiply_adds((1, 1, 4)) == 2 * 2 * 3 + 4 * 5
    assert xc.Residual(xc.Linear(4, 4), xc.Linear(4, 4)).multiply_adds((1, 4)) == 32
    assert xc.Parallel([xc.Linear(4, 4), xc.Linear(4, 4)]).multiply_adds((1, 4)) == 32


def test_state_names_are_dotted_as_in_torch():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    theirs = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))
    ours = xc.Sequential(xc.Conv2d(2, 3, 3), xc.Sequential(xc.BatchNorm2d(3), xc.ReLU()))
    state = {name: values.numpy() for name, values in theirs.state_dict().items()}
    ours.load_state_dict(state)
    assert list(ours.state_dict()) == list(state)
    x = np.random.default_rng(0).normal(size=(2, 2, 5, 5)).astype("float32")
    theirs.eval()
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(x), expected, rtol=1e-5, atol=1e-6)
    assert list(xc.Residual(xc.Linear(2, 2), xc.Linear(2, 2)).parameters()) == [
        "body.weight",
        "body.bias",
        "shortcut.weight",
        "shortcut.bias",
    ]
    assert list(xc.Parallel([xc.Linear(2, 2, bias=False)]).parameters()) == ["branches.0.weight"]


def test_sequential_is_a_list():
    layers = [xc.Linear(2, 3), xc.ReLU()]
    net = xc.Sequential(layers)
    assert (len(net), list(net), net[0], net[-1]) == (2, layers, layers[0], layers[1])
    assert [name for name, _ in net.layers_within()] == ["", "0", "1"]
    empty = xc.Sequential()
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(empty.forward(x, training=True), x)
    np.testing.assert_array_equal(empty.backward(x), x)


def test_what_is_not_a_layer():
    with pytest.raises(TypeError, match=r"Sequential: entry 1 is the class ReLU; write ReLU\(\)"):
        xc.Sequential(xc.ReLU(), xc.ReLU)
    with pytest.raises(TypeError, match="Sequential: entry 0 is not a layer: 'relu'"):
        xc.Sequential(["relu"])
    with pytest.raises(TypeError, match="Residual: entry 0 is not a layer"):
        xc.Residual(lambda x: x)
    with pytest.raises(TypeError, match="Parallel: entry 1 is not a layer: None"):
        xc.Parallel([xc.ReLU(), None])
    with pytest.raises(ValueError, match="Parallel needs at least one branch"):
        xc.Parallel([])
    with pytest.raises(ValueError, match="join must be one of 'concat', 'sum'; got 'mean'"):
        xc.Parallel([xc.ReLU()], join="mean")


def test_a_layer_stands_at_one_place():
    relu = xc.ReLU()
    with pytest.raises(ValueError, match=r"one ReLU instance stands at two places \(0 and 2\)"):
        xc.Sequential(relu, xc.Tanh(), relu)
    with pytest.raises(ValueError, match="stands at two places"):
        xc.Sequential(relu, xc.Sequential(relu))
    with pytest.raises(ValueError, match="stands at two places"):
        xc.Residual(relu, relu)
    with pytest.raises(ValueError, match="stands at two places"):
        xc.Parallel([relu, xc.Residual(relu)])


def test_outputs_that_do_not_fit_together():
    x = np.ones((2, 3, 6, 6), "float32")
    residual = xc.Residual(xc.Conv2d(3, 3, 3))
    match = r"Residual: the body gives shape \(2, 3, 4, 4\) but the shortcut \(2, 3, 6, 6\)"
    with pytest.raises(ValueError, match=match):
        residual(x)
    with pytest.raises(ValueError, match=match):
        residual.output_shape(x.shape)
    # shapes that would broadcast are refused as well
    with pytest.raises(ValueError, match="the body gives shape"):
        xc.Residual(xc.GlobalAvgPool2d(keepdims=True))(x)
    for join, branch in (("concat", xc.Conv2d(3, 1, 3)), ("sum", xc.Conv2d(3, 1, 1))):
        with pytest.raises(ValueError, match=rf"Parallel: with join='{join}' the branches may not"):
            xc.Parallel([xc.ReLU(), branch], join=join)(x)


def test_one_input_for_all_branches_is_added_up(rng):
    x, dy = rng.normal(size=(2, 3)), rng.normal(size=(2, 6))
    net = xc.Parallel([xc.ReLU(), xc.LeakyReLU(-1.0)])
    y = net.forward(x, training=True)
    np.testing.assert_array_equal(y, np.concat([np.maximum(x, 0), np.abs(x)], axis=1))
    np.testing.assert_allclose(
        net.backward(dy), dy[:, :3] * (x > 0) + dy[:, 3:] * np.sign(x), rtol=1e-12
    )
