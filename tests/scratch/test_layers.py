"""The courses' layers and losses: by hand, against numerical gradients, on every device."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xpcnn._xp import to_numpy
from xpcnn.scratch.deep_conv_net import (
    Affine,
    BatchNormalization,
    Convolution,
    Dropout,
    LeakyReLU,
    MaxPooling,
    MeanSquaredLoss,
    Pooling,
    ReLU,
    Relu,
    Sigmoid,
    SoftmaxWithLoss,
    Tanh,
    cross_entropy_error,
    mean_squared_error,
    numerical_gradient,
    softmax,
    sum_squared_error,
)
from xpcnn.scratch.deep_nn import Softmax


def slope(f, x: np.ndarray) -> np.ndarray:
    """Differentiate a function of an array numerically."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        high, low = x.copy(), x.copy()
        high[index] += 1e-5
        low[index] -= 1e-5
        gradient[index] = (f(high) - f(low)) / 2e-5
    return gradient


W4, B4 = np.random.default_rng(1).normal(size=(3, 2, 3, 2)), np.array([0.5, -0.5, 1.0])
W2, B2 = np.random.default_rng(2).normal(size=(40, 3)), np.array([0.5, -0.5, 1.0])
LAYERS = {
    "Convolution": lambda w=W4, b=B4: Convolution(w, b),
    "Convolution stride 2 pad 1": lambda w=W4, b=B4: Convolution(w, b, 2, 1),
    "Convolution same": lambda w=W4, b=B4: Convolution(w, b, pad="same"),
    "MaxPooling": lambda: MaxPooling(2, 2, stride=2),
    "Pooling overlapping, padded": lambda: Pooling(3, 2, stride=2, pad=1),
    "Affine": lambda w=W2, b=B2: Affine(w, b),
    "ReLU": ReLU,
    "LeakyReLU": LeakyReLU,
    "Sigmoid": Sigmoid,
    "Tanh": Tanh,
    "Dropout at evaluation": lambda: Dropout(0.3),
    "BatchNormalization": lambda: BatchNormalization(np.array([2.0, 0.5]), np.array([1.0, -1.0])),
}


def forward(layer, x):
    return layer.forward(x, False) if isinstance(layer, Dropout) else layer.forward(x)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_against_differences(rng, name) -> None:
    x = rng.normal(size=(3, 2, 5, 4))
    layer, before = LAYERS[name](), x.copy()
    y = forward(layer, x)
    dout = rng.normal(size=y.shape)
    dout_before = dout.copy()
    dx = layer.backward(dout)
    np.testing.assert_allclose(
        dx, slope(lambda v: (dout * forward(LAYERS[name](), v)).sum(), x), atol=1e-6
    )
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(dout, dout_before)
    if hasattr(layer, "dW"):
        make = LAYERS[name]
        dw = slope(lambda v: (dout * make(v).forward(x)).sum(), layer.W)
        db = slope(lambda v: (dout * make(layer.W, v).forward(x)).sum(), layer.b)
        np.testing.assert_allclose(layer.dW, dw, atol=1e-6)
        np.testing.assert_allclose(layer.db, db, atol=1e-6)
        assert layer.dW.shape == layer.W.shape


@pytest.mark.parametrize("name", LAYERS)
def test_order_and_shape_of_calls(rng, name) -> None:
    layer = LAYERS[name]()
    with pytest.raises(RuntimeError, match="backward: there was no forward before it"):
        layer.backward(np.zeros(1))
    y = forward(layer, rng.normal(size=(3, 2, 5, 4)))
    with pytest.raises(ValueError, match="expected a gradient of the output's shape"):
        layer.backward(np.zeros((*y.shape, 1)))


def test_convolution_and_pooling_by_hand_on_every_device(device) -> None:
    x = device.asarray(np.arange(16.0).reshape(1, 1, 4, 4))
    w, b = device.asarray(np.array([[[[1.0, 0.0], [0.0, -1.0]]]])), device.asarray(np.array([2.0]))
    conv, relu, pool = Convolution(w, b), Relu(), MaxPooling(3, 3)
    # every window holds a and a + 5 on its diagonal: a - (a + 5) + 2
    y = conv.forward(x)
    np.testing.assert_array_equal(to_numpy(y), np.full((1, 1, 3, 3), -3.0))
    np.testing.assert_array_equal(to_numpy(relu.forward(y)), np.zeros((1, 1, 3, 3)))
    dx = conv.backward(device.asarray(np.ones((1, 1, 3, 3))))
    ones = np.pad(np.ones((3, 3)), ((0, 1), (0, 1)))
    np.testing.assert_array_equal(to_numpy(dx)[0, 0], ones - ones[::-1, ::-1])
    np.testing.assert_array_equal(to_numpy(conv.dW), [[[[45, 54], [81, 90]]]])
    np.testing.assert_array_equal(to_numpy(conv.db), [9])
    np.testing.assert_array_equal(to_numpy(pool.forward(x)), [[[[10, 11], [14, 15]]]])
    dx = pool.backward(device.asarray(np.array([[[[1.0, 2.0], [3.0, 4.0]]]])))
    expected = np.zeros((4, 4))
    expected[2:, 2:] = [[1, 2], [3, 4]]
    np.testing.assert_array_equal(to_numpy(dx)[0, 0], expected)


def test_padding_of_max_pooling_never_wins() -> None:
    pool = MaxPooling(2, 2, stride=2, pad=1)
    x = -np.arange(1.0, 5.0).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(pool.forward(x), x)
    np.testing.assert_array_equal(pool.backward(np.ones_like(x)), np.ones_like(x))


def test_affine_by_hand_on_every_device(device) -> None:
    x = device.asarray(np.arange(8.0).reshape(2, 1, 2, 2))
    w = device.asarray(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    affine = Affine(w, device.asarray(np.array([10.0, 20.0])))
    np.testing.assert_array_equal(to_numpy(affine.forward(x)), [[12, 24], [20, 32]])
    dx = affine.backward(device.asarray(np.array([[1.0, 2.0], [3.0, 4.0]])))
    np.testing.assert_array_equal(to_numpy(dx), [[[[1, 2], [1, 2]]], [[[3, 4], [3, 4]]]])
    np.testing.assert_array_equal(to_numpy(affine.dW), [[12, 16], [16, 22], [20, 28], [24, 34]])
    np.testing.assert_array_equal(to_numpy(affine.db), [4, 6])


def test_affine_takes_one_sample(rng) -> None:
    w, b, x = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=4)
    affine = Affine(w, b)
    np.testing.assert_allclose(affine.forward(x), x @ w + b)
    assert affine.backward(np.ones(3)).shape == (4,)
    np.testing.assert_allclose(affine.dW, np.outer(x, np.ones(3)))


def test_activations_by_hand_on_every_device(device) -> None:
    x = device.asarray(np.array([[-2.0, 0.0, 3.0]]))
    ones = device.asarray(np.ones((1, 3)))
    for layer, y, dx in (
        (ReLU(), [0, 0, 3], [0, 0, 1]),
        (LeakyReLU(), [-0.2, 0, 3], [0.1, 0.1, 1]),
        (LeakyReLU(alpha=0.5), [-1, 0, 3], [0.5, 0.5, 1]),
    ):
        np.testing.assert_allclose(to_numpy(layer.forward(x))[0], y, atol=1e-15)
        np.testing.assert_allclose(to_numpy(layer.backward(ones))[0], dx)


def test_a_slope_that_is_changed_later_counts() -> None:
    layer = LeakyReLU(alpha=0.5)
    layer.alpha = 0.25
    np.testing.assert_allclose(layer.forward(np.array([-2.0, 4.0])), [-0.5, 4.0])


def test_integers_and_mixed_floats_are_promoted_as_numpy_does() -> None:
    assert ReLU().forward(np.array([[-1, 2]])).dtype == np.float64
    conv = Convolution(np.ones((1, 1, 2, 2)), np.zeros(1))
    assert conv.forward(np.ones((1, 1, 3, 3), dtype="float32")).dtype == np.float64
    conv = Convolution(np.ones((1, 1, 2, 2), dtype="float32"), np.zeros(1, dtype="float32"))
    assert conv.forward(np.ones((1, 1, 3, 3), dtype="float32")).dtype == np.float32
    assert conv.backward(np.ones((1, 1, 2, 2))).dtype == np.float32


def test_dropout_is_not_inverted(device) -> None:
    np.random.seed(0)
    x = device.asarray(np.full((50, 40), 2.0))
    dropout = Dropout(0.25)
    y = to_numpy(dropout.forward(x))
    assert set(np.unique(y)) == {0.0, 2.0}
    assert 0.7 < (y == 2).mean() < 0.8
    np.testing.assert_array_equal(to_numpy(dropout.backward(x)), y)
    np.testing.assert_array_equal(to_numpy(dropout.forward(x, train_flg=False)), 1.5)
    np.random.seed(0)
    np.testing.assert_array_equal(to_numpy(Dropout(0.25).forward(x, True)), y)
    with pytest.raises(ValueError, match="dropout_ratio must be between 0 and 1"):
        Dropout(1.5)


def test_batch_normalization_by_hand_on_every_device(device) -> None:
    x = device.asarray(np.array([[1.0, 10.0], [3.0, 30.0]]))
    norm = BatchNormalization(device.asarray(np.array([2.0, 3.0])), device.asarray(np.ones(2)))
    # means 2 and 20, variances 1 and 100
    np.testing.assert_allclose(to_numpy(norm.forward(x)), [[-1, -2], [3, 4]], rtol=1e-7)
    np.testing.assert_allclose(to_numpy(norm.moving_mean), [0.2, 2.0])
    np.testing.assert_allclose(to_numpy(norm.moving_var), [0.1, 10.0])
    norm.backward(device.asarray(np.array([[1.0, 2.0], [3.0, 4.0]])))
    np.testing.assert_allclose(to_numpy(norm.dbeta), [4, 6])
    np.testing.assert_allclose(to_numpy(norm.dgamma), [2, 2], rtol=1e-7)
    norm.forward(x)
    np.testing.assert_allclose(to_numpy(norm.moving_mean), [0.38, 3.8])
    y = norm.forward(x, train_flg=False)
    expected = 2 * (1 - 0.38) / math.sqrt(0.19) + 1
    np.testing.assert_allclose(to_numpy(y)[0, 0], expected, rtol=1e-6)


def test_batch_normalization_of_images_is_that_of_their_pixels(rng) -> None:
    x = rng.normal(size=(4, 3, 5, 2))
    rows = x.transpose(0, 2, 3, 1).reshape(-1, 3)
    gamma, beta = rng.normal(size=3), rng.normal(size=3)
    images, pixels = BatchNormalization(gamma, beta), BatchNormalization(gamma, beta)
    y = images.forward(x).transpose(0, 2, 3, 1).reshape(-1, 3)
    np.testing.assert_allclose(y, pixels.forward(rows), atol=1e-12)
    np.testing.assert_allclose(images.moving_var, pixels.moving_var)


def test_batch_normalization_keeps_and_learns_gamma_and_beta(rng) -> None:
    x = rng.normal(size=(6, 2))
    gamma, beta = np.array([2.0, 3.0]), np.array([1.0, -1.0])
    norm = BatchNormalization(gamma, beta)
    norm.forward(x)
    assert norm.gamma is gamma
    gamma *= 2
    beta += 1
    y = norm.forward(x)
    np.testing.assert_allclose(y.mean(axis=0), beta, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), gamma, rtol=1e-6)
    fresh = BatchNormalization(None, None)
    y = fresh.forward(x, train_flg=False)
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-8), rtol=1e-12)
    np.testing.assert_array_equal(fresh.gamma, [1, 1])
    given = BatchNormalization(None, None, 0.9, np.full(2, 5.0), np.full(2, 4.0))
    np.testing.assert_allclose(given.forward(x, train_flg=False), (x - 5) / 2, rtol=1e-7)


def test_batch_normalization_errors() -> None:
    with pytest.raises(ValueError, match=r"\(N, D\) or \(N, C, H, W\), got 3 dimensions"):
        BatchNormalization(None, None).forward(np.zeros((2, 3, 4)))
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(2,\), but axis 1.*is 3 long"):
        BatchNormalization(np.ones(2), np.zeros(2)).forward(np.zeros((2, 3)))


SCORES = np.array([[math.log(1.0), math.log(3.0)], [math.log(4.0), math.log(1.0)]])
PROBABILITIES = [[0.25, 0.75], [0.8, 0.2]]


@pytest.mark.parametrize(
    "t", [[1, 1], [[0, 1], [0, 1]], [[1], [1]]], ids=["int", "one-hot", "column"]
)
def test_softmax_with_loss_by_hand(device, t) -> None:
    layer = SoftmaxWithLoss()
    labels = device.asarray(np.array(t))
    loss = layer.forward(device.asarray(SCORES), labels)
    np.testing.assert_allclose(float(loss), -(math.log(0.75) + math.log(0.2)) / 2)
    np.testing.assert_allclose(to_numpy(layer.y), PROBABILITIES)
    expected = np.array([[0.25, -0.25], [0.8, -0.8]]) / 2
    np.testing.assert_allclose(to_numpy(layer.backward()), expected)
    np.testing.assert_allclose(to_numpy(layer.backward(dout=2)), 2 * expected)


def test_softmax_with_loss_stays_right_where_probabilities_vanish() -> None:
    layer = SoftmaxWithLoss()
    assert layer.forward(np.array([[0.0, 1000.0]]), np.array([0])) == 1000.0
    np.testing.assert_array_equal(layer.backward(1), [[-1.0, 1.0]])


def test_labels_are_checked() -> None:
    with pytest.raises(ValueError, match="labels must lie from 0 to 1.*got 1 to 2"):
        SoftmaxWithLoss().forward(SCORES, np.array([1, 2]))
    with pytest.raises(ValueError, match="or 2 integer labels"):
        SoftmaxWithLoss().forward(SCORES, np.array([1, 0, 1]))
    with pytest.raises(TypeError, match="integer labels"):
        SoftmaxWithLoss().forward(SCORES, np.array([1.0, 0.0]))
    with pytest.raises(RuntimeError, match="call forward"):
        SoftmaxWithLoss().backward()


def test_softmax_and_its_two_gradients(rng) -> None:
    np.testing.assert_allclose(softmax(SCORES), PROBABILITIES)
    np.testing.assert_allclose(softmax(SCORES[0]), PROBABILITIES[0])
    layer, dout = Softmax(), rng.normal(size=(2, 2))
    np.testing.assert_allclose(layer.forward(SCORES), PROBABILITIES)
    expected = slope(lambda v: (dout * softmax(v)).sum(), SCORES)
    np.testing.assert_allclose(layer.backward(dout), expected, atol=1e-9)
    # with targets: scores or output in front, the one course has this and the other that
    for first in (SCORES, layer.forward(SCORES)):
        combined = layer.backward(first, np.array([1, 1]))
        np.testing.assert_allclose(combined, np.array([[0.25, -0.25], [0.8, -0.8]]) / 2)
    with pytest.raises(RuntimeError, match="call forward"):
        Softmax().backward(SCORES, np.array([1, 1]))


def test_loss_functions_by_hand(device) -> None:
    y, t = (
        device.asarray(np.array(PROBABILITIES)),
        device.asarray(np.array([[0.0, 1.0], [1.0, 0.0]])),
    )
    by_hand = -(math.log(0.75 + 1e-7) + math.log(0.8 + 1e-7)) / 2
    np.testing.assert_allclose(float(cross_entropy_error(y, t)), by_hand, rtol=1e-12)
    np.testing.assert_allclose(float(mean_squared_error(y, t)), (0.125 + 0.08) / 4)
    np.testing.assert_allclose(float(sum_squared_error(y, t)), (0.125 + 0.08) / 2)
    layer = MeanSquaredLoss()
    np.testing.assert_allclose(float(layer.forward(y, t)), (0.125 + 0.08) / 4)
    np.testing.assert_allclose(to_numpy(layer.backward()), [[0.125, -0.125], [-0.1, 0.1]])


def test_loss_functions_take_labels_and_single_samples() -> None:
    y = np.array(PROBABILITIES)
    rows = np.array([[0, 1], [1, 0]])
    assert cross_entropy_error(y, np.array([1, 0])) == cross_entropy_error(y, rows)
    assert mean_squared_error(y, np.array([1, 0])) == mean_squared_error(y, rows)
    assert cross_entropy_error(y[0], rows[0]) == cross_entropy_error(y[:1], rows[:1])
    assert cross_entropy_error(y[0], np.array(1)) == cross_entropy_error(y[:1], rows[:1])
    assert np.isfinite(cross_entropy_error(np.array([[0.0, 1.0]]), np.array([0])))
    with pytest.raises(ValueError, match="same shape"):
        sum_squared_error(y, y[0])


def test_numerical_gradient_by_hand(device) -> None:
    w = device.asarray(np.array([[1.0, -2.0], [0.5, 3.0]]))
    gradient = numerical_gradient(lambda v: to_numpy(v**3).sum(), w)
    np.testing.assert_allclose(to_numpy(gradient), 3 * np.array([[1, 4], [0.25, 9]]), rtol=1e-6)
    np.testing.assert_array_equal(to_numpy(w), [[1.0, -2.0], [0.5, 3.0]])


def test_numerical_gradient_moves_the_array_itself() -> None:
    w = np.array([3.0])

    def through_the_outer_array(_) -> float:
        return float(w[0] ** 2)

    np.testing.assert_allclose(numerical_gradient(through_the_outer_array, w), [6.0])

    def fails(_) -> float:
        raise KeyError

    with pytest.raises(KeyError):
        numerical_gradient(fails, w)
    assert w[0] == 3.0
    with pytest.raises(TypeError, match="float64"):
        numerical_gradient(lambda v: 0.0, np.array([1]))


def test_shape_errors() -> None:
    conv = Convolution(np.ones((2, 3, 3, 3)), np.zeros(2))
    with pytest.raises(ValueError, match="Convolution: expected 3 input channels.*got 1"):
        conv.forward(np.zeros((1, 1, 5, 5)))
    with pytest.raises(ValueError, match=r"expected 4 dimensions laid out as \(N, C, H, W\)"):
        conv.forward(np.zeros((3, 5, 5)))
    with pytest.raises(ValueError, match="smaller kernel"):
        conv.forward(np.zeros((1, 3, 2, 5)))
    with pytest.raises(ValueError, match=r"bias of shape \(2,\), got \(3,\)"):
        Convolution(np.ones((2, 3, 3, 3)), np.zeros(3)).forward(np.zeros((1, 3, 5, 5)))
    with pytest.raises(ValueError, match="Convolution W"):
        Convolution(np.ones((3, 3)), np.zeros(3)).forward(np.zeros((1, 3, 5, 5)))
    with pytest.raises(ValueError, match="samples of 4 elements.*got 5"):
        Affine(np.ones((4, 2)), np.zeros(2)).forward(np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"b of shape \(2,\), got \(3,\)"):
        Affine(np.ones((4, 2)), np.zeros(3)).forward(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="at most half the window"):
        MaxPooling(2, 2, pad=2).forward(np.zeros((1, 1, 4, 4)))
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        Pooling(2, 2).forward(np.zeros((4, 4)))
