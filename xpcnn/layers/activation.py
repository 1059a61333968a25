"""Activation layers: a function applied to every element, or along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

from xpcnn._xp import Array
from xpcnn.errors import choice_error, rank_error
from xpcnn.layers.layer import Layer, Shape
from xpcnn.ops import OPS
from xpcnn.ops.checks import LAYOUTS
from xpcnn.window import as_number

# With these, inputs of mean 0 and variance 1 give outputs of mean 0 and variance 1; from the paper.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


class _Activation(Layer):
    """A layer that is one operation with the options that `_options` returns."""

    op: ClassVar[str]

    def _options(self) -> tuple[Any, ...]:
        return ()

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        return OPS[self.op].run(xp, x, *self._options())

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return saved(dy) if need_dx else None


class ReLU(_Activation):
    """max(x, 0).

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.
    """

    op = "relu"

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)


class LeakyReLU(_Activation):
    """x where positive, ``negative_slope * x`` elsewhere.

    Parameters
    ----------
    negative_slope : float
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.
    """

    op = "leaky_relu"

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = as_number(negative_slope, type(self).__name__, "negative_slope")
        self.inplace = bool(inplace)

    def _options(self) -> tuple[Any, ...]:
        return (self.negative_slope,)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x))."""

    op = "sigmoid"

    def __init__(self) -> None:
        pass


class LogSigmoid(_Activation):
    """Logarithm of the sigmoid, -log(1 + exp(-x)), without taking that of a rounded zero."""

    op = "log_sigmoid"

    def __init__(self) -> None:
        pass


class Tanh(_Activation):
    """Hyperbolic tangent."""

    op = "tanh"

    def __init__(self) -> None:
        pass


class Tanhshrink(_Activation):
    """x - tanh(x)."""

    op = "tanhshrink"

    def __init__(self) -> None:
        pass


class Softsign(_Activation):
    """x / (1 + |x|)."""

    op = "softsign"

    def __init__(self) -> None:
        pass


class _AlongAxis(_Activation):
    def __init__(self, dim: int = 1) -> None:
        self.dim = int(dim)

    @property
    def sample_ndim(self) -> int | None:  # type: ignore[override]
        """Number of axes of a sample: a number by itself is its own only neighbour."""
        return 0 if self.dim in (0, -1) else None

    def _options(self) -> tuple[Any, ...]:
        return (self.dim,)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = tuple(input_shape)
        if not -len(shape) <= self.dim < len(shape):
            raise ValueError(
                f"{self.who}: dim={self.dim} is out of range for an input of shape {shape}"
            )
        return shape

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        return super()._forward(xp, x, training)


class Softmax(_AlongAxis):
    """exp(x) normalised to sum to one.

    For training a classifier leave it out: :class:`xpcnn.CrossEntropyLoss` takes the scores.

    Parameters
    ----------
    dim : int
        Axis along which the outputs sum to one.
    """

    op = "softmax"


class Softmin(_AlongAxis):
    """exp(-x) normalised to sum to one: the smallest input gets the largest share.

    Parameters
    ----------
    dim : int
        Axis along which the outputs sum to one.
    """

    op = "softmin"


class Softmax2d(_AlongAxis):
    """Softmax over the channels of images, at each place on its own.

    Raises
    ------
    ValueError
        If an input does not have four dimensions.

    Notes
    -----
    Input and output (N, C, H, W).
    """

    op = "softmax"
    sample_ndim = 3

    def __init__(self) -> None:
        super().__init__(dim=1)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        if len(input_shape) != 4:
            raise rank_error(self.who, 4, LAYOUTS[2], input_shape)
        return tuple(input_shape)


class LogSoftmax(_AlongAxis):
    """Logarithm of the softmax, for :class:`xpcnn.NLLLoss`.

    Parameters
    ----------
    dim : int
        Axis along which the exponentials of the outputs sum to one.
    """

    op = "log_softmax"


class GLU(_AlongAxis):
    """Gated linear unit (Dauphin et al., 2017): first half times the sigmoid of the second half.

    Parameters
    ----------
    dim : int
        Axis to halve; the output is half as long there.

    Raises
    ------
    ValueError
        If an input does not have that axis, or its length is odd.

    Examples
    --------
    >>> import numpy as np
    >>> GLU()(np.array([[3.0, 5.0, 0.0, 0.0]]))  # sigmoid(0) = 1/2
    array([[1.5, 2.5]])
    """

    op = "glu"
    sample_ndim = None

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the shape with the axis half as long."""
        shape = list(super().output_shape(input_shape))
        if shape[self.dim] % 2:
            raise ValueError(
                f"{self.who}: expected an even length along dim={self.dim}, which is cut into "
                f"halves, got {shape[self.dim]} in an input of shape {tuple(shape)}; give the "
                "layer in front twice as many outputs as are wanted here"
            )
        shape[self.dim] //= 2
        return tuple(shape)


class ELU(_Activation):
    """x where positive, ``alpha * (exp(x) - 1)`` elsewhere (Clevert et al., 2015).

    Parameters
    ----------
    alpha : float
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.
    """

    op = "elu"

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = as_number(alpha, type(self).__name__, "alpha")
        self.inplace = bool(inplace)

    def _options(self) -> tuple[Any, ...]:
        return (self.alpha,)


class SELU(_Activation):
    """ELU with the scale and alpha that keep mean 0 and variance 1 (Klambauer et al., 2017).

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.
    """

    op = "elu"

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)

    def _options(self) -> tuple[Any, ...]:
        return (SELU_ALPHA, SELU_SCALE)


class CELU(_Activation):
    """x where positive, ``alpha * (exp(x / alpha) - 1)`` elsewhere (Barron, 2017).

    Unlike that of :class:`ELU` its slope has no jump, whatever alpha is.

    Parameters
    ----------
    alpha : float
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Raises
    ------
    ValueError
        If `alpha` is zero.

    Notes
    -----
    The derivative is PyTorch's, which rounds `alpha` to float32, in float64 too.
    """

    op = "celu"

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = as_number(alpha, type(self).__name__, "alpha")
        self.inplace = bool(inplace)
        if not self.alpha:
            raise ValueError("CELU: alpha must not be zero; for max(x, 0) use ReLU")

    def _options(self) -> tuple[Any, ...]:
        return (self.alpha,)


class GELU(_Activation):
    """x times the normal distribution function at x (Hendrycks & Gimpel, 2016).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        "tanh" is the published approximation by a hyperbolic tangent.
    """

    op = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise choice_error("GELU", "approximate", approximate, ("none", "tanh"))
        self.approximate = approximate

    def _options(self) -> tuple[Any, ...]:
        return (self.approximate,)


class SiLU(_Activation):
    """x * sigmoid(x), also called swish.

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.
    """

    op = "silu"

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)


class Mish(_Activation):
    """x * tanh(log(1 + exp(x))) (Misra, 2019).

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.
    """

    op = "mish"

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)


class Softplus(_Activation):
    """log(1 + exp(beta * x)) / beta, a smooth ReLU.

    Parameters
    ----------
    beta : float
    threshold : float
        Where ``beta * x`` is above it the output is x.
    """

    op = "softplus"

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = as_number(beta, type(self).__name__, "beta")
        self.threshold = as_number(threshold, type(self).__name__, "threshold", finite=False)
        if not self.beta:
            raise ValueError("Softplus: beta must not be zero")

    def _options(self) -> tuple[Any, ...]:
        return (self.beta, self.threshold)
