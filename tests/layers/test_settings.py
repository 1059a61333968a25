"""Attributes set on layers, parameters, models and optimizers: they work, or are refused."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import losses, metrics, optim


def conv():
    return xpcnn.Conv2d(3, 4, 3)


def model():
    return xpcnn.Model([xpcnn.Linear(3, 2)], device="cpu")


REFUSED = [
    (conv, "trainable", False, r"x\.freeze\(\)"),
    (conv, "requires_grad", False, r"x\.freeze\(\)"),
    (conv, "training", True, r"forward\(x, training=True\)"),
    (conv, "strides", 2, "Conv2d has no setting 'strides'; the name here is 'stride'"),
    (conv, "paddings", 2, "the name here is 'padding'"),
    (conv, "weights", 2, "Conv2d has no setting 'weights'"),
    (conv, "weight", np.zeros((4, 3, 3, 3)), r"layer\.weight\.data = array"),
    (conv, "kernel_size", 5, "kernel_size decides which parameters there are"),
    (conv, "out_channels", 5, "make a new Conv2d with out_channels=5"),
    (lambda: xpcnn.Conv2d(3, 4, 3, bias=False), "bias", np.zeros(4), "there is no bias"),
    (lambda: xpcnn.BatchNorm2d(3), "epsilon", 1.0, "the name here is 'eps'"),
    (lambda: xpcnn.BatchNorm2d(3), "running_mean", np.zeros(3), "running_mean.data = array"),
    (lambda: xpcnn.Dropout(), "rate", 0.1, "Dropout has no setting 'rate'; it has p"),
    (lambda: xpcnn.Sequential(conv()), "layer", 0, "the name here is 'layers'"),
    (model, "trainable", False, r"x\.freeze\(\)"),
    (model, "learning_rate", 0.1, r"set model\.optimizer\.lr"),
    (model, "optimiser", "adam", "the name here is 'optimizer'"),
    (model, "layers", [], r"model\.add\(layer\)"),
    (model, "device", "cpu", r"model\.to\(device\)"),
    (model, "dtype", "float64", r"model\.to\(dtype"),
    (model, "precision", "tf32", r"model\.to\(precision"),
    (lambda: conv().weight, "trainable", False, "the name here is 'requires_grad'"),
    (lambda: conv().weight, "require_grad", False, "the name here is 'requires_grad'"),
    (lambda: conv().weight, "value", np.zeros(4), "set data"),
    (lambda: optim.SGD(0.1), "learning_rate", 0, "the name here is 'lr'"),
    (lambda: optim.SGD(0.1), "momentun", 0, "the name here is 'momentum'"),
    (lambda: optim.CosineAnnealingLR(5), "t_max", 1, "the name here is 'T_max'"),
    (lambda: losses.CrossEntropyLoss(), "smoothing", 0.1, "label_smoothing"),
    (lambda: metrics.Accuracy(), "treshold", 0.1, "Accuracy has no setting 'treshold'"),
    (lambda: xpcnn.EarlyStopping(), "patients", 3, "the name here is 'patience'"),
]


@pytest.mark.parametrize(
    ("make", "name", "value", "message"),
    REFUSED,
    ids=[f"{make().__class__.__name__}.{name}" for make, name, *_ in REFUSED],
)
def test_what_would_have_no_effect_is_refused(make, name, value, message):
    thing = make()
    before = dict(vars(thing))
    with pytest.raises(AttributeError, match=message):
        setattr(thing, name, value)
    after = dict(vars(thing))
    assert before.keys() == after.keys()
    assert all(before[key] is after[key] for key in before)


def test_settings_are_checked_as_by_the_constructor():
    layer = conv()
    with pytest.raises(ValueError, match="Conv2d: stride must be at least 1, got 0"):
        layer.stride = 0
    assert layer.stride == (1, 1)
    layer.stride = 2
    assert layer.stride == (2, 2)
    layer.padding = "same"
    assert layer.output_shape((1, 3, 9, 9)) == (1, 4, 5, 5)
    dropout = xpcnn.Dropout(0.5)
    with pytest.raises(ValueError, match="Dropout: p must be between 0 and 1, got 2"):
        dropout.p = 2
    assert dropout.p == 0.5


def test_parameters_may_be_replaced_and_left_out():
    layer = conv()
    x = np.ones((1, 3, 3, 3), np.float32)
    layer(x)
    other = conv()
    other(x)
    layer.weight = other.weight
    layer.bias = None
    expected = np.sum(other.weight.data, axis=(1, 2, 3))
    np.testing.assert_allclose(layer(x).ravel(), expected, rtol=1e-5)
    assert list(layer.parameters()) == ["weight"]


def test_layers_of_somebody_else_have_what_attributes_they_like():
    class Scale(xpcnn.Layer):
        def __init__(self, factor):
            self.factor = factor

        def _forward(self, xp, x, training):
            self.seen = x.shape
            return x * self.factor, None

    layer = Scale(2.0)
    layer.factor = 3.0
    layer.anything = "else"
    np.testing.assert_array_equal(layer(np.ones((1, 2))), [[3.0, 3.0]])
    assert layer.seen == (1, 2)
    with pytest.raises(AttributeError, match="to freeze parameters"):
        layer.trainable = False  # but not what looks as if it did something


class Block(xpcnn.Layer):
    """Layers and parameters in everything that can hold them."""

    def __init__(self):
        self.table = {"first": xpcnn.Linear(3, 3), "deep": [[xpcnn.Linear(3, 3)], (xpcnn.ReLU(),)]}
        self.scales = [xpcnn.Parameter((3,), lambda shape, rng: np.ones(shape))]

    def output_shape(self, input_shape):
        return tuple(input_shape)

    def _chain(self):
        (second,), (relu,) = self.table["deep"]
        return [self.table["first"], second, relu]

    def _forward(self, xp, x, training):
        for layer in self._chain():
            x = layer.forward(x, training=training)
        return x * self.scales[0].value, x

    def _backward(self, xp, dy, saved, need_dx):
        self.scales[0].accumulate(xp.sum(dy * saved, axis=0))
        dy = dy * self.scales[0].value
        for layer in reversed(self._chain()):
            dy = layer.backward(dy)
        return dy


def test_layers_and_parameters_in_lists_and_dicts_are_found_trained_and_saved(tmp_path):
    block = Block()
    names = {
        "scales.0",
        *(
            f"table.{place}.{name}"
            for place in ("first", "deep.0.0")
            for name in ("weight", "bias")
        ),
    }
    assert set(block.parameters()) == names
    net = xpcnn.Model([block, xpcnn.Linear(3, 1)], device="cpu", seed=0)
    net.compile(optim.SGD(0.1), "mse")
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    net.fit(x, np.ones((16, 1), np.float32), epochs=1, verbose=0)
    before = {name: np.array(value) for name, value in net.state_dict().items()}
    net.fit(x, np.ones((16, 1), np.float32), epochs=2, verbose=0)
    after = net.state_dict()
    assert {f"0.{name}" for name in names} < set(after)
    for name in names:
        assert np.abs(after[f"0.{name}"] - before[f"0.{name}"]).max() > 0, name
    net.save(tmp_path / "m.st")
    again = xpcnn.Model.load(tmp_path / "m.st", device="cpu", custom_objects={"Block": Block})
    np.testing.assert_array_equal(again.predict(x), net.predict(x))


def test_a_set_of_layers_is_refused():
    class Bag(xpcnn.Layer):
        def __init__(self):
            self.parts = {xpcnn.ReLU(), xpcnn.Tanh()}

    with pytest.raises(AttributeError, match="Bag: parts is a set of layers or parameters"):
        Bag()


def test_one_parameter_with_two_names_is_trained_once():
    class Tied(xpcnn.Layer):
        def __init__(self):
            self.one = xpcnn.Linear(2, 2, bias=False)
            self.other = [self.one.weight]

    assert list(Tied().parameters()) == ["other.0"] or list(Tied().parameters()) == ["one.weight"]


PREFIXES = ["module.", "model.", "_orig_mod.", "net.", "module._orig_mod."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("strict", [True, False])
def test_names_with_something_in_front(prefix, strict):
    layer = xpcnn.Sequential(xpcnn.Linear(2, 2), xpcnn.ReLU(), xpcnn.Linear(2, 1))
    layer.build((1, 2))
    state = {f"{prefix}{name}": np.zeros_like(a) for name, a in layer.state_dict().items()}
    graph = xpcnn.Graph("x", [("fc", xpcnn.Linear(2, 2), "x")], "fc")
    graph.build((1, 2))
    parts = {f"{prefix}{name}": a for name, a in graph.state_dict().items()}
    net = xpcnn.Model(xpcnn.Sequential(xpcnn.Linear(2, 2)), device="cpu")
    net.build((1, 2))
    whole = {f"{prefix}{name}": a for name, a in net.state_dict().items()}
    for thing, given in ((layer, state), (graph, parts), (net, whole)):
        before = {name: np.array(a) for name, a in thing.state_dict().items()}
        with pytest.raises(ValueError, match=rf"name\.removeprefix\('{prefix}'\)"):
            thing.load_state_dict(given, strict=strict)
        for name, a in thing.state_dict().items():
            np.testing.assert_array_equal(a, before[name])


def test_what_did_not_fit_is_returned():
    layer = xpcnn.Linear(2, 2)
    found = layer.load_state_dict({"weight": np.eye(2), "extra": np.ones(1)}, strict=False)
    assert found.missing_keys == ["bias"]
    assert found.unexpected_keys == ["extra"]
    missing, unexpected = found  # a tuple, as PyTorch's
    assert (missing, unexpected) == (["bias"], ["extra"])
    assert layer.load_state_dict({"weight": np.eye(2), "bias": np.ones(2)}) == ([], [])
    net = xpcnn.Model([xpcnn.Linear(2, 2)], device="cpu")
    net.build((1, 2))
    assert net.load_state_dict({"0.bias": np.ones(2)}, strict=False).missing_keys == ["0.weight"]


@pytest.mark.parametrize("state", [{}, {"other": np.ones(2)}])
def test_loading_nothing_at_all_is_an_error(state):
    layer = xpcnn.Linear(2, 2)
    with pytest.raises(ValueError, match="nothing would be loaded, since not one of the names"):
        layer.load_state_dict(state, strict=False)
    assert xpcnn.ReLU().load_state_dict({}) == ([], [])


def test_what_stands_behind_the_bases_of_a_class():
    class Wide(xpcnn.MaxPool2d, ndim=1):
        pass

    assert Wide(2)(np.arange(4.0).reshape(1, 1, 4)).tolist() == [[[1.0, 3.0]]]
    assert Wide.sample_ndim == 2
    with pytest.raises(TypeError, match="Odd: its base classes have no attribute 'dims'"):

        class Odd(xpcnn.MaxPool2d, dims=1):
            pass


@pytest.mark.parametrize("base", [xpcnn.Linear, xpcnn.Bilinear, xpcnn.Sequential, xpcnn.Residual])
def test_a_call_is_the_forward_of_a_subclass(base):
    """Also where only `forward` is overridden."""

    class Doubled(base):
        def forward(self, *inputs, training=False):
            return 2 * super().forward(*inputs, training=training)

    arguments = {xpcnn.Linear: (3, 2), xpcnn.Bilinear: (3, 3, 2)}.get(base, (xpcnn.Linear(3, 3),))
    layer = Doubled(*arguments)
    inputs = [np.ones((4, 3), "float32")] * (2 if base is xpcnn.Bilinear else 1)
    np.testing.assert_array_equal(layer(*inputs), layer.forward(*inputs))
    np.testing.assert_array_equal(layer(*inputs), 2 * base.forward(layer, *inputs))
