"""Networks that PyTorch exports: the same numbers, the same names, the same training."""

from __future__ import annotations

import io

import numpy as np
import pytest

import xpcnn
from xpcnn.interop import onnx as xonnx

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
nn = torch.nn

# The exporter that needs no further package says that a newer one is recommended.
pytestmark = pytest.mark.filterwarnings("ignore")


class Block(nn.Module):
    """Two convolutions and a shortcut (He et al., 2015)."""

    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or width_in != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        past = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + past)


class ResNet18(nn.Module):
    """ResNet-18 with the names of torchvision, `w` channels wide in place of 64."""

    def __init__(self, w=8, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, w, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(w)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(w, w, 1), Block(w, w, 1))
        self.layer2 = nn.Sequential(Block(w, 2 * w, 2), Block(2 * w, 2 * w, 1))
        self.layer3 = nn.Sequential(Block(2 * w, 4 * w, 2), Block(4 * w, 4 * w, 1))
        self.layer4 = nn.Sequential(Block(4 * w, 8 * w, 2), Block(8 * w, 8 * w, 1))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * w, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def exported(net, *inputs, keep=True, **options):
    """Return the bytes of an ONNX model; `keep` leaves batch normalisation as it is."""
    file = io.BytesIO()
    if keep:
        options |= {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    axes = {f"x{i}": {0: "n"} for i in range(len(inputs))}
    torch.onnx.export(
        net, inputs, file, dynamo=False, input_names=list(axes), dynamic_axes=axes, **options
    )
    return file.getvalue()


def resnet():
    """Make a network in evaluation mode whose statistics are not those of a new one."""
    torch.manual_seed(0)
    net = ResNet18().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return net


@pytest.mark.parametrize("opset", [9, 13, 17])
@pytest.mark.parametrize("keep", [True, False])
def test_resnet_predicts_the_same(opset, keep):
    net = resnet()
    x = torch.randn(3, 3, 64, 64)
    loaded = xonnx.load(exported(net, x, keep=keep, opset_version=opset), device="cpu")
    with torch.no_grad():
        expected = net(x).numpy()
    np.testing.assert_allclose(loaded.predict(x.numpy()), expected, rtol=1e-4, atol=1e-5)
    if keep:
        theirs = {name: array.numpy() for name, array in net.state_dict().items()}
        assert set(loaded.state_dict()) == set(theirs)


def test_resnet_is_trained_as_by_torch():
    """The same losses on the same batches, the same weights, and the same running statistics.

    In float64: in float32 an input of a ReLU that lies within rounding of 0 makes an element of a
    gradient count or not, by the order in which sums are taken.
    """
    net = resnet().double()
    x, y = torch.randn(4, 8, 3, 32, 32).double(), torch.randint(10, (4, 8))
    loaded = xonnx.load(exported(net, x[0], opset_version=17), device="cpu")
    loaded.compile(xpcnn.optim.SGD(0.01, momentum=0.9), xpcnn.CrossEntropyLoss())
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    net.train()
    losses = []
    for images, labels in zip(x, y, strict=True):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        own = loaded.train_on_batch(images.numpy(), labels.numpy())["loss"]
        assert own == pytest.approx(losses[-1], rel=1e-12)
    assert len({round(loss, 3) for loss in losses}) == len(losses)
    for name, array in net.state_dict().items():
        got = np.asarray(loaded.state_dict()[name])
        assert str(got.dtype) == str(array.dtype).removeprefix("torch.")
        # Sums of up to 2048 terms are right to 2048 * 1.1e-16 = 2e-13 of their terms; forty layers
        # and four steps make some hundred times that of it.
        np.testing.assert_allclose(got, array.numpy(), rtol=1e-10, atol=1e-11, err_msg=name)


class Odds(nn.Module):
    """What does not occur in a ResNet."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
        self.norm = nn.GroupNorm(3, 6)
        self.instance = nn.InstanceNorm2d(6, affine=True)
        self.prelu = nn.PReLU(6)
        self.layer_norm = nn.LayerNorm(8)
        self.conv = nn.Conv2d(6, 8, 3, padding=2, dilation=2, padding_mode="reflect")
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.linear = nn.Linear(8, 5)

    def forward(self, x, shift):
        f = nn.functional
        x = self.prelu(self.norm(self.up(x)))
        x = f.hardswish(self.instance(x))
        x = f.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        a, b = torch.split(f.mish(self.conv(x)) * self.scale, [3, 5], dim=1)
        x = torch.cat([b.exp().clamp(0.1, 2.0), a.abs().sqrt()], dim=1)
        x = f.pixel_shuffle(f.pixel_unshuffle(x, 2), 2) + shift
        x = x.view(x.size(0), x.size(1), -1).mean(2)
        return f.log_softmax(self.linear(self.layer_norm(f.relu6(x) - 0.5)), dim=-1), x.sum()


def test_odd_operators_with_gradients():
    torch.manual_seed(1)
    net = Odds().double()
    nn.init.uniform_(net.norm.weight)
    nn.init.uniform_(net.instance.weight)
    inputs = torch.randn(2, 4, 5, 6).double(), torch.randn(2, 8, 1, 1).double()
    loaded = xonnx.load(exported(net, *inputs, opset_version=17), device="cpu")
    leaves = [x.requires_grad_() for x in inputs]
    expected = net(*leaves)
    arrays = [x.detach().numpy() for x in inputs]
    got = loaded.forward(*arrays, training=True)
    dys = [np.random.default_rng(0).normal(size=tuple(y.shape)) for y in expected]
    for own, right in zip(got, expected, strict=True):
        np.testing.assert_allclose(own, right.detach().numpy(), rtol=1e-9, atol=1e-9)
    dxs = loaded.backward(*dys, need_dx=True)
    sum((y * torch.from_numpy(dy)).sum() for y, dy in zip(expected, dys, strict=True)).backward()
    for own, leaf in zip(dxs, leaves, strict=True):
        np.testing.assert_allclose(own, leaf.grad.numpy(), rtol=1e-8, atol=1e-9)
    # names that end in "weight" or "bias" are PyTorch's; a tensor by itself is a value
    own = {name.removesuffix(".value"): p.grad for name, p in loaded.parameters().items()}
    found = 0
    for name, parameter in net.named_parameters():
        if name in own:
            found += 1
            right = parameter.grad.numpy().reshape(np.shape(own[name]))
            np.testing.assert_allclose(own[name], right, rtol=1e-8, atol=1e-9, err_msg=name)
    assert found >= 12
