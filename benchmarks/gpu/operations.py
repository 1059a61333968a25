"""Every operation against the generic kernels in float64 on the CPU.

The reference works on the numbers that the device has, after rounding to its dtype: what is
measured is the error of the computation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from benchmarks.gpu.checks import (
    MODES,
    TOLERANCE,
    Check,
    Context,
    Outcome,
    SkipError,
    distance,
    dtype_of,
    host,
)
from xpcnn import kernels, rng
from xpcnn.kernels.dispatch import OPS
from xpcnn.window import Window


class ConvCase(NamedTuple):
    """A convolution: shapes (N, C, *spatial) and (O, C / groups, *kernel)."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    window: Window
    groups: int = 1


def _window(kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Window:
    def each(value: Any) -> tuple[Any, ...]:
        return value if isinstance(value, tuple) else (value,) * len(kernel)

    pairs = tuple((p, p) if isinstance(p, int) else tuple(p) for p in each(padding))
    return Window(kernel, each(stride), pairs, each(dilation))


CONVOLUTIONS = {
    "plain": ConvCase((8, 64, 28, 28), (64, 64, 3, 3), _window((3, 3), padding=1)),
    "pointwise": ConvCase((4, 64, 14, 14), (128, 64, 1, 1), _window((1, 1))),
    "gray": ConvCase((16, 1, 28, 28), (30, 1, 5, 5), _window((5, 5))),
    "colour": ConvCase((4, 3, 33, 33), (64, 3, 7, 7), _window((7, 7), 2, 3)),
    "odd-channels": ConvCase((3, 7, 13, 11), (5, 7, 3, 3), _window((3, 3), padding=1)),
    "strided": ConvCase((4, 32, 15, 15), (64, 32, 3, 3), _window((3, 3), 2, 1)),
    "dilated": ConvCase((4, 32, 17, 17), (32, 32, 3, 3), _window((3, 3), 1, 2, 2)),
    "asymmetric": ConvCase((4, 16, 12, 9), (8, 16, 2, 3), _window((2, 3), 1, ((0, 1), (1, 2)))),
    "groups": ConvCase((4, 32, 14, 14), (48, 8, 3, 3), _window((3, 3), padding=1), 4),
    "depthwise": ConvCase((4, 32, 14, 14), (32, 1, 3, 3), _window((3, 3), 2, 1), 32),
    "line": ConvCase((16, 8, 100), (30, 8, 5), _window((5,), 2, 2)),
    "line-groups": ConvCase((4, 8, 50), (16, 2, 3), _window((3,), 1, ((2, 0),), 2), 4),
    "cube": ConvCase((2, 8, 6, 10, 12), (16, 8, 3, 3, 3), _window((3, 3, 3), padding=1)),
    "cube-groups": ConvCase((2, 8, 5, 6, 7), (8, 4, 2, 3, 1), _window((2, 3, 1), (1, 2, 1)), 2),
    "one-pixel": ConvCase((8, 16, 1, 1), (16, 16, 3, 3), _window((3, 3), padding=1)),
}


def conv_arrays(context: Context, case: ConvCase, mode: str) -> tuple[Any, Any, Any, Any]:
    """Return image, filters, bias and gradient of the output, on the device."""
    rng, dtype = np.random.default_rng(0), dtype_of(mode)
    y = (case.x[0], case.w[0], *case.window.output_shape(case.x[2:]))
    scale = np.sqrt(2.0 / np.prod(case.w[1:]))
    x, w, b, dy = (rng.standard_normal(shape) for shape in (case.x, case.w, case.w[:1], y))
    return (
        context.array(x, dtype),
        context.array(w * scale, dtype),
        context.array(b, dtype),
        context.array(dy, dtype),
    )


def convolve(
    context: Context, op: str, case: ConvCase, arrays: tuple[Any, Any, Any, Any]
) -> tuple[dict[str, Any], str]:
    """Run forward and backward on the device; returns the results and which kernels ran."""
    x, w, b, dy = arrays
    xp = context.device.xp
    with kernels.trace() as decisions:
        result = kernels.run(xp, op, x, w, b, case.window, case.groups)
    if result is None:
        raise SkipError(f"no kernel set has {op} for this")
    y, saved = result
    dx, dw, db = saved.backward(xp, dy, saved.state, case.window, case.groups, True)
    how = ", ".join([str(decisions[-1].kernel_set), *decisions[-1].notes])
    return {"y": y, "dx": dx, "dw": dw, "db": db}, how


def _check_conv(op: str, case: ConvCase, mode: str, expected_way: str = "") -> Any:
    def run(context: Context) -> Outcome:
        with context.settings(mode):
            arrays = conv_arrays(context, case, mode)
            found, how = convolve(context, op, case, arrays)
            x, w, b, dy = map(host, arrays)
            if op == "conv_relu":
                # Where the output is as good as zero, either side of it is right.
                dy = dy * (host(found["y"]) > 0)
            pair = OPS["conv"]
            y, state = pair.forward(np, x, w, b, case.window, case.groups)
            dx, dw, db = pair.backward(np, dy, state, case.window, case.groups, True)
            y = np.maximum(y, 0.0) if op == "conv_relu" else y
            expected = {"y": y, "dx": dx, "dw": dw, "db": db}
            errors = {name: distance(found[name], expected[name]) for name in expected}
        wrong = ""
        if context.library == "cupy" and expected_way not in how:
            wrong = f"expected {expected_way!r}, but what ran was {how!r}"
        return Outcome(errors, TOLERANCE[mode], how, wrong)

    return run


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Let cuDNN decline everything."""
    from xpcnn.kernels.cuda import cudnn

    execute = cudnn.execute
    cudnn.execute = lambda problem, arrays: False
    try:
        yield
    finally:
        cudnn.execute = execute


def _check_columns(op: str, case: ConvCase, mode: str) -> Any:
    def run(context: Context) -> Outcome:
        context.need_cupy()
        with without_cudnn():
            return _check_conv(op, case, mode, "im2col and cuBLAS")(context)

    return run


def _check_views(context: Context) -> Outcome:
    """Arrays in any memory give what contiguous ones give."""
    case = CONVOLUTIONS["odd-channels"]
    arrays = conv_arrays(context, case, "float64")
    expected, how = convolve(context, "conv", case, arrays)
    x, w, b, dy = arrays
    xp, errors = context.device.xp, {}
    padded = xp.concat([xp.zeros_like(x[..., :1]), x], axis=3)
    backwards = xp.permute_dims(
        xp.asarray(xp.permute_dims(x, (3, 2, 1, 0)), copy=True), (3, 2, 1, 0)
    )
    for name, view in {"slice": padded[..., 1:], "order": backwards}.items():
        found, _ = convolve(context, "conv", case, (view, w, b, dy))
        errors |= {f"{name} {key}": distance(found[key], host(expected[key])) for key in found}
    return Outcome(errors, TOLERANCE["float64"], how)


def _check_nan(context: Context) -> Outcome:
    """NaN and infinity come out of convolution and ReLU where the generic kernels have them."""
    case = CONVOLUTIONS["plain"]
    wrong, how = [], ""
    for mode in ("float32", "tf32", "float16"):
        try:
            with context.settings(mode):
                x, w, b, dy = conv_arrays(context, case, mode)
                values = host(x)
                values[0, 3, 5, 5], values[1, 2, 9, 9] = np.nan, np.inf
                x = context.array(values, dtype_of(mode))
                found, how = convolve(context, "conv_relu", case, (x, w, b, dy))
        except SkipError:
            continue
        nan = np.isnan(host(found["y"]))
        pair = OPS["conv"]
        y, _ = pair.forward(np, host(x), host(w), host(b), case.window, case.groups)
        missing = int((np.isnan(y) & ~nan).sum())
        if missing:
            wrong.append(f"{mode}: {missing} of {int(np.isnan(y).sum())} NaN are lost")
    if not how:
        raise SkipError("no kernel set has conv_relu for this")
    return Outcome(how=how, wrong="; ".join(wrong))


# -- The other operations ------------------------------------------------------------------------

POOL = _window((3, 2), (2, 2), ((1, 1), (0, 1)))


class OpCase(NamedTuple):
    """An operation: shapes of its arrays, what comes after them, and what the backward takes."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    settings: tuple[Any, ...] = ()
    more: tuple[Any, ...] = ()


OPERATIONS = {
    "max_pool": OpCase("max_pool", ((4, 9, 16, 15),), (POOL,), (POOL,)),
    "max_pool-line": OpCase("max_pool", ((4, 9, 31),), (_window((2,), 2),), (_window((2,), 2),)),
    "avg_pool": OpCase("avg_pool", ((4, 9, 16, 15),), (POOL, 6.0), (POOL,)),
    "global_avg_pool": OpCase("global_avg_pool", ((4, 64, 7, 7),)),
    "global_max_pool": OpCase("global_max_pool", ((4, 64, 7, 7),)),
    "batch_norm": OpCase("batch_norm", ((8, 33, 14, 13), (33,), (33,)), (1e-5, None), (True,)),
    "batch_norm-cube": OpCase("batch_norm", ((2, 8, 4, 5, 6), (8,), (8,)), (1e-5, None), (True,)),
    "linear": OpCase("linear", ((100, 257), (64, 257), (64,)), (), (True,)),
    "relu": OpCase("relu", ((4, 9, 16, 15),)),
    "sigmoid": OpCase("sigmoid", ((4, 9, 16, 15),)),
    "gelu": OpCase("gelu", ((4, 9, 16, 15),), ("none",)),
    "softmax": OpCase("softmax", ((100, 10),), (1,)),
    "log_softmax": OpCase("log_softmax", ((100, 10),), (1,)),
}


def _check_operation(case: OpCase, mode: str) -> Any:
    def run(context: Context) -> Outcome:
        rng, dtype, xp = np.random.default_rng(1), dtype_of(mode), context.device.xp
        with context.settings(mode):
            arrays = [context.array(rng.standard_normal(s), dtype) for s in case.shapes]
            with kernels.trace() as decisions:
                result = kernels.run(xp, case.op, *arrays, *case.settings)
            assert result is not None
            output, saved = result
            pair = OPS[case.op]
            expected, state = pair.forward(np, *map(host, arrays), *case.settings)
            outputs, wanted = _as_tuple(output), _as_tuple(expected)
            dy = context.array(rng.standard_normal(wanted[0].shape), dtype)
            found = _as_tuple(saved.backward(xp, dy, saved.state, *case.more))
            gradients = _as_tuple(pair.backward(np, host(dy), state, *case.more))
            pairs = zip((*outputs, *found), (*wanted, *gradients), strict=True)
            errors = {str(number): distance(*both) for number, both in enumerate(pairs)}
        how = ", ".join([str(decisions[-1].kernel_set), *decisions[-1].notes])
        return Outcome(errors, TOLERANCE[mode], how)

    return run


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _adam(arrays: list[list[Any]]) -> tuple[Any, ...]:
    steps = [3] * len(arrays[0])
    return (*arrays, steps, 1e-3, (0.9, 0.999), 1e-8, (0.0, 0.01))


def _sgd(arrays: list[list[Any]]) -> tuple[Any, ...]:
    return (*arrays[:3], 0.1, 0.9, 0.0, True, 1e-4)


UPDATES: dict[str, Callable[[list[list[Any]]], tuple[Any, ...]]] = {"adam": _adam, "sgd": _sgd}


def _check_update(op: str, mode: str) -> Any:
    def run(context: Context) -> Outcome:
        rng, dtype = np.random.default_rng(2), dtype_of(mode)
        shapes = [(30, 1, 5, 5), (30,), (100, 433), (7,)]
        values = [[rng.standard_normal(s) for s in shapes] for _ in range(4)]
        values[3] = [np.abs(v) for v in values[3]]  # means of squares
        arrays = [[context.array(v, dtype) for v in row] for row in values]
        rounded = [[host(a) for a in row] for row in arrays]
        with kernels.trace() as decisions:
            result = kernels.run(context.device.xp, op, *UPDATES[op](arrays))
        assert result is not None
        expected, _ = OPS[op].forward(np, *UPDATES[op](rounded))
        errors = {
            f"{row}, {number}": distance(found, wanted)
            for row, both in enumerate(zip(result[0], expected, strict=True))
            for number, (found, wanted) in enumerate(zip(*both, strict=True))
        }
        how = ", ".join([str(decisions[-1].kernel_set), *decisions[-1].notes])
        return Outcome(errors, TOLERANCE[mode], how)

    return run


def _check_dropout(mask_shape: tuple[int, ...]) -> Any:
    """The mask is the one that NumPy draws on the host, bit for bit."""

    def run(context: Context) -> Outcome:
        shape, p, key = (16, 33, 14, 13), 0.3, rng.key(3, "dropout", 5)
        xp, ones = context.device.xp, context.array(np.ones(shape), "float32")
        with kernels.trace() as decisions:
            result = kernels.run(xp, "dropout", ones, mask_shape, p, key)
        assert result is not None
        y, saved = result
        kept = np.broadcast_to(rng.uniform(key, mask_shape) >= p, shape)
        others = {
            name: int(((host(found) != 0) != kept).sum())
            for name, found in (("y", y), ("dx", saved.backward(xp, ones, saved.state)))
        }
        wrong = [f"{count} elements of {name} differ" for name, count in others.items() if count]
        how = str(decisions[-1].kernel_set)
        if context.library == "cupy" and how != "cuda":
            wrong.append(f"expected 'cuda', but what ran was {how!r}")
        return Outcome(how=how, wrong="; ".join(wrong))

    return run


def checks() -> list[Check]:
    """List the checks of single operations."""
    found = []
    for mode in MODES:
        # GPUs before Ampere have no bfloat16, and cuDNN is not asked for float64.
        way = {"bfloat16": "", "float64": "im2col"}.get(mode, "cuDNN")
        for name, case in CONVOLUTIONS.items():
            found.append(Check(f"conv/{mode}/{name}", _check_conv("conv", case, mode, way)))
        for name in ("plain", "gray", "depthwise", "line", "cube"):
            case = CONVOLUTIONS[name]
            found.append(
                Check(f"conv_relu/{mode}/{name}", _check_conv("conv_relu", case, mode, way))
            )
        for name in ("gray", "groups", "depthwise", "asymmetric", "line", "cube", "one-pixel"):
            case = CONVOLUTIONS[name]
            found.append(Check(f"columns/{mode}/{name}", _check_columns("conv", case, mode)))
        found.append(
            Check(f"columns/{mode}/relu", _check_columns("conv_relu", CONVOLUTIONS["plain"], mode))
        )
        for name, op in OPERATIONS.items():
            found.append(Check(f"operation/{mode}/{name}", _check_operation(op, mode)))
        if mode != "tf32":
            found += [Check(f"operation/{mode}/{op}", _check_update(op, mode)) for op in UPDATES]
    found += [
        Check("dropout/elements", _check_dropout((16, 33, 14, 13))),
        Check("dropout/channels", _check_dropout((16, 33, 1, 1))),
    ]
    return [*found, Check("conv/views", _check_views), Check("conv_relu/nan", _check_nan)]
