"""Which neighbours become one step: a table of patterns, and the sums.

Fused and one by one give the same numbers up to rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from xpcnn.graph.flat import Flat, Link, Same, computes_as, is_ours
from xpcnn.graph.steps import (
    ConcatStep,
    ConvBlockStep,
    FoldedStep,
    LayerStep,
    LinearReluStep,
    NormActivationStep,
    Parts,
    PlainStep,
    ProductStep,
    SameStep,
    SumStep,
)
from xpcnn.layers.activation import (
    ELU,
    GELU,
    SELU,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from xpcnn.layers.conv import Conv
from xpcnn.layers.layer import Layer
from xpcnn.layers.linear import Linear
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.operation import Operation
from xpcnn.layers.piecewise import Hardsigmoid, Hardswish, Hardtanh, ReLU6
from xpcnn.layers.pool import MaxPool
from xpcnn.layers.shape import Flatten
from xpcnn.operations import Add, Concat

BY_OUTPUT = (ReLU6, Hardtanh, Sigmoid, Tanh)
"""Activations whose gradient follows from their output, so that they join a product in training."""
BEHIND = (
    *BY_OUTPUT, ReLU, LeakyReLU, Hardswish, Hardsigmoid, SiLU, GELU, Softplus, ELU, SELU, Mish,
)  # fmt: skip
"""Activations that join a product without training."""
WITH_NORM = (ReLU, LeakyReLU, ReLU6, Hardtanh, Hardswish)
"""Activations that join a normalisation, whose backward works them out anew."""


class Placed(NamedTuple):
    """A step, and the numbers of the values it takes and gives."""

    step: Any
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]


def steps(flat: Flat, *, training: bool, together: bool) -> list[Placed]:
    """Make steps of all nodes, in order.

    In training, a batch normalisation in front of a sum and ReLU belongs to the sum; without, it
    belongs to the convolution before it, whose weights take it over, and so does the sum.
    """
    if not together:
        return [Placed(_single(link.layer), link.inputs, link.outputs) for link in flat.links]
    sums = {
        link.outputs: _sum(flat, link, training=training)
        for link in flat.links
        if _adds(link.layer) and len(link.inputs) == 2
    }
    joined = {} if training else _joined(flat)
    taken = {
        part.outputs
        for found in sums.values()
        for part in (*found.front, found.behind)
        if part is not None
    }
    taken.update(part.outputs for chains in joined.values() for chain in chains for part in chain)
    placed: list[Placed] = []
    for link in flat.links:
        if link.outputs in taken:
            continue
        if link.outputs in sums:
            placed.append(_place_sum(flat, sums[link.outputs], training=training))
        elif link.outputs in joined:
            placed.append(_place_concat(flat, link, joined[link.outputs]))
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
    if kind == "product":
        return used, _product(front, None, places)
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
        return (3 if _is_any(third, BEHIND) else 2), "product"
    if computes_as(first, BatchNorm) and _is_any(second, WITH_NORM):
        return 2, "norm_activation"
    if not _is_relu(second):
        joins = _is_any(second, BY_OUTPUT if training else BEHIND)
        if joins and (conv or computes_as(first, Linear)):
            return 2, "product"
        return 1, "plain"
    if conv:
        pooled = computes_as(third, MaxPool) and third.ndim == first.ndim
        if not pooled and not training:
            return 2, "product"
        return (3 if pooled else 2), "conv_block"
    if computes_as(first, Linear):
        return 2, "linear_relu"
    return 1, "plain"


def _is_relu(layer: Any) -> bool:
    return _is_any(layer, (ReLU,))


def _is_any(layer: Any, kinds: tuple[type[Layer], ...]) -> bool:
    """Whether a layer is of one of some kinds itself, not of a subclass."""
    return type(layer) in kinds and computes_as(layer, type(layer))


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


# -- Products with what is behind them, and sums ---------------------------------------------------


class Sum(NamedTuple):
    """An addition, and what is done together with it.

    Attributes
    ----------
    add : Link
    front : tuple of Link
        The layers that make one of its terms, in order.
    behind : Link or None
        The activation behind it.
    """

    add: Link
    front: tuple[Link, ...]
    behind: Link | None


def _product(front: list[Any], add: Any, places: dict[str, bool]) -> Any:
    """Make a step of a product and some of: normalisation, sum, activation, in this order."""
    norm = next((layer for layer in front[1:] if computes_as(layer, BatchNorm)), None)
    activation: Any = front[-1] if _is_any(front[-1], BEHIND) else None
    parts = Parts(front[0], norm, add, activation)
    apart: list[Any] = [PlainStep(front[:1], is_first=False)]
    relu = activation if _is_relu(activation) else None
    if norm is not None and add is None and _is_any(activation, WITH_NORM):
        apart.append(NormActivationStep([norm, activation], is_first=False))
        activation = None
    elif norm is not None:
        apart.append(PlainStep([norm], is_first=False))
    if add is not None:
        apart.append(SumStep(add, None, relu))
    if activation is not None and (relu is None or add is None):
        apart.append(PlainStep([activation], is_first=False))
    return (ProductStep if norm is None else FoldedStep)(parts, apart, **places)


def _sum(flat: Flat, add: Link, *, training: bool) -> Sum:
    """Find what can be done together with an addition.

    In training that is a normalisation in front, if there is ReLU behind; else a product in front
    with its normalisation, and any activation behind.
    """
    behind = flat.behind(add)
    relu = behind if behind is not None and _is_relu(behind.layer) else None
    if training and relu is None:
        return Sum(add, (), None)
    front: tuple[Link, ...]
    for value in add.inputs:
        link = flat.before(value)
        if link is None or flat.behind(link) is not add:
            continue
        if computes_as(link.layer, BatchNorm):
            if training:
                return Sum(add, (link,), relu)
            product = flat.before(link.inputs[0])
            front = (product, link) if product and flat.behind(product) is link else ()
        else:
            front = (link,)
        if front and not training and _is_product(front):
            joins = behind is not None and _is_any(behind.layer, BEHIND)
            return Sum(add, front, behind if joins else None)
    return Sum(add, (), relu)


def _is_product(front: tuple[Link, ...]) -> bool:
    """Whether links begin with a convolution or a linear layer; only the former is normalised."""
    layer: Any = front[0].layer
    if computes_as(layer, Conv):
        return bool(layer.padding_mode == "zeros")
    return len(front) == 1 and computes_as(layer, Linear)


def _place_sum(flat: Flat, found: Sum, *, training: bool) -> Placed:
    add, front, behind = found
    inputs, outputs = add.inputs, (behind or add).outputs
    if front:
        inputs = (front[0].inputs[0], inputs[1 - inputs.index(front[-1].outputs[0])])
    if not front or training:
        norm = front[0].layer if front else None
        return Placed(SumStep(add.layer, norm, behind and behind.layer), inputs, outputs)
    layers = [link.layer for link in (*front, *([behind] if behind else []))]
    sound = _is_sound(flat, inputs[0]) and front[0].layer.is_built
    return Placed(_product(layers, add.layer, {"is_first": not sound}), inputs, outputs)


# -- Convolutions that are put together ------------------------------------------------------------


def _joined(flat: Flat) -> dict[tuple[int, ...], list[tuple[Link, ...]]]:
    """Find what is put together along the channels and comes from convolutions alone.

    For each the layers of every term are listed: a convolution, and what else its step takes.
    """
    found = {}
    for link in flat.links:
        layer: Any = link.layer
        if computes_as(layer, Concat) and layer.dim == 1 and len(link.inputs) > 1:
            chains = [_convolution_before(flat, value, link) for value in link.inputs]
            if all(chains):
                found[link.outputs] = chains
    return found


def _convolution_before(flat: Flat, value: int | None, user: Link) -> tuple[Link, ...]:
    """Return the layers of a step that begins with a convolution and gives a value to one user."""
    links: list[Link] = []
    following = user
    while len(links) < 3:
        link = flat.before(value)
        if link is None or len(link.inputs) != 1 or flat.behind(link) is not following:
            return ()
        links.insert(0, link)
        if computes_as(link.layer, Conv):
            alone = len(links) == 1 and _is_product((link,))
            layers = [part.layer for part in links]
            whole = _match(layers, training=False) == (len(links), "product")
            return tuple(links) if alone or whole else ()
        value, following = link.inputs[0], link
    return ()


def _place_concat(flat: Flat, concat: Link, chains: list[tuple[Link, ...]]) -> Placed:
    products, inputs = [], []
    for chain in chains:
        value = chain[0].inputs[0]
        sound = _is_sound(flat, value) and chain[0].layer.is_built
        layers = [link.layer for link in chain]
        products.append(_product(layers, None, {"is_first": not sound}))
        inputs.append(value)
    return Placed(ConcatStep(products, concat.layer), tuple(inputs), concat.outputs)
