"""The courses' networks: gradients, shared weights, accuracy, files, and short training."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from xpcnn import ModelFileError
from xpcnn._xp import to_numpy
from xpcnn.data import load_digits_subset
from xpcnn.scratch import deep_conv_net, simple_conv_net
from xpcnn.scratch.deep_conv_net import DeepConvNet

SMALL = {"filter_num": 2, "filter_size": 3, "pad": 1, "stride": 1}


def simple(**settings) -> simple_conv_net.SimpleConvNet:
    return simple_conv_net.SimpleConvNet((2, 6, 5), SMALL, 4, 3, 0.5, **settings)


def with_norm(**settings) -> deep_conv_net.SimpleConvNet:
    pool = {"pool_size": 2, "pad": 0, "stride": 2}
    net = deep_conv_net.SimpleConvNet((2, 6, 5), SMALL, pool, 4, 3, 0.5, 0.1, **settings)
    net.layers["Drop1"].dropout_ratio = 0.0
    return net


def deep(**settings) -> DeepConvNet:
    net = DeepConvNet(
        (1, 10, 9), *[{"filter_num": 2}] * 6, hidden_size=4, output_size=3, **settings
    )
    for layer in net.layers:
        if hasattr(layer, "dropout_ratio"):
            layer.dropout_ratio = 0.0
    return net


NETWORKS = {
    "simple": (simple, (2, 6, 5)),
    "with norm": (with_norm, (2, 6, 5)),
    "deep": (deep, (1, 10, 9)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_against_differences(rng, name) -> None:
    make, shape = NETWORKS[name]
    np.random.seed(4)
    net, x, t = make(), rng.normal(size=(3, *shape)), np.array([0, 2, 1])
    grads = net.gradient(x, t)
    assert set(grads) == set(net.params)
    for key, p in net.params.items():
        assert grads[key].shape == p.shape
        picks = {tuple(rng.integers(n) for n in p.shape) for _ in range(4)}
        for index in picks:
            value = p[index]
            p[index] = value + 1e-5
            high = net.loss(x, t)
            p[index] = value - 1e-5
            low = net.loss(x, t)
            p[index] = value
            np.testing.assert_allclose(grads[key][index], (high - low) / 2e-5, atol=1e-6)


def test_numerical_gradient_of_the_network(rng) -> None:
    np.random.seed(5)
    net = simple_conv_net.SimpleConvNet((1, 4, 4), SMALL, 2, 2, 0.5)
    x, t = rng.normal(size=(2, 1, 4, 4)), np.array([0, 1])
    expected, got = net.gradient(x, t), net.numerical_gradient(x, t)
    for key in net.params:
        np.testing.assert_allclose(got[key], expected[key], atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_hot_and_integer_labels_are_the_same(rng, name) -> None:
    make, shape = NETWORKS[name]
    net, x, t = make(), rng.normal(size=(3, *shape)), np.array([0, 2, 1])
    expected, got = net.gradient(x, t), net.gradient(x, np.eye(3)[t])
    assert net.loss(x, t) == net.loss(x, np.eye(3, dtype=int)[t])
    assert net.accuracy(x, t) == net.accuracy(x, np.eye(3)[t])
    for key in expected:
        np.testing.assert_array_equal(got[key], expected[key])


@pytest.mark.parametrize("name", ["simple", "deep"])
def test_loss_and_gradient_against_pytorch(rng, name) -> None:
    torch = pytest.importorskip("torch")
    make, shape = NETWORKS[name]
    np.random.seed(6)
    net, x, t = make(), rng.normal(size=(3, *shape)), np.array([0, 2, 1])
    p = {k: torch.tensor(v, requires_grad=True) for k, v in net.params.items()}
    y = torch.tensor(x)
    conv, relu, pool = torch.nn.functional.conv2d, torch.relu, torch.nn.functional.max_pool2d
    if name == "simple":
        y = pool(relu(conv(y, p["W1"], p["b1"], padding=1)), 2).flatten(1)
        y = relu(y @ p["W2"] + p["b2"]) @ p["W3"] + p["b3"]
    else:
        for i in range(1, 7):
            y = relu(conv(y, p[f"W{i}"], p[f"b{i}"], padding=2 if i == 4 else 1))
            y = pool(y, 2) if i % 2 == 0 else y
        y = relu(y.flatten(1) @ p["W7"] + p["b7"]) @ p["W8"] + p["b8"]
    loss = torch.nn.functional.cross_entropy(y, torch.tensor(t))
    loss.backward()
    grads = net.gradient(x, t)
    np.testing.assert_allclose(net.predict(x), y.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(net.last_layer.loss, loss.item(), rtol=1e-12)
    for key, value in p.items():
        np.testing.assert_allclose(grads[key], value.grad.numpy(), atol=1e-12)


def test_weight_decay_by_hand(rng) -> None:
    np.random.seed(7)
    net, x, t = with_norm(), rng.normal(size=(3, 2, 6, 5)), np.array([0, 2, 1])
    loss, grads = net.loss(x, t), net.gradient(x, t)
    net.weight_decay_lambda = 0.0
    squares = sum(float((net.params[f"W{i}"] ** 2).sum()) for i in (1, 2, 3))
    np.testing.assert_allclose(loss - net.loss(x, t), 0.05 * squares)
    plain = net.gradient(x, t)
    np.testing.assert_allclose(grads["W3"], plain["W3"] + 0.1 * net.params["W3"])
    np.testing.assert_allclose(grads["b3"], plain["b3"])


def test_training_step_on_every_device_as_on_numpy(rng, device) -> None:
    x, t = rng.normal(size=(3, 2, 6, 5)), np.array([0, 2, 1])

    def step(net, x):
        simple_conv_net.SGD(lr=0.5).update(net.params, net.gradient(x, t))
        return float(net.loss(x, t))

    np.random.seed(8)
    on_numpy = simple()
    expected = step(on_numpy, x)
    np.random.seed(8)
    net = simple(device=device)
    # the layers must see the new weights, whether the library writes in place or not
    assert step(net, device.asarray(x)) == pytest.approx(expected, rel=1e-10)
    assert net.accuracy(x, t) == on_numpy.accuracy(x, t)
    for key, value in on_numpy.params.items():
        np.testing.assert_allclose(to_numpy(net.params[key]), value, atol=1e-12)


def test_layers_see_params_changed_in_place_or_replaced(rng) -> None:
    net, x = simple(), rng.normal(size=(3, 2, 6, 5))
    before = net.predict(x)
    net.params["b3"] += 1
    np.testing.assert_allclose(net.predict(x), before + 1)
    net.params["b3"] = net.params["b3"] + 1
    np.testing.assert_allclose(net.predict(x), before + 2)
    assert net.layers["Affine2"].b is net.params["b3"]


def test_layers_and_params_have_the_names_and_shapes_of_the_courses() -> None:
    net = simple_conv_net.SimpleConvNet()
    assert list(net.layers) == ["Conv1", "Relu1", "Pool1", "Affine1", "Relu2", "Affine2"]
    shapes = {k: v.shape for k, v in net.params.items()}
    expected = {"W1": (30, 1, 5, 5), "b1": (30,), "W2": (4320, 100), "b2": (100,)}
    assert shapes == expected | {"W3": (100, 10), "b3": (10,)}
    assert net.params["W1"].dtype == np.float64
    np.testing.assert_allclose(net.params["W2"].std(), 0.01, rtol=0.02)

    net = deep_conv_net.SimpleConvNet()
    shapes = {k: v.shape for k, v in net.params.items()}
    assert shapes == expected | {"W3": (100, 15), "b3": (15,), "gamma1": (100,), "beta1": (100,)}
    np.testing.assert_allclose(net.params["W2"].std(), 0.025, rtol=0.02)

    net = DeepConvNet()
    filters = (16, 16, 32, 32, 64, 64)
    shapes = [net.params[f"W{i}"].shape for i in range(1, 9)]
    assert shapes[:6] == [(o, c, 3, 3) for o, c in zip(filters, (1, *filters), strict=False)]
    assert shapes[6:] == [(1024, 50), (50, 10)]
    np.testing.assert_allclose(net.params["W6"].std(), np.sqrt(2 / (64 * 9)), rtol=0.02)
    np.testing.assert_allclose(net.params["W7"].std(), np.sqrt(2 / 1024), rtol=0.02)
    assert net.predict(np.zeros((2, 1, 28, 28))).shape == (2, 10)


def test_seed_gives_the_weights_it_always_gave() -> None:
    np.random.seed(11)
    by_hand = [0.01 * np.random.randn(*s) for s in ((30, 1, 5, 5), (4320, 100), (100, 10))]
    np.random.seed(11)
    net = simple_conv_net.SimpleConvNet()
    for i, w in enumerate(by_hand, 1):
        np.testing.assert_array_equal(net.params[f"W{i}"], w)


def test_accuracy_counts_every_image(rng) -> None:
    net, x = simple(), rng.normal(size=(7, 2, 6, 5))
    right = net.predict(x).argmax(axis=1)
    for batch_size in (1, 3, 7, 100):
        assert net.accuracy(x, right, batch_size) == 1.0
        assert net.accuracy(x, (right + np.arange(7) // 5) % 3, batch_size=batch_size) == 5 / 7
    with pytest.raises(ValueError, match="7 images but 6 labels"):
        net.accuracy(x, right[:6])


def test_dropout_and_batch_norm_are_off_in_predict(rng) -> None:
    net, x = deep_conv_net.SimpleConvNet((1, 8, 8)), rng.normal(size=(4, 1, 8, 8))
    t = np.zeros((4, 15))
    net.loss(x, t)
    np.testing.assert_array_equal(net.predict(x), net.predict(x))
    np.testing.assert_allclose(net.predict(x)[:1], net.predict(x[:1]), atol=1e-12)
    assert not np.allclose(net.predict(x, True), net.predict(x, True))


def test_params_are_saved_and_loaded(tmp_path, rng) -> None:
    net, other, x = simple(), simple(), rng.normal(size=(3, 2, 6, 5))
    net.save_params(tmp_path / "params.pkl")
    other.load_params(tmp_path / "params.pkl")
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    with pytest.raises(ModelFileError, match=r"expected parameters of shapes .*W1.*got"):
        DeepConvNet().load_params(tmp_path / "params.pkl")
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "params.pkl").read_bytes()[:-99])
    with pytest.raises(ModelFileError, match="is a damaged zip archive"):
        net.load_params(tmp_path / "damaged.npz")


def test_params_that_the_course_pickled_are_loaded(tmp_path, rng) -> None:
    net, other, x = simple(), simple(), rng.normal(size=(3, 2, 6, 5))
    with (tmp_path / "params.pkl").open("wb") as file:
        pickle.dump(net.params, file)
    other.load_params(tmp_path / "params.pkl")
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    (tmp_path / "params.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelFileError, match="asks for 'os.system'"):
        net.load_params(tmp_path / "params.pkl")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_can_be_copied(rng, name) -> None:
    make, shape = NETWORKS[name]
    net, x, t = make(), rng.normal(size=(3, *shape)), np.array([0, 2, 1])
    grads = net.gradient(x, t)
    copied = copy.deepcopy(net)
    before = net.predict(x)
    simple_conv_net.SGD(lr=0.1).update(copied.params, grads)
    np.testing.assert_array_equal(net.predict(x), before)
    assert not np.allclose(copied.predict(x), before)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="conv_param: unknown keys 'filters'"):
        simple_conv_net.SimpleConvNet(conv_param={"filters": 3})
    with pytest.raises(ValueError, match="smaller kernel"):
        simple_conv_net.SimpleConvNet((1, 4, 4))
    partial = simple_conv_net.SimpleConvNet(conv_param={"filter_num": 3})
    assert partial.params["W1"].shape == (3, 1, 5, 5)


@pytest.fixture(scope="module")
def digits() -> tuple:
    return load_digits_subset()


def train(net, optimizer, digits, iterations: int, n_train: int = 2000, batch: int = 50) -> float:
    (x, t), (x_test, t_test) = digits
    for _ in range(iterations):
        chosen = np.random.choice(n_train, batch)
        optimizer.update(net.params, net.gradient(x[chosen], t[chosen]))
    return net.accuracy(x_test[:300], t_test[:300])


def test_simple_network_learns_digits(digits) -> None:
    np.random.seed(0)
    conv = {"filter_num": 10, "filter_size": 5}
    net = simple_conv_net.SimpleConvNet(conv_param=conv, weight_init_std=0.05, dtype="float32")
    assert train(net, simple_conv_net.Adam(lr=0.002), digits, 80) > 0.8


def test_network_with_norm_learns_digits(digits) -> None:
    np.random.seed(0)
    conv = {"filter_num": 10, "filter_size": 5}
    net = deep_conv_net.SimpleConvNet(conv_param=conv, output_size=10, dtype="float32")
    assert train(net, deep_conv_net.RMSProp(lr=0.002), digits, 80) > 0.8
    assert not (net.params["gamma1"] == 1).any()
    assert not (net.params["beta1"] == 0).any()


def test_deep_network_learns_digits(digits) -> None:
    np.random.seed(0)
    filters = (8, 8, 8, 16, 16, 16)
    net = DeepConvNet((1, 28, 28), *[{"filter_num": n} for n in filters], dtype="float32")
    for layer in net.layers:
        if hasattr(layer, "dropout_ratio"):
            layer.dropout_ratio = 0.1
    assert train(net, deep_conv_net.Adam(lr=0.003), digits, 80) > 0.7
