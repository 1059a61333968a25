"""Which neighbours become one step: a table of patterns, and the sums.

Fused and one by one give the same numbers up to rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from xpcnn.graph.flat import Flat, Link, Same, computes_as, is_ours
from xpcnn.graph.steps import (
    ConvBlockStep,
    FoldedStep,
    LayerStep,
    LimitedConvStep,
    LinearReluStep,
    NormActivationStep,
    PlainStep,
    SameStep,
    SumStep,
)
from xpcnn.layers.activation import LeakyReLU, ReLU
from xpcnn.layers.conv import Conv
from xpcnn.layers.layer import Layer
from xpcnn.layers.linear import Linear
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.operation import Operation
from xpcnn.layers.piecewise import Hardswish, Hardtanh, ReLU6
from xpcnn.layers.pool import MaxPool
from xpcnn.layers.shape import Flatten
from xpcnn.operations import Add


class Placed(NamedTuple):
    """A step, and the numbers of the values it takes and gives."""

    step: Any
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]


def steps(flat: Flat, *, training: bool, together: bool) -> list[Placed]:
    """Make steps of all nodes, in order.

    In training, a batch normalisation in front of a sum and ReLU belongs to the sum; without, to
    the convolution before it, whose weights take it over.
    """
    if not together:
        return [Placed(_single(link.layer), link.inputs, link.outputs) for link in flat.links]
    sums = {
        link.outputs: _sum(flat, link, with_norm=training)
        for link in flat.links
        if _adds(link.layer) and len(link.inputs) == 2
    }
    taken = {part.outputs for found in sums.values() for part in found[1:] if part is not None}
    placed: list[Placed] = []
    for link in flat.links:
        if link.outputs in taken:
            continue
        if link.outputs in sums:
            placed.append(_place_sum(*sums[link.outputs]))
        elif isinstance(link.layer, (Operation, Same)):
            placed.append(Placed(_single(link.layer), link.inputs, link.outputs))
        else:
            chain = _chain(flat, link, taken)
            used, step = _next_step(flat, chain, training=training)
            taken.update(part.outputs for part in chain[:used])
            placed.append(Placed(step, link.inputs, chain[used - 1].outputs))
    return placed


def _single(layer: Layer) -> Any:
    return SameStep() if isinstance(layer, Same) else LayerStep(layer)


# -- Layers that follow one another ----------------------------------------------------------------


def _chain(flat: Flat, link: Link, taken: set[tuple[int, ...]]) -> list[Link]:
    """Return a layer and those that follow it, each the only one behind the one before."""
    chain: list[Link] = []
    following: Link | None = link
    while (
        following is not None
        and not isinstance(following.layer, (Operation, Same))
        and following.outputs not in taken
    ):
        chain.append(following)
        following = flat.behind(following)
    return chain


def _next_step(flat: Flat, chain: list[Link], *, training: bool) -> tuple[int, Any]:
    """Make a step of the first layers of a chain; say how many it takes."""
    layers = [link.layer for link in chain[:4]]
    used, kind = _match(layers, training=training)
    front, behind = layers[:used], flat.behind(chain[used - 1])
    places = {
        "is_first": not (_is_sound(flat, chain[0].inputs[0]) and front[0].is_built),
        "is_last": behind is None or not (_is_trusted(behind.layer) or _adds(behind.layer)),
    }
    if kind == "conv_block":
        flat_behind = len(layers) > used and isinstance(layers[used], Flatten)
        return used, ConvBlockStep(front, flat_behind, **places)
    if kind == "folded":
        apart: list[Any] = [PlainStep(front[:1], is_first=False)]
        if len(front) > 2:
            apart.append(NormActivationStep(front[1:], is_first=False))
        else:
            apart.append(PlainStep(front[1:], is_first=False))
        return used, FoldedStep(front, apart, **places)
    if kind == "limited_conv":
        return used, LimitedConvStep(front, **places)
    if kind == "linear_relu":
        return used, LinearReluStep(front, **places)
    if kind == "norm_activation":
        return used, NormActivationStep(front, **places)
    return 1, PlainStep(front, **places) if _is_trusted(front[0]) else LayerStep(front[0])


def _match(layers: list[Any], *, training: bool) -> tuple[int, str]:
    """Find the longest pattern that a list of layers begins with: how many, and which."""
    front: list[Any] = [*layers, None, None]
    first, second, third = front[:3]
    conv = computes_as(first, Conv) and first.padding_mode == "zeros"
    if conv and computes_as(second, BatchNorm) and not training:
        return (3 if _is_relu(third) or _is_limit(third) else 2), "folded"
    if conv and _is_limit(second) and not training:
        return 2, "limited_conv"
    if computes_as(first, BatchNorm) and _goes_with_norm(second):
        return 2, "norm_activation"
    if not _is_relu(second):
        return 1, "plain"
    if conv:
        pooled = computes_as(third, MaxPool) and third.ndim == first.ndim
        return (3 if pooled else 2), "conv_block"
    if computes_as(first, Linear):
        return 2, "linear_relu"
    return 1, "plain"


def _is_relu(layer: Any) -> bool:
    return type(layer) is ReLU and computes_as(layer, ReLU)


def _is_limit(layer: Any) -> bool:
    """Whether a layer keeps numbers between two limits."""
    return any(type(layer) is kind and computes_as(layer, kind) for kind in (ReLU6, Hardtanh))


def _goes_with_norm(layer: Any) -> bool:
    """Whether a layer is an activation that there is together with batch normalisation."""
    kinds = (ReLU, LeakyReLU, ReLU6, Hardtanh, Hardswish)
    return any(type(layer) is kind and computes_as(layer, kind) for kind in kinds)


def _is_sound(flat: Flat, value: int | None) -> bool:
    """Whether a value is sure to be an array like the parameters: it comes from our own layers."""
    maker = flat.before(value)
    if maker is None:
        return False
    if _adds(maker.layer):
        return all(_is_sound(flat, term) for term in maker.inputs)
    return _is_trusted(maker.layer)


def _adds(layer: Layer) -> bool:
    return computes_as(layer, Add)


def _is_trusted(layer: Layer) -> bool:
    """Whether a layer is of this package as it came, and its output is like its input."""
    return is_ours(layer) and type(layer).forward is Layer.forward


# -- Sums ------------------------------------------------------------------------------------------


def _sum(flat: Flat, add: Link, *, with_norm: bool) -> tuple[Link, Link | None, Link | None]:
    """Find what can be done together with an addition: a normalisation before, ReLU behind."""
    relu = flat.behind(add)
    if relu is None or not _is_relu(relu.layer):
        return add, None, None
    for value in add.inputs if with_norm else ():
        norm = flat.before(value)
        if norm is not None and computes_as(norm.layer, BatchNorm) and flat.behind(norm) is add:
            return add, norm, relu
    return add, None, relu


def _place_sum(add: Link, norm: Link | None, relu: Link | None) -> Placed:
    inputs = add.inputs
    if norm is not None:
        inputs = (norm.inputs[0], inputs[1 - inputs.index(norm.outputs[0])])
    step = SumStep(add.layer, norm and norm.layer, relu and relu.layer)
    return Placed(step, inputs, (relu or add).outputs)
