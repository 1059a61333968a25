"""From a list of layers to the steps that are run: where neighbouring layers become one kernel.

A step is a layer, or a few consecutive layers for which the kernel set has one fused operation.
Both ways give the same numbers up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.kernels.repeatable import Repeatable
from xpcnn.layers.activation import ReLU
from xpcnn.layers.containers import Residual, Sequential
from xpcnn.layers.conv import Conv
from xpcnn.layers.graph import Graph
from xpcnn.layers.layer import Layer
from xpcnn.layers.linear import Linear
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.parameter import Buffer
from xpcnn.layers.pool import MaxPool
from xpcnn.layers.shape import Flatten
from xpcnn.operations import Add
from xpcnn.training.graph_steps import GraphStep
from xpcnn.training.steps import (
    ConvBlockStep,
    ConvNormStep,
    LayerStep,
    LinearReluStep,
    NormReluStep,
    ResidualStep,
    Step,
    computes_as,
    replaced_methods,
)


def made_of(network: Layer) -> list[Any]:
    """List the objects that decide about the steps: others than these ask for another plan."""
    found: list[Any] = []
    for _, layer in network.layers_within():
        found += (layer, getattr(layer, "padding_mode", None))
        found += (tensor for _, tensor in layer._own_tensors())
        found += (vars(layer)[name] for name in replaced_methods(layer))
    return found


class Plan:
    """The steps of a network.

    Parameters
    ----------
    layers : iterable of Layer
        Nested :class:`~xpcnn.Sequential` containers are unrolled.
    fuse : bool
        ``False`` makes every layer a step of its own.
    """

    def __init__(self, layers: Iterable[Layer], *, fuse: bool = True) -> None:
        self.steps: list[Step] = []
        waiting = list(unroll(layers))
        while waiting:
            step, used = _next_step(waiting) if fuse else (LayerStep(waiting[0]), 1)
            self.steps.append(step)
            del waiting[:used]

    def forward(self, *inputs: Array, training: bool) -> Any:
        """Run all steps forward; a graph may take several arrays, and give several as a tuple."""
        if not self.steps:
            return inputs[0]
        x: Any = self.steps[0].forward(*inputs, training=training)
        for step in self.steps[1:]:
            x = step.forward(x, training=training)
        return x

    @cached_property
    def infer(self) -> Repeatable:
        """The forward without training; a small one does not go through the layers every time."""
        return Repeatable(_Inference(self))

    def backward(self, *dys: Array, need_dx: bool) -> Any:
        """Run all steps backward; the gradient of the network's input only if it is needed."""
        gradients: tuple[Any, ...] = dys
        for position in reversed(range(len(self.steps))):
            dx = self.steps[position].backward(*gradients, need_dx=need_dx or position > 0)
            gradients = (dx,)
        return gradients[0]

    def first_not_finite(self, *inputs: Array) -> str | None:
        """Name the first layer whose output is not finite, running layer by layer."""
        for step in self.steps:
            for layer in step.layers:
                found, inputs = _first_not_finite(layer, inputs)
                if found is not None:
                    return found
        return None


def _first_not_finite(layer: Layer, inputs: tuple[Any, ...]) -> tuple[str | None, tuple[Any, ...]]:
    """Return the name of the first layer inside with a bad output, and the outputs."""
    if isinstance(layer, Graph):
        values = dict(zip(layer.inputs, inputs, strict=True))
        for node in layer.in_order:
            taken = tuple(values.get(name) for name in node.inputs)
            found, outputs = _first_not_finite(node.layer, taken)
            if found is not None:
                return found, ()
            values |= zip(node.outputs, outputs, strict=True)
        return None, tuple(values[name] for name in layer.outputs)
    y = layer.forward(*inputs, training=True)
    outputs = y if isinstance(y, tuple) else (y,)
    bad = any(_xp.is_floating(y) and not _is_finite(y) for y in outputs)
    return (layer.who if bad else None), outputs


def _is_finite(x: Array) -> bool:
    xp = _xp.namespace(x)
    return bool(xp.all(xp.isfinite(x)))


class _Inference:
    """The forward of a plan as a function of the image and of what the layers hold."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._layers = [
            inner
            for step in plan.steps
            for layer in step.layers
            for _, inner in layer.layers_within()
        ]

    def run(self, x: Array) -> Array:
        return self._plan.forward(x, training=False)

    def is_pure(self) -> bool:
        """Whether all layers are those of this package, with no method replaced."""
        return all(
            type(layer).__module__.startswith(_OURS) and not replaced_methods(layer)
            for layer in self._layers
        )

    def attributes(self) -> list[Any]:
        return [value for layer in self._layers for value in vars(layer).values()]

    def arrays(self) -> list[Array]:
        return [
            tensor.value
            for layer in self._layers
            for _, tensor in layer._own_tensors()
            if not (isinstance(tensor, Buffer) and tensor.on_host)
        ]


_OURS = tuple(cls.__module__.rpartition(".")[0] + "." for cls in (Layer, Add))


def unroll(layers: Iterable[Layer]) -> Iterable[Layer]:
    """Yield the layers in order, with the contents of nested Sequential containers in place."""
    for layer in layers:
        if type(layer) is Sequential:
            yield from unroll(layer)
        else:
            yield layer


def _is_relu(layer: Any) -> bool:
    return type(layer) is ReLU and computes_as(layer, ReLU)


def _next_step(layers: list[Layer]) -> tuple[Step, int]:
    """Make a step from the first layers, fused if they can be; and say how many it takes."""
    front: list[Any] = [*layers, None, None]
    first, second, third = front[:3]
    relu = second if _is_relu(second) else None
    if computes_as(first, Graph):
        return GraphStep(first, Plan), 1
    if computes_as(first, Residual):
        return ResidualStep(first, relu, Plan), 1 if relu is None else 2
    plain = computes_as(first, Conv) and first.padding_mode == "zeros"
    if plain and computes_as(second, BatchNorm):
        relu = third if _is_relu(third) else None
        return ConvNormStep(first, second, relu), 2 if relu is None else 3
    if relu is None:
        return LayerStep(first), 1
    if plain:
        pool = third if computes_as(third, MaxPool) and third.ndim == first.ndim else None
        used = 2 if pool is None else 3
        flat = len(layers) > used and isinstance(layers[used], Flatten)
        return ConvBlockStep(first, relu, pool, flat), used
    if computes_as(first, Linear):
        return LinearReluStep(first, relu), 2
    if computes_as(first, BatchNorm):
        return NormReluStep(first, relu), 2
    return LayerStep(first), 1
