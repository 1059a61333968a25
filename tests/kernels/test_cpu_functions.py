"""Elementary functions of the compiled kernels, against those of NumPy and Python in float64."""

import math
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from tests.compiled import needs_compiled_kernels
from xpcnn.kernels.cpu import functions
from xpcnn.kernels.cpu.jobs import Floats, Job, inner
from xpcnn.kernels.cpu.vector import all_like, load, store
from xpcnn.kernels.native import choice

needs_compiled_kernels()

COMPILES = choice.chosen().compiles


def test_in_a_process_that_compiles():
    """Elsewhere the functions are in the kernels of the library only."""
    if COMPILES:
        return
    pytest.importorskip("numba", exc_type=ImportError)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=os.environ | {choice.VARIABLE: "numba"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


EXPECTED = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "exp_of_negative": np.exp,
    "exp_too": np.exp,
    "expm1_too": np.expm1,
    "log1p_of_share": np.log1p,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "half_square_exp": lambda x: np.exp(-x * x / 2),
    "share_below": lambda x: np.vectorize(math.erfc, otypes=[np.float64])(-x / math.sqrt(2)) / 2,
}
"""What is computed, and what computes it in float64."""
POWERS = {"power of 1/3": 1 / 3, "power of -0.75": -0.75, "power of 2.5": 2.5, "power of 7.5": 7.5,
          "power of -7.25": -7.25, "power of 0": 0.0}  # fmt: skip
EXPECTED |= {name: partial(lambda p, x: x ** float(np.float32(p)), p) for name, p in POWERS.items()}
ALLOWED = {"share_below": 5e-7} | dict.fromkeys(POWERS, 1e-6)
"""Relative errors, where they are not 3e-7."""
RANGES = {
    **dict.fromkeys(["exp_of_negative", "exp_too", "expm1_too"], (-math.inf, 0.0)),
    "log1p_of_share": (0.0, 1.0),
}
"""Of what is taken, where it is not everything; NaN always is."""


@inner
def share_below(x):
    return functions.normal_share(x, functions.half_square_exp(x))


def raising(p):
    """Return a function of vectors that raises them to a power."""

    @inner
    def raised(x):
        return functions.power(x, all_like(x, p))

    return raised


@inner
def exp_too(x):
    return functions.exp_and_expm1_of_negative(x)[0]


@inner
def expm1_too(x):
    return functions.exp_and_expm1_of_negative(x)[1]


def compiled(name):
    """Return a function of arrays that applies one of vectors."""
    if name in POWERS:
        function = raising(POWERS[name])
    else:
        function = globals().get(name) or getattr(functions, name)

    def run(job: "int", x: "Floats", size: "int", y: "Floats"):
        for k in range(0, size, 8):
            store(y, k, function(load(x, k)))

    kernel = Job(run)

    def apply(x):
        filled = np.full(-(-x.size // 8) * 8, 1.0, np.float32)
        filled[: x.size] = x
        y = np.empty_like(filled)
        kernel(1, filled, filled.size, y)
        return y[: x.size]

    return apply


def numbers():
    """Return float32 numbers of all exponents and signs, dense where functions change."""
    patterns = np.arange(0, 2**32, 1021, dtype=np.uint64).astype(np.uint32).view(np.float32)
    near = np.linspace(-20, 20, 400_001).astype(np.float32)
    wide = np.linspace(-130, 130, 400_001).astype(np.float32)
    around_one = 1 + np.arange(-50_000, 50_000).astype(np.float32) * np.float32(2**-23)
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, -1e-45, 1e-38, -1e-38, 1.0, -1.0]
    ends = [88.7228, 88.72284, 88.8, -87.3, -103.97, -104.0, 3.4028235e38, -3.4028235e38, 1e30]
    some = [patterns, near, wide, around_one, np.array(special + ends, np.float32)]
    return np.concatenate([part.astype(np.float32) for part in some])


@pytest.mark.skipif(not COMPILES, reason="needs a process that compiles")
@pytest.mark.parametrize("name", EXPECTED)
def test_close_to_float64(name):
    low, high = RANGES.get(name, (-math.inf, math.inf))
    x = numbers()
    x = x[~(x < low) & ~(x > high)]
    with np.errstate(all="ignore"):
        exact = EXPECTED[name](x.astype(np.float64))
        expected = exact.astype(np.float32)
    y = compiled(name)(x)
    ordinary = np.isfinite(expected)
    # NaN and infinity at the same places, but where rounding decides about overflow.
    at_the_end = np.abs(exact) > 3.4028e38
    same = np.isnan(y) == np.isnan(expected)
    assert same.all(), x[~same][:5]
    same = (y == expected) | np.isnan(y) | ordinary | (at_the_end & (np.abs(y) > 3.4028e38))
    assert same.all(), x[~same][:5]
    error = np.abs(y[ordinary] - exact[ordinary])
    # Denormal numbers are as close as they lie.
    allowed = ALLOWED.get(name, 3e-7) * np.abs(exact[ordinary]) + 1.5 * 2.0**-149
    worst = np.argmax(error / allowed)
    assert error[worst] <= allowed[worst], (x[ordinary][worst], y[ordinary][worst])
    zeros = expected == 0.0
    if name in ("expm1", "log1p", "log1p_of_share", "tanh", "erf"):
        np.testing.assert_array_equal(np.signbit(y[zeros]), np.signbit(expected[zeros]))
