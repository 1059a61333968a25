"""The gradient check: it passes what is right and names what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcnn
from xpcnn import losses
from xpcnn._xp import Array
from xpcnn.device import Device
from xpcnn.gradcheck import gradcheck


def network() -> xpcnn.Layer:
    return xpcnn.Sequential(
        xpcnn.Conv1d(2, 3, 3), xpcnn.BatchNorm1d(3), xpcnn.Tanh(), xpcnn.Dropout(0.5)
    )


def test_right_gradients(device: Device, rng: np.random.Generator) -> None:
    assert gradcheck(network(), device.asarray(rng.normal(size=(4, 2, 6)))) is True
    loss = losses.CrossEntropyLoss(reduction="none")
    assert gradcheck(loss, device.asarray(rng.normal(size=(3, 4))), device.asarray([0, 3, 1]))


def test_state_is_left_as_found(rng: np.random.Generator) -> None:
    layer, x = network(), rng.normal(size=(4, 2, 6))
    layer.forward(x, training=True)
    layer.backward(np.ones((4, 3, 4)))
    arrays = {name: np.array(value) for name, value in layer.state_dict().items()}
    gradients = {name: p.grad for name, p in layer.parameters().items()}
    dropout = next(la for _, la in layer.layers_within() if isinstance(la, xpcnn.Dropout))
    step, before = dropout.step, x.copy()
    gradcheck(layer, x)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, arrays[name])
    for name, p in layer.parameters().items():
        assert p.grad is gradients[name]
    assert dropout.step == step
    np.testing.assert_array_equal(x, before)


class Broken(xpcnn.Linear):
    """A linear layer that errs in one gradient, a little or wholly."""

    error = ""

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        dx = super().backward(dy, need_dx=need_dx)
        if self.error == "x":
            dx = np.array(dx)
            dx[0, 0] *= 1.001
        if self.error == "x shape":
            dx = dx[:1]
        if self.error == "weight":
            self.weight.grad = self.weight.grad * 1.00002
        if self.error == "bias":
            self.bias.grad = None
        return dx


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("x", "the gradient of x is wrong: .*off by .*allowed"),
        ("x shape", "gradient of x has shape \\(1, 3\\), expected \\(2, 3\\)"),
        ("weight", "the gradient of weight is wrong"),
        ("bias", "the gradient of bias is wrong: in a random direction it gives 0, differences"),
    ],
)
def test_wrong_gradients_are_named(rng: np.random.Generator, error: str, message: str) -> None:
    layer = Broken(3, 2)
    # by chance the wrong element could be almost zero, and right to rounding
    layer.load_state_dict({"weight": [[1.0, -2.0, 3.0], [0.5, 1.5, -1.0]], "bias": [0.0, 1.0]})
    x = rng.normal(size=(2, 3))
    assert gradcheck(layer, x)
    layer.error = error
    with pytest.raises(ValueError, match=f"Broken: .*{message}"):
        gradcheck(layer, x)
    np.testing.assert_array_equal(layer.forward(x), x @ layer.weight.data.T + layer.bias.data)


def test_wrong_gradient_of_a_loss(rng: np.random.Generator) -> None:
    class Halved(losses.MSELoss):
        def backward(self, dy: Array | None = None) -> Array:
            return super().backward(dy) * 0.5

    x, target = rng.normal(size=(2, 3, 2))
    with pytest.raises(ValueError, match="Halved: the gradient of x is wrong"):
        gradcheck(Halved(), x, target)


def test_nan_is_never_right(rng: np.random.Generator) -> None:
    layer = xpcnn.Linear(2, 1)
    x = rng.normal(size=(2, 2))
    x[0, 0] = np.nan
    with pytest.raises(ValueError, match="is wrong"):
        gradcheck(layer, x)


@pytest.mark.parametrize(
    ("module", "x", "options", "error", "message"),
    [
        (xpcnn.ReLU(), np.ones((1, 2), "float32"), {}, TypeError, "float64.* got float32"),
        (xpcnn.ReLU(), [[1.0]], {}, TypeError, "got list"),
        (losses.MSELoss(), np.ones((1, 2)), {}, ValueError, "needs a target"),
        (xpcnn.ReLU(), np.ones((1, 2)), {"target": np.ones(1)}, TypeError, "for losses only"),
    ],
)
def test_wrong_use(
    module: Any, x: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gradcheck(module, x, **options)


def test_float32_parameters() -> None:
    layer = xpcnn.Linear(2, 1)
    layer.build((1, 2), dtype="float32")
    with pytest.raises(TypeError, match="gradcheck: weight must be an array of float64"):
        gradcheck(layer, np.ones((1, 2)))
