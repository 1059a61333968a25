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
from xpcnn.layers.conv import _Conv
from xpcnn.layers.layer import Layer
from xpcnn.layers.linear import Linear
from xpcnn.layers.norm import _BatchNorm
from xpcnn.layers.parameter import Buffer
from xpcnn.layers.pool import _MaxPool
from xpcnn.layers.shape import Flatten
from xpcnn.training.steps import (
    ConvBlockStep,
    ConvNormStep,
    LayerStep,
    LinearReluStep,
    NormReluStep,
    ResidualStep,
    Step,
    computes_as,
)


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

    def forward(self, x: Array, *, training: bool) -> Array:
        """Run all steps forward."""
        for step in self.steps:
            x = step.forward(x, training=training)
        return x

    @cached_property
    def infer(self) -> Repeatable:
        """The forward without training; a small one does not go through the layers every time."""
        return Repeatable(_Inference(self))

    def backward(self, dy: Array, *, need_dx: bool) -> Array | None:
        """Run all steps backward; the gradient of the network's input only if it is needed."""
        gradient: Array | None = dy
        for position in reversed(range(len(self.steps))):
            gradient = self.steps[position].backward(gradient, need_dx=need_dx or position > 0)
        return gradient

    def first_not_finite(self, x: Array) -> str | None:
        """Name the first layer whose output for `x` is not finite, running layer by layer."""
        xp = _xp.namespace(x)
        for step in self.steps:
            for layer in step.layers:
                x = layer.forward(x, training=True)
                if not bool(xp.all(xp.isfinite(x))):
                    return layer.who
        return None


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
            type(layer).__module__.startswith(_LAYERS)
            and not any(callable(getattr(type(layer), name, None)) for name in vars(layer))
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


_LAYERS = Layer.__module__.rpartition(".")[0] + "."


def unroll(layers: Iterable[Layer]) -> Iterable[Layer]:
    """Yield the layers in order, with the contents of nested Sequential containers in place."""
    for layer in layers:
        if type(layer) is Sequential:
            yield from unroll(layer)
        else:
            yield layer


def _next_step(layers: list[Layer]) -> tuple[Step, int]:
    """Make a step from the first layers, fused if they can be; and say how many it takes."""
    front: list[Any] = [*layers, None, None]
    first, second, third = front[:3]
    relu = second if type(second) is ReLU else None
    if computes_as(first, Residual):
        return ResidualStep(first, relu, Plan), 1 if relu is None else 2
    plain = computes_as(first, _Conv) and first.padding_mode == "zeros"
    if plain and computes_as(second, _BatchNorm):
        relu = third if type(third) is ReLU else None
        return ConvNormStep(first, second, relu), 2 if relu is None else 3
    if relu is None:
        return LayerStep(first), 1
    if plain:
        pool = third if computes_as(third, _MaxPool) and third.ndim == first.ndim else None
        used = 2 if pool is None else 3
        flat = len(layers) > used and isinstance(layers[used], Flatten)
        return ConvBlockStep(first, relu, pool, flat), used
    if computes_as(first, Linear):
        return LinearReluStep(first, relu), 2
    if computes_as(first, _BatchNorm):
        return NormReluStep(first, relu), 2
    return LayerStep(first), 1
