"""The gradient check of classes that are not the library's: learners' own, and the courses'."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import gradcheck, operations
from xpcnn.scratch import conv1d, deep_conv_net, deep_nn, simple_conv_net


class Affine:
    """As courses have it; one gradient can be multiplied by a factor."""

    def __init__(self, W: Any, b: Any, /, **factors: float) -> None:
        self.W, self.b, self.factors = W, b, factors
        self.x = self.dW = self.db = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout: np.ndarray) -> np.ndarray:
        factor = {"W": 1.0, "b": 1.0, "x": 1.0} | self.factors
        self.dW = factor["W"] * self.x.T @ dout
        self.db = factor["b"] * dout.sum(axis=0)
        return factor["x"] * dout @ self.W.T


ROWS = np.random.default_rng(0).normal(size=(4, 3))
W, B = np.random.default_rng(1).normal(size=(3, 2)), np.array([0.5, -1.0])


def test_right_gradients_and_nothing_changes() -> None:
    layer, x = Affine(W.copy(), B.copy()), ROWS.copy()
    assert gradcheck(layer, x) is True
    assert (layer.x, layer.dW, layer.db) == (None, None, None)
    np.testing.assert_array_equal(layer.W, W)
    np.testing.assert_array_equal(x, ROWS)


@pytest.mark.parametrize("wrong", ["x", "W", "b"])
def test_a_wrong_gradient_is_named_and_so_is_its_factor(wrong: str) -> None:
    message = f"Affine: the gradient of {wrong} is wrong: .*; it is 0.25 times .*; right: "
    with pytest.raises(ValueError, match=message) as caught:
        gradcheck(Affine(W, B, **{wrong: 0.25}), ROWS)
    right = str(caught.value).rsplit("right: ", 1)[1]
    assert set(right.split(", ")) == {"x", "W", "b"} - {wrong}


def test_all_wrong_gradients_are_named() -> None:
    with pytest.raises(ValueError, match="of x is wrong.*of b is wrong.*right: W"):
        gradcheck(Affine(W, B, x=2.0, b=-1.0), ROWS)


def test_numbers_are_printed_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    gradcheck(Affine(W, B), ROWS, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["x", "W", "b"]
    for line in lines:
        got, expected = (float(part.split()[-1]) for part in line.split(": ")[-1].split(","))
        assert abs(got - expected) < 1e-5


@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_parameters_of_integers_and_float32_are_widened(dtype: str) -> None:
    layer = Affine(np.array([[1, 2], [3, 4], [5, 6]], dtype), np.array([1, 2], dtype))
    assert gradcheck(layer, ROWS)
    assert layer.W.dtype == dtype
    layer.factors = {"W": 1.0001}
    with pytest.raises(ValueError, match="gradient of W"):
        gradcheck(layer, ROWS)


class Lists:
    """Parameters and gradients in two lists, as a well-known book has them."""

    def __init__(self, factor: float = 1.0) -> None:
        self.params, self.grads = [W, B], [np.zeros_like(W), np.zeros_like(B)]
        self.factor = factor

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, dout: np.ndarray) -> np.ndarray:
        self.grads[0][...] = self.x.T @ dout * self.factor
        self.grads[1][...] = dout.sum(axis=0)
        return dout @ self.params[0].T


class Dicts(Lists):
    """Parameters and gradients in two dicts, gradients made anew."""

    def __init__(self, factor: float = 1.0) -> None:
        self.params, self.grads, self.factor = {"W": W, "b": B}, {}, factor

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout: np.ndarray) -> np.ndarray:
        self.grads = {"W": self.x.T @ dout * self.factor, "b": dout.sum(axis=0)}
        return dout @ self.params["W"].T


class Named(Affine):
    """Gradients with another name."""

    def backward(self, dout: np.ndarray) -> np.ndarray:
        dx = super().backward(dout)
        self.W_grad, self.grad_b = self.dW * self.factors.get("all", 1.0), self.db
        del self.dW, self.db
        return dx


@pytest.mark.parametrize(
    ("right", "wrong", "name"),
    [
        (Lists(), Lists(3.0), r"params\[0\]"),
        (Dicts(), Dicts(3.0), r"params\['W'\]"),
        (Named(W, B), Named(W, B, all=3.0), "W"),
    ],
    ids=["lists", "dicts", "names"],
)
def test_places_of_gradients(right: Any, wrong: Any, name: str) -> None:
    assert gradcheck(right, ROWS)
    with pytest.raises(ValueError, match=f"gradient of {name} is wrong.* 3 times"):
        gradcheck(wrong, ROWS)


class Network:
    """Layers inside, one array held in two places."""

    def __init__(self, factor: float = 1.0) -> None:
        first = Affine(np.ones((3, 3)), np.zeros(3))
        self.layers = {"first": first, "second": Affine(W, B, W=factor)}
        self.params = {"W1": first.W}

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.layers["first"].W = self.params["W1"]
        for layer in self.layers.values():
            x = layer.forward(x)
        return x

    def backward(self, dout: np.ndarray) -> np.ndarray:
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        return dout


def test_layers_inside_are_looked_through() -> None:
    assert gradcheck(Network(), ROWS)
    with pytest.raises(ValueError, match=r"layers\['second'\]\.W is wrong.*right: x, layers"):
        gradcheck(Network(2.0), ROWS)


class Stateful:
    """Counts, draws, remembers, and changes what it is given."""

    def __init__(self) -> None:
        self.calls, self.mean, self.rng = 0, np.zeros(3), np.random.default_rng(0)

    def forward(self, x: np.ndarray, train_flg: bool = True) -> np.ndarray:
        self.calls += 1
        self.mean *= 0.9
        self.mean += x.mean(axis=0)
        self.mask = np.random.rand(*x.shape) * self.rng.random() * (10.0 if train_flg else 1.0)
        return x * self.mask * self.calls

    def backward(self, dout: np.ndarray) -> np.ndarray:
        dout *= self.mask * self.calls
        return dout


def test_state_and_random_numbers_are_held() -> None:
    np.random.seed(1)
    expected = np.random.RandomState(1).rand(3)
    layer = Stateful()
    for training in (True, False):
        assert gradcheck(layer, ROWS, training=training)
    assert layer.calls == 0
    assert not layer.mean.any()
    np.testing.assert_array_equal(np.random.rand(3), expected)


class Product:
    def __init__(self, share: float = 1.0) -> None:
        self.share = share

    def forward(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        self.kept = x, y
        return x * y

    def backward(self, dout: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, y = self.kept
        return dout * y, dout * x * self.share


def test_several_inputs(rng: np.random.Generator) -> None:
    inputs = (ROWS, ROWS + 1.0)
    assert gradcheck(Product(), inputs)
    with pytest.raises(ValueError, match=r"gradient of x\[1\] is wrong.*2 times.*right: x\[0\]"):
        gradcheck(Product(2.0), inputs)
    with pytest.raises(TypeError, match=r"Product.forward\(x, y\) needs 2 arguments, got 1"):
        gradcheck(Product(), ROWS)
    assert gradcheck(operations.Add(), inputs)
    assert gradcheck(operations.Concat(dim=1), inputs)
    loss, target = xpcnn.CosineEmbeddingLoss(), np.array([1, -1, 1, -1])
    assert gradcheck(loss, (ROWS, ROWS * 2 + 1), target)
    graph = xpcnn.Graph(
        ["a", "b"], [("sum", operations.Add(), ["a", "b"]), ("tanh", xpcnn.Tanh(), "sum")], "tanh"
    )
    assert gradcheck(graph, {"b": ROWS, "a": ROWS + 1})


class Table:
    def __init__(self, W: np.ndarray, factor: float = 1.0) -> None:
        self.W, self.factor = W, factor

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        return self.W[x]

    def backward(self, dout: np.ndarray) -> None:
        self.dW = np.zeros_like(self.W)
        np.add.at(self.dW, self.x, dout * self.factor)


def test_inputs_of_integers_have_no_gradient() -> None:
    indices = np.array([[0, 2], [2, 1]])
    assert gradcheck(Table(W), indices)
    assert gradcheck(xpcnn.Embedding(3, 2), indices)
    with pytest.raises(ValueError, match="gradient of W is wrong"):
        gradcheck(Table(W, 2.0), indices)
    with pytest.raises(TypeError, match=r"x holds integers.*x.astype\('float64'\)"):
        gradcheck(Affine(W, B), np.array([[1, 2, 3]]))


class HalfSquares:
    """A loss whose backward takes nothing, or 1."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def forward(self, y: np.ndarray, t: np.ndarray) -> float:
        self.difference = y - t
        return 0.5 * float(np.sum(self.difference**2)) / len(y)

    def backward(self, dout: float = 1) -> np.ndarray:
        return self.factor * self.difference / len(self.difference)


def test_losses() -> None:
    target = np.zeros_like(ROWS)
    assert gradcheck(HalfSquares(), ROWS, target)
    with pytest.raises(ValueError, match="HalfSquares: the gradient of x.* 4 times"):
        gradcheck(HalfSquares(4.0), ROWS, target)
    with pytest.raises(TypeError, match=r"forward\(y, t\) needs 2 arguments, got 1; give a target"):
        gradcheck(HalfSquares(), ROWS)


class NoGradient(Affine):
    def backward(self, dout: np.ndarray) -> np.ndarray:
        del self.dW
        return dout @ self.W.T


class NoReturn(Affine):
    def backward(self, dout: np.ndarray) -> None:  # type: ignore[override]
        super().backward(dout)


class NoOutput(Affine):
    def forward(self, x: np.ndarray) -> None:  # type: ignore[override]
        super().forward(x)


class Locked(Affine):
    def __init__(self) -> None:
        super().__init__(W, B)
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (Affine, TypeError, r"got the class Affine; make an object of it first"),
        (3, TypeError, "int has no forward and no backward"),
        (deep_conv_net.SGD(), TypeError, "SGD has no forward and no backward"),
        (NoGradient(W, B), ValueError, "W has no gradient: .*no attribute dW"),
        (NoReturn(W, B), ValueError, "backward returned None, expected the gradient of x"),
        (NoOutput(W, B), ValueError, "NoOutput.forward returned None"),
        (Locked(), TypeError, "works on copies, and Locked cannot be copied"),
        (simple_conv_net.SimpleConvNet((1, 8, 8)), ValueError, "needs a target"),
    ],
)
def test_wrong_use(module: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gradcheck(module, ROWS)


IMAGES = np.random.default_rng(2).normal(size=(2, 3, 6, 6))
SIGNALS = np.random.default_rng(3).normal(size=(2, 3, 8))
FILTERS = np.random.default_rng(4).normal(size=(2, 3, 3, 3))


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (simple_conv_net.Convolution(FILTERS, np.zeros(2), 1, 1), IMAGES),
        (conv1d.Conv1d(FILTERS[..., 0], np.zeros(2), 2, 1), SIGNALS),
        (conv1d.SimpleConv1d(np.array([3, 5, 7]), np.array([1])), np.array([1.0, 2, 3, 4])),
        (simple_conv_net.Affine(W, B), ROWS),
        (deep_conv_net.MaxPooling(2, 2, 2), IMAGES),
        (conv1d.MaxPooling1D(2, 2), SIGNALS),
        (conv1d.Flatten(), IMAGES),
        (deep_conv_net.ReLU(), ROWS),
        (deep_conv_net.LeakyReLU(), ROWS),
        (deep_conv_net.Sigmoid(), ROWS),
        (deep_conv_net.Tanh(), ROWS),
        (conv1d.Softmax(), ROWS),
        (deep_nn.Softmax(), ROWS),
        (deep_conv_net.Dropout(0.4), ROWS),
        (deep_conv_net.BatchNormalization(None, None), IMAGES),
        (deep_conv_net.BatchNormalization(np.ones(3), np.zeros(3)), ROWS),
        (
            deep_nn.FC(3, 2, deep_nn.HeInitializer(), deep_nn.AdaGrad(0.1), deep_nn.Sigmoid()),
            ROWS,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_of_the_courses(layer: Any, x: np.ndarray) -> None:
    assert gradcheck(layer, x)
    assert gradcheck(layer, x, training=False)


def test_parameters_of_the_courses_layers_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    fc = deep_nn.FC(3, 2, deep_nn.HeInitializer(), deep_nn.SGD(0.1), deep_nn.Sigmoid())
    norm = deep_conv_net.BatchNormalization(None, None)
    for layer in (fc, norm):
        gradcheck(layer, ROWS, verbose=True)
    names = [line.split(":")[1].strip() for line in capsys.readouterr().out.splitlines()]
    assert names == ["x", "W", "B", "x", "gamma", "beta"]


def test_losses_and_networks_of_the_courses(capsys: pytest.CaptureFixture[str]) -> None:
    for loss in (deep_conv_net.SoftmaxWithLoss(), deep_conv_net.MeanSquaredLoss()):
        assert gradcheck(loss, ROWS, np.array([0, 2, 1, 1]))
    np.random.seed(0)
    x, t = np.random.rand(3, 1, 12, 12), np.array([0, 1, 2])
    for network in (simple_conv_net.SimpleConvNet, deep_conv_net.SimpleConvNet):
        net = network((1, 12, 12), hidden_size=5, output_size=3)
        assert gradcheck(net, x, t, verbose=True)
    names = {line.split(":")[1].strip() for line in capsys.readouterr().out.splitlines()}
    assert names == {"W1", "b1", "W2", "b2", "W3", "b3", "gamma1", "beta1"}
    grads = net.gradient
    net.gradient = lambda x, t: {**grads(x, t), "b2": 1.0 + grads(x, t)["b2"]}
    with pytest.raises(ValueError, match="gradient of b2 is wrong"):
        gradcheck(net, x, t)


def test_a_kink_that_is_met_by_chance_is_no_wrong_gradient() -> None:
    """One element lies nearer to the kink than a step is long."""
    x = ROWS.copy()
    x[0, 0] = 3e-7
    assert gradcheck(deep_conv_net.ReLU(), x)
    assert gradcheck(xpcnn.ReLU(), x)


class Mixed:
    """A class of one's own that holds layers of the library."""

    def __init__(self, factor: float = 1.0) -> None:
        self.conv, self.factor = xpcnn.Conv2d(3, 2, 3), factor
        self.drop, self.flat = xpcnn.Dropout(0.5), xpcnn.Flatten()

    def forward(self, x: np.ndarray) -> np.ndarray:
        for layer in (self.conv, self.drop, self.flat):
            x = layer.forward(x, training=True)
        return x

    def backward(self, dout: np.ndarray) -> np.ndarray:
        for layer in (self.flat, self.drop, self.conv):
            dout = layer.backward(dout)
        self.conv.weight.grad = self.conv.weight.grad * self.factor
        return dout


def test_layers_of_the_library_inside(capsys: pytest.CaptureFixture[str]) -> None:
    assert gradcheck(Mixed(), IMAGES, verbose=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["x", "conv.weight", "conv.bias"]
    with pytest.raises(ValueError, match="the gradient of conv.weight is wrong.* 3 times"):
        gradcheck(Mixed(3.0), IMAGES)
    used = Mixed()
    used.backward(np.ones_like(used.forward(IMAGES)))
    before = used.conv.weight.grad.copy()
    assert gradcheck(used, IMAGES)  # what is there already does not add up
    np.testing.assert_array_equal(used.conv.weight.grad, before)


def test_models_and_frozen_parameters() -> None:
    layers = [xpcnn.Conv2d(3, 2, 3), xpcnn.Flatten(), xpcnn.Linear(out_features=2)]
    model = xpcnn.Model(layers, device="cpu", dtype="float64", seed=0)
    with pytest.raises(ValueError, match="the model is not built yet"):
        gradcheck(model, IMAGES)
    model.build((None, 3, 6, 6))
    assert gradcheck(model, IMAGES)
    layers[2].weight.requires_grad = False
    assert gradcheck(layers[2], np.random.default_rng(0).normal(size=(2, 32)))
    single = xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu")
    single.build((None, 3))
    with pytest.raises(TypeError, match="weight must be an array of float64"):
        gradcheck(single, ROWS)


def test_a_class_that_holds_a_network_is_checked_itself() -> None:
    """Not the network inside: the class may do more with it, and that wrongly."""

    class Twice:
        def __init__(self) -> None:
            self.network = xpcnn.Tanh()

        def forward(self, x: np.ndarray) -> np.ndarray:
            return 2.0 * self.network.forward(x, training=True)

        def backward(self, dy: np.ndarray) -> np.ndarray:
            return self.network.backward(dy)  # without the factor

    x = np.random.default_rng(0).normal(size=(2, 3))
    with pytest.raises(ValueError, match="gradient"):
        xpcnn.gradcheck(Twice(), x)
