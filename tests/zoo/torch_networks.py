"""The networks of the zoo in plain PyTorch, with torchvision's structure of attributes.

Written from the papers and from the names in torchvision's state dicts; torchvision is not needed.
Each function takes what the zoo's function of the same name takes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class VGG(nn.Module):
    def __init__(self, counts, norm, classes, in_channels, width, hidden):
        super().__init__()
        layers, channels = [], in_channels
        widths = (width, 2 * width, 4 * width, 8 * width, 8 * width)
        for count, out in zip(counts, widths, strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(channels, out, kernel_size=3, padding=1))
                layers += [nn.BatchNorm2d(out)] if norm else []
                layers.append(nn.ReLU(inplace=True))
                channels = out
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(channels * 49, hidden),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def _vgg(counts, norm):
    def make(classes=1000, in_channels=3, width=64, hidden=4096):
        return VGG(counts, norm, classes, in_channels, width, hidden)

    return make


vgg11, vgg11_bn = _vgg((1, 1, 2, 2, 2), False), _vgg((1, 1, 2, 2, 2), True)
vgg16, vgg16_bn = _vgg((2, 2, 3, 3, 3), False), _vgg((2, 2, 3, 3, 3), True)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, channels, inner, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.downsample = downsample(channels, inner, stride)

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels, inner, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * inner)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample(channels, 4 * inner, stride)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)


def downsample(channels, out, stride):
    if channels == out and stride == 1:
        return None
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(out)
    )


class ResNet(nn.Module):
    def __init__(self, block, counts, classes, in_channels, width):
        super().__init__()
        self.channels = width
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self.stage(block, width, counts[0], 1)
        self.layer2 = self.stage(block, 2 * width, counts[1], 2)
        self.layer3 = self.stage(block, 4 * width, counts[2], 2)
        self.layer4 = self.stage(block, 8 * width, counts[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width * block.expansion, classes)

    def stage(self, block, inner, count, stride):
        blocks = []
        for number in range(count):
            blocks.append(block(self.channels, inner, stride if number == 0 else 1))
            self.channels = inner * block.expansion
        return nn.Sequential(*blocks)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.fc(x)


def resnet18(classes=1000, in_channels=3, width=64):
    return ResNet(BasicBlock, (2, 2, 2, 2), classes, in_channels, width)


def resnet34(classes=1000, in_channels=3, width=64):
    return ResNet(BasicBlock, (3, 4, 6, 3), classes, in_channels, width)


def resnet50(classes=1000, in_channels=3, width=64):
    return ResNet(Bottleneck, (3, 4, 6, 3), classes, in_channels, width)


def conv_bn_relu6(channels, out, kernel=3, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    def __init__(self, channels, out, stride, factor):
        super().__init__()
        inner = channels * factor
        self.use_res_connect = stride == 1 and channels == out
        layers = [conv_bn_relu6(channels, inner, kernel=1)] if factor != 1 else []
        layers += [
            conv_bn_relu6(inner, inner, stride=stride, groups=inner),
            nn.Conv2d(inner, out, 1, bias=False),
            nn.BatchNorm2d(out),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes, in_channels, width):
        super().__init__()

        def scaled(channels):
            new = max(8, int(channels * width + 4) // 8 * 8)
            return new + 8 if new < 0.9 * channels * width else new

        channels = scaled(32)
        features = [conv_bn_relu6(in_channels, channels, stride=2)]
        for t, c, n, s in [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]:
            for i in range(n):
                features.append(InvertedResidual(channels, scaled(c), s if i == 0 else 1, t))
                channels = scaled(c)
        last = max(1280, int(1280 * width + 4) // 8 * 8)
        features.append(conv_bn_relu6(channels, last, kernel=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x):
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


def mobilenet_v2(classes=1000, in_channels=3, width=1.0):
    return MobileNetV2(classes, in_channels, width)


class DenseLayer(nn.Module):
    def __init__(self, channels, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, 4 * growth, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, kernel_size=3, padding=1, bias=False)

    def forward(self, earlier):
        x = self.conv1(self.relu1(self.norm1(torch.cat(earlier, 1))))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    def __init__(self, count, channels, growth):
        super().__init__()
        for i in range(count):
            self.add_module(f"denselayer{i + 1}", DenseLayer(channels + i * growth, growth))

    def forward(self, x):
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class Transition(nn.Sequential):
    def __init__(self, channels, out):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(channels, out, kernel_size=1, bias=False)
        self.pool = nn.AvgPool2d(kernel_size=2, stride=2)


class DenseNet(nn.Module):
    def __init__(self, classes, in_channels, growth, width, counts):
        super().__init__()
        self.features = nn.Sequential()
        conv = nn.Conv2d(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.features.add_module("conv0", conv)
        self.features.add_module("norm0", nn.BatchNorm2d(width))
        self.features.add_module("relu0", nn.ReLU(inplace=True))
        self.features.add_module("pool0", nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
        channels = width
        for i, count in enumerate(counts):
            self.features.add_module(f"denseblock{i + 1}", DenseBlock(count, channels, growth))
            channels += count * growth
            if i != len(counts) - 1:
                transition = Transition(channels, channels // 2)
                self.features.add_module(f"transition{i + 1}", transition)
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.relu(self.features(x), inplace=True)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


def densenet121(classes=1000, in_channels=3, growth=32, width=64, counts=(6, 12, 24, 16)):
    return DenseNet(classes, in_channels, growth, width, counts)


class Fire(nn.Module):
    def __init__(self, channels, squeezed, expand1x1, expand3x3):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, kernel_size=1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, expand1x1, kernel_size=1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, expand3x3, kernel_size=3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.squeeze_activation(self.squeeze(x))
        small = self.expand1x1_activation(self.expand1x1(x))
        return torch.cat([small, self.expand3x3_activation(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Dropout(p=0.5),
            nn.Conv2d(512, classes, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d((1, 1)),
        )

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


def _pool():
    return nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)


def squeezenet1_0(classes=1000, in_channels=3):
    features = [
        nn.Conv2d(in_channels, 96, kernel_size=7, stride=2),
        nn.ReLU(inplace=True),
        _pool(),
        Fire(96, 16, 64, 64),
        Fire(128, 16, 64, 64),
        Fire(128, 32, 128, 128),
        _pool(),
        Fire(256, 32, 128, 128),
        Fire(256, 48, 192, 192),
        Fire(384, 48, 192, 192),
        Fire(384, 64, 256, 256),
        _pool(),
        Fire(512, 64, 256, 256),
    ]
    return SqueezeNet(features, classes)


def squeezenet1_1(classes=1000, in_channels=3):
    features = [
        nn.Conv2d(in_channels, 64, kernel_size=3, stride=2),
        nn.ReLU(inplace=True),
        _pool(),
        Fire(64, 16, 64, 64),
        Fire(128, 16, 64, 64),
        _pool(),
        Fire(128, 32, 128, 128),
        Fire(256, 32, 128, 128),
        _pool(),
        Fire(256, 48, 192, 192),
        Fire(384, 48, 192, 192),
        Fire(384, 64, 256, 256),
        Fire(512, 64, 256, 256),
    ]
    return SqueezeNet(features, classes)


class TwoConvolutions(nn.Module):
    def __init__(self, channels, out, transpose=None):
        super().__init__()
        if transpose is not None:
            self.transpose = transpose
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)

    def forward(self, x, skipped=None):
        if skipped is not None:
            x = torch.cat((skipped, self.transpose(x)), dim=1)
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x)).relu()


class UNet(nn.Module):
    def __init__(self, classes, in_channels, width, depth):
        super().__init__()
        self.depth = depth
        self.down0 = TwoConvolutions(in_channels, width)
        for level in range(depth):
            narrow, wide = width * 2**level, width * 2 ** (level + 1)
            setattr(self, f"down{level + 1}", TwoConvolutions(narrow, wide))
        for level in reversed(range(depth)):
            narrow, wide = width * 2**level, width * 2 ** (level + 1)
            up = nn.ConvTranspose2d(wide, narrow, 2, 2)
            setattr(self, f"up{level}", TwoConvolutions(wide, narrow, up))
        self.scores = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        kept = [self.down0(x)]
        for level in range(1, self.depth + 1):
            kept.append(getattr(self, f"down{level}")(F.max_pool2d(kept[-1], 2)))
        x = kept[-1]
        for level in reversed(range(self.depth)):
            x = getattr(self, f"up{level}")(x, kept[level])
        return self.scores(x)


def unet(classes=2, in_channels=1, width=64, depth=4):
    return UNet(classes, in_channels, width, depth)


def lenet5(classes=10, in_channels=1):
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )


def simple_conv_net(classes=10):
    """The course's network for grey images of 28 by 28."""
    return nn.Sequential(
        nn.Conv2d(1, 30, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(30 * 12 * 12, 100),
        nn.ReLU(),
        nn.Linear(100, classes),
    )


def deep_conv_net(classes=10):
    """The course's network for grey images of 28 by 28."""
    layers, channels = [], 1
    for out, paddings in ((16, (1, 1)), (32, (1, 2)), (64, (1, 1))):
        for padding in paddings:
            layers += [nn.Conv2d(channels, out, 3, padding=padding), nn.ReLU()]
            channels = out
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(64 * 4 * 4, 50), nn.ReLU(), nn.Dropout(0.5)]
    layers += [nn.Linear(50, classes)]
    return nn.Sequential(*layers)
