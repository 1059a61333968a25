"""PyTorch's modules as models: numbers, gradients, names; what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.interop.torch_modules import Traced, compare, randomised, relative
from tests.zoo.cases import CASES
from xpcnn.interop import from_torch, to_torch

torch = pytest.importorskip("torch")
torch_networks = pytest.importorskip("tests.zoo.torch_networks")
nn = torch.nn
F = torch.nn.functional


def test_what_is_written_in_place_is_seen_by_its_other_names():
    """By hand: relu(x) + x is 2 relu(x) if the relu writes into x."""

    def function(m, x):
        y = m.conv(x)
        z = y
        z += m.conv2(x)
        return F.relu(z, inplace=True) + y

    parts = {"conv": nn.Conv1d(1, 1, 1, bias=False), "conv2": nn.Conv1d(1, 1, 1, bias=False)}
    module = Traced(function, **parts)
    with torch.no_grad():
        module.conv.weight.fill_(2.0)
        module.conv2.weight.fill_(1.0)
    model = from_torch(module, (1, 1, 2), verbose=False)
    np.testing.assert_array_equal(model.predict(np.array([[[1.0, -1.0]]], "float32")), [[[6, 0]]])


@pytest.mark.parametrize("name", CASES)
def test_every_architecture_of_the_zoo(name, capsys):
    """Made in plain PyTorch with random weights."""
    case = CASES[name]
    module = randomised(getattr(torch_networks, name)(**case.small))
    model = from_torch(module, case.shape)
    assert model.dtype == "float64"
    assert list(model.state_dict()) == list(module.state_dict())
    assert model.largest_difference < 1e-12
    assert f"random inputs of shape {case.shape}" in capsys.readouterr().out
    compare(model, module, case.shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "densenet121", "vgg11"])
def test_full_networks(name):
    module = randomised(getattr(torch_networks, name)())
    model = from_torch(module, (2, 3, 64, 64), verbose=False)
    compare(model, module, (2, 3, 64, 64))


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "mobilenet_v2", "unet", "squeezenet1_1"])
def test_there_and_back(name):
    case = CASES[name]
    module = randomised(getattr(torch_networks, name)(**case.small))
    back = to_torch(from_torch(module, case.shape, verbose=False))
    state, expected = back.state_dict(), module.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    x = torch.randn(case.shape, dtype=torch.float64)
    for training in (False, True):
        module.train(training)
        back.train(training)
        torch.testing.assert_close(back(x), module(x), rtol=1e-12, atol=1e-12)


# -- Modules by themselves and in sequences --------------------------------------------------------

MODULES = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, 2, "valid", 2, groups=2, bias=False), (2, 4, 11)),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 3, padding="same", padding_mode="circular"), (2, 2, 6, 5)),
    "Conv3d": (lambda: nn.Conv3d(1, 2, (1, 2, 3), padding=(0, 1, 1)), (2, 1, 3, 4, 5)),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, bias=False),
        (2, 4, 4, 5),
    ),
    "Linear": (lambda: nn.Linear(5, 3, bias=False), (2, 4, 5)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(3, 1e-3, None), (4, 3)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(3, momentum=0.3, affine=False), (4, 3, 2, 2)),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(2, track_running_stats=False), (4, 2, 2, 2, 3)),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 2, 6, 7)),
    "MaxPool1d": (lambda: nn.MaxPool1d(2, dilation=2), (2, 2, 7)),
    "AvgPool2d": (lambda: nn.AvgPool2d((2, 3), 2, 1, True, False), (2, 2, 6, 7)),
    "AvgPool3d": (lambda: nn.AvgPool3d(2, divisor_override=3), (2, 2, 4, 4, 4)),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((3, None)), (2, 2, 7, 4)),
    "AdaptiveMaxPool1d": (lambda: nn.AdaptiveMaxPool1d(3), (2, 2, 7)),
    "LPPool2d": (lambda: nn.LPPool2d(2, 3), (2, 2, 7, 7)),
    "Flatten": (lambda: nn.Flatten(2), (2, 2, 3, 2)),
    "ReLU": (lambda: nn.ReLU(True), (3, 4)),
    "ReLU6": (nn.ReLU6, (3, 4)),
    "LeakyReLU": (lambda: nn.LeakyReLU(0.3), (3, 4)),
    "PReLU": (lambda: nn.PReLU(4, 0.1), (3, 4)),
    "ELU": (lambda: nn.ELU(0.5), (3, 4)),
    "GELU": (lambda: nn.GELU("tanh"), (3, 4)),
    "SiLU": (nn.SiLU, (3, 4)),
    "Softplus": (lambda: nn.Softplus(2.0, 1.0), (3, 4)),
    "Softmax": (lambda: nn.Softmax(-1), (3, 4)),
    "LogSoftmax": (lambda: nn.LogSoftmax(1), (3, 4)),
    "Sigmoid": (nn.Sigmoid, (3, 4)),
    "Hardtanh": (lambda: nn.Hardtanh(-0.3, 0.4), (3, 4)),
    "Threshold": (lambda: nn.Threshold(0.1, 2.0), (3, 4)),
    "GLU": (lambda: nn.GLU(1), (3, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4, 1e-3), (3, 4, 5)),
    "LayerNorm": (lambda: nn.LayerNorm((4, 5), bias=False), (3, 4, 5)),
    "RMSNorm": (lambda: nn.RMSNorm(5, 1e-4), (3, 4, 5)),
    "InstanceNorm2d": (lambda: nn.InstanceNorm2d(4, affine=True), (3, 4, 5, 2)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(4, track_running_stats=True), (3, 4, 5)),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(3, 0.1), (3, 4, 5)),
    "ReflectionPad2d": (lambda: nn.ReflectionPad2d((1, 2, 0, 1)), (3, 4, 5, 3)),
    "ConstantPad1d": (lambda: nn.ConstantPad1d((1, 2), 0.5), (3, 4, 5)),
    "ZeroPad2d": (lambda: nn.ZeroPad2d((1, -1, 0, 2)), (3, 4, 5, 3)),
    "Upsample": (lambda: nn.Upsample(scale_factor=1.5, mode="bilinear"), (2, 2, 4, 6)),
    "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d((7, 5)), (2, 2, 4, 6)),
    "PixelShuffle": (lambda: nn.PixelShuffle(2), (2, 8, 3, 2)),
    "ChannelShuffle": (lambda: nn.ChannelShuffle(2), (2, 8, 3, 2)),
    "Unflatten": (lambda: nn.Unflatten(1, (2, 4)), (2, 8, 3)),
    "Identity": (lambda: nn.Identity(), (2, 8)),
    "SELU": (nn.SELU, (3, 4)),
    "Hardshrink": (lambda: nn.Hardshrink(0.3), (3, 4)),
    "Softmin": (lambda: nn.Softmin(1), (3, 4)),
}


@pytest.mark.parametrize("name", MODULES)
def test_single_modules_keep_their_arguments(name):
    make, shape = MODULES[name]
    module = randomised(nn.Sequential(make()))
    model = from_torch(module, torch.randn(shape, dtype=torch.float64), verbose=False)
    assert type(model.layers[0]).__name__ == name
    assert list(model.state_dict()) == list(module.state_dict())
    compare(model, module, shape)
    back = to_torch(model)
    assert type(back[0]) is type(module[0])
    torch.testing.assert_close(back.state_dict(), module.state_dict(), rtol=1e-10, atol=1e-12)
    compare(model, back, shape)


def test_numbers_of_words_go_in_as_integers():
    module = nn.Sequential(nn.Embedding(5, 4, padding_idx=1), nn.Flatten(), nn.Linear(12, 2))
    words = torch.tensor([[1, 4, 0], [2, 2, 3]])
    model = from_torch(module, words, verbose=False)
    assert model.largest_difference < 1e-6
    np.testing.assert_allclose(model.predict(words.numpy()), module(words).detach(), atol=1e-6)
    assert type(to_torch(model)[0]) is nn.Embedding


def test_sequences_stay_sequences():
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), nn.Flatten(), nn.Linear(2 * 16, 3)
    )
    model = from_torch(module, verbose=False)
    assert [type(layer).__name__ for layer in model.layers] == ["Sequential", "Flatten", "Linear"]
    assert model.dtype == "float32"
    assert model.largest_difference is None
    x = torch.randn(2, 1, 6, 6)
    np.testing.assert_allclose(model.predict(x.numpy()), module(x).detach(), atol=1e-6)


def test_sequences_with_names_keep_these():
    module = nn.Sequential()
    module.add_module("first", nn.Linear(3, 4))
    module.add_module("act", nn.Tanh())
    module.add_module("last", nn.Linear(4, 2))
    model = from_torch(module, (2, 3), verbose=False)
    assert list(model.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    compare(from_torch(module.double(), (2, 3), verbose=False), module, (2, 3))


def test_a_single_layer_keeps_its_names():
    module = nn.Linear(3, 4).double()
    model = from_torch(module, (2, 3), verbose=False)
    assert list(model.state_dict()) == ["weight", "bias"]
    compare(model, module, (2, 3))


def test_frozen_parameters_stay_frozen_and_training_goes_on():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    module[0].weight.requires_grad = False
    model = from_torch(module, (2, 3), verbose=False)
    assert [n for n, p in model.parameters().items() if not p.requires_grad] == ["0.weight"]
    x, labels = np.random.default_rng(0).normal(size=(8, 3)), np.arange(8) % 2
    model.compile(xpcnn.optim.SGD(lr=0.1), "cross_entropy")
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    for _ in range(5):
        loss = F.cross_entropy(module(torch.tensor(x)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert model.train_on_batch(x, labels)["loss"] == pytest.approx(loss.item(), rel=1e-10)
    assert relative(model.state_dict()["2.weight"], module[2].weight) < 1e-10
    assert not to_torch(model)[0].weight.requires_grad


def test_other_devices_and_dtypes(device):
    function, parts = BASIC["dense"]
    module = randomised(Traced(function, **parts)).float()
    model = from_torch(module, (2, 2, 5, 5), device=device, verbose=False)
    assert model.dtype == "float32"
    assert model.largest_difference < 1e-5
    assert model.device is device


# -- Traced modules --------------------------------------------------------------------------------


def conv():
    return nn.Conv2d(2, 2, 3, padding=1)


def dropped(m, x):
    return F.dropout(m.c(x), 0.0, m.training)


def in_place(m, x):
    """What is written in place is seen by those who use the old name afterwards."""
    y = m.c(x)
    z = m.relu(y)
    y = y + z
    x = m.c2(y)
    kept = x
    x += y
    x.add_(kept)
    return F.leaky_relu_(x, 0.2)


BASIC = {
    "dense": (lambda m, x: torch.cat([x, m.c(x)], 1).relu(), {"c": conv()}),
    "dropout": (dropped, {"c": conv()}),
    "flattened": (lambda m, x: torch.flatten(F.max_pool2d(x, 2), 1), {}),
    "functions": (
        lambda m, x: F.avg_pool2d(
            F.silu(F.adaptive_max_pool2d(x, (4, 4))), 2, stride=1, count_include_pad=False
        ),
        {},
    ),
    "shared relu": (
        lambda m, x: m.r(m.a(m.r(x)) + m.b(m.r(x))),
        {"a": conv(), "b": conv(), "r": nn.ReLU()},
    ),
    "in place": (in_place, {"c": conv(), "c2": conv(), "relu": nn.ReLU(inplace=True)}),
    "list": (
        lambda m, x: sum((layer(x) for layer in m.parts[1:]), m.parts[0](x)),
        {"parts": nn.ModuleList([conv(), conv(), conv()])},
    ),
    "arithmetic": (lambda m, x: (x * m.c(x) - x) / (2 + x * x.sigmoid()), {"c": conv()}),
    "scale": (
        lambda m, x: m.block.c(x) * m.block.scale + m.shift,
        {
            "block": nn.ParameterDict(),
            "shift": nn.Parameter(torch.rand(2, 1, 1)),
        },
    ),
}


@pytest.mark.parametrize("name", [n for n in BASIC if n not in ("scale", "arithmetic")])
def test_traced_modules(name):
    function, parts = BASIC[name]
    module = randomised(Traced(function, **parts))
    model = from_torch(module, torch.randn(2, 2, 6, 6, dtype=torch.float64), verbose=False)
    assert list(model.state_dict()) == list(module.state_dict())
    compare(model, module, (2, 2, 6, 6))
    back = to_torch(model)
    assert list(back.state_dict()) == list(module.state_dict())
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(back.eval()(x.clone()), module.eval()(x.clone()))


@torch.fx.wrap
def stochastic_depth(x, p, mode, training=True):
    """As torchvision has it."""
    if not training or p == 0.0:
        return x
    noise = torch.empty([x.shape[0]] + [1] * (x.ndim - 1), dtype=x.dtype).bernoulli_(1 - p)
    return x * noise / (1 - p)


def test_stochastic_depth_becomes_a_layer():
    module = Traced(lambda m, x: x + stochastic_depth(m.c(x), 0.4, "row", m.training), c=conv())
    model = from_torch(module.double(), (2, 2, 6, 6), verbose=False)
    layer = next(part for part in model.layers if isinstance(part, xpcnn.StochasticDepth))
    assert (layer.p, layer.mode) == (0.4, "row")
    back = to_torch(model)
    x = torch.randn(200, 2, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(back.eval()(x), module.eval()(x))
    for trained in (back.train()(x), torch.tensor(model.forward(x.numpy(), training=True))):
        change = (trained - x).flatten(1)
        dropped = (change == 0).all(1)
        assert 0.25 < dropped.double().mean() < 0.55
        expected = module.c(x).flatten(1)[~dropped] / 0.6
        torch.testing.assert_close(change[~dropped], expected.detach())
    with pytest.raises(ValueError, match="drops even without training"):
        from_torch(Traced(lambda m, x: stochastic_depth(x, 0.4, "row")))


def test_names_of_modules_go_before_those_of_functions_and_inputs():
    module = Traced(lambda m, x: m.x(m.relu(F.relu(x))), relu=nn.PReLU(), x=nn.Linear(3, 3))
    model = from_torch(randomised(module), (2, 3), verbose=False)
    assert list(model.state_dict()) == list(module.state_dict())
    compare(model, module, (2, 3))


def test_dropout_functions_become_layers_that_training_switches_on():
    module = Traced(lambda m, x: F.dropout(F.dropout(x, 0.3, m.training), 0.2, training=False))
    model = from_torch(module)
    assert [repr(layer) for layer in model.layers] == ["Dropout(p=0.3)"]
    always = Traced(lambda m, x: F.dropout(x, 0.3))
    with pytest.raises(ValueError, match="drops even without training"):
        from_torch(always)


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(5, 4)

        def forward(self, x, y, scale=None):
            assert scale is None
            h = self.a(x) + self.b(y)
            return h.tanh(), torch.relu(h)

    module = Two().double()
    model = from_torch(module, [(2, 3), (2, 5)], verbose=False)
    assert model.inputs == ("x", "y")
    compare(model, module, (4, 3), (4, 5))


# -- What is refused -------------------------------------------------------------------------------


def test_one_error_lists_everything():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.LSTM(3, 3)
            self.fold = nn.Fold((4, 4), 2)
            self.good = nn.Linear(3, 3)

        def forward(self, x):
            y, _ = self.rnn(self.good(x))
            return torch.fft.fft(self.fold(y)).cumsum(0)

    with pytest.raises(ValueError, match="what follows cannot be converted") as caught:
        from_torch(Odd())
    message = str(caught.value)
    for part in ("module rnn", "LSTM", "module fold", "Fold", "fft", "cumsum"):
        assert part in message
    assert "good" not in message
    with pytest.raises(ValueError, match=r"module 1.0: .*Fold(.|\n)*module 2: .*MaxUnpool2d"):
        from_torch(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Fold(4, 2)), nn.MaxUnpool2d(2)))


@pytest.mark.parametrize(
    ("function", "parts", "message"),
    [
        (lambda m, x: x if x.sum() > 0 else -x, {}, "torch.fx cannot trace this Traced"),
        (lambda m, x: m.c(x) if m.training else x, {"c": conv()}, "takes another path"),
        (lambda m, x: x + x.shape[0], {}, "the size of the batch"),
        (lambda m, x: F.softmax(x, 1, dtype=torch.float32), {}, "does not change the dtype"),
        (lambda m, x: {"a": [x]}, {}, "the output is neither"),
        (
            lambda m, x: F.relu_(x.flatten(1)) + x.flatten(1),
            {},
            "writes into memory that x shares",
        ),
        (lambda m, x: x.detach(), {}, "no equivalent of the function detach"),
    ],
)
def test_refused_modules(function, parts, message):
    with pytest.raises(ValueError, match=message):
        from_torch(Traced(function, **parts), (2, 2, 6, 6))


def test_an_argument_that_a_layer_does_not_know_is_refused(monkeypatch):
    class ELU(xpcnn.Layer):
        def __init__(self, inplace=False):
            self.inplace = inplace

    monkeypatch.setattr(xpcnn.layers, "ELU", ELU)
    from_torch(nn.Sequential(nn.ELU(inplace=True)))
    with pytest.raises(ValueError, match="ELU: the layer takes no alpha=0.5"):
        from_torch(nn.Sequential(nn.ELU(0.5)))


class Twins(nn.Module):
    """A tower for two images, which is also known under another name."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
        self.other = self.tower
        self.end = nn.Linear(48, 2)

    def forward(self, x, z):
        return self.end(self.tower(x) - self.other(z))


def test_a_module_that_is_used_twice_is_one_layer():
    torch.manual_seed(0)
    theirs = Twins().double()
    x, z = torch.randn(4, 2, 6, 6).double(), torch.randn(4, 2, 6, 6).double()
    ours = from_torch(theirs, [x, z])
    assert len(ours.parameters()) == 6
    theirs.train()
    y = theirs(x, z)
    dy = torch.randn(4, 2).double()
    (y * dy).sum().backward()
    np.testing.assert_allclose(
        ours.forward(x.numpy(), z.numpy(), training=True), y.detach().numpy(), rtol=1e-9
    )
    ours.backward(dy.numpy())
    for name, parameter in theirs.named_parameters():
        found = ours.parameters()[name].grad
        np.testing.assert_allclose(found, parameter.grad.numpy(), rtol=1e-8, atol=1e-10)
    for name, buffer in theirs.named_buffers():
        np.testing.assert_allclose(ours.state_dict()[name], buffer.numpy(), rtol=1e-9)
    again = to_torch(ours).eval()
    theirs.eval()
    with torch.no_grad():
        np.testing.assert_allclose(again(x, z).numpy(), theirs(x, z).numpy(), rtol=1e-9)


def test_shared_parameters_and_hooks_are_refused():
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    with pytest.raises(ValueError, match="1.weight: is the same parameter as 0.weight"):
        from_torch(nn.Sequential(a, b))
    c = nn.Linear(3, 3)
    c.register_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(ValueError, match="has hooks"):
        from_torch(nn.Sequential(c))
    d = nn.Sequential(nn.Linear(3, 3))
    d.register_forward_hook(lambda module, inputs, output: torch.fft.fft(output))
    with pytest.raises(ValueError, match="fft"):
        from_torch(nn.Sequential(d))
    with pytest.raises(TypeError, match="expected a torch.nn.Module"):
        from_torch(np.zeros(3))


def test_a_module_is_left_as_it_was():
    module = torch_networks.resnet18(classes=3, in_channels=1, width=2)
    module.layer1.eval()
    modes = [part.training for part in module.modules()]
    before = {k: v.clone() for k, v in module.state_dict().items()}
    x = torch.randn(2, 1, 32, 32)
    kept = x.clone()
    from_torch(module, x, verbose=False)
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert torch.equal(x, kept)


# -- Back to PyTorch -------------------------------------------------------------------------------


def test_containers_become_modules():
    rng = np.random.default_rng(0)
    network = xpcnn.Sequential(
        xpcnn.Residual(
            xpcnn.Sequential(xpcnn.Conv2d(2, 4, 3, padding=1), xpcnn.BatchNorm2d(4)),
            xpcnn.Conv2d(2, 4, 1),
        ),
        xpcnn.Residual(xpcnn.Conv2d(4, 4, 1)),
        xpcnn.Parallel([xpcnn.Conv2d(4, 1, 1), xpcnn.MaxPool2d(3, 1, 1)]),
        xpcnn.Parallel([xpcnn.Conv2d(5, 3, 1), xpcnn.Conv2d(5, 3, 1)], join="sum"),
        xpcnn.GlobalMaxPool2d(keepdims=True),
        xpcnn.GlobalAvgPool2d(),
        xpcnn.Linear(out_features=3),
    )
    model = xpcnn.Model(network, device="cpu", dtype="float64", seed=0)
    model.build((None, 2, 5, 6))
    module = to_torch(model)
    assert list(module.state_dict()) == list(model.state_dict())
    compare(model, module, (3, 2, 5, 6))
    x = rng.normal(size=(3, 2, 5, 6))
    before = model.predict(x)
    with torch.no_grad():
        module[6].bias.zero_()  # a copy: the model keeps its own
    np.testing.assert_array_equal(model.predict(x), before)


def test_what_pytorch_has_not_is_listed():
    network = xpcnn.Sequential(
        xpcnn.Conv2d(1, 2, 3, stride=2, padding="same"),
        xpcnn.Conv2d(2, 2, 3, padding=((0, 1), (1, 0))),
        xpcnn.AvgPool2d(2, dilation=2),
        xpcnn.SeparableConv2d(2, 2, 1),
    )
    network.build((1, 1, 16, 16))
    with pytest.raises(ValueError, match="to_torch: what follows cannot be converted") as caught:
        to_torch(network)
    for place in ("0: ", "1: ", "2: torch.nn.AvgPool2d takes no dilation", "3: "):
        assert f"\n  {place}" in str(caught.value)
    with pytest.raises(RuntimeError, match="not built yet"):
        to_torch(xpcnn.Model([xpcnn.Linear(2, 2)], device="cpu"))


def test_transforms_of_torchvision_are_refused():
    """They let pass what is no tensor, so that a trace would leave them out."""

    class Normalize(nn.Module):
        def forward(self, x):
            return 2.0 * x if isinstance(x, torch.Tensor) else x

    Normalize.__module__ = "torchvision.transforms.v2._misc"
    for module in (nn.Sequential(Normalize(), nn.Conv2d(1, 1, 1)), Normalize()):
        with pytest.raises(ValueError, match=r"Normalize.*is a transform.*in front"):
            from_torch(module, torch.zeros(1, 1, 4, 4))
