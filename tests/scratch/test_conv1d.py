"""xpcnn.scratch.conv1d: worked examples, naive loops, numerical gradients, the classifier."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn._xp import to_numpy
from xpcnn.data import load_digits_subset
from xpcnn.scratch.conv1d import (
    SGD,
    Adam,
    Conv1d,
    Flatten,
    GetMiniBatch,
    MaxPooling1D,
    Scratch1dCNNClassifier,
    SimpleConv1d,
    col2im_1d,
    get_output_size,
    im2col_1d,
)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((4, 3), 2),
        ((5, 2, 2), 2),
        ((5, 3, 2, 1), 3),
        ((784, 5), 780),
        ((3, 3), 1),
        ((2, 4, 3, 1), 1),
    ],
)
def test_output_size(arguments: tuple[int, ...], expected: int) -> None:
    assert get_output_size(*arguments) == expected


def test_output_size_takes_the_names_of_the_course() -> None:
    assert get_output_size(n_features=6, filter_length=3, stride=3, pad=0) == 2


def test_output_size_refuses_a_filter_longer_than_the_input() -> None:
    with pytest.raises(ValueError, match="get_output_size.*smaller kernel or more padding"):
        get_output_size(3, 4)


def test_worked_example_with_one_channel(device) -> None:
    x, w, b = (device.asarray(np.array(v)) for v in ([1, 2, 3, 4], [3, 5, 7], [1]))
    conv = SimpleConv1d(w, b)
    np.testing.assert_array_equal(to_numpy(conv.forward(x)), [35, 50])
    dx = conv.backward(device.asarray(np.array([10, 20])))
    np.testing.assert_array_equal(to_numpy(dx), [30, 110, 170, 140])
    np.testing.assert_array_equal(to_numpy(conv.dW), [50, 80, 110])
    np.testing.assert_array_equal(to_numpy(conv.db), [30])


def test_bias_may_be_a_plain_number() -> None:
    conv = SimpleConv1d([3, 5, 7], 1)
    assert conv.forward([1, 2, 3, 4]).tolist() == [35, 50]
    conv.backward([10, 20])
    assert conv.db == 30


def test_worked_example_with_two_channels(device) -> None:
    x = device.asarray(np.array([[1, 2, 3, 4], [2, 3, 4, 5]]))
    w, b = device.asarray(np.ones((3, 2, 3))), device.asarray(np.array([1.0, 2.0, 3.0]))
    conv = Conv1d(w, b)
    np.testing.assert_array_equal(to_numpy(conv.forward(x)), [[16, 22], [17, 23], [18, 24]])
    dx = conv.backward(device.asarray(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])))
    # every filter is ones, so each input sees the sum over filters: 9 and 12
    np.testing.assert_array_equal(to_numpy(dx), [[9, 21, 21, 12]] * 2)
    np.testing.assert_array_equal(to_numpy(conv.db), [3, 7, 11])
    np.testing.assert_array_equal(to_numpy(conv.dW)[0], [[5, 8, 11], [8, 11, 14]])


def naive(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int) -> np.ndarray:
    """Convolve x (N, C, L), padded already, with w (O, C, F)."""
    length = (x.shape[2] - w.shape[2]) // stride + 1
    y = np.zeros((x.shape[0], w.shape[0], length))
    for n, o, p in np.ndindex(y.shape):
        y[n, o, p] = b[o] + (w[o] * x[n, :, p * stride : p * stride + w.shape[2]]).sum()
    return y


def slope(f, x: np.ndarray) -> np.ndarray:
    """Differentiate a function of an array numerically."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        high, low = x.copy(), x.copy()
        high[index] += 1e-5
        low[index] -= 1e-5
        gradient[index] = (f(high) - f(low)) / 2e-5
    return gradient


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(
    ("pad", "sides"), [(0, (0, 0)), (2, (2, 2)), ("same", None)], ids=["none", "two", "same"]
)
@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_convolution_against_loops_and_differences(rng, stride, pad, sides, mode) -> None:
    x, w, b = rng.normal(size=(2, 3, 7)), rng.normal(size=(4, 3, 4)), rng.normal(size=4)
    if sides is None:
        total = max((-(-7 // stride) - 1) * stride + 4 - 7, 0)
        sides = (total // 2, total - total // 2)

    def expected(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        return naive(np.pad(x, ((0, 0), (0, 0), sides), mode=mode), w, b, stride)

    conv = Conv1d(w, b, stride=stride, pad=pad, pad_mode=mode)
    y = conv.forward(x)
    np.testing.assert_allclose(y, expected(x, w, b), atol=1e-12)
    dout = rng.normal(size=y.shape)
    dx = conv.backward(dout)
    for got, gradient in (
        (dx, slope(lambda v: (dout * expected(v, w, b)).sum(), x)),
        (conv.dW, slope(lambda v: (dout * expected(x, v, b)).sum(), w)),
        (conv.db, slope(lambda v: (dout * expected(x, w, v)).sum(), b)),
    ):
        np.testing.assert_allclose(got, gradient, atol=1e-7)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "y_shape"),
    [
        ((6,), (3,), (4,)),
        ((2, 6), (3,), (2, 4)),
        ((2, 1, 6), (3,), (2, 1, 4)),
        ((6,), (5, 1, 3), (5, 4)),
        ((2, 6), (5, 2, 3), (5, 4)),
        ((7, 2, 6), (5, 2, 3), (7, 5, 4)),
    ],
)
def test_samples_and_batches(rng, x_shape, w_shape, y_shape) -> None:
    w = rng.normal(size=w_shape)
    conv = Conv1d(w, np.zeros(w_shape[0] if len(w_shape) == 3 else 1))
    x = rng.normal(size=x_shape)
    y = conv.forward(x)
    assert y.shape == y_shape
    assert conv.backward(y).shape == x_shape
    assert conv.dW.shape == w_shape
    c = w_shape[1] if len(w_shape) == 3 else 1
    full = naive(x.reshape(-1, c, 6), w.reshape(-1, c, 3), conv.b, 1)
    np.testing.assert_allclose(y.ravel(), full.ravel(), atol=1e-12)


def test_im2col_and_back_by_hand(device) -> None:
    x = device.asarray(np.arange(8.0).reshape(1, 2, 4))
    col = im2col_1d(x, 3)
    np.testing.assert_array_equal(to_numpy(col), [[0, 1, 2, 4, 5, 6], [1, 2, 3, 5, 6, 7]])
    back = col2im_1d(col, (1, 2, 4), 3)
    np.testing.assert_array_equal(to_numpy(back), [[[0, 2, 4, 3], [4, 10, 12, 7]]])
    padded = im2col_1d(x, filter_size=2, stride=3, pad=1)
    np.testing.assert_array_equal(to_numpy(padded), [[0, 0, 0, 4], [2, 3, 6, 7]])


def test_max_pooling_by_hand(device) -> None:
    x = device.asarray(np.array([[[-5.0, -1.0, -2.0, -3.0, -4.0]]]))
    pool = MaxPooling1D(2, stride=2, pad=1)
    # the padding is minus infinity: it does not win over negative numbers
    np.testing.assert_array_equal(to_numpy(pool.forward(x)), [[[-5, -1, -3]]])
    dx = pool.backward(device.asarray(np.array([[[1.0, 2.0, 3.0]]])))
    np.testing.assert_array_equal(to_numpy(dx), [[[1, 2, 0, 3, 0]]])


@pytest.mark.parametrize("shape", [(6,), (2, 6), (3, 2, 6)])
def test_max_pooling_of_samples_and_batches(rng, shape) -> None:
    x = rng.normal(size=shape)
    pool = MaxPooling1D(pool_size=2, stride=2)
    y = pool.forward(x)
    np.testing.assert_array_equal(y, np.maximum(x[..., ::2], x[..., 1::2]))
    assert pool.backward(y).shape == shape


def test_flatten() -> None:
    flatten = Flatten()
    x = np.arange(12).reshape(2, 3, 2)
    y = flatten.forward(x)
    assert y.shape == (2, 6)
    np.testing.assert_array_equal(flatten.backward(y), x)


def test_convolution_errors() -> None:
    with pytest.raises(ValueError, match="expected 2 input channels.*got 3"):
        Conv1d(np.ones((1, 2, 3)), np.zeros(1)).forward(np.zeros((1, 3, 5)))
    with pytest.raises(ValueError, match="smaller kernel"):
        SimpleConv1d(np.ones(5), np.zeros(1)).forward(np.zeros(4))
    with pytest.raises(ValueError, match="pad_mode must be one of 'constant', 'edge'; got 'wrap'"):
        SimpleConv1d(np.ones(5), np.zeros(1), pad_mode="wrap")
    with pytest.raises(RuntimeError, match="SimpleConv1d.backward.*call forward"):
        SimpleConv1d(np.ones(3), np.zeros(1)).backward(np.zeros(2))
    conv = SimpleConv1d(np.ones(3), np.zeros(1))
    conv.forward(np.zeros(4))
    with pytest.raises(ValueError, match=r"output's shape \(2,\), got \(3,\)"):
        conv.backward(np.zeros(3))


def test_mini_batches_cover_everything_once() -> None:
    X, y = np.arange(7) * 10, np.arange(7)
    batches = GetMiniBatch(X, y, batch_size=3, seed=1)
    for _ in range(2):  # the iterator can be used again
        parts = list(batches)
        assert [len(b) for _, b in parts] == [3, 3, 1]
        assert len(batches) == 3
        np.testing.assert_array_equal(
            np.concatenate([a for a, _ in parts]), 10 * np.concatenate([b for _, b in parts])
        )
        assert sorted(int(v) for _, b in parts for v in b) == list(range(7))
    np.testing.assert_array_equal(batches[2][1], parts[2][1])
    # the shuffle of the notebooks, without touching the global generator
    np.random.seed(1)
    expected = np.random.permutation(np.arange(7))
    np.testing.assert_array_equal(np.concatenate([b for _, b in batches]), expected)
    with pytest.raises(ValueError, match="7 samples but 6 labels"):
        GetMiniBatch(X, y[:6])
    with pytest.raises(IndexError):
        batches[3]


def signals(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    (x, t), (x_test, t_test) = load_digits_subset()
    return x[:n].reshape(n, 1, 784), t[:n], x_test[:200].reshape(200, 1, 784), t_test[:200]


def test_classifier_learns_digits() -> None:
    x, t, x_val, t_val = signals(1500)
    np.random.seed(0)
    model = Scratch1dCNNClassifier(
        conv_param={"filter_num": 8, "filter_size": 5, "pad": 0, "stride": 1},
        pool_param={"pool_size": 2, "pad": 0, "stride": 2},
        n_epochs=4,
        batch_size=50,
        optimizer="Adam",
        optimizer_param={"lr": 0.002},
        layer_nodes=(50,),
        weight_init_std=0.05,
    )
    model.fit(x, t, x_val, t_val)
    assert model.val_acc_list[-1] > 0.8
    assert np.mean(model.predict(x_val) == t_val) == model.val_acc_list[-1]
    assert len(model.train_loss_list) == len(model.val_loss_list) == 4
    assert len(model.train_acc_list) == len(model.val_acc_list) == 4
    assert model.train_loss_list[-1] < model.train_loss_list[0]
    # what is stored as the validation loss is the validation loss
    scores = model.decision_function(x_val)
    scores = scores - scores.max(axis=1, keepdims=True)
    log_y = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        model.val_loss_list[-1], -log_y[np.arange(200), t_val].mean(), rtol=1e-5
    )


def tiny_problem(rng) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(12, 1, 10)), np.arange(12) % 3


def tiny_model(n_epochs=2, batch_size=6, **settings) -> Scratch1dCNNClassifier:
    np.random.seed(3)
    return Scratch1dCNNClassifier(
        {"filter_num": 2, "filter_size": 3},
        {"pool_size": 2, "stride": 2},
        n_epochs,
        batch_size,
        layer_nodes=4,
        weight_init_std=0.5,
        **settings,
    )


def test_classifier_on_every_device_as_on_numpy(rng, device) -> None:
    x, t = tiny_problem(rng)
    settings = {"n_epochs": 1, "batch_size": 12, "optimizer": "sgd"}
    expected = tiny_model(**settings).fit(x, t)
    got = tiny_model(**settings).fit(device.asarray(x), t)
    np.testing.assert_allclose(got.train_loss_list, expected.train_loss_list, rtol=1e-10)
    for key, value in expected.params.items():
        np.testing.assert_allclose(to_numpy(got.params[key]), value, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(to_numpy(got.predict(device.asarray(x))), expected.predict(x))


def test_classifier_takes_one_hot_labels_and_signals_without_channel(rng) -> None:
    x, t = tiny_problem(rng)
    expected = tiny_model().fit(x, t, x, t)
    got = tiny_model().fit(x[:, 0], np.eye(3)[t], x[:, 0], np.eye(3)[t])
    assert got.val_loss_list == expected.val_loss_list
    assert got.train_loss_list == expected.train_loss_list


def test_classifier_output_layer_may_be_named_or_not(rng) -> None:
    x, t = tiny_problem(rng)
    np.random.seed(0)
    for nodes in (4, (4,), (4, 3), [4, 3]):
        model = Scratch1dCNNClassifier(n_epochs=1, layer_nodes=nodes).fit(x, t)
        assert {k: v.shape for k, v in model.params.items() if k[0] == "b"} == {
            "b1": (30,),
            "b2": (4,),
            "b3": (3,),
        }
        assert model.val_loss_list == []


@pytest.mark.parametrize("optimizer", ["sgd", "AdaGrad", SGD, Adam(lr=0.01)])
def test_classifier_takes_optimizers_by_name_class_and_object(rng, optimizer) -> None:
    x, t = tiny_problem(rng)
    settings = {} if isinstance(optimizer, Adam) else {"optimizer_param": {"lr": 0.01}}
    model = tiny_model(optimizer=optimizer, **settings).fit(x, t)
    assert model.train_loss_list[1] < model.train_loss_list[0]


def test_classifier_errors(rng) -> None:
    with pytest.raises(ValueError, match="optimizer must be one of 'sgd', 'adagrad', 'adam'"):
        Scratch1dCNNClassifier(optimizer="adamw")
    with pytest.raises(
        ValueError, match="conv_param: unknown keys 'filters'; the keys are 'filter"
    ):
        Scratch1dCNNClassifier(conv_param={"filters": 3})
    with pytest.raises(RuntimeError, match="call fit"):
        Scratch1dCNNClassifier().predict(np.zeros((1, 1, 10)))
    with pytest.raises(ValueError, match=r"signals \(N, C, L\).*reshape images"):
        Scratch1dCNNClassifier().fit(np.zeros((2, 1, 5, 5)), [0, 1])


def test_verbose_prints_a_line_for_each_epoch(rng, capsys) -> None:
    x, t = tiny_problem(rng)
    tiny_model(verbose=True).fit(x, t)
    assert [line[:10] for line in capsys.readouterr().out.splitlines()] == [
        "epoch 1/2:",
        "epoch 2/2:",
    ]
