"""What is measured: sizes that are known from elsewhere."""

from __future__ import annotations

import pytest

import xpcnn
from xpcnn.bench.workloads import WORKLOADS, choose


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Counted by hand. conv 5x5 on 24x24 outputs, then 4320 x 100 and 100 x 10; the gradient of
        # the first layer's input is not needed.
        ("simple", 2 * 100 * 24 * 24 * 30 * 25 + 3 * 100 * (4320 * 100 + 100 * 10)),
        ("mlp", 20 * (2 * 784 * 400 + 3 * (400 * 200 + 200 * 10))),
        ("simple-predict", 24 * 24 * 30 * 25 + 4320 * 100 + 100 * 10),
        ("conv64-forward", 8 * 56 * 56 * 64 * 64 * 9),
        ("conv64-gradients", 3 * 8 * 56 * 56 * 64 * 64 * 9),
    ],
)
def test_multiply_adds(name, expected):
    assert WORKLOADS[name].multiply_adds() == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", 11_173_962),  # the usual network for images of 32 x 32
        ("resnet18-224-predict", 11_689_512),  # torchvision's resnet18
        ("mobilenet", 2_236_682),  # torchvision's mobilenet_v2 with ten classes
        ("mobilenetv2", 2_236_682),
        ("mobilenetv2-224-predict", 3_504_872),  # torchvision's mobilenet_v2
        ("squeezenet-224-predict", 1_235_496),  # torchvision's squeezenet1_1
        ("lenet5-predict", 61_706),
    ],
)
def test_networks_have_the_parameters_of_the_published_ones(name, expected):
    model = xpcnn.Model(WORKLOADS[name].build(xpcnn.layers), device="cpu", seed=0)
    model.build(WORKLOADS[name].shape)
    assert sum(parameter.data.size for parameter in model.parameters().values()) == expected


@pytest.mark.parametrize("name", [name for name in WORKLOADS if WORKLOADS[name].zoo])
def test_the_zoo_has_the_network_that_is_described(name):
    workload = WORKLOADS[name]
    described = xpcnn.Sequential(workload.build(xpcnn.layers))
    published = workload.zoo(xpcnn.zoo)
    assert described.output_shape(workload.shape) == published.output_shape(workload.shape)
    assert described.multiply_adds(workload.shape) == published.multiply_adds(workload.shape)
    shapes = [
        [parameter.shape for parameter in network.parameters().values()]
        for network in (described, published)
    ]
    assert shapes[0] == shapes[1]


def test_images_of_the_small_networks_are_cut_to_a_quarter_of_an_eighth():
    """ResNet-18 and MobileNetV2 for 32 x 32 end with 4 x 4 pixels."""
    for name in ("resnet18", "mobilenet"):
        shape = WORKLOADS[name].shape
        for layer in WORKLOADS[name].build(xpcnn.layers):
            if isinstance(layer, xpcnn.GlobalAvgPool2d):
                assert shape[2:] == (4, 4)
            shape = layer.output_shape(shape)
        assert shape == (32, 10)


def test_choice_by_pattern_keeps_the_order():
    names = [workload.name for workload in choose(["simple-*", "conv*-forward", "simple"])]
    convolutions = [f"conv{channels}-forward" for channels in (64, 128, 256, 512)]
    assert names == ["simple", *convolutions, "simple-predict"]
    assert [workload.name for workload in choose(["*"])] == list(WORKLOADS)


def test_a_pattern_that_fits_nothing_is_an_error():
    with pytest.raises(ValueError, match="no workload 'conv65'; choose from simple, deep"):
        choose(["simple", "conv65"])
