"""Attributions of all kinds of models, which they leave as they were."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import _xp
from xpcnn.attribution import grad_cam, integrated_gradients, occlusion, saliency
from xpcnn.attribution.feature_layers import last_feature_layer
from xpcnn.operations import Add, Concat

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 1, 8, 8)).astype("float32")

METHODS = {
    "saliency": saliency,
    "integrated_gradients": lambda *given, **options: integrated_gradients(
        *given, **({"steps": 4} | options)
    ),
    "grad_cam": grad_cam,
    "occlusion": lambda *given, **options: occlusion(
        *given, **({"window": 4, "stride": 2} | options)
    ),
}
EACH = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def layers():
    return [
        xpcnn.RandomHorizontalFlip(),
        xpcnn.Conv2d(1, 4, 3),
        xpcnn.BatchNorm2d(4),
        xpcnn.ReLU(),
        xpcnn.MaxPool2d(2),
        xpcnn.Dropout(0.5),
        xpcnn.Flatten(),
        xpcnn.Linear(36, 3),
        xpcnn.Softmax(),
    ]


def model_of(*network, **options):
    return xpcnn.Model(network or layers(), **({"device": "cpu", "seed": 0} | options))


@EACH
def test_every_library_gives_the_same(method, device):
    found = method(model_of(device=device), X)
    assert type(found) is np.ndarray
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, method(model_of(), X), rtol=1e-3, atol=1e-5)


@EACH
def test_the_size_of_batches_does_not_show(method):
    expected = method(model_of(), X)
    for batch_size in (1, 2, 7):
        found = method(model_of(), X, batch_size=batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@EACH
def test_batches_are_no_larger_than_said(method):
    sizes = []

    class Spy(xpcnn.Layer):
        def _forward(self, xp, x, training):
            sizes.append(x.shape[0])
            return x, None

        def _backward(self, xp, dy, saved, need_dx):
            return dy

    method(model_of(Spy(), *layers()), X, batch_size=2)
    assert max(sizes) == 2


@EACH
def test_a_model_is_left_as_it_was(method):
    model = model_of(*layers()[:-1])
    model.compile("sgd", "cross_entropy")
    model.fit(X, np.arange(5) % 3, epochs=1, verbose=0)
    model.train_step(X, np.arange(5) % 3)
    y = model.forward(X, training=True)
    gradients = {name: RNG.normal(size=p.shape) for name, p in model.parameters().items()}
    for name, parameter in model.parameters().items():
        parameter.grad = gradients[name]
    before = {name: np.array(array) for name, array in model.state_dict().items()}
    counters = model.step, model.forwards, [getattr(layer, "step", 0) for layer in model.layers]
    predicted = model.predict(X)
    method(model, X)
    for name, parameter in model.parameters().items():
        assert parameter.grad is gradients[name]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    now = model.step, model.forwards, [getattr(layer, "step", 0) for layer in model.layers]
    assert now == counters
    np.testing.assert_array_equal(model.predict(X), predicted)
    model.zero_grad()
    model.backward(np.ones_like(y))  # of the training forward before
    after = [p.grad for p in model.parameters().values()]
    other = model_of(*layers()[:-1])
    other.build(X.shape)
    other.load_state_dict(before)
    other.forwards = model.forwards - 1
    other.forward(X, training=True)
    other.backward(np.ones_like(y))
    for one, expected in zip(after, other.parameters().values(), strict=True):
        np.testing.assert_allclose(one, expected.grad, rtol=1e-5, atol=1e-7)


@EACH
def test_it_is_left_as_it_was_after_an_error(method):
    model = model_of()
    model.build(X.shape)
    with pytest.raises(ValueError, match="target must be from 0 to 2, .*, got 3"):
        method(model, X, 3)
    assert all(p.grad is None for p in model.parameters().values())
    assert not any(layer.awaits_backward for _, layer in model.network.layers_within())


@EACH
def test_frozen_parameters_do_not_matter(method):
    model, frozen = model_of(), model_of()
    frozen.build(X.shape)
    frozen.freeze()
    np.testing.assert_array_equal(method(frozen, X), method(model, X))


@EACH
def test_names_of_classes(method):
    model = model_of()
    model.class_names = ["cat", "dog", "owl"]
    np.testing.assert_array_equal(method(model, X, "dog"), method(model, X, 1))
    found = method(model, X, ["owl", "cat", "dog", "dog", "owl"])
    np.testing.assert_array_equal(found, method(model, X, [2, 0, 1, 1, 2]))
    with pytest.raises(ValueError, match="no class 'cow'; the classes are 'cat', 'dog', 'owl'"):
        method(model, X, "cow")
    with pytest.raises(ValueError, match="no class_names; give the number of the class"):
        method(model_of(), X, "dog")


# -- Inputs and outputs ----------------------------------------------------------------------------


def two_of_each(**options):
    """Outputs of 2 left + right, and of -left; the tokens add to the first."""
    nodes = [
        ("table", xpcnn.Embedding(4, 2), "tokens"),
        ("all", xpcnn.Flatten(), "table"),
        ("twice", Add(), ["left", "left"]),
        ("sum", Add(), ["twice", "right"]),
        ("first", Add(), ["sum", "all"]),
        ("negative", xpcnn.Linear(2, 2, bias=False), "left"),
        ("second", xpcnn.Softmax(), "negative"),
    ]
    graph = xpcnn.Graph(
        ["left", "right", "tokens"], nodes, ["first", "second"], dtypes={"tokens": "int64"}
    )
    model = xpcnn.Model(graph, device="cpu", dtype="float64", seed=0, **options)
    model.load_state_dict(
        {"table.weight": np.arange(8.0).reshape(4, 2), "negative.weight": -np.eye(2)}
    )
    return model


INPUTS = {
    "left": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "right": np.array([[0.0, 5.0], [6.0, -7.0]]),
    "tokens": np.array([[0], [3]]),
}


def test_several_inputs_and_outputs_by_name():
    model = two_of_each()
    found = saliency(model, INPUTS, 1, output="first")
    assert list(found) == ["left", "right", "tokens"]
    np.testing.assert_array_equal(found["left"], [[0, 2], [0, 2]])
    np.testing.assert_array_equal(found["right"], [[0, 1], [0, 1]])
    assert found["tokens"] is None
    left, right, tokens = saliency(
        model, tuple(INPUTS.values()), 0, output="second", absolute=False
    )
    np.testing.assert_array_equal(left, [[-1, 0], [-1, 0]])  # of the score in front of Softmax
    np.testing.assert_array_equal(right, np.zeros((2, 2)))
    assert tokens is None


def test_integers_stay_on_the_way_from_the_baseline():
    found, delta = integrated_gradients(
        two_of_each(), INPUTS, 1, output="first", baseline={"left": 1, "right": 0, "tokens": 0},
        return_convergence_delta=True,
    )  # fmt: skip
    np.testing.assert_allclose(found["left"], [[0, 2], [0, 6]])
    np.testing.assert_allclose(found["right"], [[0, 5], [0, -7]])
    assert found["tokens"] is None
    np.testing.assert_allclose(delta, 0, atol=1e-12)


def test_occlusion_of_integers():
    found = occlusion(two_of_each(), INPUTS, 1, output="first", window={"tokens": 1}, baseline=2)
    assert found["left"] is found["right"] is None
    np.testing.assert_allclose(found["tokens"], [[1 - 5], [7 - 5]])
    both = {"left": 2, "tokens": 1}
    found = occlusion(
        two_of_each(), INPUTS, 0, output="first", window=both, stride={"left": 1, "tokens": 1}
    )
    np.testing.assert_allclose(found["left"], [[2, 2], [6, 6]])


def test_which_output_is_meant():
    with pytest.raises(ValueError, match="saliency: output must name .* 'first', 'second'; write"):
        saliency(two_of_each(), INPUTS, 1)
    with pytest.raises(ValueError, match="of 'first', 'second', got output='third'; write"):
        saliency(two_of_each(), INPUTS, 1, output="third")
    with pytest.raises(ValueError, match="probabilities=True, but the network does not end in"):
        saliency(two_of_each(), INPUTS, 1, output="first", probabilities=True)
    found = saliency(model_of(), X, output="y")
    np.testing.assert_array_equal(found, saliency(model_of(), X))


def test_a_network_for_one_number_of_samples():
    nodes = [("conv", xpcnn.Conv2d(1, 2, 3), "x"), ("flat", xpcnn.Flatten(), "conv")]
    options = {"device": "cpu", "seed": 0}
    fixed = xpcnn.Model(xpcnn.Graph("x", nodes, "flat", batch=2), **options)
    nodes = [(name, type(layer).from_arguments(layer.arguments()), x) for name, layer, x in nodes]
    other = xpcnn.Model(xpcnn.Graph("x", nodes, "flat"), **options)
    for method in METHODS.values():
        expected = method(other, X, 7)
        np.testing.assert_allclose(method(fixed, X, 7), expected, rtol=1e-4, atol=1e-6)


def test_images_of_bytes():
    network = [xpcnn.Rescale(0.5), xpcnn.Flatten(), xpcnn.Linear(4, 1, bias=False)]
    model = model_of(*network)
    weights = np.array([[1.0, 2.0, -3.0, 4.0]])
    model.load_state_dict({"2.weight": weights})
    x = np.array([[[[10, 20], [30, 40]]]], "uint8")
    half = weights.reshape(1, 1, 2, 2) / 2
    np.testing.assert_allclose(saliency(model, x, absolute=False), half)
    np.testing.assert_allclose(integrated_gradients(model, x), half * x, rtol=1e-6)
    np.testing.assert_allclose(occlusion(model, x, window=1), half * x, rtol=1e-6)


@EACH
@pytest.mark.parametrize("precision", ["float16", "tf32"])
def test_precision(method, precision):
    network = layers()[1:-1]
    found = method(model_of(*network, precision=precision), X, 1)
    expected = method(model_of(*layers()[1:-1]), X, 1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.02 * np.abs(expected).max())


def test_inputs_of_integers_alone():
    model = model_of(xpcnn.Embedding(5, 2), xpcnn.Flatten(), xpcnn.Linear(6, 2))
    x = np.array([[1, 2, 3]])
    for method in (saliency, integrated_gradients):
        with pytest.raises(TypeError, match="takes integers, .* use xpcnn.attribution.occlusion"):
            method(model, x)
    assert occlusion(model, x, window=1).dtype == np.float32
    with pytest.raises(ValueError, match="baseline of 'x' must hold integers"):
        occlusion(model, x, window=1, baseline=0.5)


# -- Networks inside networks ----------------------------------------------------------------------


def test_probabilities_at_the_end_of_what_is_inside():
    """Scores in front of Softmax in a chain, in a graph, and in one inside the other."""
    chain = layers()
    inside = xpcnn.Sequential(*layers()[:7]), xpcnn.Sequential(*layers()[7:])
    graph = xpcnn.Graph("x", [("body", inside[0], "x"), ("head", inside[1], "body")], "head")
    plain = [("body", xpcnn.Sequential(*layers()[:8]), "x"), ("end", xpcnn.Softmax(), "body")]
    networks = [
        xpcnn.Model(chain, device="cpu", seed=0),
        xpcnn.Model(graph, device="cpu", seed=0),
        xpcnn.Model(xpcnn.Graph("x", plain, "end"), device="cpu", seed=0),
        xpcnn.Model([xpcnn.Sequential(*layers())], device="cpu", seed=0),
    ]
    state = list(networks[0].network.build(X.shape) and networks[0].state_dict().values())
    for options in ({}, {"probabilities": True}):
        expected = saliency(networks[0], X, 1, **options)
        for model in networks[1:]:
            model.build(X.shape)
            model.load_state_dict(dict(zip(model.state_dict(), state, strict=True)))
            np.testing.assert_allclose(saliency(model, X, 1, **options), expected, rtol=1e-5)
            assert len(list(model.network.layers_within())) >= 10  # nothing was taken away


def test_the_name_of_a_node_is_its_use_of_a_shared_layer():
    tower = xpcnn.Conv1d(1, 1, 1, bias=False)
    nodes = [
        ("a", tower, "left"),
        ("b", "a", "right"),
        ("both", Concat(dim=1), ["a", "b"]),
        ("mean", xpcnn.GlobalAvgPool1d(), "both"),
        ("end", xpcnn.Linear(2, 1, bias=False), "mean"),
    ]
    model = xpcnn.Model(xpcnn.Graph(["left", "right"], nodes, "end"), device="cpu", dtype="float64")
    model.load_state_dict(
        {"a.weight": [[[2.0]]], "b.weight": [[[2.0]]], "end.weight": [[1.0, 3.0]]}
    )
    left, right = np.array([[[1.0, 3.0]]]), np.array([[[5.0, 2.0]]])
    # the gradient of each number of a map is half its weight in the end
    np.testing.assert_allclose(grad_cam(model, (left, right), layer="a"), [[1, 3]])
    np.testing.assert_allclose(grad_cam(model, (left, right), layer="b"), [[15, 6]])


def test_layers_that_grad_cam_cannot_take():
    model = model_of()
    cases = {
        "7": r"layer '7' gives shape \(5, 3\), and what is needed are feature maps",
        "conv": "there is no layer 'conv'; the layers are '0'",
        "*": "layer '\\*' is a pattern, which picks 0, 1",
        "8": "did not run|runs 0 times",
    }
    for name, message in cases.items():
        with pytest.raises(ValueError, match=f"grad_cam: .*{message}"):
            grad_cam(model, X, layer=name)
    for wrong in (3, model.layers[0]):
        with pytest.raises(TypeError, match="grad_cam: layer must be the name of a layer"):
            grad_cam(model, X, layer=wrong)
    with pytest.raises(ValueError, match="no convolution; name the layer"):
        grad_cam(model_of(xpcnn.Flatten(), xpcnn.Linear(64, 2)), X)


def test_a_layer_that_does_not_lead_to_the_output():
    nodes = [
        ("conv", xpcnn.Conv2d(1, 2, 3), "x"), ("pool", xpcnn.GlobalAvgPool2d(), "conv"),
        ("flat", xpcnn.Flatten(), "x"),
    ]  # fmt: skip
    model = xpcnn.Model(xpcnn.Graph("x", nodes, ["pool", "flat"]), device="cpu", seed=0)
    with pytest.raises(ValueError, match="layer 'conv' does not lead to the output"):
        grad_cam(model, X, 0, output="flat")


def test_sizes_that_maps_cannot_be_enlarged_to():
    nodes = [
        ("a", xpcnn.Conv1d(1, 1, 2), "left"), ("b", xpcnn.Conv1d(1, 1, 3), "right"),
        ("both", Add(), ["a", "b"]), ("pool", xpcnn.GlobalAvgPool1d(), "both"),
    ]  # fmt: skip
    model = xpcnn.Model(xpcnn.Graph(["left", "right"], nodes, "pool"), device="cpu", seed=0)
    x = np.ones((1, 1, 5), "float32"), np.ones((1, 1, 6), "float32")
    with pytest.raises(ValueError, match="2 sizes of inputs have as many; give upsample=False"):
        grad_cam(model, x, 0)
    assert grad_cam(model, x, 0, upsample=False).shape == (1, 4)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ([xpcnn.Conv2d(1, 2, 3), xpcnn.ReLU(), xpcnn.MaxPool2d(2), xpcnn.Flatten()], "1"),
        ([xpcnn.Conv2d(1, 2, 3), xpcnn.BatchNorm2d(), xpcnn.SiLU(), xpcnn.Flatten()], "2"),
        ([xpcnn.Conv2d(1, 2, 3), xpcnn.MaxPool2d(2), xpcnn.ReLU(), xpcnn.Flatten()], "0"),
        ([xpcnn.Residual(xpcnn.Conv2d(1, 1, 1)), xpcnn.Flatten()], "0"),
        ([xpcnn.Residual(xpcnn.Conv2d(1, 1, 1)), xpcnn.ReLU(), xpcnn.Flatten()], "1"),
        ([xpcnn.Parallel([xpcnn.Conv2d(1, 1, 1), xpcnn.ReLU()]), xpcnn.Flatten()], "0"),
        ([xpcnn.Conv2d(1, 2, 3), xpcnn.ReLU(), xpcnn.Conv2d(2, 2, 3)], "1"),
        ([xpcnn.Conv2d(1, 2, 3)], "0"),
        ([xpcnn.Sequential(xpcnn.Conv2d(1, 2, 3), xpcnn.ReLU()), xpcnn.Flatten()], "0.1"),
        ([xpcnn.Flatten(), xpcnn.Linear(4, 2)], None),
    ],
)
def test_the_last_feature_maps(network, name):
    assert last_feature_layer(xpcnn.Sequential(*network)) == name


def test_the_last_feature_maps_of_published_networks():
    zoo = xpcnn.zoo
    assert last_feature_layer(zoo.resnet18(width=4)) == "layer4.1.relu"
    assert last_feature_layer(zoo.densenet121()) == "relu"
    assert last_feature_layer(zoo.unet(width=4)) == "up0.relu2"


def test_wrong_models_and_flags():
    network = xpcnn.Sequential(xpcnn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"got Sequential; make one of it: xpcnn.Model\(network\)"):
        saliency(network, X)
    with pytest.raises(TypeError, match="saliency: model must be an xpcnn.Model, got None"):
        saliency(None, X)
    for method, flag in (
        (saliency, "absolute"), (saliency, "probabilities"), (grad_cam, "relu"),
        (grad_cam, "upsample"), (integrated_gradients, "return_convergence_delta"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=f"{method.__name__}: {flag} must be True or False"):
            method(model_of(), X, **{flag: 1})


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (-1, ValueError, "target must be from 0 to 2, as the output has shape .N, 3., got -1"),
        (1.0, TypeError, "target must be the number of a class, .* got 1.0"),
        (True, TypeError, "target must be the number of a class, .* got True"),
        ((), TypeError, r"target must be the number of a class, .* got \(\)"),
        ((1, 2), ValueError, r"target \(1, 2\) has 2 numbers, and the output has shape \(N, 3\)"),
        ([1, 2], ValueError, "target has 2 entries for 5 samples"),
        (np.eye(5), TypeError, r"target must be the number of a class, .* got \[1.0, 0.0"),
    ],
)
def test_wrong_targets(target, error, message):
    with pytest.raises(error, match=f"saliency: {message}"):
        saliency(model_of(), X, target)


def test_a_target_is_needed_where_there_are_places():
    model = model_of(xpcnn.Conv2d(1, 2, 3))
    with pytest.raises(ValueError, match=r"the output has shape \(N, 2, 6, 6\).*give target"):
        saliency(model, X)
    with pytest.raises(ValueError, match="target must be from 0 to 5, .* got 6"):
        saliency(model, X, (1, 6))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"steps": 1, "method": "trapezoid"}, ValueError, "steps must be at least 2, got 1"),
        ({"method": "simpson"}, ValueError, "method must be one of 'gausslegendre', .*'simpson'"),
        ({"baseline": np.zeros(3)}, ValueError, r"the shape of a sample, \(1, 8, 8\), .*\(3,\)"),
        ({"baseline": "black"}, TypeError, "must be a number or an array of numbers, got str"),
        ({"baseline": True}, TypeError, "must be a number or an array of numbers, got bool"),
        ({"baseline": float("nan")}, ValueError, "baseline of 'x' holds NaN or infinity"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
    ],
)
def test_wrong_integrated_gradients(options, error, message):
    with pytest.raises(error, match=f"integrated_gradients: .*{message}"):
        integrated_gradients(model_of(), X, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"window": 0}, ValueError, "window must be at least 1, got 0"),
        ({"window": 9}, ValueError, r"window 9 is larger than a sample, of shape \(1, 8, 8\)"),
        ({"window": (3,)}, ValueError, "window must have 2 numbers, or 3 with that of channels"),
        ({"window": "3"}, TypeError, "window must be an integer, got '3'"),
        ({"window": 3, "stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ({"window": 3, "stride": (1, 2, 3)}, ValueError, "stride must be one number, or 2"),
        ({"window": {"z": 3}}, ValueError, "window must name inputs, which are x, got {'z': 3}"),
        ({"window": {}}, ValueError, "window must name inputs"),
        ({"window": 3, "stride": {"z": 1}}, ValueError, "stride must name inputs"),
    ],
)
def test_wrong_occlusion(options, error, message):
    with pytest.raises(error, match=f"occlusion: .*{message}"):
        occlusion(model_of(), X, **options)


def test_occlusion_of_several_inputs_needs_names():
    with pytest.raises(TypeError, match="inputs left, right, tokens; give window as a dict"):
        occlusion(two_of_each(), INPUTS, 0, output="first", window=1)
    with pytest.raises(ValueError, match=r"window names \['left'\], and stride \['right'\]"):
        occlusion(two_of_each(), INPUTS, 0, output="first", window={"left": 1}, stride={"right": 1})


def test_a_model_that_is_not_built_yet():
    model = model_of(
        xpcnn.Conv2d(out_channels=2, kernel_size=3), xpcnn.Flatten(), xpcnn.Linear(out_features=2)
    )
    assert saliency(model, X).shape == X.shape
    assert model.is_built


def test_arrays_of_the_models_own_library(device):
    model = model_of(device=device)
    found = saliency(model, device.asarray(X))
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, saliency(model, X), rtol=1e-6)
    assert _xp.is_numpy(_xp.namespace(found))
