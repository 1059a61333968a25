"""Times beside PyTorch's, on the same GPU and in the same process.

A step is timed as a user feels it: many in a row, one wait behind them, the best of three rounds.
The time until the host has handed over its work is taken besides ("host"): where it is nearly the
whole, the GPU waits for Python.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from benchmarks.gpu import networks, training
from benchmarks.gpu.checks import Check, Context, Outcome, SkipError, torch_settings
from xpcnn import kernels
from xpcnn.bench import program
from xpcnn.bench.baselines import pytorch
from xpcnn.bench.workloads import WORKLOADS
from xpcnn.training.dataset import Batch
from xpcnn.training.graph_capture import CapturedSteps
from xpcnn.training.step import train_step
from xpcnn.window import Window

WARM_UP, ROUNDS = 8, 3

TRAINING = (
    ("simple", 100, "float32"), ("resnet18", 128, "tf32"), ("resnet18", 128, "bfloat16"),
    ("deep", 100, "float32"), ("oned", 1000, "float32"), ("simple", 100, "bfloat16"),
    ("resnet18", 512, "bfloat16"), ("mobilenet", 128, "bfloat16"), ("resnet18", 128, "float32"),
)  # fmt: skip
"""Networks, numbers of images and precisions: those of the course, and larger ones."""

BATCHES = {"simple": 100, "deep": 100, "oned": 1000, "resnet18": 128}

CONVOLUTIONS = ((64, 32), (128, 16), (256, 8), (512, 4))
"""Channels and side of the images of ResNet-18's 3x3 convolutions."""

THREE = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
HALVING = Window((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))

Step = Callable[[], Any]


def _torch() -> Any:
    """Return PyTorch if it works on a GPU."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def _wait(context: Context) -> None:
    if context.library == "cupy":
        importlib.import_module("cupy").cuda.Device().synchronize()
    torch = _torch()
    if torch is not None:
        torch.cuda.synchronize()


def per_call(context: Context, step: Step, calls: int) -> tuple[float, float]:
    """Return the microseconds of a call, and how many of them the host takes."""
    for _ in range(WARM_UP):
        step()
    best = (float("inf"), float("inf"))
    for _ in range(ROUNDS):
        _wait(context)
        began = time.perf_counter()
        for _ in range(calls):
            step()
        handed_over = time.perf_counter()
        _wait(context)
        ended = time.perf_counter()
        best = min(best, (1e6 * (ended - began) / calls, 1e6 * (handed_over - began) / calls))
    return best


def need_gpu(context: Context) -> Any:
    """Return CuPy, or skip the check: times are taken on GPUs."""
    if not context.is_gpu:
        raise SkipError("times are taken on GPUs")
    return context.need_cupy()


# -- The host ------------------------------------------------------------------------------------


def _time_host(context: Context) -> Outcome:
    """Time single calls on small arrays, which cost the host alone."""
    cupy = need_gpu(context)
    xp = context.device.xp
    x, w = cupy.zeros((8, 16, 8, 8), "f"), cupy.zeros((16, 16, 3, 3), "f")
    rows = x.reshape(8, -1)
    numbers = np.zeros(4096, "f")
    steps: dict[str, Step] = {
        "cupy a + a": lambda: x + x,
        "cupy empty": lambda: cupy.empty((8, 16)),
        "cupy sum": lambda: x.sum(),
        "cuBLAS product": lambda: rows @ rows.T,
        "16 KiB asarray": lambda: cupy.asarray(numbers),
        "float": lambda: float(x[0, 0, 0, 0]),
        "our relu": lambda: kernels.run(xp, "relu", x),
        "our conv": lambda: kernels.run(xp, "conv", x, w, None, THREE, 1),
    }
    torch = _torch()
    if torch is not None:
        t, u = torch.zeros(8, 16, 8, 8, device="cuda"), torch.zeros(16, 16, 3, 3, device="cuda")
        steps["PyTorch a + a"] = lambda: t + t
        steps["PyTorch conv"] = lambda: torch.nn.functional.conv2d(t, u, padding=1)
    return Outcome(figures={f"{n} us": per_call(context, s, 300)[0] for n, s in steps.items()})


# -- Training ------------------------------------------------------------------------------------


def _time_network(name: str, size: int, mode: str) -> Any:
    workload = WORKLOADS[name].with_batch(size)
    calls = 30 if name in ("resnet18", "mobilenet") else 60

    def run(context: Context) -> Outcome:
        need_gpu(context)
        figures: dict[str, float] = {}
        said = []
        with context.settings(mode):
            images, labels = program.images(workload.shape), program.labels(size)
            x = context.array(images, "float32")
            batch = Batch((x,), context.device.asarray(labels), None)
            model = networks.make(workload, context.device, mode)
            figures["step us"], figures["step host us"] = per_call(
                context, lambda: train_step(model, size, lambda: batch), calls
            )
            model = networks.make(workload, context.device, mode)
            steps = CapturedSteps(model, size)

            def captured() -> Any:
                return train_step(model, size, lambda: batch, steps.step)

            captured()  # the rehearsal
            if captured().outcome.loss is not None:
                said.append("its steps are not captured")
            else:
                figures["captured us"], figures["captured host us"] = per_call(
                    context, captured, calls
                )
            steps.close()
        figures |= _torch_training(context, workload, images, labels, mode, calls)
        if "PyTorch us" in figures:
            figures["ratio"] = figures["PyTorch us"] / figures["step us"]
        if "captured us" in figures and "PyTorch graph us" in figures:
            figures["captured ratio"] = figures["PyTorch graph us"] / figures["captured us"]
        return Outcome(figures=figures, how="; ".join(said))

    return run


def _torch_training(
    context: Context, workload: Any, images: np.ndarray, labels: np.ndarray, mode: str, calls: int
) -> Mapping[str, float]:
    """Time PyTorch's step: fused Adam, channels last, autocast for halves, and as a CUDA graph."""
    torch = _torch()
    if torch is None:
        return {}
    half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(mode)
    x, y = torch.from_numpy(images).to("cuda"), torch.from_numpy(labels).to("cuda")
    if images.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)

    def make(capturable: bool) -> Step:
        network = pytorch.torch_network(workload).to("cuda")
        if images.ndim == 4:
            network = network.to(memory_format=torch.channels_last)
        adam = torch.optim.Adam(network.parameters(), fused=True, capturable=capturable)
        loss = torch.nn.CrossEntropyLoss()
        cast = {"dtype": half, "enabled": half is not None, "cache_enabled": not capturable}

        def step() -> Any:
            adam.zero_grad(set_to_none=True)
            with torch.autocast("cuda", **cast):
                value = loss(network(x), y)
            value.backward()
            adam.step()
            return value

        return step

    figures = {}
    with torch_settings(mode == "tf32"):
        figures["PyTorch us"], figures["PyTorch host us"] = per_call(context, make(False), calls)
        step, stream = make(True), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        figures["PyTorch graph us"], _ = per_call(context, graph.replay, calls)
    torch.cuda.empty_cache()
    return figures


def _time_epochs(name: str) -> Any:
    workload = WORKLOADS[name].with_batch(BATCHES[name])

    def run(context: Context) -> Outcome:
        """Time a step of ``fit`` on data of the host, with batches fetched ahead and without."""
        context.need_cupy()
        count = 20 * BATCHES[name]
        x, y = program.images(WORKLOADS[name].with_batch(count).shape), program.labels(count)
        figures = {}
        for what, fetching in (("ahead", nullcontext), ("in turn", training.nothing_fetched_ahead)):
            model = networks.make(workload, context.device, "float32")
            with fetching():
                times = []
                for _ in range(6):
                    began = time.perf_counter()
                    model.fit(x, y, batch_size=BATCHES[name], verbose=0)
                    times.append(1e3 * (time.perf_counter() - began) / 20)
            figures[f"{what} ms"] = statistics.median(times[1:])
        figures["ratio"] = figures["in turn ms"] / figures["ahead ms"]
        return Outcome(figures=figures)

    return run


# -- Memory --------------------------------------------------------------------------------------


def _time_copies(context: Context) -> Outcome:
    """Time copies: from pageable memory of the host, which prefetching hides, and on the device."""
    cupy = need_gpu(context)
    x = np.ones((64 << 20,), np.uint8)
    y, big = cupy.empty(x.shape, x.dtype), cupy.empty(256 << 20, np.uint8)
    other = cupy.empty_like(big)
    from_host = per_call(context, lambda: y.set(x), 10)[0]
    inside = per_call(context, lambda: cupy.copyto(other, big), 30)[0]
    figures = {"from host GB/s": x.nbytes / from_host / 1e3}
    return Outcome(figures=figures | {"on device GB/s": 2 * big.nbytes / inside / 1e3})


def _time_bytes(mode: str, channels: int, side: int) -> Any:
    def run(context: Context) -> Outcome:
        """Time what works on single elements, as bytes that must be read or written a second."""
        need_gpu(context)
        xp = context.device.xp
        rng = np.random.default_rng(0)
        values = program.channels_last(rng.standard_normal((128, channels, side, side)))
        x = context.array(values, mode)
        size = x.size * x.dtype.itemsize
        scale, shift = (context.array(np.full(channels, v), "float32") for v in (1.0, 0.0))
        norm = ("batch_norm_relu", x, scale, shift, 1e-5, None)
        _, saved = kernels.run(xp, *norm)
        steps: dict[str, tuple[Step, float]] = {
            "batch_norm_relu": (lambda: kernels.run(xp, *norm), 3),
            "its backward": (lambda: saved.backward(xp, x, saved.state, True), 5),
            "relu": (lambda: kernels.run(xp, "relu", x), 2),
            "generic sigmoid": (lambda: kernels.run(xp, "sigmoid", x), 2),
        }
        if side > 4:
            y, pooled = kernels.run(xp, "max_pool", x, HALVING)
            steps["max_pool"] = (lambda: kernels.run(xp, "max_pool", x, HALVING), 1.5)
            steps["max_pool's backward"] = (
                lambda: pooled.backward(xp, y, pooled.state, HALVING), 1.5,
            )  # fmt: skip
        figures = {
            f"{name} GB/s": times * size / per_call(context, step, 30)[0] / 1e3
            for name, (step, times) in steps.items()
        }
        return Outcome(figures=figures)

    return run


def _time_adam(context: Context) -> Outcome:
    """Time the update of eleven million parameters, those of ResNet-18."""
    cupy = need_gpu(context)
    shapes = [(512, 512, 3, 3)] * 4 + [(256, 256, 3, 3)] * 3 + [(512,)] * 20
    flat = [cupy.zeros(shape, "f") for shape in shapes]
    arguments = (flat, flat, flat, flat, [3] * len(flat), 1e-3, (0.9, 0.999), 1e-8, (0.0, 0.0))
    whole = per_call(context, lambda: kernels.run(context.device.xp, "adam", *arguments), 30)[0]
    return Outcome(figures={"adam GB/s": 7 * sum(a.nbytes for a in flat) / whole / 1e3})


# -- Convolution ---------------------------------------------------------------------------------


def _time_conv(mode: str, channels: int, side: int) -> Any:
    dtype = "bfloat16" if mode == "bfloat16" else "float32"

    def run(context: Context) -> Outcome:
        """Time a 3x3 convolution of 128 images in channels-last memory, forward and backward."""
        need_gpu(context)
        from xpcnn.kernels.cuda import cudnn

        xp = context.device.xp
        rng = np.random.default_rng(0)
        x = context.array(
            program.channels_last(rng.standard_normal((128, channels, side, side))), dtype
        )
        w = context.array(
            program.channels_last(0.02 * rng.standard_normal((channels, channels, 3, 3))), dtype
        )
        figures = {}
        with context.settings(mode):
            for tuned in (False, True) if mode != "float32" else (False,):
                cudnn.set_autotune(tuned)
                try:
                    y, saved = kernels.run(xp, "conv", x, w, None, THREE, 1)
                    forward = per_call(
                        context, lambda: kernels.run(xp, "conv", x, w, None, THREE, 1), 40
                    )[0]
                    backward = per_call(
                        context,
                        lambda y=y, s=saved: s.backward(xp, y, s.state, THREE, 1, True),
                        40,
                    )[0]
                finally:
                    cudnn.set_autotune(False)
                figures["tuned us" if tuned else "us"] = forward + backward
        operations = 3 * 2 * 128 * channels * channels * 9 * side * side
        figures["TFLOP/s"] = operations / min(figures.values()) / 1e6
        torch = _torch()
        if torch is not None:
            like = {"device": "cuda", "dtype": getattr(torch, dtype)}
            layout = {"memory_format": torch.channels_last}
            t = torch.randn(128, channels, side, side, **like).contiguous(**layout)
            u = torch.randn(channels, channels, 3, 3, **like).mul_(0.02).contiguous(**layout)
            t.requires_grad_()
            u.requires_grad_()
            conv = torch.nn.functional.conv2d
            dy = torch.randn_like(conv(t, u, padding=1))

            def both() -> Any:
                return torch.autograd.grad(conv(t, u, padding=1), (t, u), dy)

            with torch_settings(mode == "tf32"):
                for tuned in (False, True):
                    torch.backends.cudnn.benchmark = tuned
                    name = f"PyTorch {'tuned ' if tuned else ''}us"
                    figures[name] = per_call(context, both, 40)[0]
                torch.backends.cudnn.benchmark = False
        return Outcome(figures=figures)

    return run


def checks() -> list[Check]:
    """List what is timed."""
    found = [Check("timing/host/calls", _time_host)]
    for name, size, mode in TRAINING:
        found.append(Check(f"timing/network/{mode}/{name}-{size}", _time_network(name, size, mode)))
    found.append(Check("timing/bytes/copy", _time_copies))
    for mode in ("float32", "bfloat16"):
        for channels, side in ((64, 32), (512, 4)):
            check = _time_bytes(mode, channels, side)
            found.append(Check(f"timing/bytes/{mode}/{channels}x{side}", check))
    found.append(Check("timing/bytes/adam", _time_adam))
    for mode in ("bfloat16", "tf32", "float32"):
        for channels, side in CONVOLUTIONS:
            check = _time_conv(mode, channels, side)
            found.append(Check(f"timing/conv/{mode}/{channels}x{side}", check))
    return found + [Check(f"timing/batches/{name}", _time_epochs(name)) for name in BATCHES]
