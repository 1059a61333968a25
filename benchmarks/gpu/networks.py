"""A training step of whole networks against the same step in float64 on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

import xpcnn
from benchmarks.gpu.checks import Check, Context, Outcome, SkipError, distance, host
from xpcnn import kernels
from xpcnn.bench import own, program
from xpcnn.bench.workloads import WORKLOADS, Workload
from xpcnn.errors import DeviceError

TOLERANCE = {"float64": 1e-9, "float32": 2e-2, "tf32": 2e-2, "float16": 2e-2, "bfloat16": 5e-2}
"""Of the loss and of all gradients together. Where a rounding decides which element of a window is
the largest, or on which side of zero one is, gradients go another way: in tf32 and in half
precision that happens too often to compare them."""

NETWORKS = {"simple": 32, "deep": 16, "oned": 32, "mlp": 20, "resnet18": 4, "mobilenet": 4}
"""Networks, and numbers of images."""


def make(workload: Workload, device: Any, mode: str) -> xpcnn.Model:
    """Return a network with the first values that it has in every benchmark."""
    dtype = "float64" if mode == "float64" else "float32"
    precision = "float32" if mode == "float64" else mode
    try:
        model = own.network(workload, device, dtype, precision)
    except DeviceError as error:
        raise SkipError(str(error)) from None
    model.compile(xpcnn.optim.Adam(), xpcnn.CrossEntropyLoss())
    return model


def step(model: xpcnn.Model, shape: tuple[int, ...], dtype: str) -> tuple[float, np.ndarray]:
    """Make one step of training; returns the loss and all gradients in a row."""
    logs = model.train_on_batch(program.images(shape).astype(dtype), program.labels(shape[0]))
    gradients = [host(parameter.grad).ravel() for parameter in model.parameters().values()]
    return logs["loss"], np.concatenate(gradients)


def _check(name: str, mode: str) -> Any:
    workload = WORKLOADS[name].with_batch(NETWORKS[name])

    def run(context: Context) -> Outcome:
        dtype = "float64" if mode == "float64" else "float32"
        with context.settings(mode):
            loss, gradients = step(make(workload, context.device, mode), workload.shape, dtype)
        reference = make(workload, "cpu", "float64")
        with kernels.force("generic"):
            expected_loss, expected = step(reference, workload.shape, "float64")
        errors = {"loss": abs(loss - expected_loss) / abs(expected_loss)}
        if mode.startswith("float") and mode != "float16":
            errors["gradients"] = distance(gradients, expected)
        return Outcome(errors, TOLERANCE[mode])

    return run


def checks() -> list[Check]:
    """List the checks of networks."""
    return [
        Check(f"network/{mode}/{name}", _check(name, mode))
        for mode in TOLERANCE
        for name in NETWORKS
    ]
