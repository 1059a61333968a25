"""From a list of layers to the steps that are run: where neighbouring layers become one kernel.

A step is a layer, or a few consecutive layers for which the kernel set has one fused operation.
Both ways give the same numbers up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.layers.activation import ReLU
from xpcnn.layers.containers import Sequential
from xpcnn.layers.conv import _Conv
from xpcnn.layers.layer import Layer, output_of
from xpcnn.layers.pool import _MaxPool


class Step(Protocol):
    """What a plan is made of."""

    layers: list[Layer]

    def forward(self, x: Array, *, training: bool) -> Array:
        """Compute the output."""

    def backward(self, dy: Array, *, need_dx: bool) -> Array | None:
        """Compute the gradient of the input and add to those of the parameters."""


class LayerStep:
    """One layer as it is."""

    def __init__(self, layer: Layer) -> None:
        self.layers = [layer]

    def forward(self, x: Array, *, training: bool) -> Array:
        """Run the layer forward."""
        return self.layers[0].forward(x, training=training)

    def backward(self, dy: Array, *, need_dx: bool) -> Array | None:
        """Run the layer backward."""
        return self.layers[0].backward(dy, need_dx=need_dx)


class ConvBlockStep:
    """Convolution, ReLU and perhaps max pooling; one by one where no kernel takes them together."""

    def __init__(self, conv: _Conv, relu: Layer, pool: _MaxPool | None) -> None:
        self.layers: list[Layer] = [conv, relu] if pool is None else [conv, relu, pool]
        self.conv, self.pool = conv, pool
        self._saved: Any = None

    def forward(self, x: Array, *, training: bool) -> Array:
        """Run the fused forward, or the layers."""
        conv = self.conv
        conv._check_input(x)
        after_conv = conv.output_shape(x.shape)
        window, pool = conv.window(tuple(x.shape[2:])), None
        if self.pool is not None:
            self.pool.output_shape(after_conv)
            pool = self.pool.window(after_conv[2:])
        bias = None if conv.bias is None else conv.bias.data
        result = F.conv_block_forward(
            x, conv.weight.data, bias, window, conv.groups, pool, training=training
        )
        if training:
            self._saved = None
            if result is not None:
                self._saved = (result[1], window, pool, output_of(result[0]))
        if result is not None:
            return result[0]
        for layer in self.layers:
            x = layer.forward(x, training=training)
        return x

    def backward(self, dy: Array, *, need_dx: bool) -> Array | None:
        """Run the backward that belongs to the last forward."""
        conv = self.conv
        if self._saved is None:
            gradient: Array | None = dy
            for layer in reversed(self.layers):
                gradient = layer.backward(gradient, need_dx=need_dx or layer is not conv)
            return gradient
        saved, window, pool, output = self._saved
        self.layers[-1]._check_gradient(dy, output)
        self._saved = None
        dx, dw, db = F.conv_block_backward(dy, saved, window, conv.groups, pool, need_dx)
        conv.accumulate(dw, db)
        return dx


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
            step, used = _fused_step(waiting) if fuse else (None, 1)
            self.steps.append(step or LayerStep(waiting[0]))
            del waiting[:used]

    def forward(self, x: Array, *, training: bool) -> Array:
        """Run all steps forward."""
        for step in self.steps:
            x = step.forward(x, training=training)
        return x

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


def unroll(layers: Iterable[Layer]) -> Iterable[Layer]:
    """Yield the layers in order, with the contents of nested Sequential containers in place."""
    for layer in layers:
        if type(layer) is Sequential:
            yield from unroll(layer)
        else:
            yield layer


def _fused_step(layers: list[Layer]) -> tuple[Step | None, int]:
    """Make a fused step from the first layers, if they are such; and say how many it takes."""
    conv, relu, pool = (*layers, None, None)[:3]
    if not isinstance(conv, _Conv) or conv.padding_mode != "zeros" or type(relu) is not ReLU:
        return None, 1
    if isinstance(pool, _MaxPool) and pool.ndim == conv.ndim:
        return ConvBlockStep(conv, relu, pool), 3
    return ConvBlockStep(conv, relu, None), 2
