"""The steps of a plan: a layer, or neighbours for which a kernel set has one operation.

Where no kernel set takes them together, a fused step runs its layers one by one: the same numbers
to rounding.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Protocol

from xpcnn import _xp
from xpcnn import functional as F
from xpcnn._xp import Array
from xpcnn.kernels.constant import is_promised, promise
from xpcnn.layers.containers import Residual
from xpcnn.layers.conv import Conv
from xpcnn.layers.layer import Layer, output_of
from xpcnn.layers.linear import Linear
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.pool import MaxPool
from xpcnn.operations import Add

Result = tuple[Array, Any] | None


class Step(Protocol):
    """What a plan is made of."""

    layers: list[Layer]

    @property
    def forward(self) -> Callable[..., Any]:
        """``forward(*inputs, training)`` computes the output."""

    @property
    def backward(self) -> Callable[..., Any]:
        """``backward(*dys, need_dx)`` returns the gradient of the input, and adds to others."""


class Runner(Protocol):
    """A plan of its own, for what is inside a container."""

    steps: list[Step]

    def forward(self, *inputs: Any, training: bool) -> Any:
        """Run all steps forward."""

    def backward(self, *dys: Any, need_dx: bool) -> Any:
        """Run all steps backward."""


def computes_as(layer: Any, kind: type[Layer]) -> bool:
    """Whether a layer is of a kind and computes as that does: a subclass may do otherwise."""
    methods = ("forward", "backward", "_forward", "_backward")
    return (
        isinstance(layer, kind)
        and all(getattr(type(layer), name) is getattr(kind, name) for name in methods)
        and not replaced_methods(layer)
    )


def replaced_methods(layer: Layer) -> list[str]:
    """Name the methods that somebody has put another function in place of, in this layer alone."""
    return [name for name in vars(layer) if callable(getattr(type(layer), name, None))]


class LayerStep:
    """One layer as it is."""

    def __init__(self, layer: Layer) -> None:
        self.layers = [layer]

    def forward(self, *inputs: Any, training: bool) -> Any:
        """Run the layer forward."""
        return self.layers[0].forward(*inputs, training=training)

    def backward(self, *dys: Any, need_dx: bool) -> Any:
        """Run the layer backward."""
        return self.layers[0].backward(*dys, need_dx=need_dx)


class FusedStep:
    """Several layers in one operation if there is one, and one by one if not.

    A subclass implements :meth:`_run` and :meth:`_run_backward`.

    Parameters
    ----------
    layers : list of Layer
    parts : list of Step, optional
        What to run where the layers are not taken together.
    """

    def __init__(self, layers: list[Layer], parts: list[Step] | None = None) -> None:
        self.layers = layers
        self._parts: list[Step] = parts or [LayerStep(layer) for layer in layers]
        self._saved: Any = None

    def _run(self, x: Array, training: bool) -> Result:
        """Return the output and what backward needs; ``None`` if no kernel set takes this."""
        raise NotImplementedError

    def _run_backward(self, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        raise NotImplementedError

    def forward(self, x: Array, *, training: bool) -> Array:
        """Run the fused forward, or the layers."""
        result = self._run(x, training)
        if training:
            self._saved = None if result is None else (result[1], output_of(result[0]))
        if result is not None:
            return result[0]
        for part in self._parts:
            x = part.forward(x, training=training)
        return x

    def backward(self, dy: Array, *, need_dx: bool) -> Array | None:
        """Run the backward that belongs to the last forward."""
        if self._saved is None:
            gradient: Any = dy
            for part in reversed(self._parts):
                gradient = part.backward(gradient, need_dx=need_dx or part is not self._parts[0])
            result: Array | None = gradient
            return result
        saved, output = self._saved
        self.layers[-1]._check_gradient(dy, output)
        self._saved = None
        return self._run_backward(dy, saved, need_dx)


class ConvBlockStep(FusedStep):
    """Convolution, ReLU and perhaps max pooling; `flat` if a Flatten layer comes next."""

    def __init__(self, conv: Conv, relu: Layer, pool: MaxPool | None, flat: bool) -> None:
        if pool is None:
            super().__init__([conv, relu])
        else:
            without_pool = ConvBlockStep(conv, relu, None, False)
            super().__init__([conv, relu, pool], [without_pool, LayerStep(pool)])
        self.conv, self.pool, self.flat = conv, pool, flat

    def _run(self, x: Array, training: bool) -> Result:
        conv = self.conv
        conv._check_input(x)
        conv._check_shape(tuple(x.shape))
        window, pool = conv.window(tuple(x.shape[2:])), None
        after_conv = (x.shape[0], conv.out_channels, *window.output_shape(x.shape[2:], conv.who))
        if self.pool is not None:
            self.pool.output_shape(after_conv)
            pool = self.pool.window(after_conv[2:])
        weight, bias = conv.weight.operand, None if conv.bias is None else conv.bias.operand
        result = F.conv_block_forward(
            x, weight, bias, window, conv.groups, pool, training=training, flat=self.flat
        )
        return None if result is None else (result[0], (result[1], window, pool))

    def _run_backward(self, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        saved, window, pool = saved
        dx, dw, db = F.conv_block_backward(dy, saved, window, self.conv.groups, pool, need_dx)
        self.conv.accumulate(dw, db)
        return dx


class LinearReluStep(FusedStep):
    """A fully connected layer and ReLU."""

    def __init__(self, linear: Linear, relu: Layer) -> None:
        super().__init__([linear, relu])
        self.linear = linear

    def _run(self, x: Array, training: bool) -> Result:
        linear = self.linear
        linear._check_input(x)
        linear.output_shape(x.shape)
        bias = None if linear.bias is None else linear.bias.operand
        return F.run_if_any("linear_relu", x, linear.weight.operand, bias)

    def _run_backward(self, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        dx: Array | None
        dx, dw, db = F.run_backward(dy, saved, need_dx)
        self.linear.accumulate(dw, db)
        return dx


class NormReluStep(FusedStep):
    """Batch normalisation and ReLU."""

    def __init__(self, norm: BatchNorm, relu: Layer) -> None:
        super().__init__([norm, relu])
        self.norm = norm

    def _run(self, x: Array, training: bool) -> Result:
        self.norm._check_input(x)
        return self.norm.normalise(F.run_if_any, "batch_norm_relu", (x,), training)

    def _run_backward(self, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        dx: Array | None
        dx, dgamma, dbeta = F.run_backward(dy, saved, need_dx)
        self.norm.accumulate(dgamma, dbeta)
        return dx


class ConvNormStep(FusedStep):
    """Convolution, batch normalisation and perhaps ReLU; without training, one convolution.

    Normalising by fixed statistics is a multiplication and a shift of every channel, which the
    weights can take over. They are worked out once, as long as nobody may have changed an array.
    """

    def __init__(self, conv: Conv, norm: BatchNorm, relu: Layer | None) -> None:
        behind: Step = LayerStep(norm) if relu is None else NormReluStep(norm, relu)
        super().__init__([conv, norm, *([] if relu is None else [relu])], [LayerStep(conv), behind])
        self.conv, self.norm, self.relu = conv, norm, relu
        self._folded: tuple[list[Any], Array, Array] | None = None

    def _run(self, x: Array, training: bool) -> Result:
        folded = None if training else self._fold(x)
        if folded is None:
            return None
        conv, (weight, bias) = self.conv, folded
        if type(x) is not type(weight) or x.dtype != weight.dtype:
            conv._check_input(x)
        conv._check_shape(tuple(x.shape))
        window = conv.window(tuple(x.shape[2:]))
        window.output_shape(x.shape[2:], conv.who)
        if self.relu is None:
            return F.conv_forward(x, weight, bias, window, conv.groups, who=conv.who)
        fused = F.conv_block_forward(x, weight, bias, window, conv.groups, None, training=False)
        if fused is not None:
            return fused
        y, _ = F.conv_forward(x, weight, bias, window, conv.groups, who=conv.who)
        return F.run("relu", y, who=self.relu.who)

    def _fold(self, x: Array) -> tuple[Array, Array] | None:
        """Return weights and bias that normalise too; ``None`` if an array may have changed."""
        conv, norm = self.conv, self.norm
        if not norm.track_running_stats:
            return None
        tensors = (
            conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var,
        )  # fmt: skip
        arrays: list[Any] = []
        for tensor in tensors:
            if tensor is not None and not (tensor.is_built and is_promised(tensor.value)):
                return None
            arrays.append(None if tensor is None else tensor.value)
        made_of = [*arrays, norm.eps, x.dtype]
        if self._folded is None or any(map(operator.is_not, self._folded[0], made_of)):
            weight, bias, gamma, beta, mean, variance = arrays
            xp = _xp.namespace(x)
            scale = 1.0 / xp.sqrt(variance + norm.eps)
            scale = scale if gamma is None else scale * gamma
            shift = -mean if bias is None else bias - mean
            shift = shift * scale if beta is None else shift * scale + beta
            weight = weight * xp.reshape(scale, (-1, *(1,) * (weight.ndim - 1)))
            if x.dtype != weight.dtype and conv._input_dtype is not None:  # mixed precision
                weight, shift = (xp.astype(a, x.dtype) for a in (weight, shift))
            promise(weight)
            promise(shift)
            self._folded = (made_of, weight, shift)
        return self._folded[1:]


class SumStep:
    """A sum of two arrays, perhaps the batch normalisation of the first, perhaps ReLU of the sum.

    Parameters
    ----------
    norm : batch normalisation in front of the first array, or None
    relu : ReLU behind the sum, or None
    """

    def __init__(self, norm: BatchNorm | None, relu: Layer | None) -> None:
        self.norm, self.relu, self._add = norm, relu, Add()
        self.layers: list[Layer] = [layer for layer in (norm, self._add, relu) if layer is not None]
        self._saved: Any = None

    def forward(self, through: Array, past: Array, *, training: bool) -> Array:
        """Return the sum; the arrays are broadcast if their shapes differ."""
        normed = None
        if self.norm is not None:
            self.norm._check_input(through)
            if training and self.relu is not None and through.shape == past.shape:
                normed = self.norm.normalise(
                    F.run_if_any, "batch_norm_add_relu", (through, past), True
                )
            if normed is None:
                through = self.norm.forward(through, training=training)
        y, saved = normed or self._sum(through, past, training)
        if training:
            self._saved = (saved, normed is not None, output_of(y))
        return y

    def _sum(self, through: Array, past: Array, training: bool) -> tuple[Array, Any]:
        """Add, and return what backward needs: nothing where that is up to the layers."""
        if through.shape == past.shape:
            result = F.run_if_any("add" if self.relu is None else "add_relu", through, past)
            if result is not None:
                return result
        y = self._add.forward(through, past, training=training)
        return (y if self.relu is None else self.relu.forward(y, training=training)), None

    def backward(self, dy: Array, *, need_dx: bool = True) -> tuple[Any, Any]:
        """Return the gradients of the two arrays."""
        if self._saved is None:
            return self.layers[-1].backward(dy, need_dx=need_dx)  # type: ignore[return-value]
        saved, normed, output = self._saved
        self.layers[-1]._check_gradient(dy, output)
        self._saved = None
        if normed and self.norm is not None:
            through, dgamma, dbeta, past = F.run_backward(dy, saved, True)
            self.norm.accumulate(dgamma, dbeta)
            return through, past
        if saved is None:
            total = dy if self.relu is None else self.relu.backward(dy)
            through, past = self._add.backward(total)
        else:
            gradients = F.run_backward(dy, saved)
            through, past = gradients if isinstance(gradients, tuple) else (gradients,) * 2
        if self.norm is not None:
            through = self.norm.backward(through)
        return through, past


class ResidualStep:
    """A residual block and perhaps the ReLU behind it.

    In training, a batch normalisation that ends the body is done together with the sum and ReLU.
    """

    def __init__(
        self, residual: Residual, relu: Layer | None, plan: Callable[[list[Layer]], Runner]
    ) -> None:
        self.layers: list[Layer] = [residual] if relu is None else [residual, relu]
        self.residual = residual
        self.body = plan([residual.body])
        self.shortcut = None if residual.shortcut is None else plan([residual.shortcut])
        self._sum = SumStep(None, relu)
        self._front, self._training_sum = self.body, self._sum
        inside: list[Any] = [layer for step in self.body.steps for layer in step.layers]
        if relu is not None and len(inside) > 1 and computes_as(inside[-1], BatchNorm):
            self._front, self._training_sum = plan(inside[:-1]), SumStep(inside[-1], relu)

    def forward(self, x: Array, *, training: bool) -> Array:
        """Run body and shortcut, and add."""
        body, join = (self._front, self._training_sum) if training else (self.body, self._sum)
        past = x if self.shortcut is None else self.shortcut.forward(x, training=training)
        through = body.forward(x, training=training)
        if through.shape != past.shape:
            self.residual.output_shape(x.shape)
        return join.forward(through, past, training=training)

    def backward(self, dy: Array, *, need_dx: bool) -> Array | None:
        """Run the backward that belongs to the last forward."""
        if self._training_sum._saved is None:
            return self.layers[-1].backward(dy, need_dx=need_dx)  # says what is missing
        through, past = self._training_sum.backward(dy)
        dx = self._front.backward(through, need_dx=need_dx)
        if self.shortcut is not None:
            past = self.shortcut.backward(past, need_dx=need_dx)
        if not need_dx:
            return None
        total = F.run_if_any("add", dx, past)
        return _xp.namespace(dx).add(dx, past) if total is None else total[0]
