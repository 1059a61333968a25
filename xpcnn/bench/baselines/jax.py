"""The basic workloads as JAX runs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from xpcnn.bench import program
from xpcnn.bench.program import Program
from xpcnn.bench.workloads import Workload

Apply = Callable[[dict[str, Any], Any], Any]
Pair = tuple[dict[str, tuple[int, ...]], Apply]
"""A layer for JAX: the shapes of its parameters, and the function of parameters and input."""


def jax_layers() -> SimpleNamespace:
    """Return the layers of the basic workloads, as one writes them in JAX alone."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    def conv(ndim: int) -> Callable[..., Pair]:
        def make(channels: int, width: int, kernel: int, padding: int = 0) -> Pair:
            def apply(own: dict[str, Any], x: Any) -> Any:
                pads = [(padding, padding)] * ndim
                y = lax.conv_general_dilated(x, own["weight"], [1] * ndim, pads)
                return y + own["bias"].reshape(-1, *[1] * ndim)

            return {"weight": (width, channels, *[kernel] * ndim), "bias": (width,)}, apply

        return make

    def pool(ndim: int) -> Callable[[int], Pair]:
        def make(size: int) -> Pair:
            window = (1, 1, *[size] * ndim)
            return {}, lambda _, x: lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")

        return make

    def linear(width: int, outputs: int) -> Pair:
        shapes = {"weight": (outputs, width), "bias": (outputs,)}
        return shapes, lambda own, x: x @ own["weight"].T + own["bias"]

    return SimpleNamespace(
        Conv1d=conv(1),
        Conv2d=conv(2),
        MaxPool1d=pool(1),
        MaxPool2d=pool(2),
        Linear=linear,
        ReLU=lambda: ({}, lambda _, x: jax.nn.relu(x)),
        Flatten=lambda: ({}, lambda _, x: x.reshape(len(x), -1)),
    )


def make_jax(workload: Workload, threads: int) -> Program:
    """Make a basic workload ready in JAX, compiled for the CPU."""
    if hasattr(os, "sched_setaffinity"):  # XLA has no other setting, and takes all it may use
        mine = sorted(os.sched_getaffinity(0))
        if threads < len(mine):
            os.sched_setaffinity(0, mine[:threads])
    import jax
    from jax import numpy as jnp

    pairs: list[Pair] = workload.build(jax_layers())
    parameters = [
        {
            name: jnp.asarray(program.first_value(f"{number}.{name}", shape))
            for name, shape in shapes.items()
        }
        for number, (shapes, _) in enumerate(pairs)
    ]
    x = jnp.asarray(program.images(workload.shape))

    def network(parameters: list[dict[str, Any]], x: Any) -> Any:
        for own, (_, apply) in zip(parameters, pairs, strict=True):
            x = apply(own, x)
        return x

    if workload.kind == "train":
        return _jax_training(network, parameters, x)
    if workload.kind == "gradients":
        return _jax_gradients(network, parameters, x)
    run = jax.jit(network)
    return Program(lambda: run(parameters, x).block_until_ready(), lambda y: {"y": y})


def _jax_training(network: Callable[..., Any], parameters: Any, x: Any) -> Program:
    """Train with the equations of Adam, as PyTorch has them."""
    import jax
    from jax import numpy as jnp

    y = jnp.asarray(program.labels(len(x)))

    def loss(parameters: Any) -> Any:
        scores = jax.nn.log_softmax(network(parameters, x))
        return -scores[jnp.arange(len(y)), y].mean()

    def update(p: Any, g: Any, m: Any, v: Any, count: Any) -> tuple[Any, Any, Any]:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        first, second = m / (1 - 0.9**count), v / (1 - 0.999**count)
        return p - 1e-3 * first / (jnp.sqrt(second) + 1e-8), m, v

    def step(state: Any) -> Any:
        parameters, means, squares, count = state
        value, gradients = jax.value_and_grad(loss)(parameters)
        leaves, tree = jax.tree.flatten(parameters)
        others = [jax.tree.leaves(each) for each in (gradients, means, squares)]
        new = [update(p, g, m, v, count) for p, g, m, v in zip(leaves, *others, strict=True)]
        parts = [jax.tree.unflatten(tree, part) for part in zip(*new, strict=True)]
        return value, (*parts, count + 1)

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = [(parameters, zeros, zeros, jnp.float32(1))]
    run = jax.jit(step)

    def train() -> float:
        value, state[0] = run(state[0])
        jax.block_until_ready(state[0])
        return float(value)

    return Program(train, lambda loss: {"loss": loss})


def _jax_gradients(network: Callable[..., Any], parameters: Any, x: Any) -> Program:
    import jax
    from jax import numpy as jnp

    dy = jnp.asarray(program.output_gradient(jax.eval_shape(network, parameters, x).shape))

    def step(parameters: Any, x: Any, dy: Any) -> Any:
        y, pull = jax.vjp(network, parameters, x)
        return y, *pull(dy)

    def arrays(result: Any) -> dict[str, Any]:
        y, gradients, dx = result
        named = {
            f"{number}.{name}": gradient
            for number, own in enumerate(gradients)
            for name, gradient in own.items()
        }
        return {"y": y, "dx": dx} | named

    run = jax.jit(step)
    return Program(lambda: jax.block_until_ready(run(parameters, x, dy)), arrays)
