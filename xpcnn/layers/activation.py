"""Activation layers: a function applied to every element, or along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcnn._xp import Array
from xpcnn.errors import choice_error
from xpcnn.layers.layer import Shape
from xpcnn.layers.op_layer import OpLayer
from xpcnn.ops.checks import check_rank
from xpcnn.window import as_number

# With these, inputs of mean 0 and variance 1 give outputs of mean 0 and variance 1; from the paper.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


class Activation(OpLayer):
    """A function of every element, or along one axis."""


class InPlace(Activation):
    """An activation whose only argument is that of PyTorch's that has no meaning here."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = bool(inplace)


class ReLU(InPlace, op="relu"):
    """max(x, 0).

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.ReLU()(np.array([-2.0, 0.0, 3.0])).tolist()
    [0.0, 0.0, 3.0]
    """


class LeakyReLU(Activation):
    """x where positive, ``negative_slope * x`` elsewhere.

    Parameters
    ----------
    negative_slope : float
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.LeakyReLU(0.25)(np.array([-2.0, 3.0])).tolist()
    [-0.5, 3.0]
    """

    op = "leaky_relu"
    options = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = as_number(negative_slope, type(self).__name__, "negative_slope")
        self.inplace = bool(inplace)


class Sigmoid(Activation, op="sigmoid"):
    """1 / (1 + exp(-x)).

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Sigmoid()(np.log([1.0, 3.0])).round(4).tolist()  # 1 / (1 + 1), 1 / (1 + 1/3)
    [0.5, 0.75]
    """


class LogSigmoid(Activation, op="log_sigmoid"):
    """Logarithm of the sigmoid, -log(1 + exp(-x)), without taking that of a rounded zero.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.LogSigmoid()(np.array([0.0, -1000.0])).round(4).tolist()  # log(1/2), no -inf
    [-0.6931, -1000.0]
    """


class Tanh(Activation, op="tanh"):
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Tanh()(np.log([1.0, 2.0])).round(4).tolist()  # (2 - 1/2) / (2 + 1/2)
    [0.0, 0.6]
    """


class Tanhshrink(Activation, op="tanhshrink"):
    """x - tanh(x).

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Tanhshrink()(np.log([1.0, 2.0])).round(4).tolist()  # log(2) - 0.6
    [0.0, 0.0931]
    """


class Softsign(Activation, op="softsign"):
    """x / (1 + |x|).

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Softsign()(np.array([-3.0, 0.0, 1.0])).tolist()
    [-0.75, 0.0, 0.5]
    """


class AlongAxis(Activation):
    """An activation that looks along one axis."""

    def __init__(self, dim: int = 1) -> None:
        self.dim = int(dim)

    @property
    def sample_ndim(self) -> int | None:  # type: ignore[override]
        """Number of axes of a sample: a number by itself is its own only neighbour."""
        return 0 if self.dim in (0, -1) else None

    def _options(self, x: Array) -> tuple[Any, ...]:
        self.output_shape(x.shape)
        return (self.dim,)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = tuple(input_shape)
        if not -len(shape) <= self.dim < len(shape):
            raise ValueError(
                f"{self.who}: dim={self.dim} is out of range for an input of shape {shape}"
            )
        return shape


class Softmax(AlongAxis, op="softmax"):
    """exp(x) normalised to sum to one.

    For training a classifier leave it out: :class:`xpcnn.CrossEntropyLoss` takes the scores.

    Parameters
    ----------
    dim : int
        Axis along which the outputs sum to one.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Softmax()(np.log([[1.0, 2.0, 5.0]])).round(4).tolist()  # 1/8, 2/8, 5/8
    [[0.125, 0.25, 0.625]]
    """


class Softmin(AlongAxis, op="softmin"):
    """exp(-x) normalised to sum to one: the smallest input gets the largest share.

    Parameters
    ----------
    dim : int
        Axis along which the outputs sum to one.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Softmin()(np.log([[1.0, 1.0, 2.0]])).round(4).tolist()  # 1, 1 and 1/2 of 2.5
    [[0.4, 0.4, 0.2]]
    """


class Softmax2d(AlongAxis):
    """Softmax over the channels of images, at each place on its own.

    Raises
    ------
    ValueError
        If an input does not have four dimensions.

    Notes
    -----
    Input and output (N, C, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.log([[[[3.0, 1.0]], [[1.0, 1.0]]]])  # two channels, two places
    >>> xpcnn.Softmax2d()(x).round(4).tolist()
    [[[[0.75, 0.5]], [[0.25, 0.5]]]]
    """

    op = "softmax"
    sample_ndim = 3

    def __init__(self) -> None:
        super().__init__(dim=1)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        check_rank(input_shape, 2, self.who)
        return tuple(input_shape)


class LogSoftmax(AlongAxis, op="log_softmax"):
    """Logarithm of the softmax, for :class:`xpcnn.NLLLoss`.

    Parameters
    ----------
    dim : int
        Axis along which the exponentials of the outputs sum to one.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.LogSoftmax()(np.array([[7.0, 7.0]])).round(4).tolist()  # log(1/2) each
    [[-0.6931, -0.6931]]
    """


class GLU(AlongAxis):
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


class ELU(Activation):
    """x where positive, ``alpha * (exp(x) - 1)`` elsewhere (Clevert et al., 2015).

    Parameters
    ----------
    alpha : float
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([-np.log(2), 3.0])
    >>> xpcnn.ELU(alpha=2.0)(x).round(4).tolist()  # 2 * (1/2 - 1)
    [-1.0, 3.0]
    """

    op = "elu"
    options = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = as_number(alpha, type(self).__name__, "alpha")
        self.inplace = bool(inplace)


class SELU(InPlace):
    """ELU with the scale and alpha that keep mean 0 and variance 1 (Klambauer et al., 2017).

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.SELU()(np.array([-1000.0, 1.0])).round(4).tolist()  # -scale * alpha, scale
    [-1.7581, 1.0507]
    """

    op = "elu"

    def _options(self, x: Array) -> tuple[Any, ...]:
        return SELU_ALPHA, SELU_SCALE


class CELU(Activation):
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

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([-2 * np.log(2), 3.0])
    >>> xpcnn.CELU(alpha=2.0)(x).round(4).tolist()  # 2 * (1/2 - 1)
    [-1.0, 3.0]
    """

    op = "celu"
    options = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = as_number(alpha, type(self).__name__, "alpha")
        self.inplace = bool(inplace)
        if not self.alpha:
            raise ValueError("CELU: alpha must not be zero; for max(x, 0) use ReLU")


class GELU(Activation):
    """x times the normal distribution function at x (Hendrycks & Gimpel, 2016).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        "tanh" is the published approximation by a hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> x = np.array([-1.0, 0.0, 1.0])  # of all numbers 84.13 % lie below 1 standard deviation
    >>> xpcnn.GELU()(x).round(4).tolist()
    [-0.1587, 0.0, 0.8413]
    """

    op = "gelu"
    options = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise choice_error("GELU", "approximate", approximate, ("none", "tanh"))
        self.approximate = approximate


class SiLU(InPlace, op="silu"):
    """x * sigmoid(x), also called swish.

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.SiLU()(np.log([1.0, 3.0])).round(4).tolist()  # log(3) * 3/4
    [0.0, 0.824]
    """


class Mish(InPlace, op="mish"):
    """x * tanh(log(1 + exp(x))) (Misra, 2019).

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Mish()(np.log([1.0, 2.0])).round(4).tolist()  # log(2) * (9 - 1) / (9 + 1)
    [0.0, 0.5545]
    """


class Softplus(Activation):
    """log(1 + exp(beta * x)) / beta, a smooth ReLU.

    Parameters
    ----------
    beta : float
    threshold : float
        Where ``beta * x`` is above it the output is x.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Softplus()(np.array([0.0, 1000.0])).round(4).tolist()  # log(2), no infinity
    [0.6931, 1000.0]
    """

    op = "softplus"
    options = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = as_number(beta, type(self).__name__, "beta")
        self.threshold = as_number(threshold, type(self).__name__, "threshold", finite=False)
        if not self.beta:
            raise ValueError("Softplus: beta must not be zero")
