"""Functions and methods of PyTorch in traced modules: numbers and gradients of each."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from tests.interop.torch_modules import Traced, compare, randomised, relative
from xpcnn.interop import from_torch, to_torch

torch = pytest.importorskip("torch")
nn = torch.nn
F = torch.nn.functional
IMAGE = (2, 4, 6, 5)

FUNCTIONS = {
    "numbers": lambda x: (1 - x * 2 + 0.5) / 3 - x.add(x, alpha=2).sub(1.5),
    "quotients": lambda x: x / (2 + x * x) + 1 / (3 + x.exp()) - x.div(4).neg(),
    "powers": lambda x: x**2 + x.pow(3) + (x * x + 1) ** 0.5 + (x * x + 1) ** -1,
    "elementwise": lambda x: x.abs().sqrt() + (x * x + 1).log() + x.sin() * torch.cos(x),
    "roots": lambda x: torch.rsqrt(x.square() + 1) + torch.erf(x) + torch.reciprocal(x * x + 2),
    "limits": lambda x: x.clamp(-0.5, 0.7) + torch.clamp(x, min=0.1) + x.clamp_max(0.3),
    "activations": lambda x: F.leaky_relu(x, 0.3) + F.elu(x, 0.5) + F.softplus(x, 2) + F.relu6(x),
    "hard": lambda x: F.hardtanh(x, -0.2, 0.4) + F.hardswish(x) + F.hardsigmoid(x) + F.celu(x, 2.0),
    "shrinking": lambda x: F.hardshrink(x, 0.3) + F.softshrink(x, 0.2) + F.tanhshrink(x),
    "smooth": lambda x: F.mish(x) + F.gelu(x, approximate="tanh") + F.logsigmoid(x) + F.selu(x),
    "softmax": lambda x: F.softmax(x, dim=1) + x.log_softmax(-1) + torch.softmax(x, 2),
    "gate": lambda x: F.glu(x, 1),
    "pools": lambda x: F.max_pool2d(x, 2, 1) + F.avg_pool2d(x, (2, 2), stride=1),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 2)) * F.adaptive_max_pool2d(x, 1),
    "flatten": lambda x: x.flatten(1) * torch.flatten(x, start_dim=1, end_dim=-1),
    "view": lambda x: x.view(x.size(0), -1) + x.reshape(-1, 120) + x.reshape((x.shape[0], 120)),
    "shuffled": lambda x: (
        x.view(x.shape[0], 2, x.size(1) // 2, x.size(2), x.shape[-1])
        .transpose(1, 2)
        .contiguous()
        .view(x.size(0), -1, x.size(2), x.size(3))
    ),
    "merged batch": lambda x: (x.reshape(-1, 6, 5) * 2).view(-1, 4, 6, 5),
    "axes": lambda x: (
        x.permute(0, 2, 3, 1) + x.permute((0, 2, 3, 1)) + x.transpose(1, 3).transpose(1, 2)
    ),
    "squeezed": lambda x: x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(2).unsqueeze(1),
    "reductions": lambda x: x.mean([2, 3]) + x.sum(dim=(2, 3)) + torch.mean(x, dim=-1).sum(2),
    "whole": lambda x: x * x.mean() + x.amax((2, 3), keepdim=True) * x.amin(1, True),
    "concatenated": lambda x: torch.cat((x, x * 2), dim=-1) + torch.concat([x, x.relu()], -1),
    "stacked": lambda x: torch.stack([x, x.tanh(), x * 2], dim=2),
    "chunks": lambda x: x.chunk(2, 1)[0] * x.chunk(2, dim=1)[1],
    "uneven chunks": lambda x: torch.cat(x.chunk(3, 3)[::-1], 3),
    "splits": lambda x: torch.split(x, [1, 3], 1)[0] + x.split(2, dim=1)[1],
    "unbound": lambda x: x.unbind(1)[0] + torch.unbind(x, dim=1)[3] * x[:, 2],
    "slices": lambda x: x[:, 1:3] + x[:, ::2, :, :] * x[..., :2, :][:, -2:, :1],
    "indices": lambda x: x[:, 1] + x[:, -1, :, :] + x[:, None, 2].squeeze(1),
    "new axes": lambda x: x[:, None, 1, :, None] * x[:, 2, None, None].mean(-1)[..., None, None],
    "padded": lambda x: F.pad(x, (1, 2, 0, 1)) + F.pad(x, (1, 2, 1, 0), value=0.5),
    "reflected": lambda x: (
        F.pad(x, (1, 2, 0, 1), mode="reflect") * F.pad(x, (3, 0, 1, 0), "replicate")
    ),
    "expanded": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 6, 5) * x,
    "products": lambda x: x @ x.transpose(2, 3) + torch.matmul(x, x.permute(0, 1, 3, 2)),
    "larger": lambda x: F.interpolate(x, scale_factor=2) * F.interpolate(x, size=(12, 10)),
    "as large": lambda x: (
        F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:], mode="bilinear", align_corners=False)
        + x
    ),
    "shuffles": lambda x: F.pixel_shuffle(x, 2) * 3 + F.pixel_shuffle(x, upscale_factor=2),
    "norm": lambda x: F.local_response_norm(x, 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    module = Traced(lambda m, x: FUNCTIONS[name](x))
    model = from_torch(module, torch.randn(IMAGE, dtype=torch.float64), verbose=False)
    assert model.largest_difference < 1e-12
    compare(model, module, IMAGE)


BATCHES = [name for name in FUNCTIONS if name not in ("merged batch", "whole")]


@pytest.mark.parametrize("name", BATCHES)
def test_the_batch_may_have_another_size_than_the_example(name):
    module = Traced(lambda m, x: FUNCTIONS[name](x))
    model = from_torch(module, torch.randn(IMAGE, dtype=torch.float64), verbose=False)
    x = np.random.default_rng(5).normal(size=(5, *IMAGE[1:]))
    assert relative(model(x), module(torch.tensor(x))) < 1e-10


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("reflected",)])
def test_functions_there_and_back(name):
    module = Traced(lambda m, x: FUNCTIONS[name](x))
    x = torch.randn(IMAGE, dtype=torch.float64)
    back = to_torch(from_torch(module, x, verbose=False))
    torch.testing.assert_close(back(x), module(x), rtol=1e-12, atol=1e-12)


class Scaled(nn.Module):
    """Parameters and buffers that belong to no layer, of the module and of one inside it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.gamma = nn.Parameter(torch.rand(4, 1, 1))
        self.frozen = nn.Parameter(torch.rand(1), requires_grad=False)
        self.inner = nn.Module()
        self.inner.scale = nn.Parameter(torch.rand(5))
        self.inner.act = nn.PReLU(4)
        self.list = nn.ParameterList([torch.rand(6, 1), torch.rand(6, 1)])
        self.register_buffer("mean", torch.rand(1, 4, 1, 1))
        self.register_buffer("std", torch.rand(1, 4, 1, 1) + 1, persistent=False)

    def forward(self, x):
        x = (x - self.mean) / self.std
        y = self.inner.act(self.conv(x)) * self.inner.scale * self.inner.scale
        return y * self.gamma + self.frozen * x + self.list[0] - self.list[1] * self.gamma


def test_parameters_without_a_layer_keep_their_names():
    module = randomised(Scaled())
    model = from_torch(module, IMAGE, verbose=False)
    names = set(module.state_dict())
    assert set(model.state_dict()) == names | {"std"}
    assert set(model.parameters()) == {name for name, _ in module.named_parameters()}
    assert not model.parameters()["frozen"].requires_grad
    compare(model, module, IMAGE)
    back = to_torch(model)
    assert set(back.state_dict()) == names | {"std"}
    x = torch.randn(IMAGE, dtype=torch.float64)
    torch.testing.assert_close(back(x), module(x))


def test_such_parameters_are_saved_and_loaded(tmp_path):
    model = from_torch(Scaled(), IMAGE, verbose=False)
    model.save(tmp_path / "model")
    again = xpcnn.Model.load(tmp_path / "model", device="cpu")
    x = np.random.default_rng(0).normal(size=IMAGE).astype("float32")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


class Standardised(nn.Conv2d):
    """Convolution by a weight that is computed, with padding of its own before it."""

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        x = F.pad(x, (1, 0, 1, 0))
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.rand(4, 3, 3, 2))

    def forward(self, x):
        return F.conv_transpose2d(x, self.kernel, stride=2, padding=1, output_padding=(1, 0))


@pytest.mark.parametrize("make", [lambda: Standardised(4, 6, (3, 2), 2, 1, groups=2), Transposed])
def test_convolution_by_weights_of_its_own(make):
    module = randomised(nn.Sequential(make(), nn.Tanh()))
    model = from_torch(module, IMAGE, verbose=False)
    assert list(model.state_dict()) == list(module.state_dict())
    compare(model, module, IMAGE)
    x = torch.randn(IMAGE, dtype=torch.float64)
    torch.testing.assert_close(to_torch(model)(x), module(x))


class Attention(nn.Module):
    """As vision transformers have it: heads, and a token put in front."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.rand(1, 1, 8))
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        n, count, width = x.shape
        x = torch.cat((self.token.expand(n, -1, -1), x), dim=1)
        qkv = self.qkv(self.norm(x)).reshape(n, count + 1, 3, 2, width // 2)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * 4**-0.5).softmax(dim=-1)
        return x + (weights @ v).transpose(1, 2).reshape(n, count + 1, width)


def test_attention_written_out():
    module = randomised(Attention())
    model = from_torch(module, (2, 5, 8), verbose=False)
    assert list(model.state_dict()) == list(module.state_dict())
    compare(model, module, (3, 5, 8))


class OwnLayerNorm(nn.LayerNorm):
    """Along the channels of images, as ConvNeXt has it."""

    def forward(self, x):
        y = F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return y.permute(0, 3, 1, 2)


def test_normalisation_along_channels():
    module = randomised(nn.Sequential(nn.Conv2d(4, 3, 1), OwnLayerNorm(3, eps=1e-3)))
    with torch.no_grad():
        module[1].weight.uniform_(0.5, 1.5)
        module[1].bias.uniform_(0.5, 1.5)
    model = from_torch(module, IMAGE, verbose=False)
    assert list(model.state_dict()) == list(module.state_dict())
    compare(model, module, IMAGE)


class OwnLinear(nn.Linear):
    """A class of its own is looked into."""

    def forward(self, x):
        return F.linear(x, self.weight, self.bias) * 2


def test_subclasses_are_looked_into():
    module = randomised(nn.Sequential(nn.Flatten(), OwnLinear(120, 3), nn.ReLU()))
    model = from_torch(module, IMAGE, verbose=False)
    assert list(model.state_dict()) == ["1.weight", "1.bias"]
    compare(model, module, IMAGE)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x + x.shape[0], "the size of the batch"),
        (lambda x: x.split(1, 0)[0], "the batch cannot be split"),
        (lambda x: x[x > 0], "function gt|index that is an array"),
        (lambda x: x**1.7, "the exponent 1.7"),
        (lambda x: F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True), "antialias"),
        (lambda x: x.sum(dtype=torch.float32), "takes no dtype"),
    ],
)
def test_refused_functions(function, message):
    with pytest.raises(ValueError, match=message):
        from_torch(Traced(lambda m, x: function(x)), IMAGE, verbose=False)


def test_shapes_need_an_example():
    module = Traced(lambda m, x: x.view(x.size(0), x.size(1), -1))
    with pytest.raises(ValueError, match="give from_torch an example"):
        from_torch(module)
    simple = from_torch(Traced(lambda m, x: x.view(x.size(0), -1)))
    assert simple.predict(np.zeros((3, 2, 5), "float32")).shape == (3, 10)
