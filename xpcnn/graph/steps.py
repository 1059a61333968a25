"""What a program runs: a layer, or neighbours for which there is one operation.

Every step has ``forward(*inputs, training)`` and ``backward(*dys, need_dx)``. What a step keeps for
its backward is its own; that of the layers in it stays empty.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from xpcnn._xp import Array, namespace
from xpcnn.errors import no_forward_error
from xpcnn.kernels import Op
from xpcnn.kernels.constant import epoch, is_promised, promise
from xpcnn.layers.layer import Layer, output_of
from xpcnn.ops.activation import RELU
from xpcnn.ops.conv import CONV
from xpcnn.ops.conv_pool import CONV_RELU_MAX_POOL
from xpcnn.ops.fused import (
    ADD,
    ADD_RELU,
    BATCH_NORM_ADD_RELU,
    BATCH_NORM_AND,
    CONV_HARDTANH,
    CONV_RELU,
    LINEAR_RELU,
)

Call = tuple[Callable[..., tuple[Array, Any]], tuple[Any, ...], dict[str, Any]]


class LayerStep:
    """A layer as it is, with all its checks: it may be anybody's."""

    def __init__(self, layer: Layer) -> None:
        self.layers = [layer]

    def forward(self, *inputs: Any, training: bool) -> Any:
        """Run the layer forward."""
        return self.layers[0].forward(*inputs, training=training)

    def backward(self, *dys: Any, need_dx: Any) -> Any:
        """Run the layer backward."""
        return self.layers[0].backward(*dys, need_dx=need_dx)

    def forget(self) -> None:
        """Drop what is kept for a backward: nobody needs its gradient."""
        self.layers[0].forget()


class Step:
    """One or more layers of this package, whose input comes from others of them.

    A subclass implements `_call`.

    Parameters
    ----------
    layers : list of Layer
        They follow one another; the first has the parameters.
    is_first : bool
        Whether the input must be checked, since it may be anything.
    is_last : bool
        Whether the gradient must be.
    """

    def __init__(self, layers: list[Layer], *, is_first: bool = True, is_last: bool = True) -> None:
        self.layers, self._is_first, self._is_last = layers, is_first, is_last
        self._saved: Any = None

    def _call(self, x: Array, training: bool) -> Call:
        """Return what to call, and with what behind the namespace of x."""
        raise NotImplementedError

    def forward(self, x: Array, *, training: bool) -> Array:
        """Return the output."""
        if self._is_first:
            self.layers[0]._check_input(x)
        run, arguments, options = self._call(x, training)
        y, saved = run(namespace(x), *arguments, **options)
        if training:
            self._saved = saved, output_of(y) if self._is_last else None
        return y

    def backward(self, dy: Array, *, need_dx: Any) -> Any:
        """Run the backward that belongs to the last forward."""
        layer: Any = self.layers[0]
        dx, *gradients = self._take_saved(dy)(dy, need_dx)
        layer.accumulate(*gradients)
        return dx

    def _take_saved(self, dy: Array) -> Any:
        """Return what the last forward kept, if the gradient is like its output."""
        if self._saved is None:
            raise no_forward_error(self.layers[-1].who)
        saved, output = self._saved
        if output is not None:
            self.layers[-1]._check_gradient(dy, output)
        self._saved = None
        return saved

    def forget(self) -> None:
        """Drop what is kept for a backward."""
        self._saved = None
        for layer in self.layers:
            layer.forget()


class PlainStep(Step):
    """One layer, without its checks."""

    def __init__(self, layers: list[Layer], **places: bool) -> None:
        super().__init__(layers, **places)
        self._forward, self._backward = layers[0].halves()

    def _call(self, x: Array, training: bool) -> Call:
        return self._forward, (x, training), {}

    def backward(self, dy: Array, *, need_dx: Any) -> Any:
        """Run the layer backward."""
        return self._backward(namespace(dy), dy, self._take_saved(dy), need_dx)


class ConvBlockStep(Step):
    """Convolution, ReLU and perhaps max pooling; `flat` if a Flatten layer comes next."""

    def __init__(self, layers: list[Layer], flat: bool, **places: bool) -> None:
        super().__init__(layers, **places)
        self._conv: Any = layers[0]
        self._pool: Any = layers[2] if len(layers) > 2 else None
        self._flat = flat

    def _call(self, x: Array, training: bool) -> Call:
        conv = self._conv
        window = conv.geometry(tuple(x.shape))
        operands = (x, *conv.operands(), window, conv.groups)
        if self._pool is None:
            return CONV_RELU.run, operands, {}
        out = window.output_shape(x.shape[2:])
        self._pool.output_shape((x.shape[0], conv.out_channels, *out))
        options = {"training": training, "flat": self._flat}
        return CONV_RELU_MAX_POOL.run, (*operands, self._pool.window(out)), options


class LimitedConvStep(Step):
    """Convolution and an activation that keeps numbers between two limits, without training."""

    def _call(self, x: Array, training: bool) -> Call:
        conv: Any = self.layers[0]
        op, options = conv_and(self.layers[1], x)
        operands = (x, *conv.operands(), conv.geometry(tuple(x.shape)), conv.groups)
        return op.run, (*operands, *options), {}


def conv_and(activation: Any, x: Array) -> tuple[Op, tuple[Any, ...]]:
    """Return the operation of a convolution with an activation behind it, and its options."""
    if activation is None:
        return CONV, ()
    if activation.op == "hardtanh":
        return CONV_HARDTANH, activation._options(x)
    return CONV_RELU, ()


class LinearReluStep(Step):
    """A fully connected layer and ReLU."""

    def _call(self, x: Array, training: bool) -> Call:
        linear: Any = self.layers[0]
        linear.output_shape(x.shape)
        return LINEAR_RELU.run, (x, *linear.operands()), {}


class NormActivationStep(Step):
    """Batch normalisation and ReLU, or another activation that is cheap to work out again."""

    def _call(self, x: Array, training: bool) -> Call:
        norm: Any = self.layers[0]
        activation: Any = self.layers[1]
        operands = (BATCH_NORM_AND[activation.op], x, *activation._options(x))
        return norm.normalise, operands, {"training": training}


class FoldedStep(Step):
    """Convolution, batch normalisation and perhaps ReLU without training: one convolution.

    Normalising by fixed statistics is a multiplication and a shift of every channel, which the
    weights can take over. They are worked out once, as long as nobody may have changed an array.
    Where somebody may have, the layers run one by one.
    """

    def __init__(self, layers: list[Layer], apart: list[Step], **places: bool) -> None:
        super().__init__(layers, **places)
        self._conv: Any = layers[0]
        self._norm: Any = layers[1]
        self._behind: Any = layers[2] if len(layers) > 2 else None
        self._apart = apart
        self._folded: tuple[list[Any], Array, Array] | None = None
        self._epoch = -1

    def forward(self, x: Array, *, training: bool) -> Array:
        """Return the output."""
        if self._is_first:
            self.layers[0]._check_input(x)
        folded = self._fold(x) if self._is_old(x) else self._folded
        if folded is None:
            for step in self._apart:
                x = step.forward(x, training=False)
            return x
        _, weight, bias = folded
        window = self._conv.geometry(tuple(x.shape))
        op, options = conv_and(self._behind, x)
        y, _ = op.run(namespace(x), x, weight, bias, window, self._conv.groups, *options)
        return y

    def _is_old(self, x: Array) -> bool:
        """Whether something may have been changed, or lent to somebody, since it was folded."""
        if self._folded is None or self._epoch != epoch():
            return True
        *_, eps, dtype = self._folded[0]
        return eps != self._norm.eps or dtype != x.dtype or not self._norm.track_running_stats

    def _fold(self, x: Array) -> tuple[list[Any], Array, Array] | None:
        """Return weights and bias that normalise too; ``None`` if an array may have changed."""
        conv, norm = self._conv, self._norm
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
        made_of, self._epoch = [*arrays, norm.eps, x.dtype], epoch()
        if self._folded is None or any(map(operator.is_not, self._folded[0], made_of)):
            weight, bias, gamma, beta, mean, variance = arrays
            xp = namespace(x)
            scale = 1.0 / xp.sqrt(variance + norm.eps)
            scale = scale if gamma is None else scale * gamma
            shift = -mean if bias is None else bias - mean
            shift = shift * scale if beta is None else shift * scale + beta
            weight = weight * xp.reshape(scale, (-1, *(1,) * (weight.ndim - 1)))
            if x.dtype != weight.dtype and conv._input_dtype is not None:
                weight, shift = (xp.astype(a, x.dtype) for a in (weight, shift))
            promise(weight)
            promise(shift)
            self._folded, self._epoch = (made_of, weight, shift), epoch()
        return self._folded


class SumStep:
    """A sum of two arrays, perhaps the batch normalisation of the first, perhaps ReLU of the sum.

    Parameters
    ----------
    add : Layer
        The addition that it stands for; where the shapes differ it does the work.
    norm : batch normalisation in front of the first array, or None
    relu : ReLU behind the sum, or None
    """

    def __init__(self, add: Any, norm: Any, relu: Any) -> None:
        self._add, self.norm, self.relu = add, norm, relu
        self.layers: list[Layer] = [layer for layer in (norm, add, relu) if layer is not None]
        self._saved: Any = None

    def forward(self, through: Array, past: Array, *, training: bool) -> Array:
        """Return the sum; the arrays are broadcast if their shapes differ."""
        way, xp = "", namespace(through)
        if self.norm is not None:
            self.norm._check_input(through)
            if self.relu is not None and through.shape == past.shape:
                way = "normed"
                y, saved = self.norm.normalise(
                    xp, BATCH_NORM_ADD_RELU, through, past, training=training
                )
            else:
                through = self.norm.forward(through, training=training)
        if not way and through.shape == past.shape:
            way = "added"
            y, saved = (ADD if self.relu is None else ADD_RELU).run(xp, through, past)
        elif not way:
            way = "broadcast"
            y = self._add.forward(through, past, training=training)
            y, saved = (y, None) if self.relu is None else RELU.run(xp, y)
        if training:
            self._saved = (way, saved, output_of(y))
        return y

    def backward(self, dy: Array, *, need_dx: Any = True) -> Any:
        """Return the gradients of the two arrays."""
        if self._saved is None:
            raise no_forward_error(self.layers[-1].who)
        way, saved, output = self._saved
        self.layers[-1]._check_gradient(dy, output)
        self._saved = None
        if way == "normed":
            through, dgamma, dbeta, past = saved(dy, True)
            self.norm.accumulate(dgamma, dbeta)
            return through, past
        if way == "added":
            through, past = saved(dy)
        else:
            through, past = self._add.backward(dy if saved is None else saved(dy))
        if self.norm is not None:
            through = self.norm.backward(through)
        return through, past

    def forget(self) -> None:
        """Drop what is kept for a backward."""
        self._saved = None
        for layer in self.layers:
            layer.forget()


class SameStep:
    """A value under another name, whose gradients are added up before those of the first name."""

    layers: tuple[Layer, ...] = ()

    def forward(self, x: Array, *, training: bool) -> Array:
        """Return the value."""
        return x

    def backward(self, dy: Array, *, need_dx: Any) -> Array:
        """Return the gradient."""
        return dy

    def forget(self) -> None:
        """Do nothing: nothing is kept."""
