"""Times beside PyTorch's, on the same GPU and in the same process.

Events in the stream of each library, the median of 50 steps, PyTorch with channels_last memory.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np

from benchmarks.gpu import networks, training
from benchmarks.gpu.checks import Check, Context, Outcome, SkipError, dtype_of, torch_settings
from xpcnn.bench import own, program, rivals
from xpcnn.bench.workloads import WORKLOADS
from xpcnn.training.captured import CapturedSteps

STEPS, WARM_UP = 50, 10

LAYERS = {"conv64": 64, "conv128": 128, "conv256": 256, "conv512": 512}
TRAINING = {"simple": 100, "deep": 100, "oned": 1000, "resnet18": 128}
"""Networks, and numbers of images: those of the course, and ResNet-18."""


def median(record: Callable[[], Any], elapsed: Callable[[Any, Any], float], step: Any) -> float:
    """Return the milliseconds of a step; `record` puts an event into the stream."""
    for _ in range(WARM_UP):
        step()
    times = []
    for _ in range(STEPS):
        began = record()
        step()
        times.append(elapsed(began, record()))
    return statistics.median(times)


def _our_clock(context: Context) -> tuple[Any, Any]:
    if context.library == "cupy":
        cupy = importlib.import_module("cupy")

        def record() -> Any:
            event = cupy.cuda.Event()
            event.record()
            return event

        def elapsed(began: Any, ended: Any) -> float:
            ended.synchronize()
            return float(cupy.cuda.get_elapsed_time(began, ended))

        return record, elapsed
    if context.library == "torch" and context.is_gpu:
        return _torch_clock()
    return time.perf_counter, lambda began, ended: 1e3 * (ended - began)


def _torch_clock() -> tuple[Any, Any]:
    torch = importlib.import_module("torch")

    def record() -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def elapsed(began: Any, ended: Any) -> float:
        ended.synchronize()
        return float(began.elapsed_time(ended))

    return record, elapsed


def _torch() -> Any:
    """Return PyTorch if it works on a GPU."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def _compare(context: Context, ours: Any, theirs: Callable[[Any], Any], mode: str) -> Outcome:
    """Time both; `theirs` makes a step for PyTorch."""
    if not context.is_gpu:
        raise SkipError("times are taken on GPUs")
    with context.settings(mode):
        figures = {"xpcnn ms": median(*_our_clock(context), ours())}
    torch = _torch()
    if torch is None:
        return Outcome(figures=figures, how="PyTorch with CUDA is not there to compare with")
    with torch_settings(mode == "tf32"):
        figures["PyTorch ms"] = median(*_torch_clock(), theirs(torch))
    figures["ratio"] = figures["PyTorch ms"] / figures["xpcnn ms"]
    return Outcome(figures=figures)


def _time_layer(name: str, what: str, mode: str) -> Any:
    workload = WORKLOADS[f"{name}-{what}"].with_batch(32)
    dtype = dtype_of(mode)

    def run(context: Context) -> Outcome:
        def ours() -> Any:
            x = context.array(program.channels_last(program.images(workload.shape)), dtype)
            precision = "tf32" if mode == "tf32" else "float32"
            model = own.network(workload, context.device, dtype, precision)
            y = model.forward(x, training=True)
            dy = context.device.xp.ones_like(y)

            def forward() -> None:
                model.forward(x)

            def gradients() -> None:
                model.zero_grad()
                model.forward(x, training=True)
                model.backward(dy, need_dx=True)

            return forward if what == "forward" else gradients

        def theirs(torch: Any) -> Any:
            like = {"device": "cuda", "dtype": getattr(torch, dtype)}
            layout = torch.channels_last
            network = rivals.torch_network(workload).to(**like, memory_format=layout)
            x = torch.from_numpy(program.images(workload.shape)).to(**like, memory_format=layout)

            def forward() -> None:
                with torch.inference_mode():
                    network(x)

            if what == "forward":
                return forward
            x.requires_grad_()
            wanted = [x, *network.parameters()]
            dy = torch.ones_like(network(x))
            return lambda: torch.autograd.grad(network(x), wanted, dy)

        return _compare(context, ours, theirs, mode)

    return run


def _time_training(name: str, mode: str, capture: bool = False) -> Any:
    workload = WORKLOADS[name].with_batch(TRAINING[name])

    def run(context: Context) -> Outcome:
        images, labels = program.images(workload.shape), program.labels(workload.shape[0])

        def ours() -> Any:
            model = networks.make(workload, context.device, mode)
            x = context.array(images, "float32")
            y = context.device.asarray(labels)
            if not capture:
                return lambda: model.train_on_batch(x, y)
            steps = CapturedSteps(model, len(x))

            def step() -> None:
                if steps.step(x, y, None) is None:
                    raise SkipError("its steps are not captured")

            return step

        def theirs(torch: Any) -> Any:
            network = rivals.torch_network(workload).to("cuda")
            x, y = torch.from_numpy(images).to("cuda"), torch.from_numpy(labels).to("cuda")
            if images.ndim == 4:
                network = network.to(memory_format=torch.channels_last)
                x = x.contiguous(memory_format=torch.channels_last)
            return rivals.torch_training_step(network, x, y, fused_adam=True)

        return _compare(context, ours, theirs, mode)

    return run


def _time_epochs(name: str) -> Any:
    workload = WORKLOADS[name].with_batch(TRAINING[name])

    def run(context: Context) -> Outcome:
        """Time a step of ``fit`` on data of the host, with batches fetched ahead and without."""
        context.need_cupy()
        count = 20 * TRAINING[name]
        x, y = program.images(WORKLOADS[name].with_batch(count).shape), program.labels(count)
        figures = {}
        for what, fetching in (("ahead", nullcontext), ("in turn", training.nothing_fetched_ahead)):
            model = networks.make(workload, context.device, "float32")
            with fetching():
                times = []
                for _ in range(6):
                    began = time.perf_counter()
                    model.fit(x, y, batch_size=TRAINING[name], verbose=0)
                    times.append(1e3 * (time.perf_counter() - began) / 20)
            figures[f"{what} ms"] = statistics.median(times[1:])
        figures["ratio"] = figures["in turn ms"] / figures["ahead ms"]
        return Outcome(figures=figures)

    return run


def _time_copies(context: Context) -> Outcome:
    """From pageable memory of the host to the device: what prefetching has to hide."""
    cupy = context.need_cupy()
    x = np.ones((64 << 20,), np.uint8)
    y = cupy.empty(x.shape, x.dtype)
    milliseconds = median(*_our_clock(context), lambda: y.set(x))
    return Outcome(figures={"xpcnn ms": milliseconds, "GB/s": x.nbytes / milliseconds / 1e6})


def checks() -> list[Check]:
    """List what is timed."""
    found = []
    for mode in ("float32", "tf32", "float16"):
        for name in LAYERS:
            for what in ("forward", "gradients"):
                check = _time_layer(name, what, mode)
                found.append(Check(f"timing/{mode}/{name}-{what}", check))
    for mode in ("float32", "tf32"):
        for name in TRAINING:
            found.append(Check(f"timing/{mode}/{name}-training", _time_training(name, mode)))
            check = _time_training(name, mode, capture=True)
            found.append(Check(f"timing/{mode}/{name}-captured", check))
    found += [Check(f"timing/batches/{name}", _time_epochs(name)) for name in TRAINING]
    return [*found, Check("timing/copy", _time_copies)]
