"""Batch normalisation with an activation of single numbers behind it, in one pass over memory.

The kernels are made of the formulas of activations that are so cheap that the backward may work out
anew what came to them: nothing but the input is kept for it. An exponential is not: a pass of its
own, as wide as the registers are, takes less time.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import formulas
from xpcnn.kernels.cpu.activations import LARGEST, named_job
from xpcnn.kernels.cpu.jobs import Doubles, Floats, Job
from xpcnn.kernels.cpu.norm import (
    FROM_MEMORY,
    Behind,
    batch_norm_backward,
    batch_norm_behind_forward,
    read_through,
)
from xpcnn.kernels.cpu.vector import (
    RUN,
    WIDTH,
    add,
    fma,
    load,
    multiply,
    store,
    store_wide,
    wide_zero,
    widen,
    zero,
)
from xpcnn.kernels.dispatch import OpPair
from xpcnn.kernels.trace import Declined


def _normalise_job(name: str, formula: Any) -> Job:
    def run(
        job: int, x: Floats, pitch: int, center: Floats, scale: Floats, shift: Floats, lanes: int,
        positions: int, per: int, settings: Floats, y: Floats,
    ) -> None:  # fmt: skip
        for p in range(job * per, min(positions, (job + 1) * per)):
            for k in range(0, lanes, WIDTH):
                c = min(k, lanes - WIDTH)
                value = add(load(x, p * pitch + c), load(center, c))
                value = fma(value, load(scale, c), load(shift, c))
                store(y, p * lanes + c, formula(value, settings))

    return named_job(run, f"normalise_{name}")


def _sums_job(name: str, gradient: Any) -> Job:
    """Sum the gradient of what was normalised, by itself and times what it was made of."""

    def run(
        job: int, x: Floats, pitch: int, dy: Floats, dy_pitch: int, center: Floats, scale: Floats,
        shift: Floats, lanes: int, positions: int, per: int, settings: Floats, partial: Doubles,
    ) -> None:  # fmt: skip
        last, to = min(positions, (job + 1) * per), 2 * job * lanes
        if positions * lanes >= FROM_MEMORY:
            read = read_through(x, pitch, job * per, last, lanes, zero())
            read = read_through(dy, dy_pitch, job * per, last, lanes, read)
            store_wide(partial, to, widen(wide_zero(), read))  # so that it is read
        for k in range(0, lanes, 2 * WIDTH):
            c0, c1 = min(k, lanes - WIDTH), min(k + WIDTH, lanes - WIDTH)
            m0, m1 = load(center, c0), load(center, c1)
            f0, f1, s0, s1 = load(scale, c0), load(scale, c1), load(shift, c0), load(shift, c1)
            sum0, sum1, with0, with1 = wide_zero(), wide_zero(), wide_zero(), wide_zero()
            for first in range(job * per, last, RUN):
                a0, a1, b0, b1 = zero(), zero(), zero(), zero()
                for p in range(first, min(last, first + RUN)):
                    v0 = add(load(x, p * pitch + c0), m0)
                    v1 = add(load(x, p * pitch + c1), m1)
                    d0 = gradient(load(dy, p * dy_pitch + c0), fma(v0, f0, s0), settings)
                    d1 = gradient(load(dy, p * dy_pitch + c1), fma(v1, f1, s1), settings)
                    a0, a1, b0, b1 = add(a0, d0), add(a1, d1), fma(d0, v0, b0), fma(d1, v1, b1)
                sum0, sum1 = widen(sum0, a0), widen(sum1, a1)
                with0, with1 = widen(with0, b0), widen(with1, b1)
            store_wide(partial, to + c0, sum0)
            store_wide(partial, to + c1, sum1)
            store_wide(partial, to + lanes + c0, with0)
            store_wide(partial, to + lanes + c1, with1)

    return named_job(run, f"gradient_sums_{name}")


def _input_gradient_job(name: str, gradient: Any) -> Job:
    """Compute ``scale * d``, with own statistics plus ``constant + slope * (x + center)``.

    d is the gradient of what was normalised.
    """

    def run(
        job: int, x: Floats, pitch: int, dy: Floats, dy_pitch: int, center: Floats, scale: Floats,
        shift: Floats, constant: Floats, slope: Floats, lanes: int, positions: int, per: int,
        own: int, settings: Floats, dx: Floats,
    ) -> None:  # fmt: skip
        for p in range(job * per, min(positions, (job + 1) * per)):
            for k in range(0, lanes, WIDTH):
                c = min(k, lanes - WIDTH)
                value, factor = add(load(x, p * pitch + c), load(center, c)), load(scale, c)
                out = fma(value, factor, load(shift, c))
                d = gradient(load(dy, p * dy_pitch + c), out, settings)
                if own == 1:
                    rest = fma(value, load(slope, c), load(constant, c))
                    store(dx, p * lanes + c, fma(d, factor, rest))
                else:
                    store(dx, p * lanes + c, multiply(d, factor))

    return named_job(run, f"input_gradient_{name}")


class Activation(NamedTuple):
    """The kernels of an activation.

    Attributes
    ----------
    normalise, gradient_sums, input_gradient : Job
    """

    normalise: Job
    gradient_sums: Job
    input_gradient: Job


def _activation(name: str) -> Activation:
    """Make the kernels of the formulas of some name, whose gradient has to be that of the input."""
    gradient = getattr(formulas, f"{name}_gradient")
    sums, back = _sums_job(name, gradient), _input_gradient_job(name, gradient)
    return Activation(_normalise_job(name, getattr(formulas, name)), sums, back)


ACTIVATIONS = {name: _activation(name) for name in ("hardtanh", "hardswish", "leaky_relu")}
"""The activations by the name of their operation.

That of the output which hardtanh has is one of the input, too: both are between the same limits.
"""


def forward(
    name: str, xp: Any, x: Any, gamma: Any, beta: Any, eps: float, statistics: Any,
    *options: float,
) -> Any:  # fmt: skip
    """Normalise x (N, C, ...) and return what the activation makes of it."""
    if any(LARGEST < abs(value) < np.inf for value in options):
        return Declined("settings beyond float32")
    # What reads no settings is given the address of a number all the same.
    settings = np.array(options or (0.0,), np.float32)
    behind = Behind(*ACTIVATIONS[name], settings)
    return batch_norm_behind_forward(behind, x, gamma, beta, eps, statistics)


PAIRS = {
    f"batch_norm_{name}": OpPair(partial(forward, name), batch_norm_backward)
    for name in ACTIVATIONS
}
"""The pairs by the name of their operation."""
