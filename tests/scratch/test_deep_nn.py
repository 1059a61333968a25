"""xpcnn.scratch.deep_nn: layers, their optimizers, and the classifier."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn._xp import to_numpy
from xpcnn.data import load_digits_subset
from xpcnn.scratch import deep_nn
from xpcnn.scratch.deep_nn import (
    FC,
    SGD,
    AdaGrad,
    HeInitializer,
    ReLU,
    ScratchDeepNeuralNetworkClassifier,
    Sigmoid,
    SimpleInitializer,
    Softmax,
    Tanh,
    XavierInitializer,
)


class Given:
    """Initial weights that are known."""

    def __init__(self, W, B) -> None:
        self._w, self._b = np.array(W, dtype=float), np.array(B, dtype=float)

    def W(self, n_nodes1, n_nodes2):
        return self._w.copy()

    def B(self, n_nodes2):
        return self._b.copy()


class Identity:
    """No activation."""

    def forward(self, A):
        return A

    def backward(self, dZ):
        return dZ


@pytest.mark.parametrize(
    ("initializer", "std"),
    [
        (SimpleInitializer(0.03), 0.03),
        (SimpleInitializer(), 0.01),
        (XavierInitializer(), 1 / np.sqrt(400)),
        (HeInitializer(), np.sqrt(2 / 400)),
    ],
)
def test_initializers(initializer, std) -> None:
    np.random.seed(0)
    W = initializer.W(400, 200)
    assert W.shape == (400, 200)
    np.testing.assert_allclose(W.std(), std, rtol=0.02)
    np.testing.assert_array_equal(initializer.B(200), np.zeros(200))


def test_layer_by_hand_on_every_device(device) -> None:
    fc = FC(2, 2, Given([[1, 2], [3, 4]], [10, 20]), SGD(0.1), Identity())
    X = device.asarray(np.array([[1.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_array_equal(to_numpy(fc.forward(X)), [[11, 22], [14, 26]])
    dZ = fc.backward(device.asarray(np.array([[1.0, 0.0], [1.0, 2.0]])))
    # the gradient flows through the weights as they were, then they are updated
    np.testing.assert_array_equal(to_numpy(dZ), [[1, 3], [5, 11]])
    np.testing.assert_array_equal(to_numpy(fc.dW), [[2, 2], [1, 2]])
    np.testing.assert_array_equal(to_numpy(fc.dB), [2, 2])
    np.testing.assert_allclose(to_numpy(fc.W), [[0.8, 1.8], [2.9, 3.8]])
    np.testing.assert_allclose(to_numpy(fc.B), [9.8, 19.8])


def test_adagrad_accumulates_for_weights_and_biases(device) -> None:
    fc = FC(1, 1, Given([[1]], [1]), AdaGrad(0.1), Identity())
    X = device.asarray(np.array([[2.0]]))
    for g, W, B in (
        # steps of lr * g / sqrt(sum of squares): the first is lr, whatever g is
        (3.0, 0.9, 0.9),
        (4.0, 0.9 - 0.1 * 8 / 10, 0.9 - 0.1 * 4 / 5),
    ):
        fc.forward(X)
        fc.backward(device.asarray(np.array([[g]])))
        np.testing.assert_allclose(to_numpy(fc.W), [[W]], rtol=1e-6)
        np.testing.assert_allclose(to_numpy(fc.B), [B], rtol=1e-6)


def test_one_optimizer_may_serve_several_layers(rng) -> None:
    X, y = rng.normal(size=(8, 3)), np.arange(8) % 2

    def losses(first, second):
        np.random.seed(1)
        layers = [
            FC(3, 4, HeInitializer(), first, ReLU()),
            FC(4, 2, HeInitializer(), second, Softmax()),
        ]
        model = ScratchDeepNeuralNetworkClassifier(layers)
        return model.fit(X, y, n_epoch=3, n_batch=4).train_loss_list

    shared = AdaGrad(0.1)
    assert losses(shared, shared) == losses(AdaGrad(0.1), AdaGrad(0.1))


@pytest.mark.parametrize("activation", [ReLU, Sigmoid, Tanh, Softmax])
def test_gradients_against_differences(rng, activation) -> None:
    W, B = rng.normal(size=(4, 3)), rng.normal(size=3)
    X, dZ = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))

    def value(X, W, B) -> float:
        return float((dZ * FC(4, 3, Given(W, B), None, activation()).forward(X)).sum())

    fc = FC(4, 3, Given(W, B), None, activation())
    fc.forward(X)
    got = (fc.backward(dZ), fc.dW, fc.dB)
    arrays = [X, W, B]
    for which, gradient in enumerate(got):
        for index in np.ndindex(arrays[which].shape):
            high, low = ([a.copy() for a in arrays] for _ in range(2))
            high[which][index] += 1e-5
            low[which][index] -= 1e-5
            slope = (value(*high) - value(*low)) / 2e-5
            np.testing.assert_allclose(gradient[index], slope, atol=1e-7)


def test_the_gradient_is_divided_by_the_batch_once(rng) -> None:
    X, y, W = rng.normal(size=(6, 4)), np.arange(6) % 3, rng.normal(size=(4, 3))
    fc = FC(4, 3, Given(W, np.zeros(3)), SGD(0.5), Softmax())
    ScratchDeepNeuralNetworkClassifier([fc]).fit(X, y, n_epoch=1, n_batch=6)
    e = np.exp(X @ W)
    gradient = X.T @ (e / e.sum(axis=1, keepdims=True) - np.eye(3)[y]) / 6
    np.testing.assert_allclose(fc.dW, gradient, atol=1e-12)
    np.testing.assert_allclose(fc.W, W - 0.5 * gradient, atol=1e-12)


def make(device_free_seed: int = 2) -> ScratchDeepNeuralNetworkClassifier:
    np.random.seed(device_free_seed)
    layers = [
        FC(4, 5, XavierInitializer(), AdaGrad(0.1), Tanh()),
        FC(5, 3, SimpleInitializer(0.1), AdaGrad(0.1), Softmax()),
    ]
    return ScratchDeepNeuralNetworkClassifier(layers)


def test_classifier_on_every_device_as_on_numpy(rng, device) -> None:
    X, y = rng.normal(size=(6, 4)), np.arange(6) % 3
    expected = make().fit(X, y, n_epoch=1, n_batch=3)
    got = make().fit(device.asarray(X), y, n_epoch=1, n_batch=3)
    np.testing.assert_allclose(got.train_loss_list, expected.train_loss_list, rtol=1e-10)
    np.testing.assert_allclose(
        to_numpy(got.layers[0].W), expected.layers[0].W, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_array_equal(to_numpy(got.predict(device.asarray(X))), expected.predict(X))


def test_lists_labels_and_learning_rate(rng) -> None:
    X, y = rng.normal(size=(7, 4)), np.arange(7) % 3
    first = make().fit(X, y, X, y, n_epoch=2, n_batch=3)
    second = make().fit(X, np.eye(3)[y], X, np.eye(3)[y], 2, 3, 0.1)
    assert first.val_loss_list == second.val_loss_list
    assert len(first.train_acc_list) == len(first.val_acc_list) == 2
    slower = make().fit(X, y, X, y, n_epoch=2, n_batch=3, lr=1e-6)
    assert slower.layers[0].optimizer.lr == 1e-6
    assert slower.val_loss_list != first.val_loss_list
    e = first.predict_proba(X)
    np.testing.assert_allclose(e.sum(axis=1), 1.0)
    np.testing.assert_allclose(
        first.val_loss_list[-1], -np.log(e[np.arange(7), y]).mean(), rtol=1e-5
    )
    assert first.val_acc_list[-1] == np.mean(first.predict(X) == y)


def test_both_spellings_and_a_dict_of_layers(rng) -> None:
    assert deep_nn.ScratchDeepNeuralNetrowkClassifier is ScratchDeepNeuralNetworkClassifier
    layers = {0: make().layers[0], 1: make().layers[1]}
    model = deep_nn.ScratchDeepNeuralNetrowkClassifier(layers, verbose=True)
    assert model.layers == list(layers.values())


def test_verbose_prints_a_line_for_each_epoch(rng, capsys) -> None:
    model = make()
    model.verbose = True
    model.fit(rng.normal(size=(6, 4)), np.arange(6) % 3, n_epoch=2)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_errors(rng) -> None:
    with pytest.raises(ValueError, match=r"activation Softmax\(\).*\['ReLU'\]"):
        ScratchDeepNeuralNetworkClassifier([FC(2, 2, HeInitializer(), SGD(), ReLU())])
    with pytest.raises(ValueError, match="activation Softmax"):
        ScratchDeepNeuralNetworkClassifier([])
    fc = FC(4, 2, HeInitializer(), SGD(), ReLU())
    with pytest.raises(ValueError, match=r"expected 4 inputs \(axis 1\).*\(3, 5\)"):
        fc.forward(np.zeros((3, 5)))
    with pytest.raises(RuntimeError, match="call forward"):
        fc.backward(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="labels must lie from 0 to 2"):
        make().fit(rng.normal(size=(2, 4)), np.array([0, 3]))


@pytest.mark.parametrize(
    ("initializer", "activation"), [(HeInitializer, ReLU), (XavierInitializer, Sigmoid)]
)
def test_classifier_learns_digits(initializer, activation) -> None:
    (x, t), (x_test, t_test) = load_digits_subset()
    np.random.seed(0)
    layers = [
        FC(784, 50, initializer(), AdaGrad(0.02), activation()),
        FC(50, 30, initializer(), AdaGrad(0.02), activation()),
        FC(30, 10, initializer(), AdaGrad(0.02), Softmax()),
    ]
    model = ScratchDeepNeuralNetworkClassifier(layers)
    model.fit(x[:2000].reshape(2000, 784), t[:2000], n_epoch=5, n_batch=20)
    assert np.mean(model.predict(x_test.reshape(-1, 784)) == t_test) > 0.8
