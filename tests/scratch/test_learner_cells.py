"""Cells of a learner's notebook, the class definitions replaced by an import, run as they stand."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import xpcnn
from xpcnn.data import load_digits_subset

MODULES = ("conv1d", "deep_conv_net", "tanh_cnn", "deep_nn", "simple_conv_net")

NAMES = {
    "conv1d": "get_output_size SimpleConv1d Conv1d im2col_1d col2im_1d MaxPooling1D Flatten "
    "Affine ReLU Softmax SGD AdaGrad Adam GetMiniBatch Scratch1dCNNClassifier",
    "deep_conv_net": "im2col col2im Convolution MaxPooling Pooling Affine ReLU Relu LeakyReLU "
    "Sigmoid Tanh Dropout BatchNormalization SoftmaxWithLoss MeanSquaredLoss softmax "
    "cross_entropy_error mean_squared_error sum_squared_error numerical_gradient SGD Momentum "
    "AdaGrad RMSProp Adadelta Adam SimpleConvNet DeepConvNet",
    "tanh_cnn": "cnn back_propagation_cnn",
    "deep_nn": "FC SimpleInitializer XavierInitializer HeInitializer Sigmoid ReLU Softmax SGD "
    "AdaGrad ScratchDeepNeuralNetrowkClassifier ScratchDeepNeuralNetworkClassifier",
    "simple_conv_net": "im2col col2im Convolution Pooling Affine Relu SoftmaxWithLoss SGD Adam "
    "SimpleConvNet",
}

CELLS = {
    "conv1d, one channel": """
from xpcnn.scratch.conv1d import *

x = np.array([1,2,3,4])
w = np.array([3, 5, 7])
b = np.array([1])
conv = SimpleConv1d(w, b)
a = conv.forward(x)
assert (a == np.array([35, 50])).all()
delta_a = np.array([10, 20])
delta_x = conv.backward(delta_a)
assert conv.db == 30
assert list(conv.dW) == [50, 80, 110]
assert list(delta_x) == [30, 110, 170, 140]
assert get_output_size(len(x), len(w), stride=1, pad=0) == len(a)
""",
    "conv1d, two channels": """
from xpcnn.scratch.conv1d import *

x = np.array([[1, 2, 3, 4], [2, 3, 4, 5]])
w = np.ones((3, 2, 3))
b = np.array([1, 2, 3])
conv = Conv1d(w, b, stride=1, pad=0)
assert (conv.forward(x) == np.array([[16, 22], [17, 23], [18, 24]])).all()
dx = conv.backward(np.ones((3, 2)))
assert dx.shape == x.shape and conv.dW.shape == w.shape and conv.db.shape == b.shape
""",
    "conv1d, layers by hand": """
from xpcnn.scratch.conv1d import *

params = {'W1': 0.1 * np.random.randn(4, 1, 5), 'b1': np.zeros(4),
          'W2': 0.1 * np.random.randn(4 * 390, 10), 'b2': np.zeros(10)}
layers = [Conv1d(params['W1'], params['b1']), ReLU(), MaxPooling1D(pool_size=2, stride=2, pad=0),
          Flatten(), Affine(params['W2'], params['b2']), Softmax()]
optimizer = AdaGrad(lr=0.05)
x = x_train[:300].reshape(-1, 1, 784)
one_hot = np.eye(10)[y_train[:300]]
losses = []
for epoch in range(2):
    for x_mini, t_mini in GetMiniBatch(x, one_hot, batch_size=50, seed=epoch):
        z = x_mini
        for layer in layers[:-1]:
            z = layer.forward(z)
        y = layers[-1].forward(z)
        losses.append(-np.mean(np.sum(t_mini * np.log(y + 1e-7), axis=1)))
        dout = layers[-1].backward(z, t_mini)
        for layer in layers[-2::-1]:
            dout = layer.backward(dout)
        grads = {'W1': layers[0].dW, 'b1': layers[0].db, 'W2': layers[4].dW, 'b2': layers[4].db}
        optimizer.update(params, grads)
assert losses[-1] < 0.8 * losses[0]
""",
    "conv1d, classifier": """
from xpcnn.scratch.conv1d import *

conv_param = {'filter_num': 5, 'filter_size': 5, 'pad': 0, 'stride': 1}
pool_param = {'pool_size': 2, 'pad': 0, 'stride': 2}
clf = Scratch1dCNNClassifier(conv_param=conv_param, pool_param=pool_param, n_epochs=2,
                             batch_size=50, optimizer='Adam', optimizer_param={'lr': 0.001},
                             layer_nodes=[20, 10], weight_init_std=0.01, verbose=True)
clf.fit(x_train[:200].reshape(-1, 1, 784), y_train[:200],
        x_test[:50].reshape(-1, 1, 784), y_test[:50])
y_pred = clf.predict(x_test[:50].reshape(-1, 1, 784))
assert y_pred.shape == (50,)
assert np.mean(y_pred == y_test[:50]) == clf.val_acc_list[-1]
assert len(clf.train_loss_list) == len(clf.val_loss_list) == len(clf.train_acc_list) == 2
""",
    "deep_conv_net, columns": """
from xpcnn.scratch.deep_conv_net import *

x = np.random.rand(2, 3, 7, 7)
col = im2col(x, 3, 3, stride=2, pad=1, constant_values=0)
assert col.shape == (2 * 4 * 4, 3 * 3 * 3)
assert np.allclose(col2im(col, x.shape, 3, 3, stride=2, pad=1, is_backward=False), x)
""",
    "deep_conv_net, layers": """
from xpcnn.scratch.deep_conv_net import *

x = np.random.randn(2, 1, 6, 6)
W, b = np.random.randn(3, 1, 3, 3), np.zeros(3)
conv = Convolution(W, b, stride=1, pad=1)
dout = np.random.randn(2, 3, 6, 6)
conv.forward(x)
dx = conv.backward(dout)
numerical = numerical_gradient(lambda W: np.sum(conv.forward(x) * dout), W)
assert np.allclose(conv.dW, numerical, atol=1e-5)
norm = BatchNormalization(gamma=np.ones(3), beta=np.zeros(3), rho=0.9, moving_mean=None,
                          moving_var=None)
pool = MaxPooling(pool_h=2, pool_w=2, stride=2, pad=0)
out = pool.forward(norm.forward(conv.forward(x), train_flg=True))
assert out.shape == (2, 3, 3, 3)
assert LeakyReLU(alpha=0.1).forward(np.array([[-1., 1.]])).tolist() == [[-0.1, 1.0]]
assert Dropout(dropout_ratio=0.5).forward(out, train_flg=False).max() == out.max() / 2
assert mean_squared_error(np.array([[1., 2.]]), np.array([[1., 0.]])) == 2.0
""",
    "deep_conv_net, training": """
from xpcnn.scratch.deep_conv_net import *

np.random.seed(1234)
t_train, t_test = np.eye(15)[y_train], np.eye(15)[y_test]
for optimizer in [SGD(lr=0.01), Momentum(lr=0.01), AdaGrad(lr=0.01), RMSProp(lr=0.001, rho=0.9),
                  Adadelta(rho=0.95), Adam(lr=0.001, rho1=0.9, rho2=0.999)]:
    network = SimpleConvNet(input_dim=(1,28,28),
                            conv_param={'filter_num':4, 'filter_size':5, 'pad':0, 'stride':1},
                            pool_param={'pool_size':2, 'pad':0, 'stride':2},
                            hidden_size=20, output_size=15, weight_init_std=0.025,
                            weight_decay_lambda=0.015)
    before = network.loss(x_train[:100], t_train[:100])
    for i in range(5):
        mask = np.random.choice(500, 100)
        grads = network.gradient(x_train[mask], t_train[mask])
        optimizer.update(network.params, grads)
    assert network.loss(x_train[:100], t_train[:100]) < before
    assert 0 <= network.accuracy(x_test[:100], t_test[:100], batch_size=50) <= 1
    assert network.predict(x_test[:3], train_flg=False).shape == (3, 15)
""",
    "deep_conv_net, deep": """
from xpcnn.scratch.deep_conv_net import *

network = DeepConvNet(input_dim=(1, 28, 28),
                      conv_param_1={'filter_num':4, 'filter_size':3, 'pad':1, 'stride':1},
                      conv_param_2={'filter_num':4, 'filter_size':3, 'pad':1, 'stride':1},
                      conv_param_3={'filter_num':4, 'filter_size':3, 'pad':1, 'stride':1},
                      conv_param_4={'filter_num':4, 'filter_size':3, 'pad':2, 'stride':1},
                      conv_param_5={'filter_num':4, 'filter_size':3, 'pad':1, 'stride':1},
                      conv_param_6={'filter_num':4, 'filter_size':3, 'pad':1, 'stride':1},
                      hidden_size=50, output_size=10)
grads = network.gradient(x_train[:10], np.eye(10)[y_train[:10]])
assert set(grads) == set(network.params) == {k + str(i) for k in 'Wb' for i in range(1, 9)}
Adam().update(network.params, grads)
""",
    "tanh_cnn": """
from xpcnn.scratch.tanh_cnn import *

kernels = np.random.normal(0, 0.1, (16, 3, 3))
weights_1_2 = np.random.normal(0, 0.01, (16 * 26 * 26, 10))
images = x_train[:50].reshape(-1, 28, 28)
one_hot_labels = np.eye(10)[y_train[:50]]
back_propagation_cnn(images, one_hot_labels, kernels, weights_1_2, 3)
right = sum(np.argmax(cnn(image, kernels, weights_1_2)) == label
            for image, label in zip(images, y_train))
assert right > 40
""",
    "deep_nn": """
from xpcnn.scratch.deep_nn import *

X = x_train[:500].reshape(-1, 784)
X_val = x_test[:100].reshape(-1, 784)
one_hot, one_hot_val = np.eye(10)[y_train[:500]], np.eye(10)[y_test[:100]]
layers = [FC(784, 40, HeInitializer(), AdaGrad(0.01), ReLU()),
          FC(40, 20, XavierInitializer(), AdaGrad(0.01), Sigmoid()),
          FC(20, 10, SimpleInitializer(0.01), SGD(0.1), Softmax())]
clf = ScratchDeepNeuralNetrowkClassifier(layers, verbose=True)
clf.fit(X, one_hot, X_val, one_hot_val, n_epoch=5, n_batch=20, lr=0.05)
assert np.mean(clf.predict(X_val) == y_test[:100]) > 0.5
""",
    "simple_conv_net": """
from xpcnn.scratch.simple_conv_net import *

network = SimpleConvNet(input_dim=(1,28,28),
                        conv_param = {'filter_num': 5, 'filter_size': 5, 'pad': 0, 'stride': 1},
                        hidden_size=20, output_size=10, weight_init_std=0.01)
optimizer = Adam()
train_size, batch_size, learning_rate = 300, 100, 0.1
before = network.loss(x_train[:300], y_train[:300])
for i in range(5):
    batch_mask = np.random.choice(train_size, batch_size)
    x_batch = x_train[batch_mask]
    t_batch = y_train[batch_mask]
    grads = network.gradient(x_batch, t_batch)
    optimizer.update(network.params, grads)
# the update written out, as some notebooks have it
for key in ('W1', 'b1', 'W2', 'b2', 'W3', 'b3'):
    network.params[key] -= learning_rate * network.gradient(x_batch, t_batch)[key]
train_loss_list = [network.loss(x_train[:300], y_train[:300])]
assert train_loss_list[0] < before
assert list(network.layers) == ['Conv1', 'Relu1', 'Pool1', 'Affine1', 'Relu2', 'Affine2']
pooling = Pooling(2, 2, 2)
assert pooling.forward(np.random.rand(1, 1, 4, 4)).shape == (1, 1, 2, 2)
last = SoftmaxWithLoss()
last.forward(network.predict(x_batch), t_batch)
assert last.backward(1).shape == (100, 10)
""",
}


@pytest.fixture(scope="module")
def digits() -> dict:
    (x_train, y_train), (x_test, y_test) = load_digits_subset()
    return {
        "x_train": x_train.astype("float64"),
        "y_train": y_train,
        "x_test": x_test.astype("float64"),
        "y_test": y_test,
    }


@pytest.mark.parametrize("cell", CELLS)
def test_cell_runs_as_it_stands(cell, digits) -> None:
    np.random.seed(0)
    before = {name: array.copy() for name, array in digits.items()}
    exec(compile(CELLS[cell], cell, "exec"), {"np": np, **digits})
    for name, array in digits.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("module", MODULES)
def test_star_import_brings_every_name_of_the_course(module) -> None:
    found = importlib.import_module(f"xpcnn.scratch.{module}")
    assert set(NAMES[module].split()) <= set(found.__all__)
    assert len(set(found.__all__)) == len(found.__all__)
    for name in found.__all__:
        assert getattr(found, name).__doc__


def run_python(code: str) -> str:
    root = str(Path(xpcnn.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return result.stdout


def test_the_package_does_not_import_the_course_modules() -> None:
    code = "import sys, xpcnn; print([m for m in sys.modules if 'scratch' in m])"
    assert run_python(code).strip() == "[]"


def test_the_course_modules_import_nothing_optional() -> None:
    optional = {"torch", "jax", "cupy", "array_api_strict", "numba", "sklearn", "PIL", "matplotlib"}
    imports = "; ".join(f"import xpcnn.scratch.{m}" for m in MODULES)
    code = f"import sys; {imports}; print(sorted({optional!r} & set(sys.modules)))"
    assert run_python(code).strip() == "[]"
