"""What a newcomer gets wrong: every class says what it expected, and nothing is ignored."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn import NonFiniteError
from xpcnn.scratch import conv1d, deep_conv_net, deep_nn, simple_conv_net, tanh_cnn

IMAGES = np.ones((2, 1, 28, 28))


def net(**settings) -> simple_conv_net.SimpleConvNet:
    return simple_conv_net.SimpleConvNet(**settings)


def deep() -> deep_nn.ScratchDeepNeuralNetworkClassifier:
    fc = deep_nn.FC(3, 3, deep_nn.HeInitializer(), deep_nn.SGD(0.1), deep_nn.Softmax())
    return deep_nn.ScratchDeepNeuralNetworkClassifier([fc])


def signals(**settings) -> conv1d.Scratch1dCNNClassifier:
    return conv1d.Scratch1dCNNClassifier(**{"verbose": False, "n_epochs": 1} | settings)


ONES = np.ones((2, 1, 9))
ROWS = np.ones((4, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: deep_conv_net.ReLU().forward(None), TypeError, "ReLU: .*numbers, got None"),
        (lambda: deep_conv_net.softmax(None), TypeError, "softmax: expected .*numbers, got None"),
        (lambda: tanh_cnn.tanh("a"), TypeError, "tanh: expected .*numbers, got 'a'"),
        (
            lambda: conv1d.Conv1d([["a"]], [0]).forward(ONES),
            TypeError,
            "Conv1d: expected an array of numbers, got an array of dtype <U1",
        ),
        (lambda: conv1d.Affine(ROWS, [0, 0, 0]).forward(3), ValueError, r"Affine: .*\(N, D\)"),
        (lambda: conv1d.Flatten().forward(3), ValueError, "Flatten: .*batch axis"),
        (lambda: deep_conv_net.Dropout("half"), TypeError, "dropout_ratio must be a number"),
        (lambda: deep_conv_net.LeakyReLU("a"), TypeError, "alpha must be a number, got 'a'"),
        (
            lambda: deep_conv_net.BatchNormalization(None, None, rho=2),
            ValueError,
            "rho must be between 0 and 1, got 2",
        ),
        (lambda: conv1d.GetMiniBatch(3, 4), ValueError, "X and y must be arrays"),
        (lambda: conv1d.SGD(-1), ValueError, "SGD: lr must be at least 0 and finite, got -1"),
        (lambda: conv1d.Adam("a"), TypeError, "Adam: lr must be a number, got 'a'"),
        (lambda: deep_conv_net.Adam(rho1=2), ValueError, "Adam: rho1 must be between 0 and 1"),
        (lambda: deep_nn.AdaGrad(None), TypeError, "AdaGrad: lr must be a number, got None"),
        (
            lambda: conv1d.Adam().update(np.ones(2), np.ones(2)),
            TypeError,
            "Adam.update: params must be a dict of arrays, .*got ndarray",
        ),
        (lambda: deep_nn.SimpleInitializer("a"), TypeError, "sigma must be a number"),
        (
            lambda: deep_conv_net.numerical_gradient(lambda w: w, np.ones(3)),
            ValueError,
            r"f must return one number, got an array of shape \(3,\)",
        ),
        (
            lambda: deep_conv_net.numerical_gradient(None, np.ones(3)),
            TypeError,
            "f must be a function of an array, got None",
        ),
        (lambda: net(input_dim=28), ValueError, r"must be 3 numbers, \(C, H, W\), got 28"),
        (lambda: net(input_dim=(28, 28)), ValueError, r"3 numbers, \(C, H, W\), got \(28, 28\)"),
        (lambda: net(hidden_size=0), ValueError, "hidden_size must be at least 1, got 0"),
        (lambda: net(output_size=2.5), TypeError, "output_size must be an integer, got 2.5"),
        (lambda: net(weight_init_std="he"), TypeError, "weight_init_std must be a number"),
        (lambda: net(dtype="int8"), ValueError, "SimpleConvNet: dtype must be one of 'float32'"),
        (
            lambda: net().loss(np.ones((2, 784)), [0, 1]),
            ValueError,
            r"expected an input \(N, C, H, W\) of shape \(N, 1, 28, 28\), got \(2, 784\)",
        ),
        # the convolution of 29 x 29 and the pooling behind it would go through
        (
            lambda: net().predict(np.ones((2, 1, 29, 29))),
            ValueError,
            r"of shape \(N, 1, 28, 28\), got \(2, 1, 29, 29\)",
        ),
        (lambda: net().accuracy(IMAGES, [0, 1], batch_size=0), ValueError, "batch_size must be at"),
        (lambda: net().accuracy(IMAGES[:0], []), ValueError, "accuracy: there are no images"),
        (
            lambda: deep_conv_net.SimpleConvNet(weight_decay_lambda="a"),
            TypeError,
            "weight_decay_lambda must be a number, got 'a'",
        ),
        (lambda: signals(optimizer_param=0.01), TypeError, "optimizer_param must be a dict"),
        (lambda: signals(n_epochs="3"), TypeError, "n_epochs must be an integer, got '3'"),
        (lambda: signals(weight_init_std=None), TypeError, "weight_init_std must be a number"),
        (lambda: signals().fit(ONES, [0, 1, 2]), ValueError, "got 2 samples but 3 labels"),
        (lambda: signals().fit(ONES, ["a", "b"]), TypeError, "integer labels, got text; number"),
        (lambda: signals().fit(ONES, [-1, 0]), ValueError, "labels must be numbers from 0, got -1"),
        (lambda: signals().fit(ONES[:0], []), ValueError, "there are no samples"),
        (lambda: signals().fit(ONES, [0, 1], ONES), ValueError, "got x_val without y_val"),
        (lambda: signals().fit(ONES, [0, 1], None, [0]), ValueError, "got y_val without x_val"),
        # eight and nine elements are the same after the pooling
        (
            lambda: signals().fit(ONES, [0, 1]).predict(ONES[:, :, :8]),
            ValueError,
            r"Scratch1dCNNClassifier: expected .*\(N, 1, 9\), got \(2, 1, 8\)",
        ),
        (lambda: deep().fit(ROWS, [0, 1, 2]), ValueError, "got 4 samples but 3 labels"),
        (lambda: deep().fit(ROWS, [0, 1, 2, 0], n_epoch="a"), TypeError, "n_epoch must be an int"),
        (lambda: deep().fit(ROWS, [0, 1, 2, 0], n_batch=0), ValueError, "n_batch must be at least"),
        (lambda: deep().fit(ROWS, [0, 1, 2, 0], lr="a"), TypeError, "lr must be a number, got 'a'"),
        (lambda: deep().fit(ROWS, [0, 1, 2, 0], ROWS), ValueError, "got X_val without y_val"),
        (
            lambda: deep_nn.ScratchDeepNeuralNetworkClassifier(None),
            TypeError,
            "layers must be a list of FC, got None",
        ),
        (
            lambda: tanh_cnn.back_propagation_cnn(
                np.ones((2, 5, 5)), [0, 1], np.ones((2, 9)), np.ones((3, 18)), 1, lr="a"
            ),
            TypeError,
            "back_propagation_cnn: lr must be a number",
        ),
    ],
)  # fmt: skip
def test_what_is_said(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_training_stops_where_the_loss_is_no_number(bad) -> None:
    x = ONES.copy()
    x[1, 0, 3] = bad
    with (
        np.errstate(all="ignore"),
        pytest.raises(NonFiniteError, match="Scratch1dCNNClassifier: .*epoch 1, batch 1") as caught,
    ):
        signals().fit(x, [0, 1])
    assert (caught.value.epoch, caught.value.batch) == (1, 1)
    rows, model = ROWS.copy(), deep()
    rows[:] = bad
    before = model.layers[0].W.copy()
    with (
        np.errstate(all="ignore"),
        pytest.raises(NonFiniteError, match="Classifier: .*epoch 1, batch 1"),
    ):
        model.fit(rows, [0, 1, 2, 0], n_epoch=2)
    np.testing.assert_array_equal(model.layers[0].W, before)


def test_a_refused_fit_leaves_the_learning_rate() -> None:
    model = deep()
    with pytest.raises(ValueError, match="labels must lie from 0 to 2"):
        model.fit(ROWS, [0, 1, 2, 5], lr=7.0)
    assert model.layers[0].optimizer.lr == 0.1
