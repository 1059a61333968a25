"""The zoo against the same networks in plain PyTorch: names, numbers, gradients."""

from __future__ import annotations

import inspect
from math import prod

import numpy as np
import pytest

import xpcnn
from tests.pytorch import WhenUsed, torch
from tests.zoo.cases import CASES
from xpcnn import _registry, kernels, zoo
from xpcnn.training import saving

torch_networks = WhenUsed("tests.zoo.torch_networks")


def test_every_network_is_among_the_cases():
    assert list(CASES) == sorted(zoo.__all__)


@pytest.mark.parametrize("name", CASES)
def test_the_full_network_has_the_published_number_of_weights(name):
    network = getattr(zoo, name)()
    shape = CASES[name].shape
    if name in ("simple_conv_net", "deep_conv_net"):
        network.build(shape)  # their widths are inferred
    weights = sum(prod(p.shape) for p in network.parameters().values())
    assert weights == CASES[name].parameters
    assert getattr(zoo, name).__doc__


@pytest.mark.parametrize("name", CASES)
def test_names_and_shapes_are_those_of_the_reference(name):
    """The full network; PyTorch's is made without memory."""
    with torch.device("meta"):
        theirs = getattr(torch_networks, name)().state_dict()
    ours = getattr(zoo, name)()
    if name in ("simple_conv_net", "deep_conv_net"):
        ours.build(CASES[name].shape)
    found = {key: tensor.shape for key, tensor in ours._tensors().items()}
    assert found == {key: tuple(value.shape) for key, value in theirs.items()}
    assert list(found) == list(theirs)


def no_dropout(network):
    """Two libraries cannot draw the same masks."""
    for part in network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return network


def both(name):
    """The small network of the zoo and PyTorch's, in float64 with the same random weights."""
    case = CASES[name]
    torch.manual_seed(3)
    theirs = no_dropout(getattr(torch_networks, name)(**case.small)).double()
    with torch.no_grad():
        for key, value in theirs.state_dict().items():
            if any(part in key for part in ("running", "norm", "bn")) and value.ndim:
                value.uniform_(0.5, 1.5)
    options = dict(case.small)
    if "dropout" in inspect.signature(getattr(zoo, name)).parameters:
        options["dropout"] = 0.0
    ours = getattr(zoo, name)(**options)
    for _, layer in ours.layers_within():
        if isinstance(layer, xpcnn.Dropout):
            layer.p = 0.0
    ours.build(case.shape, dtype="float64")
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


def relative(actual, expected):
    expected = expected.detach().numpy()
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-3)


@pytest.mark.parametrize("name", CASES)
def test_outputs_gradients_and_statistics(name, rng):
    ours, theirs = both(name)
    x = rng.normal(size=CASES[name].shape)
    asked = torch.tensor(x, requires_grad=True)
    theirs.eval()
    assert relative(ours(x), theirs(asked)) < 1e-10
    theirs.train()
    expected = theirs(asked)
    assert relative(ours.forward(x, training=True), expected) < 1e-10
    weights = rng.normal(size=tuple(expected.shape))
    (expected * torch.tensor(weights)).sum().backward()
    dx = ours.backward(weights)
    assert relative(dx, asked.grad) < 1e-8
    gradients = {key: parameter.grad for key, parameter in ours.parameters().items()}
    for key, parameter in theirs.named_parameters():
        assert relative(gradients[key], parameter.grad) < 1e-8, key
    for key, value in theirs.state_dict().items():
        if "running" in key or "tracked" in key:
            assert relative(ours.state_dict()[key], value) < 1e-10, key


@pytest.mark.parametrize("name", CASES)
def test_first_weights_are_drawn_as_torchvision_draws_them(name, rng):
    """Spread of every large weight; torchvision's rules, written out."""
    network = getattr(zoo, name)(**CASES[name].small)
    network.build(CASES[name].shape, dtype="float64", rng=rng)
    layers = dict(network.layers_within())
    for key, parameter in network.parameters().items():
        layer, values = layers[key.rpartition(".")[0]], parameter.data
        if isinstance(layer, xpcnn.BatchNorm2d):
            assert (values == (1 if key.endswith("weight") else 0)).all()
        elif key.endswith("bias") and family_of(name) in ZERO_BIAS:
            assert (values == 0).all(), key
        elif values.size > 400:
            assert values.std() == pytest.approx(expected_spread(name, key, layer), rel=0.15), key


ZERO_BIAS = ("vgg", "mobilenet", "squeezenet", "densenet")


def family_of(name):
    return name.partition("_")[0].rstrip("0123456789")


def expected_spread(name, key, layer):
    out, fan_in, *kernel = layer.weight.shape
    fan_in, fan_out = fan_in * prod(kernel), out * prod(kernel)
    family = family_of(name)
    if isinstance(layer, xpcnn.Linear) and family in ("vgg", "mobilenet"):
        return 0.01
    if isinstance(layer, xpcnn.Conv2d):
        if family in ("vgg", "resnet", "mobilenet"):
            return (2 / fan_out) ** 0.5
        if key == "classifier.1.weight" and family == "squeezenet":
            return 0.01
        if family in ("densenet", "unet", "squeezenet"):
            return (2 / fan_in) ** 0.5
    return (1 / (3 * fan_in)) ** 0.5  # uniform on +-1 / sqrt(fan_in)


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "unet"])
def test_a_network_is_trained_and_saved(name, rng, tmp_path):
    case = CASES[name]
    model = xpcnn.Model(getattr(zoo, name)(**case.small), device="cpu", seed=0)
    x = rng.normal(size=case.shape).astype("float32")
    labels = np.arange(case.shape[0])
    if name == "unet":
        labels = rng.integers(0, 3, size=(case.shape[0], *case.shape[2:]))
    model.compile(xpcnn.optim.Adam(lr=1e-2), "cross_entropy")
    with kernels.force("generic"):
        losses = [model.train_on_batch(x, labels)["loss"] for _ in range(8)]
        assert losses[-1] < 0.8 * losses[0]
        model.save(tmp_path / "model")
        again = xpcnn.Model.load(tmp_path / "model", device="cpu")
        np.testing.assert_array_equal(again.predict(x), model.predict(x))


@pytest.mark.parametrize("name", CASES)
def test_a_network_can_be_described(name):
    network = getattr(zoo, name)(**CASES[name].small)
    known = saving.known_layers()
    again = _registry.from_config(_registry.to_config(network), known, "layer")
    assert again.output_shape(CASES[name].shape) == network.output_shape(CASES[name].shape)
    assert list(again._tensors()) == list(network._tensors())
