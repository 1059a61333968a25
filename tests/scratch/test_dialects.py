"""What one course calls or keeps otherwise than another: keys, layouts, attributes."""

from __future__ import annotations

import numpy as np
import pytest

from xpcnn._xp import to_numpy
from xpcnn.scratch import conv1d, deep_conv_net, deep_nn, simple_conv_net, tanh_cnn

SIGNALS = np.random.default_rng(0).normal(size=(12, 1, 10))
CLASSES = np.arange(12) % 3


def classifier(**settings) -> conv1d.Scratch1dCNNClassifier:
    np.random.seed(3)
    model = conv1d.Scratch1dCNNClassifier(n_epochs=1, batch_size=5, verbose=False, **settings)
    return model.fit(SIGNALS, CLASSES)


def test_number_of_filters_under_both_names() -> None:
    expected = classifier(conv_param={"filter_num": 2}, layer_nodes=4)
    got = classifier(conv_param={"n_filters": 2}, layer_nodes=4)
    assert got.conv_param["n_filters"] == got.conv_param["filter_num"] == 2
    for key, value in expected.params.items():
        np.testing.assert_array_equal(got.params[key], value)
    for net in (
        simple_conv_net.SimpleConvNet((1, 12, 12), {"n_filters": 3}, 4),
        deep_conv_net.SimpleConvNet((1, 12, 12), {"n_filters": 3}, hidden_size=4),
        deep_conv_net.DeepConvNet((1, 12, 12), {"n_filters": 3}),
    ):
        assert net.params["W1"].shape[0] == 3
    with pytest.raises(ValueError, match="'n_filters' and 'filter_num' mean the same"):
        classifier(conv_param={"n_filters": 2, "filter_num": 3})


def test_layer_nodes_as_a_dict() -> None:
    model = classifier(layer_nodes={"hidden": 4, "output": 5})
    assert model.params["W2"].shape[1] == 4
    assert model.params["W3"].shape == (4, 5)
    assert model.layer_nodes["output"] == 5
    assert classifier(layer_nodes={"hidden": 4}).params["W3"].shape == (4, 3)
    with pytest.raises(ValueError, match="'output': 2, but the labels are of 3 classes"):
        classifier(layer_nodes={"hidden": 4, "output": 2})
    with pytest.raises(ValueError, match="keys 'hidden' and 'output'.*got {'hiden': 4}"):
        classifier(layer_nodes={"hiden": 4})
    with pytest.raises(TypeError, match="layer_nodes must be an integer, got '100'"):
        classifier(layer_nodes="100")


def test_pooling_windows_lie_side_by_side_without_a_stride() -> None:
    model = classifier(pool_param={"pool_size": 4}, layer_nodes=4, conv_param={"n_filters": 2})
    assert model.layers["Pool1"].stride == 4
    assert model.params["W2"].shape == (2 * 2, 4)  # (10 - 3 + 1) / 4 = 2 positions
    assert list(model.layers)[-1] == "Last"
    np.testing.assert_allclose(
        model.layers["Last"].forward(model.decision_function(SIGNALS)).sum(axis=1), 1.0
    )


def test_wrong_parameters_of_networks() -> None:
    with pytest.raises(TypeError, match="conv_param: filter_num must be an integer, got 2.5"):
        classifier(conv_param={"filter_num": 2.5})
    with pytest.raises(ValueError, match="pool_param: pool_size must be at least 1, got 0"):
        classifier(pool_param={"pool_size": 0})
    with pytest.raises(TypeError, match="conv_param must be a dict with the keys 'filter_num'"):
        simple_conv_net.SimpleConvNet((1, 8, 8), 30)
    with pytest.raises(ValueError, match="the Adam object has its settings already"):
        classifier(optimizer=conv1d.Adam(), optimizer_param={"lr": 0.1})


def test_layers_are_found_as_the_courses_spell_them() -> None:
    net = deep_conv_net.SimpleConvNet((1, 8, 8), hidden_size=4)
    assert net.layers["BarchNorm1"] is net.layers["BatchNorm1"]
    assert net.layers["Relu1"] is net.layers["ReLU1"]
    with pytest.raises(KeyError, match="no layer 'Relu9'; the layers are Conv1, ReLU1"):
        net.layers["Relu9"]


X = np.arange(16.0).reshape(1, 1, 4, 4)


def test_what_a_convolution_keeps(device) -> None:
    w = np.array([[[[1.0, 2.0], [3.0, 4.0]]], [[[0.0, 1.0], [0.0, 0.0]]]])
    conv = simple_conv_net.Convolution(device.asarray(w), device.asarray(np.zeros(2)), stride=2)
    assert conv.x is conv.col is conv.col_W is conv.dcol is None
    conv.forward(device.asarray(X))
    np.testing.assert_array_equal(to_numpy(conv.x), X)
    np.testing.assert_array_equal(
        to_numpy(conv.col), [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    )
    np.testing.assert_array_equal(to_numpy(conv.col_W), [[1, 0], [2, 1], [3, 0], [4, 0]])
    dout = np.zeros((1, 2, 2, 2))
    dout[0, 0, 0, 1], dout[0, 1, 1, 0] = 1.0, 10.0
    conv.backward(device.asarray(dout))
    np.testing.assert_array_equal(
        to_numpy(conv.dcol), [[0] * 4, [1, 2, 3, 4], [0, 10, 0, 0], [0] * 4]
    )


def test_what_a_pooling_keeps(device) -> None:
    x = np.concatenate([X, -X], axis=1)
    pool = deep_conv_net.MaxPooling(2, 2, stride=2)
    assert pool.x is pool.col is pool.arg_max is pool.dcol is None
    pool.forward(device.asarray(x))
    # a row for each position and channel, the channels of a position one after the other
    assert to_numpy(pool.col)[:2].tolist() == [[0, 1, 4, 5], [0, -1, -4, -5]]
    assert to_numpy(pool.arg_max).tolist() == [3, 0] * 4
    pool.backward(device.asarray(np.arange(1.0, 9.0).reshape(1, 2, 2, 2)))
    assert to_numpy(pool.dcol)[:4].tolist() == [
        [0, 0, 0, 1],
        [5, 0, 0, 0],
        [0, 0, 0, 2],
        [6, 0, 0, 0],
    ]


def test_what_the_padding_of_a_pooling_holds_never_wins() -> None:
    pool = deep_conv_net.Pooling(2, 2, stride=2, pad=1)
    pool.forward(-1.0 - X)
    assert pool.arg_max[0] == 3
    assert pool.col[0].tolist() == [-np.inf, -np.inf, -np.inf, -1.0]


def test_what_one_dimensional_layers_keep() -> None:
    conv = conv1d.SimpleConv1d(np.array([3, 5, 7]), np.array([1]))
    conv.forward(np.array([1, 2, 3, 4]))
    assert conv.X.tolist() == [1, 2, 3, 4]
    assert conv.col.tolist() == [[1, 2, 3], [2, 3, 4]]
    assert conv.col_W.tolist() == [[3], [5], [7]]
    conv.backward(np.array([10, 20]))
    assert conv.dcol.tolist() == [[30, 50, 70], [60, 100, 140]]
    edge = conv1d.Conv1d(np.ones((1, 1, 3)), np.zeros(1), pad=1, pad_mode="edge")
    edge.forward(np.array([[[1.0, 2.0]]]))
    assert edge.col.tolist() == [[1, 1, 2], [1, 2, 2]]
    pool = conv1d.MaxPooling1D(2, 2)
    pool.forward(np.array([[[1.0, 3.0, 2.0, 0.0]]]))
    assert pool.arg_max.tolist() == [1, 0]


def test_what_other_layers_keep() -> None:
    x = np.array([[1.0, -2.0], [3.0, 0.0]])
    for layer in (deep_conv_net.ReLU(), deep_conv_net.LeakyReLU()):
        assert layer.mask is None
        layer.forward(x)
        assert layer.mask.tolist() == [[False, True], [False, True]]
    sigmoid = deep_nn.Sigmoid()
    y = sigmoid.forward(x)
    assert sigmoid.a.tolist() == x.tolist()
    assert sigmoid.Z is y
    affine = deep_conv_net.Affine(np.ones((4, 1)), np.zeros(1))
    affine.forward(x.reshape(1, 1, 2, 2))
    assert affine.x.tolist() == [[1.0, -2.0, 3.0, 0.0]]
    assert affine.original_x_shape == (1, 1, 2, 2)
    flatten = conv1d.Flatten()
    flatten.forward(X)
    assert flatten.prev_layer_shape == (1, 1, 4, 4)
    assert deep_conv_net.Dropout(0.25).vaild_ratio == 0.75
    batches = conv1d.GetMiniBatch(np.arange(5), np.arange(5) * 10, batch_size=2, seed=0)
    assert batches.X.tolist() == [2, 0, 1, 3, 4]
    assert batches.y.tolist() == [20, 0, 10, 30, 40]


def test_what_batch_normalisation_keeps(device) -> None:
    x = np.array([[[[1.0, 3.0]], [[0.0, 0.0]]]])  # two channels of two pixels
    norm = deep_conv_net.BatchNormalization(None, None)
    assert norm.batch_size is norm.x_mu is norm.x_std is norm.std is None
    norm.forward(device.asarray(x))
    norm.forward(device.asarray(x + 7), train_flg=False)
    assert norm.batch_size == 2
    np.testing.assert_allclose(to_numpy(norm.x_mu), [[-1, 0], [1, 0]])
    np.testing.assert_allclose(to_numpy(norm.std), [np.sqrt(1 + 1e-8), 1e-4])
    np.testing.assert_allclose(to_numpy(norm.x_std), [[-1, 0], [1, 0]], rtol=1e-7)


class OwnInitializer:
    """As a learner writes it, with b in small."""

    def W(self, n_nodes1, n_nodes2):
        return np.full((n_nodes1, n_nodes2), 0.5)

    def b(self, n_nodes2):
        return np.zeros(n_nodes2)


class OwnOptimizer:
    def update(self, fc):
        fc.W -= 0.1 * fc.dW
        fc.b -= 0.1 * fc.db


def test_a_layers_bias_is_b_and_B() -> None:
    fc = deep_nn.FC(2, 1, OwnInitializer(), OwnOptimizer(), deep_nn.ReLU())
    fc.forward(np.array([[1.0, 3.0]]))
    fc.backward(np.array([[2.0]]))
    assert fc.X.tolist() == [[1.0, 3.0]]
    assert fc.db is fc.dB
    assert fc.b is fc.B
    np.testing.assert_allclose(fc.b, [-0.2])
    np.testing.assert_allclose(fc.W, [[0.3], [-0.1]])


class OwnLayer:
    def __init__(self, optimizer):
        self.W, self.b, self.optimizer = np.full((2, 1), 0.5), np.zeros(1), optimizer

    def set_gradients(self):
        self.dW, self.db = np.array([[2.0], [0.0]]), np.array([4.0])


@pytest.mark.parametrize(
    ("optimizer", "W", "b"),
    [(deep_nn.SGD(0.1), [[0.3], [0.5]], [-0.4]), (deep_nn.AdaGrad(0.1), [[0.4], [0.5]], [-0.1])],
)
def test_optimizers_of_one_layer_take_a_learners_own(optimizer, W, b) -> None:
    layer = OwnLayer(optimizer)
    layer.set_gradients()
    optimizer.update(layer)
    np.testing.assert_allclose(layer.W, W, rtol=1e-6)
    np.testing.assert_allclose(layer.b, b, rtol=1e-6)
    if isinstance(optimizer, deep_nn.AdaGrad):
        assert (optimizer.hW.tolist(), optimizer.hb.tolist()) == ([[4.0], [0.0]], [16.0])


@pytest.mark.parametrize("what", ["initializer", "optimizer", "activation"])
def test_what_a_fully_connected_layer_is_made_of(what) -> None:
    parts = {"initializer": OwnInitializer(), "optimizer": None, "activation": deep_nn.ReLU()}
    for wrong in (deep_nn.ReLU, "relu", 3):
        with pytest.raises(TypeError, match=f"FC: {what} must be an object with"):
            deep_nn.FC(2, 1, **(parts | {what: wrong}))


SCORES = np.array([[0.0, 1.0, 3.0], [800.0, 0.0, 1.0]])


@pytest.mark.parametrize(("softmax", "share"), [(conv1d.Softmax(), 2), (deep_nn.Softmax(), 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_softmax_knows_what_the_courses_hand_back(softmax, share, dtype, scale) -> None:
    y = softmax.forward(SCORES.astype(dtype))  # the second row is one-hot to rounding
    for labels in ([0, 0], [1, 2], [2, 1]):
        difference = (y - np.eye(3, dtype=dtype)[labels]) * np.asarray(scale, dtype)
        np.testing.assert_allclose(softmax.backward(difference), difference / share)
    soft = softmax.backward(y)  # no difference of targets, so it goes through the function
    np.testing.assert_allclose(soft, y * (y - (y * y).sum(axis=1, keepdims=True)), atol=1e-7)
    assert not softmax.backward(np.zeros_like(y)).any()


RNG = np.random.default_rng(4)
KERNELS, WEIGHTS = RNG.normal(0, 0.5, (2, 9)), RNG.normal(0, 0.5, (3, 2 * 4))
IMAGES, LABELS = RNG.random((3, 4, 4)), np.eye(3)[[2, 0, 1]]


def test_weights_by_class_give_the_class(device) -> None:
    for image in IMAGES:
        arrays = image, KERNELS, WEIGHTS
        probabilities = tanh_cnn.cnn(image, KERNELS.reshape(2, 3, 3), WEIGHTS.T)
        got = tanh_cnn.cnn(*map(device.asarray, arrays))
        assert type(got) is int
        assert got == int(np.argmax(probabilities))


def test_weights_by_class_are_trained_in_place_and_come_first() -> None:
    kernels, weights = KERNELS.copy(), WEIGHTS.copy()
    w, k = tanh_cnn.back_propagation_cnn(IMAGES, LABELS, kernels, weights, epoch=3)
    assert w is weights
    assert k is kernels
    expected_k, expected_w = tanh_cnn.back_propagation_cnn(
        IMAGES, LABELS, KERNELS.reshape(2, 3, 3).copy(), WEIGHTS.T.copy(), 3
    )
    np.testing.assert_allclose(w, expected_w.T, rtol=1e-12)
    np.testing.assert_allclose(k.reshape(2, 3, 3), expected_k, rtol=1e-12)
    with pytest.raises(ValueError, match="or the other way round"):
        tanh_cnn.cnn(IMAGES[0], KERNELS, WEIGHTS[:, 1:])


def test_columns_of_one_image() -> None:
    col = tanh_cnn.im2col(np.arange(12, dtype=np.uint8).reshape(3, 4), 2, 3)
    assert col.dtype == np.float64
    assert col.tolist() == [
        [0, 1, 4, 5],
        [1, 2, 5, 6],
        [2, 3, 6, 7],
        [4, 5, 8, 9],
        [5, 6, 9, 10],
        [6, 7, 10, 11],
    ]
    with pytest.raises(ValueError, match=r"im2col: .*\(H, W\)"):
        tanh_cnn.im2col(X, 2, 2)
    with pytest.raises(ValueError, match="im2col"):
        tanh_cnn.im2col(X[0, 0], 5, 2)


def test_functions_of_the_tanh_course() -> None:
    x = np.array([0.0, 0.5])
    np.testing.assert_allclose(tanh_cnn.tanh(x), np.tanh(x))
    np.testing.assert_allclose(tanh_cnn.tanh_deriv(x), 1 / np.cosh(x) ** 2)
    np.testing.assert_allclose(tanh_cnn.softmax(np.log([1.0, 3.0])), [0.25, 0.75])
