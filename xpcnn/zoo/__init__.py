"""Published networks, each a function that returns a layer: one short file per family.

Where torchvision has the network, the names of the weights are torchvision's, so that its
published weights load (docs/zoo.md says how). Nothing is downloaded and no weights are shipped.
"""

from xpcnn.zoo.course import deep_conv_net, simple_conv_net
from xpcnn.zoo.densenet import densenet121
from xpcnn.zoo.lenet import lenet5
from xpcnn.zoo.mobilenet import mobilenet_v2
from xpcnn.zoo.resnet import resnet18, resnet34, resnet50
from xpcnn.zoo.squeezenet import squeezenet1_0, squeezenet1_1
from xpcnn.zoo.unet import unet
from xpcnn.zoo.vgg import vgg11, vgg11_bn, vgg16, vgg16_bn

__all__ = [
    "simple_conv_net", "deep_conv_net", "lenet5", "unet", "densenet121", "mobilenet_v2",
    "resnet18", "resnet34", "resnet50", "squeezenet1_0", "squeezenet1_1", "vgg11", "vgg11_bn",
    "vgg16", "vgg16_bn",
]  # fmt: skip
