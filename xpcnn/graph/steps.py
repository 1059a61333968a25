"""What a program runs: a layer, or neighbours for which there is one operation.

Every step has ``forward(*inputs, training)`` and ``backward(*dys, need_dx)``. What a step keeps for
its backward is its own; that of the layers in it stays empty.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from xpcnn._xp import Array, namespace
from xpcnn.errors import no_forward_error
from xpcnn.kernels.constant import epoch, is_promised, promise
from xpcnn.layers.layer import Layer, output_of
from xpcnn.layers.linear import Linear
from xpcnn.ops.activation import RELU
from xpcnn.ops.conv_pool import CONV_RELU_MAX_POOL
from xpcnn.ops.fused import (
    ADD,
    ADD_RELU,
    BATCH_NORM_ADD_RELU,
    BATCH_NORM_AND,
    CONV_ADD,
    CONV_AND,
    CONV_CONCAT,
    CONV_RELU,
    LINEAR_ADD,
    LINEAR_AND,
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


class Parts(NamedTuple):
    """Layers that follow one another, of which all but the first may be missing.

    Attributes
    ----------
    product : convolution or linear layer
    norm : batch normalisation
    add : the sum with a second array
    activation : one of those that :mod:`xpcnn.ops.fused` has behind a product
    """

    product: Any
    norm: Any = None
    add: Any = None
    activation: Any = None

    def call(self, x: Array, past: Array | None, operands: Any, *, training: bool) -> Call:
        """Return the operation of all of them, for some weight and bias, and what it takes."""
        name = ""
        options: tuple[Any, ...] = ()
        where: tuple[Any, ...] = ()
        if self.activation is not None:
            name = self.activation.op
            options = () if name == "relu" else self.activation._options(x)
        if isinstance(self.product, Linear):
            self.product.output_shape(x.shape)
            alone, added = LINEAR_AND, LINEAR_ADD
        else:
            where = self.product.geometry(tuple(x.shape)), self.product.groups
            alone, added = CONV_AND, CONV_ADD
        if past is not None:
            operands = (x, *operands, *where, past, *options)
            return added[name].run, operands, {"training": training}
        told = {} if name in ("", "relu") else {"training": training}
        return alone[name].run, (x, *operands, *where, *options), told


class ProductStep(Step):
    """A convolution or linear layer, perhaps a sum with a second array, perhaps an activation.

    With a sum it is for inference only.

    Parameters
    ----------
    parts : Parts
    apart : list
        Steps that do the same one by one, for what cannot be had in one operation.
    """

    def __init__(self, parts: Parts, apart: list[Any], **places: bool) -> None:
        super().__init__([part for part in parts if part is not None], **places)
        self._parts, self._apart = parts, apart
        self._fitting: tuple[Any, ...] = ()
        """The last shapes of two arrays that can be added without being broadcast."""

    def forward(self, x: Array, past: Array | None = None, *, training: bool) -> Array:
        """Return the output; `past` is the second array of the sum."""
        if self._is_first:
            self.layers[0]._check_input(x)
        operands = self._operands(x)
        if past is not None and (x.shape, past.shape) != self._fitting:
            if past.shape == self._parts.product.output_shape(x.shape):
                self._fitting = x.shape, past.shape
            else:
                operands = None
        if operands is None:
            for step in self._apart:
                more = (past,) if isinstance(step, SumStep) else ()
                x = step.forward(x, *more, training=False)
            return x
        run, arguments, options = self._parts.call(x, past, operands, training=training)
        y, saved = run(namespace(x), *arguments, **options)
        if training:
            self._saved = saved, output_of(y) if self._is_last else None
        return y

    def convolution(self, x: Array) -> tuple[Any, ...] | None:
        """Return what is to be computed without training, as ``CONV_CONCAT`` takes it."""
        if self._is_first:
            self.layers[0]._check_input(x)
        operands, (product, *_, activation) = self._operands(x), self._parts
        if operands is None:
            return None
        behind = ("",) if activation is None else (activation.op, *activation._options(x))
        return (x, *operands, product.geometry(tuple(x.shape)), product.groups, *behind)

    def _operands(self, x: Array) -> tuple[Any, ...] | None:
        """Return weight and bias; ``None`` if the layers have to run one by one."""
        operands: tuple[Any, ...] = self._parts.product.operands()
        return operands


class FoldedStep(ProductStep):
    """Convolution, batch normalisation, perhaps sum and activation without training: one operation.

    Normalising by fixed statistics is a multiplication and a shift of every channel, which the
    weights can take over. They are worked out once, as long as nobody may have changed an array.
    Where somebody may have, the layers run one by one.
    """

    def __init__(self, parts: Parts, apart: list[Any], **places: bool) -> None:
        super().__init__(parts, apart, **places)
        self._conv, self._norm = parts.product, parts.norm
        self._folded: tuple[list[Any], Array, Array] | None = None
        self._epoch = -1

    def _operands(self, x: Array) -> tuple[Any, ...] | None:
        folded = self._folded
        if folded is None or self._epoch != epoch():
            folded = self._fold(x)  # something may have been changed, or lent to somebody
        else:
            *_, eps, dtype = folded[0]
            if eps != self._norm.eps or dtype != x.dtype or not self._norm.track_running_stats:
                folded = self._fold(x)
        return None if folded is None else folded[1:]

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


class ConcatStep:
    """Convolutions with what is behind them, put together along the channels; without training.

    Parameters
    ----------
    products : list of ProductStep
        Of convolutions without sums.
    concat : Layer
        What puts their outputs together; it does the work where it cannot be had in one operation.
    """

    def __init__(self, products: list[ProductStep], concat: Any) -> None:
        self._products, self._concat = products, concat
        self.layers: list[Layer] = [layer for step in products for layer in step.layers]
        self.layers.append(concat)

    def forward(self, *inputs: Array, training: bool) -> Any:
        """Return the outputs behind one another."""
        convolutions = []
        for step, x in zip(self._products, inputs, strict=True):
            convolution = step.convolution(x)
            if convolution is None:
                break
            convolutions.append(convolution)
        else:
            found = CONV_CONCAT.run(namespace(inputs[0]), convolutions)
            if found is not None:
                return found[0]
        outputs = [
            step.forward(x, training=False) for step, x in zip(self._products, inputs, strict=True)
        ]
        return self._concat.forward(*outputs, training=False)

    def backward(self, *dys: Array, need_dx: Any) -> Any:
        """Refuse: in training the layers have steps of their own."""
        raise no_forward_error(self.layers[-1].who)

    def forget(self) -> None:
        """Drop what is kept for a backward."""
        for layer in self.layers:
            layer.forget()


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
