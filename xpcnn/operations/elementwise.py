"""Functions of one array, element by element."""

from __future__ import annotations

from math import pi, sqrt
from types import ModuleType
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Operation
from xpcnn.operations.dtypes import OfDtype
from xpcnn.ops import special


class Unary(Operation):
    """A function of each element by itself.

    A subclass implements `_value`, and `_slope` unless the derivative is zero wherever there is
    one.
    """

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the input's shape."""
        return (input_shapes[0] or (),)

    def _run(
        self, xp: ModuleType, inputs: tuple[Any, ...], training: bool
    ) -> tuple[tuple[Array, ...], Any]:
        (x,) = inputs
        y = self._value(xp, x)
        return (y,), (x, y)

    def _run_backward(
        self, xp: ModuleType, dys: tuple[Any, ...], saved: Any, need: tuple[bool, ...]
    ) -> tuple[Array | None, ...]:
        slope = self._slope(xp, *saved)
        return (None if slope is None else dys[0] * slope,)

    def _value(self, xp: ModuleType, x: Array) -> Array:
        raise NotImplementedError

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        """Return the derivative at x, where the value is y; ``None`` stands for zero."""
        return None


class Negative(Unary):
    """-x."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return -x

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return -1.0


class Absolute(Unary):
    """|x|; the gradient is 0 at 0."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return xp.abs(x)

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return _xp.sign(x)


class Sign(Unary):
    """-1, 0 or 1."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return _xp.sign(x)


class Floor(Unary):
    """The largest whole number that is not above x."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return xp.floor(x)


class Ceil(Unary):
    """The smallest whole number that is not below x."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return xp.ceil(x)


class Round(Unary):
    """The nearest whole number, of two the even one."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return xp.round(x)


class Reciprocal(Unary):
    """1 / x."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return 1.0 / x

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return -y * y


class SquareRoot(Unary):
    """The square root."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return xp.sqrt(x)

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return 0.5 / y


class Exp(Unary):
    """e to the power of x."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return xp.exp(x)

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return y


class Log(Unary):
    """The natural logarithm."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return xp.log(x)

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return 1.0 / x


class Erf(Unary):
    """The error function."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return special.erf(xp, x)

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return xp.exp(-x * x) * (2.0 / sqrt(pi))


class Sin(Unary):
    """The sine."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return xp.sin(x)

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return xp.cos(x)


class Cos(Unary):
    """The cosine."""

    def _value(self, xp: ModuleType, x: Array) -> Array:
        return xp.cos(x)

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return -xp.sin(x)


class Shrink(Unary):
    """x moved towards zero by `bias` where ``|x| > lambd``, and zero elsewhere.

    Parameters
    ----------
    lambd, bias : float
    """

    def __init__(self, lambd: float = 0.5, bias: float = 0.0) -> None:
        self.lambd = float(lambd)
        self.bias = float(bias)

    def _value(self, xp: ModuleType, x: Array) -> Array:
        if not _xp.is_floating(x):
            as_floats = xp.astype(x, xp.float32)
            return xp.astype(self._value(xp, as_floats), x.dtype)
        zero = xp.zeros_like(x)
        low = xp.where(x < -self.lambd, x + self.bias, zero)
        return xp.where(x > self.lambd, x - self.bias, low)

    def _slope(self, xp: ModuleType, x: Array, y: Array) -> Array | float | None:
        return xp.astype(xp.abs(x) > self.lambd, x.dtype)


class Cast(OfDtype, Unary):
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
    """

    def __init__(self, dtype: str | None = None, follows: bool = False) -> None:
        self.dtype = dtype
        self.follows = bool(follows)

    def _run(
        self, xp: ModuleType, inputs: tuple[Any, ...], training: bool
    ) -> tuple[tuple[Array, ...], Any]:
        x = inputs[0]
        dtype = inputs[1].dtype if self.dtype is None else self._dtype(xp)
        return (xp.astype(x, dtype, copy=False),), (x.dtype, len(inputs))

    def _run_backward(
        self, xp: ModuleType, dys: tuple[Any, ...], saved: Any, need: tuple[bool, ...]
    ) -> tuple[Array | None, ...]:
        dtype, count = saved
        dx = xp.astype(dys[0], dtype) if need[0] and _xp.is_floating(dys[0]) else None
        return (dx,) + (None,) * (count - 1)


class Clip(Unary):
    """Numbers below a smallest and above a largest one are replaced by these.

    Parameters
    ----------
    min, max : float, optional
        The limits; what is left out is taken from the second and third input, if there are any.

    Notes
    -----
    Where both limits hold something the largest wins. The gradient is 1 on the limits.
    """

    def __init__(self, min: float | None = None, max: float | None = None) -> None:
        self.min = min
        self.max = max

    def _run(
        self, xp: ModuleType, inputs: tuple[Any, ...], training: bool
    ) -> tuple[tuple[Array, ...], Any]:
        x = inputs[0]
        low, high = self._limits(xp, inputs)
        y = x if low is None else xp.where(x < low, low, x)
        y = y if high is None else xp.where(y > high, high, y)
        return (y,), (x, low, high, len(inputs))

    def _limits(self, xp: ModuleType, inputs: tuple[Any, ...]) -> tuple[Any, Any]:
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

    def _run_backward(
        self, xp: ModuleType, dys: tuple[Any, ...], saved: Any, need: tuple[bool, ...]
    ) -> tuple[Array | None, ...]:
        x, low, high, count = saved
        dx = dys[0]
        zero = xp.zeros_like(dx)
        if low is not None:
            dx = xp.where(x < low, zero, dx)
        if high is not None:
            dx = xp.where(x > high, zero, dx)
        return (dx,) + (None,) * (count - 1)
