"""Every layer and loss, with arguments and inputs: once for all libraries.

A typical case is what networks have, an odd one has sizes that are multiples of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from xpcnn.bench.layers.inputs import (
    Input,
    Shape,
    class_lists,
    distributions,
    log_distributions,
    normal,
    numbers_below,
    shares,
    signs,
    yes_or_no,
)

ROW, ODD_ROW = (128, 1024), (33, 250)
SCORES, ODD_SCORES = (128, 1000), (33, 17)
LINE, ODD_LINE = (32, 64, 256), (13, 30, 197)
IMAGE, ODD_IMAGE = (16, 64, 28, 28), (7, 30, 33, 29)
VOLUME, ODD_VOLUME = (4, 16, 16, 16, 16), (3, 10, 9, 14, 11)
WORDS = (8, 128, 512)
"""Samples, positions, features: here the features are the last axis."""
BY_RANK: dict[int, tuple[Shape, Shape]] = {
    1: (LINE, ODD_LINE),
    2: (IMAGE, ODD_IMAGE),
    3: (VOLUME, ODD_VOLUME),
}


@dataclass(frozen=True)
class Case:
    """A layer or a loss, with what it is given.

    Attributes
    ----------
    layer : str
        Name of the class, in both libraries.
    label : str
        Says which case of this class it is.
    inputs : tuple of Input
        Of a loss the predictions, and behind them the target if it has one.
    arguments : mapping
        Of the class, by their names.
    loss : bool
        Whether it is a loss.
    predictions : int
        How many inputs of a loss get a gradient.
    random : bool
        Whether outputs are drawn, so that they cannot be compared.
    rows : bool
        Whether the inputs lie in memory in the order of their axes. Otherwise, those with more than
        two axes have the channels last for xpcnn, as layers before them leave them.
    """

    layer: str
    label: str
    inputs: tuple[Input, ...]
    arguments: Mapping[str, Any]
    loss: bool = False
    predictions: int = 1
    random: bool = False
    rows: bool = False

    @property
    def name(self) -> str:
        """What the case is called in tables."""
        return f"{self.layer} {self.label}"


def _case(layer: str, label: str, shape: Shape, **arguments: Any) -> Case:
    return Case(layer, label, (Input(normal, shape),), arguments)


def _rows(layer: str, label: str, shape: Shape, **arguments: Any) -> Case:
    return Case(layer, label, (Input(normal, shape),), arguments, rows=True)


def _random(layer: str, label: str, shape: Shape, **arguments: Any) -> Case:
    return Case(layer, label, (Input(normal, shape),), arguments, random=True)


def _activations() -> list[Case]:
    arguments: dict[str, dict[str, Any]] = {
        "Threshold": {"threshold": 0.1, "value": -0.4},
        "GLU": {"dim": 1},
        "PReLU": {"num_parameters": 1},
    }
    names = (
        *("CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh"),
        *("LeakyReLU", "LogSigmoid", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid"),
        *("Softmax2d", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold"),
    )
    found = []
    for name in names:
        found.append(_case(name, "typical", IMAGE, **arguments.get(name, {})))
        found.append(_case(name, "odd", ODD_IMAGE, **arguments.get(name, {})))
    found.append(_case("GELU", "tanh", IMAGE, approximate="tanh"))
    found.append(_case("PReLU", "channels", IMAGE, num_parameters=64))
    for name in ("Softmax", "LogSoftmax", "Softmin"):
        found.append(_case(name, "typical", SCORES, dim=1))
        found.append(_case(name, "odd", ODD_IMAGE, dim=1))
    return found


def _convolutions() -> list[Case]:
    same = {"in_channels": 64, "out_channels": 64, "kernel_size": 3, "padding": 1}
    volume = {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "padding": 1}
    odd = {"in_channels": 30, "out_channels": 50, "kernel_size": 5, "stride": 3}
    odd_volume = {"in_channels": 10, "out_channels": 7, "kernel_size": (2, 3, 5)}
    doubled = {"in_channels": 64, "out_channels": 32, "kernel_size": 4, "stride": 2, "padding": 1}
    odd_doubled = {"in_channels": 30, "out_channels": 7, "kernel_size": 5, "stride": 3}
    doubled_volume = {"in_channels": 16, "out_channels": 8, "kernel_size": 2, "stride": 2}
    separable = {"in_channels": 64, "out_channels": 128, "kernel_size": 3, "padding": 1}
    stem = {"in_channels": 3, "out_channels": 64, "kernel_size": 7, "stride": 2, "padding": 3}
    return [
        _case("Conv1d", "typical", LINE, **same),
        _case("Conv1d", "odd", ODD_LINE, **odd),
        _case("Conv2d", "typical", IMAGE, **same),
        _case("Conv2d", "odd", ODD_IMAGE, **odd),
        _case("Conv2d", "1x1", IMAGE, in_channels=64, out_channels=128, kernel_size=1),
        _case("Conv2d", "stem", (8, 3, 112, 112), **stem),
        _case("Conv2d", "depthwise", IMAGE, **same, groups=64),
        _case("Conv2d", "groups", IMAGE, **same, groups=4),
        _case("Conv2d", "dilated", IMAGE, **same | {"padding": 2}, dilation=2),
        _case("Conv2d", "few filters", IMAGE, in_channels=64, out_channels=3, kernel_size=3),
        _case("Conv2d", "reflecting", IMAGE, **same, padding_mode="reflect"),
        _case("Conv3d", "typical", VOLUME, **volume),
        _case("Conv3d", "odd", ODD_VOLUME, **odd_volume),
        _case("ConvTranspose1d", "typical", LINE, **doubled),
        _case("ConvTranspose1d", "odd", ODD_LINE, **odd_doubled),
        _case("ConvTranspose2d", "typical", IMAGE, **doubled),
        _case("ConvTranspose2d", "odd", ODD_IMAGE, **odd_doubled),
        _case("ConvTranspose3d", "typical", VOLUME, **doubled_volume),
        _case("ConvTranspose3d", "odd", ODD_VOLUME, **odd_volume),
        _case("SeparableConv1d", "typical", LINE, **separable),
        _case("SeparableConv1d", "odd", ODD_LINE, **odd),
        _case("SeparableConv2d", "typical", IMAGE, **separable),
        _case("SeparableConv2d", "odd", ODD_IMAGE, **odd),
        _case("Unfold", "typical", IMAGE, kernel_size=3, padding=1),
        _case("Unfold", "odd", ODD_IMAGE, kernel_size=(2, 5), stride=3),
    ]


def _linear() -> list[Case]:
    bilinear = {"in1_features": 128, "in2_features": 96, "out_features": 32}
    odd_bilinear = {"in1_features": 30, "in2_features": 50, "out_features": 7}
    words = {"num_embeddings": 10_000, "embedding_dim": 128}
    odd_words = {"num_embeddings": 1001, "embedding_dim": 30}
    two = Input(normal, (64, 128)), Input(normal, (64, 96))
    odd_two = Input(normal, (33, 30)), Input(normal, (33, 50))
    return [
        _case("Linear", "typical", ROW, in_features=1024, out_features=512),
        _case("Linear", "odd", ODD_ROW, in_features=250, out_features=70),
        _case("Linear", "one sample", (1, 1024), in_features=1024, out_features=1000),
        _rows("Linear", "positions", WORDS, in_features=512, out_features=512),
        Case("Bilinear", "typical", two, bilinear),
        Case("Bilinear", "odd", odd_two, odd_bilinear),
        Case("Embedding", "typical", (Input(numbers_below(10_000), (64, 128)),), words, rows=True),
        Case("Embedding", "odd", (Input(numbers_below(1001), (13, 7, 5)),), odd_words, rows=True),
    ]


def _pooling(rank: int, shape: Shape, odd: Shape) -> list[Case]:
    found = []
    for kind in ("Max", "Avg"):
        name = f"{kind}Pool{rank}d"
        overlapping = {"kernel_size": 3, "stride": 2, "padding": 1}
        found.append(_case(name, "typical", shape, kernel_size=2))
        found.append(_case(name, "overlapping", shape, **overlapping))
        found.append(_case(name, "odd", odd, kernel_size=3, stride=2, padding=1, ceil_mode=True))
        found.append(_case(f"Adaptive{name}", "typical", shape, output_size=4))
        found.append(_case(f"Adaptive{name}", "one", shape, output_size=1))
        found.append(_case(f"Adaptive{name}", "odd", odd, output_size=5))
        found.append(_case(f"Global{name}", "typical", shape))
        found.append(_case(f"Global{name}", "odd", odd))
    found.append(_case(f"LPPool{rank}d", "typical", shape, norm_type=2, kernel_size=2))
    found.append(_case(f"LPPool{rank}d", "odd", odd, norm_type=4, kernel_size=3, stride=2))
    return found


def _normalization(rank: int, shape: Shape, odd: Shape) -> list[Case]:
    found = []
    for kind in ("BatchNorm", "InstanceNorm"):
        for label, one in (("typical", shape), ("odd", odd)):
            found.append(_case(f"{kind}{rank}d", label, one, num_features=one[1], affine=True))
    return found


def _other_normalization() -> list[Case]:
    return [
        _case("BatchNorm1d", "rows", ROW, num_features=1024),
        _case("GroupNorm", "typical", IMAGE, num_groups=8, num_channels=64),
        _case("GroupNorm", "odd", ODD_IMAGE, num_groups=5, num_channels=30),
        _rows("LayerNorm", "typical", WORDS, normalized_shape=512),
        _rows("LayerNorm", "odd", ODD_IMAGE, normalized_shape=(33, 29)),
        _rows("RMSNorm", "typical", WORDS, normalized_shape=512),
        _rows("RMSNorm", "odd", ODD_IMAGE, normalized_shape=(33, 29)),
        _case("LocalResponseNorm", "typical", IMAGE, size=5),
        _case("LocalResponseNorm", "odd", ODD_IMAGE, size=3),
    ]


def _padding(rank: int, shape: Shape, odd: Shape) -> list[Case]:
    found = []
    for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular"):
        name, value = f"{kind}Pad{rank}d", {"value": 0.5} if kind == "Constant" else {}
        found.append(_case(name, "typical", shape, padding=1, **value))
        found.append(_case(name, "odd", odd, padding=(2, 1, 0, 3, 1, 0)[: 2 * rank], **value))
    return found


def _dropout() -> list[Case]:
    shapes = {
        "Dropout": (IMAGE, ODD_ROW),
        "Dropout1d": (LINE, ODD_LINE),
        "Dropout2d": (IMAGE, ODD_IMAGE),
        "Dropout3d": (VOLUME, ODD_VOLUME),
        "AlphaDropout": (IMAGE, ODD_ROW),
        "FeatureAlphaDropout": (IMAGE, ODD_IMAGE),
        "StochasticDepth": (IMAGE, ODD_IMAGE),
    }
    return [
        _random(name, label, shape, p=0.3)
        for name, both in shapes.items()
        for label, shape in zip(("typical", "odd"), both, strict=True)
    ]


def _shapes() -> list[Case]:
    return [
        _rows("Identity", "typical", IMAGE),
        _rows("Identity", "odd", ODD_IMAGE),
        _rows("Flatten", "typical", IMAGE),
        _rows("Flatten", "odd", ODD_IMAGE),
        _rows("Unflatten", "typical", ROW, dim=1, unflattened_size=(16, 64)),
        _rows("Unflatten", "odd", ODD_ROW, dim=1, unflattened_size=(5, 50)),
        _case("ChannelShuffle", "typical", IMAGE, groups=4),
        _case("ChannelShuffle", "odd", ODD_IMAGE, groups=5),
        _case("PixelShuffle", "typical", IMAGE, upscale_factor=2),
        _case("PixelShuffle", "odd", (7, 27, 11, 13), upscale_factor=3),
        _case("PixelUnshuffle", "typical", IMAGE, downscale_factor=2),
        _case("PixelUnshuffle", "odd", (7, 3, 33, 27), downscale_factor=3),
        _case("Upsample", "typical", IMAGE, scale_factor=2),
        _case("Upsample", "odd", ODD_IMAGE, size=(50, 41), mode="bicubic"),
        _case("Upsample", "linear", LINE, scale_factor=2, mode="linear"),
        _case("Upsample", "bilinear", IMAGE, scale_factor=2, mode="bilinear"),
        _case("Upsample", "trilinear", VOLUME, scale_factor=2, mode="trilinear"),
        _case("UpsamplingNearest2d", "typical", IMAGE, scale_factor=2),
        _case("UpsamplingNearest2d", "odd", ODD_IMAGE, size=(50, 41)),
        _case("UpsamplingBilinear2d", "typical", IMAGE, scale_factor=2),
        _case("UpsamplingBilinear2d", "odd", ODD_IMAGE, size=(50, 41)),
    ]


def _loss(layer: str, label: str, *inputs: Input, predictions: int = 1, **arguments: Any) -> Case:
    return Case(layer, label, inputs, arguments, loss=True, predictions=predictions, rows=True)


def _losses(label: str, scores: Shape, values: Shape) -> list[Case]:
    """Make a case of every loss, for predictions of these shapes."""
    count, classes = scores
    right = Input(numbers_below(classes), (count,))
    logits, numbers = Input(normal, scores), Input(normal, values)
    yes, sides = Input(yes_or_no, scores), Input(signs, scores)
    by_row = Input(signs, (count,))
    return [
        _loss("CrossEntropyLoss", label, logits, right),
        _loss("NLLLoss", label, Input(log_distributions, scores), right),
        _loss("MSELoss", label, numbers, numbers),
        _loss("L1Loss", label, numbers, numbers),
        _loss("HuberLoss", label, numbers, numbers),
        _loss("SmoothL1Loss", label, numbers, numbers),
        _loss("BCEWithLogitsLoss", label, logits, yes),
        _loss("BCELoss", label, Input(shares, scores), yes),
        _loss(
            "KLDivLoss",
            label,
            Input(log_distributions, scores),
            Input(distributions, scores),
            reduction="batchmean",
        ),
        _loss("PoissonNLLLoss", label, numbers, Input(numbers_below(9), values)),
        _loss("GaussianNLLLoss", label, numbers, Input(shares, values), numbers, predictions=2),
        _loss("MultiMarginLoss", label, logits, right),
        _loss("SoftMarginLoss", label, logits, sides),
        _loss("HingeEmbeddingLoss", label, Input(shares, scores), sides),
        _loss("CosineEmbeddingLoss", label, logits, logits, by_row, predictions=2),
        _loss("MarginRankingLoss", label, numbers, numbers, Input(signs, values), predictions=2),
        _loss("MultiLabelMarginLoss", label, Input(normal, (count, 17)), _lists(count)),
        _loss("MultiLabelSoftMarginLoss", label, logits, yes),
        _loss("TripletMarginLoss", label, logits, logits, logits, predictions=3),
    ]


def _lists(count: int) -> Input:
    return Input(class_lists, (count, 17))


def _all() -> list[Case]:
    found = [*_convolutions(), *_linear(), *_activations()]
    for rank, shapes in BY_RANK.items():
        found += _pooling(rank, *shapes)
        found += _normalization(rank, *shapes)
        found += _padding(rank, *shapes)
    found += [*_other_normalization(), *_dropout(), *_shapes()]
    found += _losses("typical", SCORES, ROW)
    found += _losses("odd", ODD_SCORES, ODD_ROW)
    pixels = Input(normal, (4, 21, 65, 65)), Input(numbers_below(21), (4, 65, 65))
    return [*found, _loss("CrossEntropyLoss", "pixels", *pixels)]


CASES: dict[str, Case] = {case.name: case for case in _all()}


def choose(patterns: Sequence[str]) -> list[Case]:
    """Return the cases of the classes whose names fit one of some patterns, in order.

    Raises
    ------
    ValueError
        If a pattern fits none.
    """
    classes = dict.fromkeys(case.layer for case in CASES.values())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in classes):
            raise ValueError(
                f"no layer or loss is called {pattern!r}; write names such as Conv2d, or a pattern "
                "such as '*Pool2d'"
            )
    return [
        case
        for case in CASES.values()
        if any(fnmatchcase(case.layer, pattern) for pattern in patterns)
    ]
