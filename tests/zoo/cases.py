"""Every network of the zoo, small and full, with an input."""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    """Arguments for a network that is quick to run, an input for it, and the full size.

    `parameters` is the number of weights of the network without arguments: torchvision's
    documentation has it (``num_params``) for the networks torchvision has.
    """

    small: dict[str, Any]
    shape: tuple[int, ...]
    parameters: int


RESNET = {"classes": 7, "in_channels": 2, "width": 4}
VGG = {"classes": 7, "in_channels": 2, "width": 2, "hidden": 5}

CASES = {
    "deep_conv_net": Case({"classes": 7}, (3, 1, 28, 28), 123_552),
    "densenet121": Case(
        {"classes": 7, "in_channels": 2, "growth": 2, "width": 4, "counts": (2, 3, 2, 2)},
        (3, 2, 64, 64),
        7_978_856,
    ),
    "lenet5": Case({"classes": 7, "in_channels": 2}, (3, 2, 28, 28), 61_706),
    "mobilenet_v2": Case({"classes": 7, "in_channels": 2, "width": 0.1}, (3, 2, 40, 40), 3_504_872),
    "resnet18": Case(RESNET, (3, 2, 40, 48), 11_689_512),
    "resnet34": Case(RESNET, (3, 2, 40, 48), 21_797_672),
    "resnet50": Case(RESNET, (3, 2, 40, 48), 25_557_032),
    "simple_conv_net": Case({"classes": 7}, (3, 1, 28, 28), 433_890),
    "squeezenet1_0": Case({"classes": 7, "in_channels": 2}, (2, 2, 48, 40), 1_248_424),
    "squeezenet1_1": Case({"classes": 7, "in_channels": 2}, (2, 2, 48, 40), 1_235_496),
    "unet": Case(
        {"classes": 3, "in_channels": 2, "width": 4, "depth": 2}, (2, 2, 16, 24), 31_036_546
    ),
    "vgg11": Case(VGG, (3, 2, 40, 36), 132_863_336),
    "vgg11_bn": Case(VGG, (3, 2, 40, 36), 132_868_840),
    "vgg16": Case(VGG, (3, 2, 40, 36), 138_357_544),
    "vgg16_bn": Case(VGG, (3, 2, 40, 36), 138_365_992),
}
