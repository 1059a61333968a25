"""Elementary functions of vectors, and those that activations are made of.

Each is right to 3e-7 relative (:func:`normal_share` to 5e-7) over the whole range: zeros keep their
sign, what overflows is infinite, what underflows is denormal, and NaN stays. The coefficients of
the polynomials make the largest relative error smallest.
"""

from __future__ import annotations

import math
from typing import Any

from xpcnn.kernels.cpu.jobs import inner
from xpcnn.kernels.cpu.vector import (
    SIXTEEN,
    absolute,
    add,
    all_like,
    at_least,
    at_most,
    divide,
    exponent,
    fma,
    largest,
    load_first,
    load_sixteen,
    lower_eight,
    mantissa,
    multiply,
    nearest,
    negative,
    store_first,
    store_sixteen,
    subtract,
    times_power_of_two,
    upper_eight,
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
LOWEST = -120.0
"""From here on an exponential is zero in float32, and some way above."""
ROOT_TWO = 1.4142135623730951
RISE = 2.8
"""A number x from zero on is turned into t = RISE / (RISE + x), of which there are polynomials."""
TINY = 1.1754943508222875e-38
"""Below it numbers are denormal."""
HUGE = 3.4028234663852886e38
"""The largest number."""


@inner
def _within(x: Any) -> Any:
    """Limit x to where its exponential is neither zero nor infinite in float32, and a bit more."""
    return at_most(at_least(x, all_like(x, LOWEST)), all_like(x, 100.0))


@inner
def _power(x: Any) -> Any:
    """Return n, the nearest whole number to x / log(2)."""
    return nearest(multiply(x, all_like(x, PER_LN2)))


@inner
def _rest(x: Any, n: Any) -> Any:
    """Return x - n * log(2), which is no further from zero than log(2) / 2."""
    return fma(n, all_like(x, -LN2_LOW), fma(n, all_like(x, -LN2_HIGH), x))


@inner
def _exp_of_rest(r: Any) -> Any:
    """Return exp(r) for what :func:`_rest` returns."""
    p = fma(all_like(r, 0.008312520571053028), r, all_like(r, 0.04189015552401543))
    p = fma(p, r, all_like(r, 0.16667114198207855))
    p = fma(p, r, all_like(r, 0.499992311000824))
    p = fma(p, r, all_like(r, 1.0))
    return fma(p, r, all_like(r, 1.0))


@inner
def _expm1_of_rest(x: Any, n: Any) -> Any:
    """Return exp(r) - 1 for r = x - n * log(2), which is small."""
    r = _rest(x, n)
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
    return times_power_of_two(_exp_of_rest(_rest(x, n)), n)


@inner
def exp_of_negative(x: Any) -> Any:
    """Return the exponential of what is not above zero."""
    x = at_least(x, all_like(x, LOWEST))
    n = _power(x)
    return times_power_of_two(_exp_of_rest(_rest(x, n)), n)


@inner
def expm1(x: Any) -> Any:
    """Return exp(x) - 1, accurate near zero too."""
    inside = _within(x)
    n = _power(inside)
    rest = _expm1_of_rest(inside, n)
    # 2**n * (1 + rest) - 1, the one being taken from the power, which is exact.
    power = times_power_of_two(all_like(x, 1.0), n)
    near = fma(rest, power, subtract(power, all_like(x, 1.0)))
    far = times_power_of_two(add(rest, all_like(x, 1.0)), n)
    return where_equal(x, all_like(x, 0.0), x, where_less(all_like(x, 20.0), x, far, near))


@inner
def exp_and_expm1_of_negative(x: Any) -> Any:
    """Return exp(x) and exp(x) - 1, both accurate, for what is not above zero."""
    x = at_least(x, all_like(x, LOWEST))
    n = _power(x)
    power, rest = times_power_of_two(all_like(x, 1.0), n), _expm1_of_rest(x, n)
    return fma(rest, power, power), fma(rest, power, subtract(power, all_like(x, 1.0)))


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
def log1p_of_share(x: Any) -> Any:
    """Return log(1 + x) for x from 0 to 1."""
    p = fma(all_like(x, 0.005232695024460554), x, all_like(x, -0.02950524352490902))
    p = fma(p, x, all_like(x, 0.07822596281766891))
    p = fma(p, x, all_like(x, -0.13663247227668762))
    p = fma(p, x, all_like(x, 0.19106008112430573))
    p = fma(p, x, all_like(x, -0.2484298199415207))
    p = fma(p, x, all_like(x, 0.3331909775733948))
    p = fma(p, x, all_like(x, -0.4999949336051941))
    return multiply(x, fma(p, x, all_like(x, 0.9999999403953552)))


@inner
def sigmoid_of(x: Any, e: Any) -> Any:
    """Return 1 / (1 + exp(-x)), given e = exp(-|x|)."""
    return divide(where_less(x, all_like(x, 0.0), e, all_like(x, 1.0)), add(all_like(x, 1.0), e))


@inner
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x))."""
    return sigmoid_of(x, exp_of_negative(negative(absolute(x))))


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
def _share_over_exp(t: Any) -> Any:
    """Return a normal distribution's share beyond x >= 0 over exp(-x**2 / 2); see RISE for t."""
    p = fma(all_like(t, -0.029873671010136604), t, all_like(t, 0.14033788442611694))
    p = fma(p, t, all_like(t, -0.23122496902942657))
    p = fma(p, t, all_like(t, 0.11940135806798935))
    p = fma(p, t, all_like(t, -0.004414284136146307))
    p = fma(p, t, all_like(t, 0.09761427342891693))
    p = fma(p, t, all_like(t, 0.12313351035118103))
    p = fma(p, t, all_like(t, 0.1425475925207138))
    return multiply(t, fma(p, t, all_like(t, 0.14247825741767883)))


@inner
def exp_of_minus_product(a: Any, b: Any) -> Any:
    """Return exp(-a * b) for a * b from 0 to 120, with the digits that the product loses."""
    product = multiply(a, b)
    lost = fma(a, b, negative(product))
    n = _power(negative(product))
    r = subtract(_rest(negative(product), n), lost)
    return times_power_of_two(_exp_of_rest(r), n)


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
    size = at_most(absolute(x), all_like(x, 10.5))
    t = divide(all_like(x, RISE / ROOT_TWO), add(all_like(x, RISE / ROOT_TWO), size))
    above = multiply(_share_over_exp(t), exp_of_minus_product(size, size))
    far = with_sign(fma(all_like(x, -2.0), above, all_like(x, 1.0)), x)
    return where_less(size, all_like(x, 1.0), near, far)


@inner
def half_square_exp(x: Any) -> Any:
    """Return exp(-x**2 / 2)."""
    size = at_most(absolute(x), all_like(x, 15.0))
    return exp_of_minus_product(multiply(size, all_like(x, 0.5)), size)


@inner
def normal_share(x: Any, e: Any) -> Any:
    """Return the share of a normal distribution below x, given e = exp(-x**2 / 2)."""
    t = divide(all_like(x, RISE), add(all_like(x, RISE), absolute(x)))
    above = multiply(_share_over_exp(t), e)
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


# -- Sixteen numbers of a row ----------------------------------------------------------------------


@inner
def load_up_to(array: Any, index: int, end: int, filler: Any) -> Any:
    """Read sixteen numbers, or fewer at the end, and a filler behind them."""
    if end - index >= SIXTEEN:
        return load_sixteen(array, index)
    return load_first(array, index, end - index, filler)


@inner
def store_up_to(array: Any, index: int, end: int, value: Any) -> None:
    """Write sixteen numbers, or fewer at the end."""
    if end - index >= SIXTEEN:
        store_sixteen(array, index, value)
    else:
        store_first(array, index, value, end - index)


@inner
def largest_of_both(value: Any) -> Any:
    """Return the largest of sixteen numbers; what comes of NaN is left open."""
    low, high = lower_eight(value), upper_eight(value)
    return largest(where_less(low, high, high, low))
