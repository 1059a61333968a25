"""What a GPU does besides computing: the same bits again, no memory left, streams, graphs."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from benchmarks.gpu import networks, operations
from benchmarks.gpu.checks import Check, Context, Outcome, SkipError, dtype_of, host, same_bits
from xpcnn.bench import program
from xpcnn.bench.workloads import WORKLOADS

RUNS = 5


def _results(context: Context, name: str, mode: str) -> list[Any]:
    case = operations.CONVOLUTIONS[name]
    arrays = operations.conv_arrays(context, case, mode)
    return list(operations.convolve(context, "conv", case, arrays)[0].values())


def _check_same_bits(name: str, mode: str) -> Any:
    def run(context: Context) -> Outcome:
        with context.settings(mode, deterministic=True):
            differing = same_bits([_results(context, name, mode) for _ in range(RUNS)])
        names = [("y", "dx", "dw", "db")[position] for position in differing]
        return Outcome(wrong=f"other bits in {', '.join(names)}" if names else "")

    return run


def _check_same_training(name: str, mode: str) -> Any:
    workload = WORKLOADS[name].with_batch(8)

    def run(context: Context) -> Outcome:
        runs = []
        with context.settings(mode, deterministic=True):
            for _ in range(2):
                model = networks.make(workload, context.device, mode)
                for _ in range(3):
                    networks.step(model, workload.shape, dtype_of(mode))
                runs.append([p.data for p in model.parameters().values()])
        differing = len(same_bits(runs))
        wrong = f"{differing} of {len(runs[0])} parameters have other bits" if differing else ""
        return Outcome(wrong=wrong)

    return run


# -- Memory --------------------------------------------------------------------------------------


def _check_out_of_memory(context: Context) -> Outcome:
    """A batch that does not fit is an error; a smaller one then works, with the same numbers."""
    with context.settings(deterministic=True):
        return _run_out_of_memory(context)


def _run_out_of_memory(context: Context) -> Outcome:
    cupy = context.need_cupy()
    workload = WORKLOADS["deep"].with_batch(8)
    x, y = program.images(workload.shape), program.labels(8)
    model = networks.make(workload, context.device, "float32")
    model.train_on_batch(x, y)
    expected = networks.make(workload, context.device, "float32")
    expected.train_on_batch(x, y)
    pool = cupy.get_default_memory_pool()
    before = pool.get_limit()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + (32 << 20))
    wrong = []
    try:
        many = WORKLOADS["deep"].with_batch(4096)
        try:
            model.train_on_batch(program.images(many.shape), program.labels(4096))
            wrong.append("4,096 images fit into 32 MiB")
        except MemoryError as error:
            message = str(error)
            wrong += [
                f"the error does not say {word!r}" for word in ("4096",) if word not in message
            ]
        logs = model.train_on_batch(x, y)
        if not np.isfinite(logs["loss"]):
            wrong.append(f"the loss is {logs['loss']} afterwards")
    finally:
        pool.set_limit(size=before)
    expected.train_on_batch(x, y)
    pairs = zip(model.parameters().values(), expected.parameters().values(), strict=True)
    errors = {}
    for number, (ours, theirs) in enumerate(pairs):
        a, b = host(ours.data), host(theirs.data)
        errors[str(number)] = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    return Outcome(errors, 1e-4, wrong="; ".join(wrong))


# -- Streams and graphs --------------------------------------------------------------------------


def delay(cupy: Any) -> Any:
    """Return a kernel that takes milliseconds: what does not wait for it reads what was before."""
    return cupy.RawKernel(
        'extern "C" __global__ void wait(long long cycles) {'
        " long long began = clock64(); while (clock64() - began < cycles) {} }",
        "wait",
    )


def _check_stream(context: Context) -> Outcome:
    """Kernels go into the current stream: they see what was put there before them."""
    cupy = context.need_cupy()
    case = operations.CONVOLUTIONS["plain"]
    arrays = operations.conv_arrays(context, case, "float32")
    expected = _plain(context, arrays)
    wait = delay(cupy)
    stream = cupy.cuda.Stream(non_blocking=True)
    x = cupy.zeros_like(arrays[0])
    cupy.cuda.Device().synchronize()
    with stream:
        wait((1,), (1,), (20_000_000,))
        x[...] = arrays[0]
        found = _plain(context, (x, *arrays[1:]))
        stream.synchronize()
    differing = same_bits([expected, found])
    return Outcome(wrong=f"{len(differing)} of 4 arrays differ" if differing else "")


def _plain(context: Context, arrays: tuple[Any, Any, Any, Any]) -> list[Any]:
    case = operations.CONVOLUTIONS["plain"]
    with context.settings("float32", deterministic=True):
        return list(operations.convolve(context, "conv", case, arrays)[0].values())


def _check_threads(context: Context) -> Outcome:
    """Threads with streams of their own do not disturb one another."""
    cupy = context.need_cupy()
    case = operations.CONVOLUTIONS["plain"]
    arrays = operations.conv_arrays(context, case, "float32")
    expected = _plain(context, arrays)
    wrong: list[str] = []

    def work() -> None:
        try:
            with context.device.physical, cupy.cuda.Stream(non_blocking=True) as stream:
                for _ in range(20):
                    found = list(operations.convolve(context, "conv", case, arrays)[0].values())
                    stream.synchronize()
                    if same_bits([expected, found]):
                        wrong.append("other bits")
        except Exception as error:
            wrong.append(f"{type(error).__name__}: {error}")

    with context.settings("float32", deterministic=True):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return Outcome(wrong="; ".join(sorted(set(wrong))))


def _check_graph(context: Context) -> Outcome:
    """A captured convolution, forward and backward, repeats what it did."""
    cupy = context.need_cupy()
    case = operations.CONVOLUTIONS["plain"]
    arrays = operations.conv_arrays(context, case, "float32")
    expected = _plain(context, arrays)
    x = cupy.array(arrays[0], copy=True, order="K")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        _plain(context, (x, *arrays[1:]))  # plans are built and memory is taken here
        stream.synchronize()
        stream.begin_capture()
        try:
            found = _plain(context, (x, *arrays[1:]))
        finally:
            graph = stream.end_capture()
        x[...] = 0
        graph.launch(stream)
        x[...] = arrays[0]
        graph.launch(stream)
        stream.synchronize()
    differing = same_bits([expected, found])
    return Outcome(wrong=f"{len(differing)} of 4 arrays differ" if differing else "")


def _check_no_waiting(context: Context) -> Outcome:
    """A convolution returns while the GPU is still at work before it."""
    cupy = context.need_cupy()
    case = operations.CONVOLUTIONS["plain"]
    arrays = operations.conv_arrays(context, case, "float32")
    _plain(context, arrays)
    wait = delay(cupy)
    cupy.cuda.Device().synchronize()
    wait((1,), (1,), (2_000_000_000,))  # about a second
    _plain(context, arrays)
    waits = cupy.cuda.get_current_stream().done
    cupy.cuda.Device().synchronize()
    return Outcome(wrong="the host waited for the GPU" if waits else "")


def _check_autotune(context: Context) -> Outcome:
    """All plans of cuDNN can be timed, and the one taken computes the same."""
    context.need_cupy()
    from xpcnn.kernels.cuda import cudnn

    check = next(c for c in operations.checks() if c.name == "conv/float32/plain")
    before = cudnn.get_settings().autotune
    cudnn.set_autotune(True)
    try:
        return check.run(context)
    finally:
        cudnn.set_autotune(before)


def _check_cudnn(context: Context) -> Outcome:
    """It can be loaded: without it, everything else here goes another way."""
    context.need_cupy()
    from xpcnn.kernels.cuda import cudnn

    return Outcome(wrong=cudnn.unavailable() or "")


def _check_second_device(context: Context) -> Outcome:
    """Arrays on another GPU than the current one are computed there."""
    cupy = context.need_cupy()
    if cupy.cuda.runtime.getDeviceCount() < 2:
        raise SkipError("there is one GPU")
    from xpcnn.device import resolve

    other = Context(resolve("cuda:1"))
    check = next(c for c in operations.checks() if c.name == "conv/float32/plain")
    with cupy.cuda.Device(0):
        return check.run(other)


def checks() -> list[Check]:
    """List the checks of behaviour."""
    found = [Check("cudnn", _check_cudnn)]
    for mode in ("float32", "tf32", "float16"):
        for name in ("plain", "strided", "groups", "depthwise", "cube"):
            found.append(Check(f"same-bits/{mode}/{name}", _check_same_bits(name, mode)))
    for name in ("simple", "deep", "resnet18"):
        found.append(Check(f"same-bits/training/{name}", _check_same_training(name, "float32")))
    return [
        *found,
        Check("memory/out-of-memory", _check_out_of_memory),
        Check("streams/current", _check_stream),
        Check("streams/threads", _check_threads),
        Check("streams/no-waiting", _check_no_waiting),
        Check("streams/second-device", _check_second_device),
        Check("graphs/convolution", _check_graph),
        Check("autotune", _check_autotune),
    ]
