"""Activations of single numbers: one pass over memory forward and one backward, in any order of it.

There is a table of formulas, of which the kernels are made: two jobs for each, so that only what a
network uses is compiled where that is done on the user's machine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpcnn.kernels.cpu import buffers, formulas, threads
from xpcnn.kernels.cpu.elementwise import PIECE, filled
from xpcnn.kernels.cpu.epilogue import KINDS, NOTHING, RELU, Epilogue
from xpcnn.kernels.cpu.jobs import Floats, Job
from xpcnn.kernels.cpu.order import in_order, inverse, memory_order
from xpcnn.kernels.cpu.vector import WIDE, WIDTH, load_full, store_full
from xpcnn.kernels.dispatch import OpPair
from xpcnn.kernels.trace import Declined

LARGEST = float(np.finfo(np.float32).max)
CHEAP, COSTLY = 1, 20
"""Elementary operations for each number, without and with an exponential."""


class Activation(NamedTuple):
    """How an activation is computed.

    Attributes
    ----------
    run, run_back : Job
        ``(x, size, settings, y)`` and ``(dy, kept, size, settings, dx)``.
    settings : callable
        Makes the numbers that the formulas read of the operation's options.
    keeps_output : bool
        Whether the gradient is that of the output rather than of the input.
    work : int
        Elementary operations for each number.
    """

    run: Job
    run_back: Job
    settings: Callable[..., tuple[float, ...]]
    keeps_output: bool
    work: int


def _forward_job(name: str, formula: Any) -> Job:
    def run(job: int, x: Floats, size: int, settings: Floats, y: Floats) -> None:
        last = min(size, (job + 1) * PIECE)
        for k in range(job * PIECE, last, WIDE):
            c = min(k, last - WIDE)
            store_full(y, c, formula(load_full(x, c), settings))

    return named_job(run, name)


def _backward_job(name: str, formula: Any) -> Job:
    def run(
        job: int, dy: Floats, kept: Floats, size: int, settings: Floats, dx: Floats
    ) -> None:  # fmt: skip
        last = min(size, (job + 1) * PIECE)
        for k in range(job * PIECE, last, WIDE):
            c = min(k, last - WIDE)
            store_full(dx, c, formula(load_full(dy, c), load_full(kept, c), settings))

    return named_job(run, f"{name}_gradient")


def named_job(function: Callable[..., None], name: str) -> Job:
    """Make a job under a name of its own, by which its machine code is kept."""
    function.__name__ = function.__qualname__ = name
    return Job(function)


def _as_given(*options: float) -> tuple[float, ...]:
    return options


def _of_elu(alpha: float, scale: float = 1.0, rate: float = 1.0) -> tuple[float, ...]:
    return scale, scale * alpha, rate, scale * alpha * rate


def _of_celu(alpha: float) -> tuple[float, ...]:
    # The slope is that of the generic kernel, which rounds alpha as PyTorch does.
    rounded = float(np.float32(alpha)) or alpha
    return 1.0, alpha, 1.0 / alpha, alpha / rounded


def _of_softshrink(lambd: float) -> tuple[float, ...]:
    return lambd, 0.0


def _of_hardshrink(lambd: float) -> tuple[float, ...]:
    return lambd, lambd


def _activation(
    name: str,
    settings: Callable[..., tuple[float, ...]] = _as_given,
    *,
    gradient: str = "",
    keeps_output: bool = False,
    work: int = COSTLY,
) -> Activation:
    """Make the jobs of the formulas of some name."""
    run = _forward_job(name, getattr(formulas, name))
    run_back = _backward_job(name, getattr(formulas, gradient or f"{name}_gradient"))
    return Activation(run, run_back, settings, keeps_output, work)


_ELU = _activation("elu", _of_elu)

TABLE: dict[str, Activation] = {
    "sigmoid": _activation("sigmoid", keeps_output=True),
    "tanh": _activation("tanh", keeps_output=True),
    "tanhshrink": _activation("tanhshrink"),
    "log_sigmoid": _activation("log_sigmoid"),
    "softplus": _activation("softplus"),
    "softsign": _activation("softsign", work=CHEAP),
    "elu": _ELU,
    "celu": _ELU._replace(settings=_of_celu),
    "silu": _activation("silu"),
    "mish": _activation("mish"),
    "gelu": _activation("gelu"),
    "gelu_tanh": _activation("gelu_tanh"),
    "hardtanh": _activation("hardtanh", keeps_output=True, work=CHEAP),
    "hardsigmoid": _activation("hardsigmoid", work=CHEAP),
    "hardswish": _activation("hardswish", work=CHEAP),
    "softshrink": _activation(
        "softshrink", _of_softshrink, gradient="shrink_gradient", keeps_output=True, work=CHEAP
    ),
    "hardshrink": _activation(
        "hardshrink", _of_hardshrink, gradient="shrink_gradient", keeps_output=True, work=CHEAP
    ),
    "threshold": _activation("threshold", work=CHEAP),
}
"""The activations by the name of their operation; "gelu_tanh" is the other way of "gelu"."""


BEHIND = tuple(name for name in KINDS if name != "gelu_tanh")
"""The operations that a product may have behind it, besides ReLU."""
_EPILOGUES = {"": NOTHING, "relu": RELU}


class State(NamedTuple):
    """What backward needs: the input or the output, and the settings."""

    kept: np.ndarray
    settings: np.ndarray


def forward(name: str, xp: Any, x: Any, *options: float) -> Any:
    """Return what the activation makes of x, in the memory order of x."""
    if refusal := refused(x):
        return refusal
    values = settings_of(name, options)
    if isinstance(values, Declined):
        return values
    activation, settings = TABLE[name], np.array(values, np.float32)
    order = memory_order(x)
    dense = in_order(x, order)
    flat = filled(dense)
    out = buffers.empty(flat.size)
    threads.launch(
        activation.work * x.size, activation.run, -(-flat.size // PIECE), flat, flat.size,
        settings, out,
    )  # fmt: skip
    y = out[: x.size].reshape(dense.shape).transpose(inverse(order))
    return y, State(y if activation.keeps_output else x, settings)


def settings_of(name: str, options: tuple[float, ...]) -> tuple[float, ...] | Declined:
    """Return the numbers that a formula reads."""
    values = TABLE[name].settings(*options)
    if any(LARGEST < abs(value) < np.inf for value in values):
        return Declined("settings beyond float32")
    # What reads no settings is given the address of a number all the same.
    return values or (0.0,)


def tells_gradient(name: str) -> bool:
    """Whether the gradient of an activation follows from its output."""
    return name in TABLE and TABLE[name].keeps_output


def epilogue_of(name: str, options: tuple[Any, ...]) -> Epilogue | Declined:
    """Return what an operation and its options are as an epilogue; no name is none."""
    if name in _EPILOGUES:
        return _EPILOGUES[name]
    if name == "leaky_relu":
        return Epilogue(KINDS[name], options)
    if name == "gelu":
        name, options = ("gelu_tanh" if options == ("tanh",) else "gelu"), ()
    settings = settings_of(name, options)
    return settings if isinstance(settings, Declined) else Epilogue(KINDS[name], settings)


def backward(name: str, xp: Any, dy: Any, saved: State) -> np.ndarray:
    """Return the gradient, in the memory order of what was kept."""
    activation, (kept, settings) = TABLE[name], saved
    order = memory_order(kept)
    given, dense = filled(in_order(dy, order)), in_order(kept, order)
    flat = filled(dense)
    out = buffers.empty(flat.size)
    threads.launch(
        activation.work * dy.size, activation.run_back, -(-flat.size // PIECE), given, flat,
        flat.size, settings, out,
    )  # fmt: skip
    dx = out[: dy.size].reshape(dense.shape).transpose(inverse(order))
    return dx.astype(dy.dtype, copy=False)


def gelu_forward(xp: Any, x: Any, approximate: str) -> Any:
    """Return GELU of x; see :func:`forward`."""
    name = "gelu_tanh" if approximate == "tanh" else "gelu"
    found = forward(name, xp, x)
    return found if isinstance(found, Declined) else (found[0], (name, found[1]))


def gelu_backward(xp: Any, dy: Any, saved: tuple[str, State]) -> np.ndarray:
    """Return the gradient of GELU."""
    name, state = saved
    return backward(name, xp, dy, state)


def refused(x: Any) -> Declined | None:
    """Say why these kernels do not take x; ``None`` if they do."""
    if x.dtype != np.float32:
        return Declined(f"{x.dtype} arrays")
    if x.size < WIDTH:
        return Declined(f"arrays of shape {x.shape}")
    return None


PAIRS = {
    name: OpPair(partial(forward, name), partial(backward, name))
    for name in TABLE
    if name not in ("gelu", "gelu_tanh")
} | {"gelu": OpPair(gelu_forward, gelu_backward)}
"""The pairs by the name of their operation."""
