"""Activation functions of eight numbers at once, each with its gradient below it.

All have one form, so that kernels can be made of any of them: ``function(x, settings)`` returns the
output, and ``function_gradient(dy, kept, settings)`` the gradient of the input. `kept` is the
input, or the output where the docstring says so: the layer behind keeps that anyway, so that the
input need not stay. `settings` points to the float32 numbers that the docstring lists; where it
lists none, nothing is read there.

They say the same as :mod:`xpcnn.ops.activation` and :mod:`xpcnn.ops.piecewise`, to rounding: NaN
and infinity come out at the same places.
"""

from __future__ import annotations

from typing import Any

from xpcnn.kernels.cpu import functions
from xpcnn.kernels.cpu.jobs import inner
from xpcnn.kernels.cpu.vector import (
    absolute,
    add,
    all_like,
    at_least,
    at_most,
    divide,
    fma,
    load_all_like,
    multiply,
    negative,
    subtract,
    where_at_most,
    where_less,
)

SIXTH = 0.1666666716337204
"""1 / 6 as PyTorch has it."""
PER_ROOT_2PI = 0.3989422804014327
"""1 / sqrt(2 * pi): the height of the normal distribution."""
ROOT_8_PER_PI = 1.5957691216057308
"""sqrt(8 / pi), twice the slope in the approximation of GELU."""
CUBIC = 0.044715
"""The other coefficient of that approximation."""


@inner
def sigmoid(x: Any, settings: Any) -> Any:
    """Return 1 / (1 + exp(-x))."""
    return functions.sigmoid(x)


@inner
def sigmoid_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    """Read the output."""
    return multiply(multiply(dy, kept), subtract(all_like(dy, 1.0), kept))


@inner
def tanh(x: Any, settings: Any) -> Any:
    """Return the hyperbolic tangent."""
    return functions.tanh(x)


@inner
def tanh_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    """Read the output."""
    return multiply(dy, subtract(all_like(dy, 1.0), multiply(kept, kept)))


@inner
def tanhshrink(x: Any, settings: Any) -> Any:
    """Return x - tanh(x)."""
    return subtract(x, functions.tanh(x))


@inner
def tanhshrink_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    y = functions.tanh(kept)
    return multiply(dy, multiply(y, y))


@inner
def log_sigmoid(x: Any, settings: Any) -> Any:
    """Return the logarithm of the sigmoid."""
    e = functions.exp_of_negative(negative(absolute(x)))
    return subtract(at_most(x, all_like(x, 0.0)), functions.log1p_of_share(e))


@inner
def log_sigmoid_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    return multiply(dy, functions.sigmoid(negative(kept)))


@inner
def softplus(x: Any, settings: Any) -> Any:
    """Return log(1 + exp(beta * x)) / beta, or x above a limit; beta and the limit of beta * x."""
    beta, limit = load_all_like(x, settings, 0), load_all_like(x, settings, 1)
    z = multiply(x, beta)
    e = functions.exp_of_negative(negative(absolute(z)))
    smooth = divide(add(at_least(z, all_like(x, 0.0)), functions.log1p_of_share(e)), beta)
    return where_less(limit, z, x, smooth)


@inner
def softplus_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    beta, limit = load_all_like(dy, settings, 0), load_all_like(dy, settings, 1)
    z = multiply(kept, beta)
    return where_less(limit, z, dy, multiply(dy, functions.sigmoid(z)))


@inner
def softsign(x: Any, settings: Any) -> Any:
    """Return x / (1 + |x|)."""
    return divide(x, add(all_like(x, 1.0), absolute(x)))


@inner
def softsign_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    size = add(all_like(dy, 1.0), absolute(kept))
    return divide(divide(dy, size), size)


@inner
def elu(x: Any, settings: Any) -> Any:
    """Return scale * x where positive, height * (exp(rate * x) - 1) elsewhere.

    The settings are scale, height, rate, and height * rate; SELU and CELU are such functions too.
    """
    scale, height, rate = (
        load_all_like(x, settings, 0),
        load_all_like(x, settings, 1),
        load_all_like(x, settings, 2),
    )
    curve = multiply(height, functions.expm1(multiply(at_most(x, all_like(x, 0.0)), rate)))
    return where_less(all_like(x, 0.0), x, multiply(x, scale), curve)


@inner
def elu_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    scale, rate, slope = (
        load_all_like(dy, settings, 0),
        load_all_like(dy, settings, 2),
        load_all_like(dy, settings, 3),
    )
    curve = multiply(slope, functions.exp(multiply(at_most(kept, all_like(dy, 0.0)), rate)))
    return multiply(dy, where_less(all_like(dy, 0.0), kept, scale, curve))


@inner
def leaky_relu(x: Any, settings: Any) -> Any:
    """Return x where positive, and x times the setting elsewhere."""
    small = multiply(x, load_all_like(x, settings, 0))
    return where_less(all_like(x, 0.0), x, x, small)


@inner
def leaky_relu_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    return where_less(all_like(dy, 0.0), kept, dy, multiply(dy, load_all_like(dy, settings, 0)))


@inner
def silu(x: Any, settings: Any) -> Any:
    """Return x * sigmoid(x)."""
    return multiply(x, functions.sigmoid(x))


@inner
def silu_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    s = functions.sigmoid(kept)
    slope = multiply(s, fma(kept, subtract(all_like(dy, 1.0), s), all_like(dy, 1.0)))
    return multiply(dy, slope)


@inner
def _mish_share(x: Any, e: Any) -> Any:
    """Return tanh(log(1 + exp(x))), given e = exp(-|x|)."""
    negative_side = multiply(e, add(e, all_like(x, 2.0)))
    positive_side = fma(all_like(x, 2.0), e, all_like(x, 1.0))
    numerator = where_less(x, all_like(x, 0.0), negative_side, positive_side)
    rest = where_less(
        x, all_like(x, 0.0), all_like(x, 2.0), multiply(all_like(x, 2.0), multiply(e, e))
    )
    return divide(numerator, add(numerator, rest))


@inner
def mish(x: Any, settings: Any) -> Any:
    """Return x * tanh(log(1 + exp(x)))."""
    return multiply(x, _mish_share(x, functions.exp_of_negative(negative(absolute(x)))))


@inner
def mish_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    e = functions.exp_of_negative(negative(absolute(kept)))
    share, s = _mish_share(kept, e), functions.sigmoid_of(kept, e)
    bend = multiply(multiply(kept, s), subtract(all_like(dy, 1.0), multiply(share, share)))
    return multiply(dy, add(share, bend))


@inner
def gelu(x: Any, settings: Any) -> Any:
    """Return x times the normal distribution function at x."""
    return multiply(x, functions.normal_share(x, functions.half_square_exp(x)))


@inner
def gelu_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    e = functions.half_square_exp(kept)
    density = multiply(e, all_like(dy, PER_ROOT_2PI))
    return multiply(dy, add(functions.normal_share(kept, e), multiply(kept, density)))


@inner
def _gelu_tanh_inside(x: Any) -> Any:
    """Return 2 * z, z = sqrt(2 / pi) * (x + c * x**3): (1 + tanh(z)) / 2 is sigmoid(2 * z)."""
    cube = multiply(multiply(multiply(x, all_like(x, CUBIC)), x), x)
    return multiply(all_like(x, ROOT_8_PER_PI), add(x, cube))


@inner
def gelu_tanh(x: Any, settings: Any) -> Any:
    """Return the approximation of GELU by a hyperbolic tangent."""
    return multiply(x, functions.sigmoid(_gelu_tanh_inside(x)))


@inner
def gelu_tanh_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    inside = _gelu_tanh_inside(kept)
    e = functions.exp_of_negative(negative(absolute(inside)))
    square = multiply(multiply(kept, kept), all_like(dy, 3.0 * CUBIC))
    slope = multiply(all_like(dy, ROOT_8_PER_PI), add(square, all_like(dy, 1.0)))
    # The derivative of the sigmoid; s * (1 - s) would lose the digits of s near 1.
    above = add(e, all_like(dy, 1.0))
    density = multiply(divide(divide(e, above), above), slope)
    return multiply(dy, add(functions.sigmoid_of(inside, e), multiply(kept, density)))


@inner
def hardtanh(x: Any, settings: Any) -> Any:
    """Return x within limits, which are the settings; with 0 and 6 it is ReLU6."""
    return at_most(at_least(x, load_all_like(x, settings, 0)), load_all_like(x, settings, 1))


@inner
def hardtanh_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    """Read the output: it is between the limits where the input was."""
    below = where_less(kept, load_all_like(dy, settings, 1), dy, all_like(dy, 0.0))
    return where_less(load_all_like(dy, settings, 0), kept, below, all_like(dy, 0.0))


@inner
def hardsigmoid(x: Any, settings: Any) -> Any:
    """Return (x + 3) / 6 within 0 and 1."""
    return divide(
        at_most(at_least(add(x, all_like(x, 3.0)), all_like(x, 0.0)), all_like(x, 6.0)),
        all_like(x, 6.0),
    )


@inner
def hardsigmoid_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    return where_less(
        absolute(kept), all_like(dy, 3.0), multiply(dy, all_like(dy, SIXTH)), all_like(dy, 0.0)
    )


@inner
def hardswish(x: Any, settings: Any) -> Any:
    """Return x times its hard sigmoid."""
    return multiply(x, hardsigmoid(x, settings))


@inner
def hardswish_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    slope = add(divide(kept, all_like(dy, 3.0)), all_like(dy, 0.5))
    slope = where_at_most(all_like(dy, 3.0), kept, all_like(dy, 1.0), slope)
    return where_at_most(kept, all_like(dy, -3.0), all_like(dy, 0.0), multiply(dy, slope))


@inner
def softshrink(x: Any, settings: Any) -> Any:
    """Return x brought nearer to zero by the first setting, which is not negative."""
    nearer = load_all_like(x, settings, 0)
    return subtract(x, at_most(at_least(x, negative(nearer)), nearer))


@inner
def hardshrink(x: Any, settings: Any) -> Any:
    """Return x, or zero where it is no further from zero than the first setting."""
    return where_at_most(absolute(x), load_all_like(x, settings, 0), all_like(x, 0.0), x)


@inner
def shrink_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    """Read the output: the gradient passes where it is further from zero than the second."""
    return where_less(load_all_like(dy, settings, 1), absolute(kept), dy, all_like(dy, 0.0))


@inner
def threshold(x: Any, settings: Any) -> Any:
    """Return x above the first setting, and the second elsewhere."""
    return where_at_most(x, load_all_like(x, settings, 0), load_all_like(x, settings, 1), x)


@inner
def threshold_gradient(dy: Any, kept: Any, settings: Any) -> Any:
    return where_at_most(kept, load_all_like(dy, settings, 0), all_like(dy, 0.0), dy)
