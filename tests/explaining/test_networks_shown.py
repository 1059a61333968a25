"""Whole networks: what each layer gives, and one of them with what comes into it."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.explaining.lines import line_of, table_of

X = [[1, 2, 0], [0, 1, 3], [2, 1, 1]]


@pytest.fixture
def network():
    """Return a convolution that adds, a ReLU, the largest number, and its double less one."""
    made = xpcnn.Sequential(
        xpcnn.Conv2d(1, 1, 2), xpcnn.ReLU(), xpcnn.MaxPool2d(2), xpcnn.Flatten(), xpcnn.Linear(1, 1)
    )
    made.load_state_dict(
        {
            "0.weight": np.ones((1, 1, 2, 2), "float32"),
            "0.bias": np.array([-5], "float32"),
            "4.weight": np.array([[2]], "float32"),
            "4.bias": np.array([-1], "float32"),
        }
    )
    return made


def test_what_each_layer_gives(network):
    shown = xpcnn.explain(network, X)
    overview = table_of(shown, "")
    assert overview.rows == ["0", "1", "2", "3", "4"]
    assert overview.cells == [  # sums of 2 × 2 less 5: -1 1, -1 1
        ["Conv2d", "(1, 1, 2, 2)", "-1", "0", "1"],
        ["ReLU", "(1, 1, 2, 2)", "0", "0.5", "1"],
        ["MaxPool2d", "(1, 1, 1, 1)", "1", "1", "1"],
        ["Flatten", "(1, 1)", "1", "1", "1"],
        ["Linear", "(1, 1)", "1", "1", "1"],
    ]
    assert table_of(shown, "y[0, 0]").cells == [["-1", "1"], ["-1", "1"]]
    assert 'layer="0"' in str(shown)
    assert "put in front" in str(shown)
    assert "had no weights" not in str(shown)


def test_one_layer_with_what_comes_into_it(network):
    shown = xpcnn.explain(network, X, layer="4", dy=[[3]])
    assert line_of(shown, "y[0, 0]") == "y[0, 0] = 1·2 + (-1) = 1"
    assert line_of(shown, "dweight[0, 0]") == "dweight[0, 0] = 1·3 = 3"
    pooled = xpcnn.explain(network, X, layer="2")
    assert line_of(pooled, "y[0, 0, 0, 0]") == "y[0, 0, 0, 0] = max(0, 1, 0, 1) = 1"
    assert len(pooled.animate()) == 1


def test_models_and_graphs(network):
    model = xpcnn.Model(network, device="cpu")
    assert str(xpcnn.explain(model, X))[5:] == str(xpcnn.explain(network, X))[10:].replace(
        "=" * 21, "=" * 16, 1
    )
    graph = xpcnn.Graph(
        ["image"], [("twice", xpcnn.operations.Add(), ["image", "image"]),
                    ("cut", xpcnn.ReLU(), ["twice"])], ["cut"],
    )  # fmt: skip
    shown = xpcnn.explain(graph, [[1, -2]])
    assert table_of(shown, "").rows == ["twice", "cut"]
    assert xpcnn.explain(graph, [[1, -2]], layer="cut").sections[0].parts[1].cells == [["2", "-4"]]


def test_residual_blocks(rng):
    body = xpcnn.Sequential(xpcnn.Conv1d(1, 1, 3, padding=1), xpcnn.ReLU())
    network = xpcnn.Sequential(xpcnn.Residual(body), xpcnn.GlobalAvgPool1d())
    x = rng.normal(size=(2, 1, 6)).astype("float32")
    y = network.forward(x)
    shown = xpcnn.explain(network, x, lang="ja")
    overview = table_of(shown, "")
    assert [row[0] for row in overview.cells] == ["Conv1d", "ReLU", "Add", "GlobalAvgPool1d"]
    assert np.isclose(float(overview.cells[-1][4]), float(y.max()), rtol=1e-3)
    assert "ほか 1 個は省略しました" in str(shown)


def test_layers_of_two_ways_are_shown_as_in_inference():
    network = xpcnn.Sequential(xpcnn.Dropout(0.5), xpcnn.BatchNorm1d(2))
    x = [[1.0, 2.0], [3.0, 4.0]]
    assert "nothing is dropped" in str(xpcnn.explain(network, x, layer="0"))
    assert "running mean" in str(xpcnn.explain(network, x, layer="1"))
    assert "μ[0] = (1 + 3) / 2 = 2" in str(xpcnn.explain(network, x, layer="1", training=True))


def test_a_long_network_is_cut_short():
    network = xpcnn.Sequential(*(xpcnn.ReLU() for _ in range(30)))
    shown = xpcnn.explain(network, [[1.0]], limit=4)
    assert table_of(shown, "").rows == ["0", "1", "2", "…", "29"]
    assert [s.heading for s in shown.sections][2:] == ["0: ReLU", "1: ReLU", "2: ReLU", "29: ReLU"]


def test_nothing_changes(network):
    before = {name: a.copy() for name, a in network.state_dict().items()}
    xpcnn.explain(network, X, layer="0")
    assert all(np.array_equal(a, before[name]) for name, a in network.state_dict().items())
    assert network.parameters()["0.weight"].grad is None
    fresh = xpcnn.Sequential(xpcnn.Linear(None, 1))
    assert "had no weights yet" in str(xpcnn.explain(fresh, [[1, 2]]))
    assert fresh.layers[0].in_features is None
    assert not fresh.is_built


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "9"}, ValueError, "layer must be one of '0', '1', .* got '9'"),
        ({"layer": 0}, TypeError, "layer must be the name of a layer .* got 0"),
        ({"dy": [[1]]}, TypeError, "dy has no effect on Sequential, .* by layer="),
        ({"target": [1]}, TypeError, "target has no effect"),
        ({"training": True}, TypeError, "training has no effect"),
        ({"layer": "0", "target": [1]}, TypeError, "target has no effect on Conv2d"),
        ({"layer": "0", "training": True}, TypeError, "training has no effect on Conv2d"),
    ],
)
def test_wrong_use(network, options, error, message):
    with pytest.raises(error, match=message):
        xpcnn.explain(network, X, **options)


def test_what_is_no_network_has_no_layers():
    with pytest.raises(TypeError, match="layer has no effect on ReLU, which is no network"):
        xpcnn.explain(xpcnn.ReLU(), [1], layer="0")
    two = xpcnn.Graph(["a", "b"], [("sum", xpcnn.operations.Add(), ["a", "b"])], ["sum"])
    with pytest.raises(ValueError, match=r"Graph has 2 inputs \(a, b\)"):
        xpcnn.explain(two, [1])
    one = xpcnn.Graph(["a"], [("sum", xpcnn.operations.Add(), ["a", "a"])], ["sum"])
    with pytest.raises(TypeError, match="Add is not explained"):
        xpcnn.explain(one, [[1]], layer="sum")
