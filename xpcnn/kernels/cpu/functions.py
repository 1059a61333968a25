"""Elementary functions of eight numbers at once, and those that activations are made of.

Each is right to 3e-7 relative (:func:`normal_share` to 5e-7) over the whole range: zeros keep their
sign, what overflows is infinite, what underflows is denormal, and NaN stays. The coefficients of
the polynomials make the largest relative error smallest; they were fitted in 40 digits.
"""

from __future__ import annotations

import math
from typing import Any

from xpcnn.kernels.cpu.jobs import inner
from xpcnn.kernels.cpu.vector import (
    absolute,
    add,
    all_like,
    at_least,
    at_most,
    divide,
    exponent,
    fma,
    mantissa,
    multiply,
    nearest,
    negative,
    subtract,
    times_power_of_two,
    where_at_most,
    where_equal,
    where_less,
    with_sign,
)

PER_LN2 = 1.4426950408889634
"""1 / log(2)."""
LN2 = 0.6931471805599453
"""log(2)."""
LN2_HIGH = 0.693359375
"""log(2) in so few bits that whole multiples of it are exact."""
LN2_LOW = -2.1219444005469058e-4
"""What is missing to log(2)."""
ROOT_TWO = 1.4142135623730951
TINY = 1.1754943508222875e-38
"""Below it numbers are denormal."""
HUGE = 3.4028234663852886e38
"""The largest number."""


@inner
def _within(x: Any) -> Any:
    """Limit x to where its exponential is neither zero nor infinite in float32, and a bit more."""
    return at_most(at_least(x, all_like(x, -120.0)), all_like(x, 100.0))


@inner
def _power(x: Any) -> Any:
    """Return n, the nearest whole number to x / log(2)."""
    return nearest(multiply(x, all_like(x, PER_LN2)))


@inner
def _expm1_of_rest(x: Any, n: Any) -> Any:
    """Return exp(r) - 1 for r = x - n * log(2), which is small."""
    r = fma(n, all_like(x, -LN2_LOW), fma(n, all_like(x, -LN2_HIGH), x))
    p = fma(all_like(x, 0.0013901283964514732), r, all_like(x, 0.008363146334886551))
    p = fma(p, r, all_like(x, 0.04166685417294502))
    p = fma(p, r, all_like(x, 0.16666577756404877))
    p = fma(p, r, all_like(x, 0.5))
    return fma(multiply(r, r), p, r)


@inner
def exp(x: Any) -> Any:
    """Return the exponential."""
    x = _within(x)
    n = _power(x)
    return times_power_of_two(add(_expm1_of_rest(x, n), all_like(x, 1.0)), n)


@inner
def expm1(x: Any) -> Any:
    """Return exp(x) - 1, accurate near zero too."""
    inside = _within(x)
    n = _power(inside)
    rest = _expm1_of_rest(inside, n)
    # 2**n * (1 + rest) - 1, the one being taken from the power, which is exact.
    power_less_one = subtract(times_power_of_two(all_like(x, 1.0), n), all_like(x, 1.0))
    near = add(times_power_of_two(rest, n), power_less_one)
    far = times_power_of_two(add(rest, all_like(x, 1.0)), n)
    return where_equal(x, all_like(x, 0.0), x, where_less(all_like(x, 20.0), x, far, near))


@inner
def _log_of_near_one(f: Any) -> Any:
    """Return log(1 + f) for 1 + f from the root of 1/2 to that of 2."""
    p = fma(all_like(f, -0.07974110543727875), f, all_like(f, 0.12655651569366455))
    p = fma(p, f, all_like(f, -0.12989291548728943))
    p = fma(p, f, all_like(f, 0.1420995146036148))
    p = fma(p, f, all_like(f, -0.16641581058502197))
    p = fma(p, f, all_like(f, 0.20001201331615448))
    p = fma(p, f, all_like(f, -0.25000303983688354))
    p = fma(p, f, all_like(f, 0.3333333134651184))
    p = fma(p, f, all_like(f, -0.5))
    return fma(multiply(f, f), p, f)


@inner
def _with_powers(log: Any, n: Any) -> Any:
    """Return log + n * log(2)."""
    return fma(n, all_like(log, LN2_HIGH), fma(n, all_like(log, LN2_LOW), log))


@inner
def _at_the_ends(x: Any, y: Any, result: Any) -> Any:
    """Return the logarithm of y as x gives it: y is 0, less, infinite or NaN."""
    result = where_less(all_like(x, HUGE), y, y, result)
    result = where_less(y, all_like(x, 0.0), all_like(x, math.nan), result)
    result = where_equal(y, all_like(x, 0.0), all_like(x, -math.inf), result)
    return where_equal(x, x, result, x)


@inner
def log(x: Any) -> Any:
    """Return the natural logarithm: minus infinity for zero, NaN below."""
    scaled = where_less(x, all_like(x, TINY), multiply(x, all_like(x, 8388608.0)), x)
    moved = where_less(x, all_like(x, TINY), all_like(x, -23.0), all_like(x, 0.0))
    n = add(exponent(scaled), moved)
    result = _with_powers(_log_of_near_one(subtract(mantissa(scaled), all_like(x, 1.0))), n)
    return _at_the_ends(x, x, result)


@inner
def log1p(x: Any) -> Any:
    """Return log(1 + x), accurate near zero too."""
    y = add(x, all_like(x, 1.0))
    # Near zero the sum has lost digits that x has; there its power of two is 1.
    f = where_less(absolute(x), all_like(x, 0.25), x, subtract(mantissa(y), all_like(x, 1.0)))
    result = _with_powers(_log_of_near_one(f), exponent(y))
    result = where_equal(x, all_like(x, 0.0), x, result)
    return _at_the_ends(x, y, result)


@inner
def sigmoid_of(x: Any, e: Any) -> Any:
    """Return 1 / (1 + exp(-x)), given e = exp(-|x|)."""
    return divide(where_less(x, all_like(x, 0.0), e, all_like(x, 1.0)), add(all_like(x, 1.0), e))


@inner
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x))."""
    return sigmoid_of(x, exp(negative(absolute(x))))


@inner
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent."""
    size = absolute(x)
    z = multiply(size, size)
    p = fma(all_like(x, -0.006096937227994204), z, all_like(x, 0.02099735476076603))
    p = fma(p, z, all_like(x, -0.05385095253586769))
    p = fma(p, z, all_like(x, 0.13332770764827728))
    p = fma(p, z, all_like(x, -0.333333283662796))
    near = fma(multiply(size, z), p, size)
    above = add(exp(add(size, size)), all_like(x, 1.0))
    far = subtract(all_like(x, 1.0), divide(all_like(x, 2.0), above))
    return with_sign(where_less(size, all_like(x, 0.625), near, far), x)


@inner
def _erfc_over_exp(t: Any) -> Any:
    """Return (1 - erf(z)) / exp(-z**2), given t = 2.5 / (2.5 + z) with z not negative."""
    u = fma(t, all_like(t, 2.0), all_like(t, -1.0))
    p = fma(all_like(t, -5.70432712265756e-05), u, all_like(t, 0.00025186350103467703))
    p = fma(p, u, all_like(t, 0.0002102386497426778))
    p = fma(p, u, all_like(t, -0.001921784714795649))
    p = fma(p, u, all_like(t, -0.0033685171511024237))
    p = fma(p, u, all_like(t, 0.011344324797391891))
    p = fma(p, u, all_like(t, 0.06850185245275497))
    p = fma(p, u, all_like(t, 0.18156565725803375))
    p = fma(p, u, all_like(t, 0.3218607008457184))
    p = fma(p, u, all_like(t, 0.4216127395629883))
    return multiply(t, p)


@inner
def exp_of_minus_product(a: Any, b: Any) -> Any:
    """Return exp(-a * b) for a * b >= 0, with the digits that rounding the product would cost."""
    product = multiply(a, b)
    lost = fma(a, b, negative(product))
    e = exp(negative(product))
    # Where the product overflows nothing is known of what was lost, and e is zero.
    return where_equal(e, all_like(a, 0.0), e, fma(negative(lost), e, e))


@inner
def erf(x: Any) -> Any:
    """Return 2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    z = multiply(x, x)
    p = fma(all_like(x, 7.853857823647559e-05), z, all_like(x, -0.0008010192541405559))
    p = fma(p, z, all_like(x, 0.005188327748328447))
    p = fma(p, z, all_like(x, -0.026853810995817184))
    p = fma(p, z, all_like(x, 0.1128358542919159))
    p = fma(p, z, all_like(x, -0.3761262595653534))
    near = multiply(x, fma(p, z, all_like(x, 1.1283791065216064)))
    size = absolute(x)
    t = divide(all_like(x, 2.5), add(all_like(x, 2.5), size))
    above = multiply(_erfc_over_exp(t), exp_of_minus_product(size, size))
    far = with_sign(subtract(all_like(x, 1.0), above), x)
    return where_less(size, all_like(x, 1.0), near, far)


@inner
def half_square_exp(x: Any) -> Any:
    """Return exp(-x**2 / 2)."""
    return exp_of_minus_product(multiply(x, all_like(x, 0.5)), x)


@inner
def normal_share(x: Any, e: Any) -> Any:
    """Return the share of a normal distribution below x, given e = exp(-x**2 / 2)."""
    # Of z = |x| / sqrt(2), numerator and denominator of t times sqrt(2), which spares a rounding.
    t = divide(all_like(x, 2.5 * ROOT_TWO), add(all_like(x, 2.5 * ROOT_TWO), absolute(x)))
    above = multiply(multiply(_erfc_over_exp(t), all_like(x, 0.5)), e)
    return where_at_most(x, all_like(x, 0.0), above, subtract(all_like(x, 1.0), above))


@inner
def power(x: Any, p: Any) -> Any:
    """Return x to a power that is no whole number, or zero; right to 1e-6 for p from -8 to 8."""
    size = absolute(x)
    scaled = where_less(size, all_like(x, TINY), multiply(size, all_like(x, 8388608.0)), size)
    moved = where_less(size, all_like(x, TINY), all_like(x, -23.0), all_like(x, 0.0))
    n = add(exponent(scaled), moved)
    # 2**(p * n) apart from the rest: its exponent may be large, and nothing of it may be lost.
    product = multiply(p, n)
    whole = nearest(product)
    rest = add(subtract(product, whole), fma(p, n, negative(product)))
    log_of_mantissa = _log_of_near_one(subtract(mantissa(scaled), all_like(x, 1.0)))
    e = exp(fma(rest, all_like(x, LN2), multiply(p, log_of_mantissa)))
    whole = at_most(at_least(whole, all_like(x, -252.0)), all_like(x, 254.0))
    result = times_power_of_two(e, whole)
    none, infinite = all_like(x, 0.0), all_like(x, math.inf)
    result = where_equal(size, none, where_less(none, p, none, infinite), result)
    # Finite numbers below zero have no such power.
    result = where_less(x, none, all_like(x, math.nan), result)
    result = where_equal(size, infinite, where_less(none, p, infinite, none), result)
    result = where_equal(x, x, result, x)
    return where_equal(p, none, all_like(x, 1.0), result)
