"""Activation layers that are put together from straight pieces."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from xpcnn._xp import Array
from xpcnn.initializers import constant
from xpcnn.layers.activation import Activation, InPlace
from xpcnn.layers.layer import Shape, WeightedLayer
from xpcnn.layers.parameter import Parameter
from xpcnn.ops.piecewise import PRELU
from xpcnn.window import as_int, as_number


class PReLU(WeightedLayer):
    """x where positive, ``weight * x`` elsewhere, with a learned weight (He et al., 2015).

    Parameters
    ----------
    num_parameters : int
        1 for one weight in all, or the number of channels (axis 1) for one in each.
    init : float
        First value of the weights.

    Attributes
    ----------
    weight : Parameter of shape (num_parameters,)

    Raises
    ------
    ValueError
        If there are several weights, but not as many as an input has channels.

    Examples
    --------
    >>> import numpy as np
    >>> PReLU()(np.array([[2.0, -2.0]]))
    array([[ 2. , -0.5]])
    """

    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.num_parameters = as_int(num_parameters, "PReLU", "num_parameters", 1)
        self.init = as_number(init, type(self).__name__, "init")
        self.weight = Parameter((self.num_parameters,), constant(self.init))

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape, expected = tuple(input_shape), self.num_parameters
        channels = shape[1] if len(shape) > 1 else 1
        if expected not in (1, channels):
            raise ValueError(
                f"{self.who}: expected {expected} channels (axis 1), one for each weight, got "
                f"{channels} in an input of shape {shape}; use num_parameters=1 for one weight in "
                "all"
            )
        return shape

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        return PRELU.run(xp, x, self.weight.value)


class Hardtanh(Activation):
    """x, but not below `min_val` and not above `max_val`.

    Parameters
    ----------
    min_val, max_val : float
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Raises
    ------
    ValueError
        If `min_val` is not below `max_val`.

    Notes
    -----
    The derivative at both limits is zero.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Hardtanh()(np.array([-3.0, 0.5, 3.0])).tolist()
    [-1.0, 0.5, 1.0]
    """

    op = "hardtanh"
    options = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        self.min_val = as_number(min_val, type(self).__name__, "min_val", finite=False)
        self.max_val = as_number(max_val, type(self).__name__, "max_val", finite=False)
        self.inplace = bool(inplace)
        if not self.min_val < self.max_val:
            raise ValueError(
                f"Hardtanh: min_val must be below max_val, got {min_val!r} and {max_val!r}"
            )


class ReLU6(InPlace):
    """min(max(x, 0), 6), as in networks for mobile devices (Howard et al., 2017).

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.ReLU6()(np.array([-1.0, 4.0, 9.0])).tolist()
    [0.0, 4.0, 6.0]
    """

    op = "hardtanh"

    def _options(self, x: Array) -> tuple[Any, ...]:
        return 0.0, 6.0


class Hardsigmoid(InPlace, op="hardsigmoid"):
    """min(max(x + 3, 0), 6) / 6: three straight lines near the sigmoid.

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Notes
    -----
    The derivative between the kinks is PyTorch's: 1/6 rounded to float32, in float64 too.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Hardsigmoid()(np.array([-4.0, 0.0, 1.5, 4.0])).round(4).tolist()
    [0.0, 0.5, 0.75, 1.0]
    """


class Hardswish(InPlace, op="hardswish"):
    """x * min(max(x + 3, 0), 6) / 6, close to :class:`SiLU` (Howard et al., 2019).

    Parameters
    ----------
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Hardswish()(np.array([-1.5, 0.0, 3.0])).round(4).tolist()  # -1.5 * 1.5 / 6
    [-0.375, 0.0, 3.0]
    """


class Softshrink(Activation):
    """x brought nearer to zero by `lambd`; zero where it is no further away than that.

    Parameters
    ----------
    lambd : float
        At least 0.

    Raises
    ------
    ValueError
        If `lambd` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Softshrink(1.0)(np.array([-3.0, 0.5, 3.0])).tolist()
    [-2.0, 0.0, 2.0]
    """

    op = "softshrink"
    options = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = as_number(lambd, type(self).__name__, "lambd")
        if not self.lambd >= 0.0:
            raise ValueError(f"Softshrink: lambd must be at least 0, got {lambd!r}")


class Hardshrink(Activation):
    """x, and zero where it is no further from zero than `lambd`.

    Parameters
    ----------
    lambd : float

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Hardshrink(1.0)(np.array([-3.0, 0.5, 3.0])).tolist()
    [-3.0, 0.0, 3.0]
    """

    op = "hardshrink"
    options = ("lambd",)

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = as_number(lambd, type(self).__name__, "lambd")


class Threshold(Activation):
    """x where it is above `threshold`, `value` elsewhere.

    Parameters
    ----------
    threshold, value : float
    inplace : bool
        Taken so that PyTorch's calls work; a layer never changes its input.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> xpcnn.Threshold(1.0, -5.0)(np.array([0.5, 1.0, 2.0])).tolist()
    [-5.0, -5.0, 2.0]
    """

    op = "threshold"
    options = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self.threshold = as_number(threshold, type(self).__name__, "threshold", finite=False)
        self.value = as_number(value, type(self).__name__, "value", finite=False)
        self.inplace = bool(inplace)
