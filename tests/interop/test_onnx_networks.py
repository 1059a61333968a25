"""Whole networks as ONNX files: drawn at random, of the zoo, and a ResNet trained on the way."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn as xc
from tests.interop.onnx_written import checked, close, filled, known, run
from tests.pytorch import nn, torch
from xpcnn import operations as op
from xpcnn.interop import onnx as xonnx

IMAGE = (2, 3, 12, 10)


def draw_layer(rng, shape):
    """Return a layer that takes inputs of this shape."""
    c, h, w = shape[1:]
    k = int(rng.integers(1, 4))
    padding = ["same", "valid", 1, ((1, 0), (0, 1))][rng.integers(4)] if k > 2 else 0
    pool = {"stride": int(rng.integers(1, 4)), "ceil_mode": bool(rng.integers(2))}
    makers = [
        lambda: xc.Conv2d(
            c,
            4,
            k,
            int(rng.integers(1, 3)),
            padding,
            padding_mode="zeros",
            bias=bool(rng.integers(2)),
        ),
        lambda: xc.Conv2d(c, 2 * c, 3, 1, 1, groups=c, padding_mode="reflect"),
        lambda: xc.ConvTranspose2d(c, 3, 3, 2, 1, output_padding=int(rng.integers(2))),
        lambda: xc.SeparableConv2d(c, 4, 3, padding="same"),
        lambda: xc.MaxPool2d(3, padding=int(rng.integers(2)), **pool),
        lambda: xc.AvgPool2d(
            3, padding=int(rng.integers(2)), count_include_pad=bool(rng.integers(2)), **pool
        ),
        lambda: xc.AvgPool2d(2, divisor_override=3, **pool),
        lambda: xc.LPPool2d(2, 2, **pool),
        lambda: xc.AdaptiveAvgPool2d((int(rng.integers(2, 7)), None)),
        lambda: xc.BatchNorm2d(c),
        lambda: xc.InstanceNorm2d(c, affine=bool(rng.integers(2))),
        lambda: xc.GroupNorm(1, c),
        lambda: xc.LayerNorm((h, w)),
        lambda: xc.RMSNorm(w),
        lambda: xc.LocalResponseNorm(int(rng.integers(1, 5)), 0.1),
        lambda: xc.Upsample(scale_factor=float(rng.choice([1.3, 1.5, 2.0]))),
        lambda: xc.Upsample((5, 7), mode="bilinear", align_corners=bool(rng.integers(2))),
        lambda: xc.Upsample(scale_factor=1.7, mode="bicubic"),
        lambda: xc.ReflectionPad2d((1, 0, 1, 1)),
        lambda: xc.CircularPad2d((1, -1, 0, 1)),
        lambda: xc.Dropout2d(0.5),
        lambda: xc.ChannelShuffle(c),
        lambda: xc.Residual(xc.Sequential(xc.Conv2d(c, c, 3, padding=1), xc.SiLU())),
        lambda: xc.Parallel([xc.Conv2d(c, 2, 1), xc.Conv2d(c, 3, 3, padding=1)]),
        *(xc.ReLU, xc.GELU, xc.Mish, xc.Hardswish, xc.SELU, xc.Tanhshrink, xc.Softmax2d),
        lambda: xc.PReLU(c),
        lambda: xc.CELU(0.5),
        lambda: xc.Softplus(2.0),
    ]
    return makers[rng.integers(len(makers))]()


def draw_network(seed):
    """Return a chain of layers that does not get too large, with a head of its own."""
    rng = np.random.default_rng(seed)
    layers, shape = [], IMAGE
    while len(layers) < 6:
        layer = draw_layer(rng, shape)
        try:
            new = layer.output_shape(shape)
        except ValueError:
            continue  # the image has become too small for it
        if min(new[2:]) >= 2 and np.prod(new) < 20_000:
            layers.append(layer)
            shape = new
    return [*layers, xc.Flatten(), xc.Linear(out_features=4), xc.LogSoftmax()]


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed):
    x = np.random.default_rng(seed).normal(size=IMAGE)
    opset = min((11, 13, 17, 18, 21, 28)[seed % 6], known(21, 28)[-1])
    # random weights make numbers large; those that a new layer has do not
    wide = xc.Model(draw_network(seed), device="cpu", dtype="float64", seed=seed)
    wide.build((None, *IMAGE[1:]))
    data = xonnx.to_bytes(wide, opset=opset)
    close(xonnx.load(data, device="cpu").predict(x), wide.predict(x), 1e-10)
    narrow = xc.Model(draw_network(seed), device="cpu", seed=seed)
    narrow.build((None, *IMAGE[1:]))
    data = xonnx.to_bytes(narrow, opset=opset)
    checked(data)
    x = x.astype("float32")
    close(run(data, x)[0], narrow.predict(x), 1e-4)


def test_a_graph_that_computes_shapes():
    """Sizes are read off one branch to resize the other, as decoders do."""
    graph = xc.Graph(
        "x",
        [
            ("down", xc.Conv2d(2, 3, 3, 2), "x"),
            ("shape", op.ShapeOf(0, 1), "down"),
            ("rest", op.Constant.of(np.array([-1]), follows=False), []),
            ("wanted", op.Concat(0), ["shape", "rest"]),
            ("flat", op.Reshape(), ["down", "wanted"]),
            ("y", xc.Linear(48, 2), "flat"),
        ],
        "y",
    )
    model = filled(graph, (None, 2, 9, 9))
    x = np.random.default_rng(0).normal(size=(3, 2, 9, 9)).astype("float32")
    data = xonnx.to_bytes(model)
    checked(data)
    close(run(data, x)[0], model.predict(x), 1e-5)
    close(xonnx.load(data, device="cpu").predict(x), model.predict(x), 1e-6)


# -- A ResNet from PyTorch to onnxruntime ----------------------------------------------------------


def fine_tuned(width, size, steps, rate=0.002):
    """Import a ResNet-18 that PyTorch exported, and train both on the same batches in float64."""
    pytest.importorskip("onnx")
    theirs = pytest.importorskip("tests.interop.test_onnx_from_torch")
    torch.manual_seed(0)
    net = theirs.ResNet18(width).double().eval()
    x, y = torch.randn(steps, 8, 3, size, size).double(), torch.randint(10, (steps, 8))
    model = xonnx.load(theirs.exported(net, x[0], opset_version=17), device="cpu")
    model.compile(xc.optim.SGD(rate, momentum=0.9), xc.CrossEntropyLoss())
    optimizer = torch.optim.SGD(net.parameters(), rate, momentum=0.9)
    net.train()
    for images, labels in zip(x, y, strict=True):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(images), labels)
        loss.backward()
        optimizer.step()
        own = model.train_on_batch(images.numpy(), labels.numpy())["loss"]
        assert own == pytest.approx(float(loss.detach()), rel=1e-12)
    net.eval()
    with torch.no_grad():
        expected = net(x[0]).numpy()
    close(model.predict(x[0].numpy()), expected, 1e-9)
    return model, x[0].numpy().astype("float32")


def compare_predictions(model, x):
    """Write the model in float32, and run it there and here."""
    expected = model.predict(x.astype("float64"))
    model.to(dtype="float32")
    data = xonnx.to_bytes(model)
    checked(data)
    own = model.predict(x)
    close(own, expected.astype("float32"), 1e-4)
    close(run(data, x)[0], own, 1e-4)
    again = xonnx.load(data, device="cpu")
    assert set(again.state_dict()) == set(model.state_dict())
    close(again.predict(x), own, 1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_small_resnet_is_imported_trained_and_exported():
    compare_predictions(*fine_tuned(width=8, size=64, steps=4))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_resnet18_is_imported_trained_and_exported():
    """The network of the paper, 64 to 512 channels wide."""
    compare_predictions(*fine_tuned(width=64, size=64, steps=4, rate=0.0005))


# -- The zoo ---------------------------------------------------------------------------------------

# How large an image each family needs at least, its channels, and arguments that keep it small.
ZOO = {
    "lenet5": ((1, 28, 28), {}),
    "simple_conv_net": ((1, 28, 28), {}),
    "deep_conv_net": ((1, 28, 28), {}),
    "vgg11": ((3, 32, 32), {"width": 8, "hidden": 16}),
    "vgg11_bn": ((3, 32, 32), {"width": 8, "hidden": 16}),
    "vgg16": ((3, 32, 32), {"width": 8, "hidden": 16}),
    "vgg16_bn": ((3, 32, 32), {"width": 8, "hidden": 16}),
    "resnet18": ((3, 32, 32), {"width": 8}),
    "resnet34": ((3, 32, 32), {"width": 8}),
    "resnet50": ((3, 32, 32), {"width": 8}),
    "mobilenet_v2": ((3, 32, 32), {"width": 0.25}),
    "densenet121": ((3, 32, 32), {"growth": 4, "width": 8}),
    "squeezenet1_0": ((3, 35, 35), {}),
    "squeezenet1_1": ((3, 35, 35), {}),
    "unet": ((1, 32, 32), {"width": 4}),
}


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_is_written_and_read_again(name):
    zoo = pytest.importorskip("xpcnn.zoo")
    shape, options = ZOO[name]
    # statistics and scales that are no longer the first ones, and weights that still are
    model = xc.Model(getattr(zoo, name)(**options), device="cpu", dtype="float64", seed=0)
    model.build((None, *shape))
    rng = np.random.default_rng(0)
    for key, tensor in model.network._tensors().items():
        if key.endswith(("running_mean", "running_var")):
            tensor.renew(rng.uniform(0.5, 1.5, size=tensor.value.shape))
    x = rng.normal(size=(2, *shape))
    expected = model.predict(x)
    data = xonnx.to_bytes(model)
    again = xonnx.load(data, device="cpu")
    close(again.predict(x), expected, 1e-10)
    assert set(again.state_dict()) == set(model.state_dict())
    model.to(dtype="float32")
    x = x.astype("float32")
    data = xonnx.to_bytes(model)
    checked(data)
    close(run(data, x)[0], model.predict(x), 1e-4)


def test_all_of_the_zoo_is_tried():
    zoo = pytest.importorskip("xpcnn.zoo")
    assert set(ZOO) == set(zoo.__all__)
