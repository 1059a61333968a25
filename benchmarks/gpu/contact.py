"""What to know first of a GPU: that it trains, with which kernels, and what becomes of its memory.

Short checks of the whole path; each stands for many of the single operations.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from typing import Any

import numpy as np

import xpcnn
from benchmarks.gpu import report, training
from benchmarks.gpu.checks import Check, Context, Outcome, SkipError
from xpcnn import kernels
from xpcnn.errors import DeviceError

ORDER = (
    "contact/*", "cudnn", "operation/float32/*", "dropout/*", "conv/float32/*", "conv/tf32/plain",
    "conv/bfloat16/*", "conv/float16/*", "conv_relu/*", "columns/float32/*", "training/labels",
    "streams/*", "graphs/*", "training/no-waiting", "network/float32/*", "network/bfloat16/*",
    "training/captured/*", "training/prefetch/simple", "operation/bfloat16/*",
    "operation/float16/*", "same-bits/float32/*", "same-bits/training/simple", "memory/*",
    "timing/network/*", "timing/host/*", "timing/bytes/*", "timing/conv/*",
)  # fmt: skip
"""Patterns of checks, the most important first; all others come behind."""

LAYERS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "ReLU6": ((), {}),
    "LeakyReLU": ((), {}),
    "ELU": ((), {}),
    "SiLU": ((), {}),
    "GELU": ((), {}),
    "Hardswish": ((), {}),
    "Tanh": ((), {}),
    "Sigmoid": ((), {}),
    "Softplus": ((), {}),
    "GroupNorm": ((2, 6), {}),
    "LayerNorm": (((6, 8, 8),), {}),
    "InstanceNorm2d": ((6,), {}),
    "AdaptiveAvgPool2d": ((3,), {}),
    "BatchNorm2d": ((6,), {"bias": False}),
}
"""Layers of which most have no CUDA kernel of their own, and what they are made with."""

EPOCHS, BATCH = 4, 50

Layers = Callable[[], list[Any]]


def _versions(context: Context) -> Outcome:
    """Say which packages there are, and which of them do not import."""
    found, wrong = [], []
    for name in (*report.PACKAGES, "numba"):
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    for name in ("numba", "ml_dtypes", "array_api_compat", "array_api_extra"):
        if importlib.util.find_spec(name) is not None:
            try:
                importlib.import_module(name)
            except Exception as error:
                wrong.append(f"{name} does not import ({type(error).__name__}: {error})")
    return Outcome(how=", ".join(found), wrong="; ".join(wrong))


def _probe(context: Context) -> Outcome:
    """Find the GPU as a user does, and cuDNN."""
    device = xpcnn.device.resolve(context.device.name)
    if context.library != "cupy":
        return Outcome(how=str(device))
    from xpcnn.kernels.cuda import cudnn

    reason = cudnn.unavailable()
    found = reason or f"cuDNN {sys.modules['cudnn'].backend_version()}"
    return Outcome(how=f"{device}, {found}", wrong=reason or "")


def plain() -> list[Any]:
    """Return a small network with a bit of everything."""
    return [
        xpcnn.Conv2d(1, 8, 3), xpcnn.BatchNorm2d(8), xpcnn.ReLU(), xpcnn.MaxPool2d(2),
        xpcnn.Conv2d(8, 16, 3), xpcnn.ReLU(), xpcnn.Flatten(), xpcnn.Dropout(0.1),
        xpcnn.Linear(out_features=10),
    ]  # fmt: skip


def residual() -> list[Any]:
    """Return a small network with shortcuts."""

    def block() -> Any:
        body = []
        for last in (False, True):
            conv = xpcnn.Conv2d(8, 8, 3, padding=1, bias=False)
            body += [conv, xpcnn.BatchNorm2d(8), *([] if last else [xpcnn.ReLU()])]
        return xpcnn.Residual(xpcnn.Sequential(*body))

    return [
        xpcnn.Conv2d(1, 8, 3, padding=1), xpcnn.BatchNorm2d(8), xpcnn.ReLU(), block(),
        xpcnn.ReLU(), xpcnn.AvgPool2d(2), block(), xpcnn.ReLU(), xpcnn.GlobalAvgPool2d(),
        xpcnn.Flatten(), xpcnn.Linear(out_features=10),
    ]  # fmt: skip


def _patterns() -> tuple[np.ndarray, np.ndarray]:
    """Draw images of ten patterns with noise, and their numbers: easily learnt."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 600)
    patterns = rng.standard_normal((10, 1, 12, 12), dtype=np.float32)
    noise = rng.standard_normal((600, 1, 12, 12), dtype=np.float32)
    return patterns[y] + np.float32(0.5) * noise, y


def _losses(layers: Layers, device: Any, precision: str, capture: bool) -> np.ndarray:
    try:
        model = xpcnn.Model(layers(), device=device, seed=0, precision=precision)
    except DeviceError as error:
        raise SkipError(str(error)) from None
    history = model.fit(
        *_patterns(), epochs=EPOCHS, batch_size=BATCH, optimizer="adam", loss="cross_entropy",
        verbose=0, capture=capture,
    )  # fmt: skip
    return np.array(history.history["loss"])


def _train(layers: Layers, precision: str, capture: bool = False) -> Any:
    """Train, and lay the losses beside those of the CPU in float32."""

    def run(context: Context) -> Outcome:
        said: list[str] = []
        if capture:
            training.need_captures(context)
        with training.watched(said, []):
            found = _losses(layers, context.device, precision, capture)
        with kernels.force("generic"):  # compiling others would cost the time of many checks
            expected = _losses(layers, "cpu", "float32", False)
        if not found[-1] < 0.8 * found[0]:
            said.append("it does not learn")
        errors = {"losses": float(np.max(np.abs(found - expected) / expected))}
        how = f"loss {found[0]:.4f} to {found[-1]:.4f}, CPU {expected[-1]:.4f}"
        # Roundings differ in every step, and all later steps follow them.
        tolerance = 1e-2 if precision == "float32" else 1e-1
        return Outcome(errors, tolerance, how=how, wrong="; ".join(said))

    return run


def _layer(name: str, precision: str) -> Any:
    """Make two steps with a layer between a convolution and a linear layer."""
    arguments, options = LAYERS[name]
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 3, 8, 8), dtype=np.float32), rng.integers(0, 4, 8)

    def losses(device: Any, precision: str) -> np.ndarray:
        layer = getattr(xpcnn, name)(*arguments, **options)
        conv, out = xpcnn.Conv2d(3, 6, 3, padding=1), xpcnn.Linear(out_features=4)
        layers = [conv, layer, xpcnn.Flatten(), out]
        try:
            model = xpcnn.Model(layers, device=device, seed=0, precision=precision)
        except DeviceError as error:
            raise SkipError(str(error)) from None
        model.compile("sgd", "cross_entropy")
        return np.array([model.train_on_batch(x, y)["loss"] for _ in range(2)])

    def run(context: Context) -> Outcome:
        found = losses(context.device, precision)
        with kernels.force("generic"):
            expected = losses("cpu", "float32")
        errors = {"losses": float(np.max(np.abs(found - expected)))}
        return Outcome(errors, 1e-4 if precision == "float32" else 5e-2)

    return run


def _memory(context: Context) -> Outcome:
    """Train with captured steps again and again: the memory in use must not grow."""
    cupy = context.need_cupy()
    used = []
    for _ in range(4):
        _losses(plain, context.device, "float32", True)
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
        free, total = cupy.cuda.runtime.memGetInfo()
        used.append((total - free) / 2**20)
    wrong = "it grows" if used[-1] - used[1] > 8 else ""
    return Outcome(how=f"MiB {', '.join(f'{mib:.0f}' for mib in used)}", wrong=wrong)


def checks() -> list[Check]:
    """List the checks, the most important first."""
    found = [
        Check("contact/versions", _versions),
        Check("contact/probe", _probe),
        Check("contact/train/float32", _train(plain, "float32")),
        Check("contact/captured/float32", _train(plain, "float32", capture=True)),
    ]
    for precision in ("float32", "bfloat16", "tf32", "float16"):
        found.append(Check(f"contact/residual/{precision}", _train(residual, precision)))
    found += [Check(f"contact/layers/float32/{n}", _layer(n, "float32")) for n in LAYERS]
    found.append(Check("contact/captured/bfloat16", _train(plain, "bfloat16", capture=True)))
    found += [Check(f"contact/layers/bfloat16/{n}", _layer(n, "bfloat16")) for n in LAYERS]
    return [*found, Check("contact/memory", _memory)]
