"""Functions of one array, element by element."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.operation import Arrays, Needs, SameShape
from xpcnn.operations.dtypes import OfDtype
from xpcnn.ops import special


class Unary(SameShape):
    """A function of each element by itself.

    A subclass has the function and its derivative behind its bases, or as methods.

    Attributes
    ----------
    value : callable
        ``value(xp, x) -> y``.
    slope : callable, optional
        ``slope(xp, x, y)`` returns the derivative at x, where the value is y. Left out, it is zero
        wherever there is one.
    """

    value: Callable[..., Array]
    slope: Callable[..., Array | float] | None = None

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        (x,) = inputs
        y = self.value(xp, x)
        return (y,), (x, y)

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (None if self.slope is None else dys[0] * self.slope(xp, *saved),)


class Negative(Unary, value=lambda xp, x: -x, slope=lambda xp, x, y: -1.0):
    """-x.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Negative
    >>> Negative()(np.array([1.0, -2.0])).tolist()
    [-1.0, 2.0]
    """


class Absolute(Unary, value=lambda xp, x: xp.abs(x), slope=lambda xp, x, y: _xp.sign(x)):
    """|x|; the gradient is 0 at 0.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Absolute
    >>> absolute = Absolute()
    >>> absolute.forward(np.array([3.0, -2.0, 0.0]), training=True).tolist()
    [3.0, 2.0, 0.0]
    >>> absolute.backward(np.array([1.0, 1.0, 1.0])).tolist()
    [1.0, -1.0, 0.0]
    """


class Sign(Unary, value=lambda xp, x: _xp.sign(x)):
    """-1, 0 or 1.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Sign
    >>> Sign()(np.array([3.0, -2.0, 0.0])).tolist()
    [1.0, -1.0, 0.0]
    """


class Floor(Unary, value=lambda xp, x: xp.floor(x)):
    """The largest whole number that is not above x.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Floor
    >>> Floor()(np.array([1.5, -1.5])).tolist()
    [1.0, -2.0]
    """


class Ceil(Unary, value=lambda xp, x: xp.ceil(x)):
    """The smallest whole number that is not below x.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Ceil
    >>> Ceil()(np.array([1.5, -1.5])).tolist()
    [2.0, -1.0]
    """


class Round(Unary, value=lambda xp, x: xp.round(x)):
    """The nearest whole number, of two the even one.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Round
    >>> Round()(np.array([0.5, 1.5, 2.5, 2.75])).tolist()
    [0.0, 2.0, 2.0, 3.0]
    """


class Reciprocal(Unary, value=lambda xp, x: 1.0 / x, slope=lambda xp, x, y: -y * y):
    """1 / x.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Reciprocal
    >>> Reciprocal()(np.array([2.0, -4.0])).tolist()
    [0.5, -0.25]
    """


class SquareRoot(Unary, value=lambda xp, x: xp.sqrt(x), slope=lambda xp, x, y: 0.5 / y):
    """The square root.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import SquareRoot
    >>> SquareRoot()(np.array([9.0, 0.25])).tolist()
    [3.0, 0.5]
    """


class Exp(Unary, value=lambda xp, x: xp.exp(x), slope=lambda xp, x, y: y):
    """e to the power of x.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Exp
    >>> Exp()(np.array([0.0, 1.0])).round(3).tolist()
    [1.0, 2.718]
    """


class Log(Unary, value=lambda xp, x: xp.log(x), slope=lambda xp, x, y: 1.0 / x):
    """The natural logarithm.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Log
    >>> Log()(np.array([1.0, 10.0])).round(3).tolist()
    [0.0, 2.303]
    """


class Erf(Unary, value=special.erf, slope=lambda xp, x, y: xp.exp(-x * x) * (2.0 / sqrt(pi))):
    """The error function.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Erf
    >>> Erf()(np.array([0.0, 1.0, -1.0])).round(3).tolist()
    [0.0, 0.843, -0.843]
    """


class Sin(Unary, value=lambda xp, x: xp.sin(x), slope=lambda xp, x, y: xp.cos(x)):
    """The sine.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Sin
    >>> Sin()(np.array([0.0, np.pi / 6, np.pi / 2])).round(3).tolist()
    [0.0, 0.5, 1.0]
    """


class Cos(Unary, value=lambda xp, x: xp.cos(x), slope=lambda xp, x, y: -xp.sin(x)):
    """The cosine.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Cos
    >>> Cos()(np.array([0.0, np.pi / 3, np.pi])).round(3).tolist()
    [1.0, 0.5, -1.0]
    """


class Affine(Unary):
    """``scale * x + shift`` with two fixed numbers.

    Parameters
    ----------
    scale, shift : float

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Affine
    >>> Affine(scale=2.0, shift=1.0)(np.array([0.0, 3.0])).tolist()
    [1.0, 7.0]
    """

    def __init__(self, scale: float = 1.0, shift: float = 0.0) -> None:
        self.scale = float(scale)
        self.shift = float(shift)

    def value(self, xp: ModuleType, x: Array) -> Array:
        y = x * self.scale
        return y + self.shift if self.shift else y

    def slope(self, xp: ModuleType, x: Array, y: Array) -> float:
        return self.scale


class Shrink(Unary):
    """x moved towards zero by `bias` where ``|x| > lambd``, and zero elsewhere.

    Parameters
    ----------
    lambd, bias : float

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Shrink
    >>> Shrink(lambd=1.0, bias=0.5)(np.array([-3.0, -1.0, 0.5, 2.0])).tolist()
    [-2.5, 0.0, 0.0, 1.5]
    """

    def __init__(self, lambd: float = 0.5, bias: float = 0.0) -> None:
        self.lambd = float(lambd)
        self.bias = float(bias)

    def value(self, xp: ModuleType, x: Array) -> Array:
        if not _xp.is_floating(x):
            as_floats = xp.astype(x, xp.float32)
            return xp.astype(self.value(xp, as_floats), x.dtype)
        zero = xp.zeros_like(x)
        low = xp.where(x < -self.lambd, x + self.bias, zero)
        return xp.where(x > self.lambd, x - self.bias, low)

    def slope(self, xp: ModuleType, x: Array, y: Array) -> Array:
        return xp.astype(xp.abs(x) > self.lambd, x.dtype)


class Cast(OfDtype, SameShape):
    """The same numbers in another dtype.

    Parameters
    ----------
    dtype : str, optional
        Such as "float32" or "int64"; if left out, that of a second input, of which nothing else
        is used.
    follows : bool
        Whether the dtype is that of the network, and changes with it.

    Notes
    -----
    Floating-point numbers become whole numbers by dropping what is behind the point.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Cast
    >>> Cast("int64")(np.array([1.75, -1.75])).tolist()
    [1, -1]
    """

    def __init__(self, dtype: str | None = None, follows: bool = False) -> None:
        self.dtype = dtype
        self.follows = bool(follows)

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x = inputs[0]
        dtype = inputs[1].dtype if self.dtype is None else self._dtype(xp)
        return (xp.astype(x, dtype, copy=False),), x.dtype

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        return (xp.astype(dys[0], saved) if need[0] and _xp.is_floating(dys[0]) else None,)


class Clip(SameShape):
    """Numbers below a smallest and above a largest one are replaced by these.

    Parameters
    ----------
    min, max : float, optional
        The limits; what is left out is taken from the second and third input, if there are any.

    Notes
    -----
    Where both limits hold something the largest wins. The gradient is 1 on the limits.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import Clip
    >>> Clip(min=0.0, max=6.0)(np.array([-1.0, 2.0, 7.0])).tolist()
    [0.0, 2.0, 6.0]
    >>> Clip()(np.array([-1.0, 2.0, 7.0]), np.array(1.0)).tolist()  # the limit is an input
    [1.0, 2.0, 7.0]
    """

    def __init__(self, min: float | None = None, max: float | None = None) -> None:
        self.min = min
        self.max = max

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x = inputs[0]
        low, high = self._limits(xp, inputs)
        y = x if low is None else xp.where(x < low, low, x)
        y = y if high is None else xp.where(y > high, high, y)
        return (y,), (x, low, high)

    def _limits(self, xp: ModuleType, inputs: Arrays) -> tuple[Any, Any]:
        x = inputs[0]
        given = (*inputs[1:], None, None)
        limits = []
        for own, other in ((self.min, given[0]), (self.max, given[1])):
            if own is not None:
                other = xp.asarray(own, dtype=x.dtype, device=_xp.device_of(x))
            elif other is not None:
                other = xp.reshape(other, ())
            limits.append(other)
        return limits[0], limits[1]

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        x, low, high = saved
        dx = dys[0]
        zero = xp.zeros_like(dx)
        if low is not None:
            dx = xp.where(x < low, zero, dx)
        if high is not None:
            dx = xp.where(x > high, zero, dx)
        return (dx,)
