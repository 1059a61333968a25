"""Warnings about what trains without an error, but is probably a mistake."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from xpcnn import _xp, layers, losses
from xpcnn._xp import Array
from xpcnn.layers.containers import Sequential
from xpcnn.layers.conv import Conv
from xpcnn.layers.conv_transpose import ConvTranspose
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.preprocessing import Preprocessing
from xpcnn.layers.separable import SeparableConv

_PACKAGE = str(Path(__file__).parents[1])

GIVES: dict[type[Layer], str] = {
    layers.Softmax: "probabilities",
    layers.Softmax2d: "probabilities",
    layers.Softmin: "probabilities",
    layers.Sigmoid: "probabilities",
    layers.Hardsigmoid: "probabilities",
    layers.LogSoftmax: "log_probabilities",
    layers.LogSigmoid: "log_probabilities",
}
"""What a layer at the end of a network makes of scores; layers with weights give scores."""

NAMES = {
    "logits": "scores of any size (logits)",
    "probabilities": "probabilities",
    "log_probabilities": "logarithms of probabilities",
}
_SAME_NUMBERS = (layers.Identity, layers.Flatten, layers.Unflatten, layers.Dropout)
_WITH_WEIGHTS = (
    layers.Linear, layers.Bilinear, Conv, ConvTranspose, SeparableConv, BatchNorm,
)  # fmt: skip
_SAMPLE = 256


def warn(message: str) -> None:
    """Warn at the line of the user's program."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def doubt_ends(network: Layer, outputs: Sequence[str], loss: losses.Loss) -> None:
    """Warn if a layer that ends the network and the loss behind it do not fit each other."""
    if loss.predictions != len(outputs):
        return
    for position, output in enumerate(outputs):
        last, own = last_layer(network, output), loss.of_output(position)
        gives = _gives(last)
        if last is not None and gives is not None and own.reads in NAMES and gives != own.reads:
            where = "the network" if len(outputs) == 1 else f"output {output!r} of the network"
            warn(
                f"{where} ends in {type(last).__name__}, which gives {NAMES[gives]}, and "
                f"{type(own).__name__} takes {NAMES[own.reads]}; {_advice(last, own)}"
            )


def what_outputs_are(network: Layer, outputs: Sequence[str], loss: losses.Loss) -> list[str | None]:
    """Return what the last layer of each output gives, where it is known and the loss is silent."""
    return [
        _gives(last_layer(network, output)) if loss.of_output(i).reads is None else None
        for i, output in enumerate(outputs)
    ]


def _gives(last: Layer | None) -> str | None:
    is_ours = type(last).__module__.startswith("xpcnn.")
    scores = "logits" if is_ours and isinstance(last, _WITH_WEIGHTS) else None
    return GIVES.get(type(last), scores)  # type: ignore[arg-type]


def _advice(last: Layer, loss: losses.Loss) -> str:
    name = type(last).__name__
    if loss.reads == "logits":
        return f"leave {name} out: the loss does that itself"
    if loss.reads == "probabilities":
        if type(last) in GIVES:
            return f"put Sigmoid in the place of {name}"
        return "add Sigmoid, or use 'bce_with_logits' (BCEWithLogitsLoss), which takes scores"
    if type(last) in GIVES:
        return f"put LogSoftmax in the place of {name}"
    scores = "; or use 'cross_entropy' (CrossEntropyLoss), which takes scores"
    return "add LogSoftmax" + (scores if isinstance(loss, losses.NLLLoss) else "")


def doubt_inputs(network: Layer, inputs: Sequence[Array]) -> None:
    """Warn of pixels from 0 to 255 in floats: networks expect numbers around 1.

    A network that begins with anything but layers with weights may scale them itself.
    """
    if len(inputs) != 1 or not isinstance(_first_layer(network), (layers.Linear, Conv)):
        return
    x = inputs[0]
    if not _xp.is_floating(x) or math.prod(x.shape[1:]) < 16:
        return
    some = _xp.to_numpy(x[: min(_SAMPLE, x.shape[0]), ...]).astype("float32", copy=False)
    are_pixels = x.ndim > 2 or bool((some == np.floor(some)).all())
    if are_pixels and some.min() >= 0.0 and 128.0 < some.max() <= 255.0:
        warn(
            f"x holds numbers from {some.min():g} to {some.max():g}, like the pixels of images; "
            "networks expect numbers around 1 and hardly learn from such large ones: divide "
            "them, as in x / 255"
        )


def doubt_augmentation(network: Layer) -> None:
    """Warn of layers that cut numbers off at 1 where they are still bytes, from 0 to 255."""
    for name, layer in _before_scaling(network):
        limit = getattr(layer, "clips_at", None)
        if limit is not None and limit < 128.0:
            warn(
                f"{type(layer).__name__} {name!r} cuts numbers off at max_value={limit:g}, and "
                "stands in front of the layer that scales bytes, where they reach 255; put it "
                "behind that layer, or give it max_value=255"
            )


def _before_scaling(network: Layer) -> Iterator[tuple[str, Layer]]:
    """Yield the layers that prepare an input, with their names, if one behind them scales it."""
    waiting: list[tuple[str, Layer]] = []
    layers_ = network.in_order if isinstance(network, Graph) else []
    chain = [node.layer for node in layers_] or [network]
    for layer in (inner for top in chain for inner in _in_order(top)):
        if not isinstance(layer, Preprocessing):
            waiting = []
        elif layer.scales:
            yield from waiting
            return
        else:
            waiting.append((layer.name or "", layer))


def _in_order(network: Layer) -> Iterator[Layer]:
    """Yield the layers of a chain, with the contents of containers in place."""
    if type(network) is Sequential:
        for layer in network:
            yield from _in_order(layer)
    else:
        yield network


def _first_layer(network: Layer) -> Layer | None:
    if not isinstance(network, Graph):
        return _first_of(_in_order(network))
    name = network.inputs[0]
    readers = [node for node in network.in_order if name in node.inputs]
    while len(readers) == 1:
        first = _first_layer(readers[0].layer)
        if first is not None:
            return first
        name = readers[0].outputs[0]
        readers = [node for node in network.in_order if name in node.inputs]
    return None


def _first_of(chain: Iterable[Layer]) -> Layer | None:
    """Return the first layer that changes numbers, not just their places."""
    return next((layer for layer in chain if not isinstance(layer, _SAME_NUMBERS)), None)


def last_layer(network: Layer, output: str) -> Layer | None:
    """Return the last layer that makes the numbers of an output, if it is known."""
    if isinstance(network, Graph):
        made_by = {name: node for node in network.in_order for name in node.outputs}
        while output in made_by:
            node = made_by[output]
            if isinstance(node.layer, Graph):
                inner = node.layer.outputs[node.outputs.index(output)]
                return last_layer(node.layer, inner)
            last = last_layer(node.layer, "")
            if last is not None:
                return last
            output = node.inputs[0]
        return None
    return _first_of(reversed(list(_in_order(network))))
