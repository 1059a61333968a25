"""Models of graphs: plans, several inputs and outputs, files."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.compiled import needs_compiled_kernels
from xpcnn import metrics
from xpcnn._xp import to_numpy
from xpcnn.graph import Program
from xpcnn.graph.steps import ConvBlockStep, FoldedStep, SumStep
from xpcnn.operations import Add, Concat, Multiply


def block(name, before, inner, outer, stride):
    """Nodes of a residual block, with names as torchvision has them."""
    nodes = [
        (f"{name}.conv1", xpcnn.Conv2d(inner, outer, 3, stride, 1, bias=False), before),
        (f"{name}.bn1", xpcnn.BatchNorm2d(outer), f"{name}.conv1"),
        (f"{name}.relu1", xpcnn.ReLU(), f"{name}.bn1"),
        (f"{name}.conv2", xpcnn.Conv2d(outer, outer, 3, 1, 1, bias=False), f"{name}.relu1"),
        (f"{name}.bn2", xpcnn.BatchNorm2d(outer), f"{name}.conv2"),
    ]
    past = before
    if stride != 1:
        past = f"{name}.downsample.1"
        nodes += [
            (
                f"{name}.downsample.0",
                xpcnn.Conv2d(inner, outer, 1, stride, bias=False),
                before,
            ),
            (past, xpcnn.BatchNorm2d(outer), f"{name}.downsample.0"),
        ]
    nodes += [
        (f"{name}.sum", Add(), [f"{name}.bn2", past]),
        (f"{name}.relu2", xpcnn.ReLU(), f"{name}.sum"),
    ]
    return nodes


def residual_graph():
    return xpcnn.Graph(
        "image",
        [
            ("conv1", xpcnn.Conv2d(2, 8, 3, padding=1), "image"),
            ("relu", xpcnn.ReLU(), "conv1"),
            ("pool", xpcnn.MaxPool2d(2), "relu"),
            *block("layer1.0", "pool", 8, 8, 1),
            *block("layer2.0", "layer1.0.relu2", 8, 16, 2),
            ("flat", xpcnn.Flatten(), "layer2.0.relu2"),
            ("fc", xpcnn.Linear(out_features=3), "flat"),
        ],
        "fc",
    )


def residual_chain():
    """The same network of containers."""

    def body(inner, outer, stride):
        return xpcnn.Sequential(
            xpcnn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            xpcnn.BatchNorm2d(outer),
            xpcnn.ReLU(),
            xpcnn.Conv2d(outer, outer, 3, 1, 1, bias=False),
            xpcnn.BatchNorm2d(outer),
        )

    shortcut = xpcnn.Sequential(xpcnn.Conv2d(8, 16, 1, 2, bias=False), xpcnn.BatchNorm2d(16))
    return xpcnn.Sequential(
        xpcnn.Conv2d(2, 8, 3, padding=1),
        xpcnn.ReLU(),
        xpcnn.MaxPool2d(2),
        xpcnn.Residual(body(8, 8, 1)),
        xpcnn.ReLU(),
        xpcnn.Residual(body(8, 16, 2), shortcut),
        xpcnn.ReLU(),
        xpcnn.Flatten(),
        xpcnn.Linear(out_features=3),
    )


@pytest.mark.parametrize("fuse", [True, False])
def test_a_graph_gives_the_numbers_of_containers(fuse, device, rng):
    x = rng.standard_normal((3, 2, 8, 8))
    dy = rng.standard_normal((3, 3))
    results = []
    for network in (residual_graph(), residual_chain()):
        network.build(x.shape, device=device, dtype="float64", rng=np.random.default_rng(1))
        plan = Program([network], fuse=fuse if isinstance(network, xpcnn.Graph) else False)
        y = plan.forward(device.asarray(x), training=True)
        dx = plan.backward(device.asarray(dy), need_dx=True)
        found = [y, dx, *(p.grad for p in network.parameters().values())]
        found += [b.value for b in network.buffers().values()]
        found.append(plan.forward(device.asarray(x), training=False))
        results.append([to_numpy(array) for array in found])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


def test_chains_and_sums_are_fused():
    graph = residual_graph()
    program = Program(graph)
    steps = program.steps
    sums = [step for step in steps if isinstance(step, SumStep)]
    assert [type(s.norm).__name__ for s in sums] == ["BatchNorm2d"] * 2
    assert [type(s.relu).__name__ for s in sums] == ["ReLU"] * 2
    assert isinstance(steps[0], ConvBlockStep)
    # without training the normalisation and the sum belong to the convolution in front of them
    folded = [line.step for line in program.lines(training=False)]
    folded = [step for step in folded if isinstance(step, FoldedStep)]
    kinds = [[type(layer).__name__ for layer in step.layers] for step in folded]
    block = [["Conv2d", "BatchNorm2d", "ReLU"], ["Conv2d", "BatchNorm2d", "Add", "ReLU"]]
    assert kinds == [*block, block[0], ["Conv2d", "BatchNorm2d"], block[1]]
    inside = [layer for step in steps for layer in step.layers]
    assert len(inside) == len(set(map(id, inside))) == len(graph.nodes)


def test_compiled_kernels_run_in_a_graph(rng):
    needs_compiled_kernels()
    from xpcnn import kernels

    x = rng.standard_normal((4, 2, 16, 16)).astype("float32")
    model = xpcnn.Model(residual_graph(), device="cpu", seed=0)
    model.build(x.shape)
    with kernels.trace() as decisions:
        y = model.forward(x, training=True)
        model.backward(np.ones_like(y))
    found = {d.op: d.kernel_set for d in decisions}
    assert found["batch_norm_add_relu"] == "cpu"
    assert found["conv_relu_max_pool"] == "cpu"
    reference = xpcnn.Model(residual_graph(), device="cpu", seed=0)
    reference.build(x.shape)
    with kernels.force("generic"):
        expected = reference.forward(x, training=True)
        reference.backward(np.ones_like(y))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    for name, parameter in model.parameters().items():
        other = reference.parameters()[name].grad
        np.testing.assert_allclose(parameter.grad, other, rtol=1e-3, atol=2e-3 * abs(other).max())


def test_small_predictions_of_a_graph_are_the_same_again_and_again(rng):
    model = xpcnn.Model(residual_graph(), device="cpu", seed=0)
    for _ in range(6):
        x = rng.standard_normal((1, 2, 8, 8)).astype("float32")
        with xpcnn.kernels.force("generic"):
            expected = model.forward(x)
        np.testing.assert_allclose(model.forward(x), expected, rtol=1e-4, atol=1e-5)


# -- Several inputs and outputs --------------------------------------------------------------------


def two_headed():
    """An image and a few numbers; a class and a value."""
    return xpcnn.Graph(
        inputs=["image", "numbers"],
        nodes=[
            ("conv", xpcnn.Conv2d(1, 4, 3), "image"),
            ("relu", xpcnn.ReLU(), "conv"),
            ("flat", xpcnn.Flatten(), "relu"),
            ("both", Concat(), ["flat", "numbers"]),
            ("hidden", xpcnn.Linear(out_features=8), "both"),
            ("tanh", xpcnn.Tanh(), "hidden"),
            ("label", xpcnn.Linear(out_features=3), "tanh"),
            ("value", xpcnn.Linear(out_features=1), "tanh"),
        ],
        outputs=["label", "value"],
    )


def data(n=40, seed=3):
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((n, 1, 6, 6)).astype("float32")
    numbers = rng.standard_normal((n, 2)).astype("float32")
    value = (image.mean((1, 2, 3)) + numbers[:, 0])[:, None]
    return {"image": image, "numbers": numbers}, {
        "label": np.digitize(value[:, 0], [-0.5, 0.5]),
        "value": value,
    }


def compiled(device="cpu", dtype="float32"):
    model = xpcnn.Model(two_headed(), device=device, dtype=dtype, seed=4)
    model.compile(
        xpcnn.optim.SGD(lr=0.1),
        {"value": "mse", "label": "cross_entropy"},
        {"label": ["accuracy"]},
        loss_weights={"label": 2.0, "value": 0.5},
    )
    return model


def test_training_is_that_of_torch():
    torch = pytest.importorskip("torch")
    x, y = data()
    model = compiled(dtype="float64")
    x = {name: array.astype("float64") for name, array in x.items()}
    model.build({"image": (None, 1, 6, 6), "numbers": (None, 2)})
    weights = {
        name: torch.tensor(np.array(array), requires_grad=True)
        for name, array in model.state_dict().items()
    }
    optimizer = torch.optim.SGD(weights.values(), lr=0.1)
    f = torch.nn.functional
    for _ in range(3):
        optimizer.zero_grad()
        image, numbers = torch.tensor(x["image"]), torch.tensor(x["numbers"])
        flat = f.conv2d(image, weights["conv.weight"], weights["conv.bias"]).relu().flatten(1)
        both = torch.cat([flat, numbers], 1)
        hidden = f.linear(both, weights["hidden.weight"], weights["hidden.bias"]).tanh()
        label = f.linear(hidden, weights["label.weight"], weights["label.bias"])
        value = f.linear(hidden, weights["value.weight"], weights["value.bias"])
        loss = 2 * f.cross_entropy(label, torch.tensor(y["label"]))
        loss = loss + 0.5 * f.mse_loss(value, torch.tensor(y["value"], dtype=torch.float64))
        loss.backward()
        optimizer.step()
        logs = model.train_on_batch(x, y)
        assert logs["loss"] == pytest.approx(float(loss.detach()), rel=1e-10)
        right = (label.argmax(1).numpy() == y["label"]).mean()
        assert logs["label_accuracy"] == pytest.approx(right)
    for name, expected in weights.items():
        np.testing.assert_allclose(model.state_dict()[name], expected.detach(), rtol=1e-9)


def test_fit_evaluate_and_predict(device):
    x, y = data()
    model = compiled(device)
    history = model.fit(
        x, y, epochs=6, batch_size=16, validation_split=0.25, verbose=0, shuffle=True
    )
    assert history.history["loss"][-1] < history.history["loss"][0]
    of_each = {"loss", "label_loss", "value_loss", "label_accuracy"}
    assert set(history.history) == of_each | {f"val_{name}" for name in of_each} | {"lr"}
    in_order = tuple(x.values())
    result = model.evaluate(in_order, list(y.values()), batch_size=7)
    assert result["label_accuracy"] > 0.4
    label, value = model.predict(x, batch_size=7)
    assert (label.shape, value.shape) == ((40, 3), (40, 1))
    loss = 2 * xpcnn.CrossEntropyLoss()(label, y["label"]) + 0.5 * np.mean(
        (value - y["value"]) ** 2
    )
    assert result["loss"] == pytest.approx(float(loss), rel=1e-4)
    assert result["label_accuracy"] == pytest.approx(metrics.accuracy(label, y["label"]))
    for again in (
        model.predict(*in_order),
        model.predict(in_order),
        model.predict(**x),
        model.predict(in_order[0], numbers=in_order[1]),
        [to_numpy(output) for output in model(x)],
        [to_numpy(output) for output in model(*in_order)],
    ):
        np.testing.assert_allclose(again[0], label, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(again[1], value, rtol=1e-4, atol=1e-5)


def test_gradients_of_all_inputs(rng):
    model = compiled(dtype="float64")
    x = [rng.standard_normal((2, 1, 6, 6)), rng.standard_normal((2, 2))]
    label, value = model.forward(*x, training=True)
    dx, dn = model.backward(np.ones_like(label), np.ones_like(value), need_dx=True)
    assert (dx.shape, dn.shape) == (x[0].shape, x[1].shape)
    for array, gradient in ((x[0], dx), (x[1], dn)):
        step = 1e-6 * rng.standard_normal(array.shape)
        array += step
        above = sum(float(y.sum()) for y in model.forward(*x))
        array -= 2 * step
        below = sum(float(y.sum()) for y in model.forward(*x))
        array += step
        assert above - below == pytest.approx(2 * float((step * gradient).sum()), rel=1e-4)
    assert model.forward(numbers=x[1], image=x[0])[0].shape == (2, 3)


def test_weights_of_samples_count_for_all_outputs():
    x, y = data(4)
    model = compiled(dtype="float64")
    x = {name: array.astype("float64") for name, array in x.items()}
    model.fit(x, y, epochs=0, verbose=0)
    singles = []
    for i in range(4):
        part = {name: array[i : i + 1] for name, array in x.items()}
        singles.append(model.evaluate(part, {n: a[i : i + 1] for n, a in y.items()})["loss"])
    fit = model.train_on_batch(x, y, sample_weight=[1.0, 0.0, 3.0, 0.0])
    assert fit["loss"] == pytest.approx((singles[0] + 3 * singles[2]) / 4, rel=1e-10)


def test_files(tmp_path):
    x, y = data()
    model = compiled()
    model.fit(x, y, epochs=1, verbose=0)
    model.save(tmp_path / "model.safetensors")
    again = xpcnn.Model.load(tmp_path / "model.safetensors", device="cpu")
    assert repr(again.loss) == repr(model.loss)
    assert again.inputs == ("image", "numbers")
    for one, other in zip(model.predict(x), again.predict(x), strict=True):
        np.testing.assert_array_equal(one, other)
    for one in (model, again):
        one.fit(x, y, epochs=1, verbose=0)
    assert again.history.history == model.history.history
    assert "label_accuracy" in again.history.history


def test_summary_lists_the_layers_of_a_graph(capsys):
    model = compiled()
    text = model.summary([(None, 1, 6, 6), (None, 2)], batch_size=5)
    assert "input (5, 1, 6, 6), (5, 2), float32" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "(5, 66)" in lines["both"]
    assert "536" in lines["hidden"]  # 66 * 8 + 8
    assert "2,880" in lines["conv"]  # 5 images * 16 places * 4 filters * 9 taps
    assert capsys.readouterr().out.strip() == text.strip()


def test_the_first_layer_that_fails_is_named():
    x, y = data()
    model = compiled()
    model.fit(x, y, epochs=1, verbose=0)
    weights = np.array(model.state_dict()["hidden.weight"])
    weights[0, 0] = np.nan
    model.load_state_dict({**model.state_dict(), "hidden.weight": weights})
    with pytest.raises(xpcnn.NonFiniteError, match=r"Linear 'hidden'"):
        model.fit(x, y, epochs=1, verbose=0)


def test_moving_a_graph(rng):
    model = compiled()
    x, _ = data(3)
    before = model.predict(x)
    model.to(dtype="float64")
    after = model.predict({name: array.astype("float64") for name, array in x.items()})
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5, atol=1e-6)


def test_what_does_not_fit():
    x, y = data(6)
    model = compiled()
    with pytest.raises(ValueError, match=r"fit: x: the network has the inputs image, numbers.*"):
        model.fit(x["image"], y)
    with pytest.raises(ValueError, match="fit: x: expected one for each input.*'image', 'numbers'"):
        model.fit({"image": x["image"]}, y)
    with pytest.raises(ValueError, match="differ in the number of samples: {'image': 6"):
        model.fit((x["image"], x["numbers"][:3]), y)
    with pytest.raises(ValueError, match="fit: y: the network has the outputs label, value"):
        model.fit(x, y["label"])
    with pytest.raises(
        ValueError, match=r"fit: y\['value'\]: expected one label for each of the 6"
    ):
        model.fit(x, {**y, "value": y["value"][:2]})
    with pytest.raises(ValueError, match="class_weight needs one output"):
        model.fit(x, y, class_weight={0: 1.0, 1: 1.0, 2: 1.0})
    with pytest.raises(ValueError, match="2 output.*label, value, and MSELoss takes 1"):
        model.fit(x, y, loss=xpcnn.MSELoss(), metrics=[])
    with pytest.raises(ValueError, match="loss: the network has the outputs label, value"):
        model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="say which a metric is for"):
        model.compile("sgd", ["mse", "mse"], ["accuracy"])
    with pytest.raises(ValueError, match="there is no output 'other'"):
        model.compile("sgd", ["mse", "mse"], {"other": ["accuracy"]})
    with pytest.raises(TypeError, match="Model.add: the network is a Graph"):
        model.add(xpcnn.ReLU())
    with pytest.raises(TypeError, match="predict: expected the inputs image, numbers; got 3"):
        model.predict(1, 2, 3)
    single = xpcnn.Model([xpcnn.Linear(2, 1)], device="cpu")
    with pytest.raises(ValueError, match="loss_weights needs several outputs"):
        single.compile("sgd", "mse", loss_weights=[1.0])


def test_a_sequential_is_the_network_itself(rng):
    """As in PyTorch, its names have no number in front."""
    chain = xpcnn.Sequential(xpcnn.Linear(3, 4), xpcnn.ReLU())
    model = xpcnn.Model(chain, device="cpu")
    assert list(model.parameters()) == ["0.weight", "0.bias"]
    model.add(xpcnn.Linear(4, 2))
    assert len(chain) == 2, "the container that was given is not changed"
    assert model.predict(rng.standard_normal((5, 3)).astype("float32")).shape == (5, 2)


def test_integers_as_input():
    """Words become rows of numbers; a Graph and a chain know that they take integers."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 10, (64, 6))
    label = (words == 3).any(axis=1).astype(int)
    nodes = [
        ("rows", xpcnn.Embedding(10, 8), "words"),
        ("flat", xpcnn.Flatten(), "rows"),
        ("score", xpcnn.Linear(out_features=2), "flat"),
    ]
    chain = [xpcnn.Embedding(10, 8), xpcnn.Flatten(), xpcnn.Linear(out_features=2)]
    results = []
    for network in (xpcnn.Graph("words", nodes, "score"), chain):
        model = xpcnn.Model(network, device="cpu", seed=0)
        model.compile(xpcnn.optim.Adam(lr=0.03), "cross_entropy", ["accuracy"])
        for some in (words, words.astype("uint8"), words.tolist()):
            history = model.fit(some, label, epochs=4, verbose=0)
        assert model.evaluate(words, label)["accuracy"] > 0.9
        assert history.history["loss"][-1] < 0.4
        results.append(model.predict(words))
        with pytest.raises(TypeError, match="expected dtype int64.*float32"):
            model.predict(words.astype("float32"))
    assert results[0].shape == results[1].shape == (64, 2)


def test_a_loss_of_two_outputs():
    """A mean and a variance for each sample, learned by their likelihood."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 1)).astype("float32")
    y = 2 * x + np.where(x > 0, 0.5, 0.05) * rng.standard_normal(x.shape)
    graph = xpcnn.Graph(
        "x",
        [
            ("hidden", xpcnn.Linear(1, 16), "x"),
            ("tanh", xpcnn.Tanh(), "hidden"),
            ("mean", xpcnn.Linear(16, 1), "tanh"),
            ("raw", xpcnn.Linear(16, 1), "tanh"),
            ("variance", xpcnn.Softplus(), "raw"),
        ],
        ["mean", "variance"],
    )
    model = xpcnn.Model(graph, device="cpu", seed=0)
    model.compile(xpcnn.optim.Adam(lr=0.02), xpcnn.GaussianNLLLoss())
    model.fit(x, y, epochs=60, verbose=0)
    mean, variance = model.predict(x)
    assert np.abs(mean - 2 * x).mean() < 0.15
    assert variance[x > 0.3].mean() > 4 * variance[x < -0.3].mean()
    with pytest.raises(ValueError, match="takes one output and gives one number"):
        model.compile("adam", [xpcnn.GaussianNLLLoss(), "mse"])
    with pytest.raises(ValueError, match=r"1 output.*, y, and GaussianNLLLoss takes 2"):
        xpcnn.Model([xpcnn.Linear(1, 1)], device="cpu").fit(
            x, y, optimizer="adam", loss=xpcnn.GaussianNLLLoss()
        )


def test_inputs_that_are_no_samples(device):
    """A graph may take a table, or a single number, beside samples; they are not cut up."""
    graph = xpcnn.Graph(
        ["x", "table", "scale"],
        [("sum", Add(), ["x", "table"]), ("y", Multiply(), ["sum", "scale"])],
        "y",
    )
    model = xpcnn.Model(graph, device=device)
    x, table = np.arange(6.0, dtype="float32").reshape(3, 2), np.ones((1, 2), "float32")
    scale = np.array(2.0, "float32")
    expected = 2 * (x + 1)
    np.testing.assert_array_equal(model.predict(x, table, scale), expected)
    np.testing.assert_array_equal(to_numpy(model(x, table, scale)), expected)
    assert model.predict(x[:0], table, scale).shape == (0, 2)
    with pytest.raises(ValueError, match="expected samples along the first axis, got a single"):
        model.fit((x, table, scale), x, optimizer="sgd", loss="mse")


def test_a_metric_of_the_second_output():
    """Two of three right there; the first output and its targets do not matter."""
    metric = metrics.OutputMetric(metrics.Accuracy(), "b", 1)
    assert metric.name == "b_accuracy"
    scores = np.eye(3, dtype="float32")
    metric.update((scores[::-1], scores), (np.array([2, 2, 2]), np.array([0, 1, 0])))
    assert metric.result() == pytest.approx(2 / 3)
    metric.reset()
    assert np.isnan(metric.result())
