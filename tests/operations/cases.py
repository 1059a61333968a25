"""Operations, arrays for them, and the same in PyTorch.

Where PyTorch has no such function it is written out in its own operations here, so that its
automatic differentiation gives the gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.pytorch import nn_f, torch
from xpcnn import operations as op
from xpcnn.layers import Operation

# All cases are drawn from here, in their order, when this module is imported.
DRAWS = np.random.default_rng(7)


class Case(NamedTuple):
    """An operation, arrays for it, and the same in PyTorch, which may leave out statistics.

    `theirs` is a function, or the name of one of PyTorch's.
    """

    make: Callable[[], Operation]
    inputs: list[np.ndarray]
    theirs: str | Callable[..., Any]

    def reference(self, *tensors: Any) -> Any:
        run = getattr(torch, self.theirs) if isinstance(self.theirs, str) else self.theirs
        return run(*tensors)


def floats(*shape: int) -> np.ndarray:
    return DRAWS.normal(size=shape)


def positive(*shape: int) -> np.ndarray:
    return DRAWS.uniform(0.2, 2.0, size=shape)


def distinct(*shape: int) -> np.ndarray:
    """Numbers without ties, and none near 0."""
    values = np.linspace(-2.0, 2.03, int(np.prod(shape)) * 2 + 1)[1::2]
    return DRAWS.permutation(values).reshape(shape)


def whole(*values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.int64)


TAKEN = DRAWS.integers(-5, 5, size=(3, 4))
CLASSES = DRAWS.integers(0, 4, size=(5, 6))

UNARY: dict[str, tuple[Callable[[], Operation], np.ndarray, str | Callable[..., Any]]] = {
    "Absolute": (op.Absolute, distinct(3, 4), "abs"),
    "Ceil": (op.Ceil, floats(3, 4), "ceil"),
    "Cos": (op.Cos, floats(3, 4), "cos"),
    "Erf": (op.Erf, floats(3, 4), "erf"),
    "Exp": (op.Exp, floats(3, 4), "exp"),
    "Floor": (op.Floor, floats(3, 4), "floor"),
    "Log": (op.Log, positive(3, 4), "log"),
    "Negative": (op.Negative, floats(3, 4), "neg"),
    "Reciprocal": (op.Reciprocal, distinct(3, 4), "reciprocal"),
    "Round": (op.Round, np.array([0.5, 1.5, -0.5, 2.2]), "round"),
    "Sign": (op.Sign, distinct(3, 4), "sign"),
    "Sin": (op.Sin, floats(3, 4), "sin"),
    "SquareRoot": (op.SquareRoot, positive(3, 4), "sqrt"),
    "Affine": (lambda: op.Affine(-3.0, 0.5), floats(3, 4), lambda x: -3.0 * x + 0.5),
    "Clip": (lambda: op.Clip(-0.5, 0.7), floats(5, 4), lambda x: torch.clamp(x, -0.5, 0.7)),
    "Clip below": (lambda: op.Clip(min=0.1), floats(5, 4), lambda x: torch.clamp(x, min=0.1)),
    "hard Shrink": (lambda: op.Shrink(0.4), floats(5, 4), lambda x: nn_f.hardshrink(x, 0.4)),
    "soft Shrink": (
        lambda: op.Shrink(0.4, 0.4),
        floats(5, 4),
        lambda x: nn_f.softshrink(x, 0.4),
    ),
    "Transpose": (lambda: op.Transpose((2, 0, 1)), floats(2, 3, 4), lambda x: x.permute(2, 0, 1)),
    "Transpose all": (op.Transpose, floats(2, 3, 4), lambda x: x.permute(2, 1, 0)),
    "Reshape": (lambda: op.Reshape((4, -1, 2)), floats(2, 3, 4), lambda x: x.reshape(4, 3, 2)),
    "Squeeze": (lambda: op.Squeeze((1, -1)), floats(2, 1, 3, 1), lambda x: x[:, 0, :, 0]),
    "Squeeze all": (op.Squeeze, floats(1, 2, 1, 3), "squeeze"),
    "Unsqueeze": (lambda: op.Unsqueeze((0, -1)), floats(2, 3), lambda x: x[None, :, :, None]),
    "MergeDims": (lambda: op.MergeDims(2), floats(2, 3, 4, 5), lambda x: x.reshape(6, 20)),
    "MergeDims to a row": (lambda: op.MergeDims(0), floats(2, 3), lambda x: x.reshape(1, 6)),
    "Expand": (lambda: op.Expand((4, 1, 3)), floats(2, 1), lambda x: x.expand(4, 2, 3)),
    "Tile": (lambda: op.Tile((2, 1, 3)), floats(2, 3, 2), lambda x: x.tile(2, 1, 3)),
    "Slice": (
        lambda: op.Slice((1, -3), (100, 4), (0, 2), (1, 2)),
        floats(4, 3, 5),
        lambda x: x[1:, :, -3:4:2],
    ),
    "Slice backwards": (
        lambda: op.Slice((-1, 3), (-100, 0), (0, 1), (-1, -2)),
        floats(4, 5),
        lambda x: x.flip(0)[:, [3, 1]],
    ),
    "DepthToSpace": (
        lambda: op.DepthToSpace(2, "CRD"),
        floats(2, 8, 3, 2),
        lambda x: nn_f.pixel_shuffle(x, 2),
    ),
    "SpaceToDepth": (
        lambda: op.SpaceToDepth(2, "CRD"),
        floats(2, 2, 4, 6),
        lambda x: nn_f.pixel_unshuffle(x, 2),
    ),
    "DepthToSpace of both kinds": (
        lambda: op.DepthToSpace(2, "DCR"),
        floats(2, 8, 3, 2),
        lambda x: nn_f.pixel_shuffle(x.reshape(2, 4, 2, 3, 2).transpose(1, 2).reshape(x.shape), 2),
    ),
    "SpaceToDepth of both kinds": (
        lambda: op.SpaceToDepth(2, "DCR"),
        floats(2, 2, 4, 6),
        lambda x: (
            nn_f.pixel_unshuffle(x, 2).reshape(2, 2, 4, 2, 3).transpose(1, 2).reshape(2, 8, 2, 3)
        ),
    ),
    "GlobalPooling mean": (
        lambda: op.GlobalPooling("mean"),
        floats(2, 3, 4, 5),
        lambda x: x.mean((2, 3), keepdim=True),
    ),
    "GlobalPooling max": (
        lambda: op.GlobalPooling("max"),
        distinct(2, 3, 7),
        lambda x: x.amax(2, keepdim=True),
    ),
    "MaxPooling": (
        lambda: op.MaxPooling((3, 2), (2, 1), ((1, 1), (0, 0)), 1, True),
        distinct(2, 3, 7, 5),
        lambda x: nn_f.max_pool2d(x, (3, 2), (2, 1), (1, 0), 1, True),
    ),
    "AveragePooling": (
        lambda: op.AveragePooling((3,), 2, (1,), 1, True),
        floats(2, 3, 8),
        lambda x: nn_f.avg_pool1d(x, 3, 2, 1, True, False),
    ),
    "AveragePooling with more padding than its window": (
        lambda: op.AveragePooling((2,), 1, ((3, 2),), count_include_pad=True),
        floats(2, 3, 4),
        lambda x: nn_f.avg_pool1d(nn_f.pad(x, (3, 2)), 2, 1),
    ),
    "MaxPooling with an odd element in front": (
        lambda: op.MaxPooling((2,), 1, "same_lower"),
        distinct(2, 3, 4),
        lambda x: nn_f.max_pool1d(nn_f.pad(x, (1, 0), value=-9.0), 2, 1),
    ),
    "GroupStandardize": (
        lambda: op.GroupStandardize(2, 1e-3),
        floats(3, 4, 5),
        lambda x: nn_f.group_norm(x, 2, eps=1e-3),
    ),
    "GroupStandardize each": (
        lambda: op.GroupStandardize(eps=1e-3),
        floats(3, 4, 5, 2),
        lambda x: nn_f.instance_norm(x, eps=1e-3),
    ),
}
for _name, _kind, _reference in (
    ("sum", op.ReduceSum, lambda x, d, k: x.sum(d, k)),
    ("mean", op.ReduceMean, lambda x, d, k: x.mean(d, k)),
    ("max", op.ReduceMax, lambda x, d, k: x.amax(d, k)),
    ("min", op.ReduceMin, lambda x, d, k: x.amin(d, k)),
    ("L1", op.ReduceL1, lambda x, d, k: x.abs().sum(d, k)),
    ("L2", op.ReduceL2, lambda x, d, k: torch.linalg.vector_norm(x, 2, d, k)),
    ("square", op.ReduceSumSquare, lambda x, d, k: (x * x).sum(d, k)),
    ("LSE", op.ReduceLogSumExp, lambda x, d, k: torch.logsumexp(x, d, k)),
):
    for _dims, _keep in (((0, 2), True), ((-1,), False), ((0, 1, 2), False)):
        UNARY[f"reduce {_name} {_dims}"] = (
            lambda kind=_kind, dims=_dims, keep=_keep: kind(dims, keep),
            distinct(2, 3, 4),
            lambda x, f=_reference, d=_dims, k=_keep: f(x, d, k),
        )
UNARY |= {
    "reduce max of equal ones": (op.ReduceMax, np.ones((2, 3)), lambda x: x.amax((0, 1), True)),
    "reduce log of sum": (
        lambda: op.ReduceLogSum((1,)),
        positive(2, 3),
        lambda x: x.sum(1, True).log(),
    ),
    "reduce product": (lambda: op.ReduceProd((1,)), floats(2, 3), lambda x: x.prod(1, True)),
    "reduce product with a zero": (
        lambda: op.ReduceProd((1,), False),
        np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [1.0, 2.0, 3.0]]),
        lambda x: x.prod(1),
    ),
    "reduce nothing": (
        lambda: op.ReduceSum((), empty_is_all=False),
        floats(2, 3),
        lambda x: x * 1.0,
    ),
}
for _mode in ("reflect", "replicate", "circular"):
    UNARY[f"Pad {_mode}"] = (
        lambda mode=_mode: op.Pad((1, 2, 2, 1), mode, dims=(2, 3)),
        floats(2, 3, 4, 5),
        lambda x, mode=_mode: nn_f.pad(x, (2, 1, 1, 2), mode),
    )
UNARY |= {
    "Pad constant": (
        lambda: op.Pad((1, 0, 0, 2), value=3.0, dims=(0, -1)),
        floats(2, 3, 4),
        lambda x: nn_f.pad(x, (0, 2, 0, 0, 1, 0), value=3.0),
    ),
    "Pad that cuts": (
        lambda: op.Pad((-1, 2, 0, -1)),
        floats(3, 4),
        lambda x: nn_f.pad(x, (2, -1, -1, 0)),
    ),
}
for _align in (False, True):
    for _size in ((7, 5), (2, 3)):
        for _mode, _theirs in (("linear", "bilinear"), ("cubic", "bicubic")):
            UNARY[f"Resize {_mode} {_size} {_align}"] = (
                lambda mode=_mode, size=_size, align=_align: op.Resizing(
                    sizes=size,
                    mode=mode,
                    coordinates="align_corners" if align else "half_pixel",
                    dims=(2, 3),
                ),
                floats(2, 3, 4, 4),
                lambda x, size=_size, mode=_theirs, align=_align: nn_f.interpolate(
                    x, size, mode=mode, align_corners=align
                ),
            )
for _size in ((9, 3), (2, 8)):
    UNARY[f"Resize antialias {_size}"] = (
        lambda size=_size: op.Resizing(
            sizes=size, mode="linear", antialias=True, exclude_outside=True, dims=(2, 3)
        ),
        floats(2, 3, 4, 6),
        lambda x, size=_size: nn_f.interpolate(x, size, mode="bilinear", antialias=True),
    )
    UNARY[f"Resize nearest {_size}"] = (
        lambda size=_size: op.Resizing(
            sizes=size, coordinates="asymmetric", nearest="floor", dims=(2, 3)
        ),
        floats(2, 3, 4, 6),
        lambda x, size=_size: nn_f.interpolate(x, size, mode="nearest"),
    )

CASES: dict[str, Case] = {
    **{name: Case(make, [x], theirs) for name, (make, x, theirs) in UNARY.items()},
    "Add": Case(
        op.Add,
        [floats(2, 3), floats(3), floats(4, 1, 1)],
        lambda a, b, c: a + b + c,
    ),
    "Subtract": Case(op.Subtract, [floats(2, 1), floats(3)], "sub"),
    "Multiply": Case(op.Multiply, [floats(2, 1), floats(3)], "mul"),
    "Divide": Case(op.Divide, [floats(2, 1), distinct(3)], "div"),
    "Power": Case(op.Power, [positive(2, 3), floats(3)], "pow"),
    "Power at 0": Case(
        op.Power,
        [np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, 1.0, 2.0, 0.0])],
        "pow",
    ),
    "Modulo": Case(op.Modulo, [floats(2, 3), distinct(3)], "remainder"),
    "Modulo as in C": Case(lambda: op.Modulo("dividend"), [floats(2, 3), distinct(3)], "fmod"),
    "Maximum": Case(op.Maximum, [distinct(2, 3), floats(3)], "maximum"),
    "Maximum of equal ones": Case(op.Maximum, [np.ones(3), np.ones(3)], "maximum"),
    "Minimum": Case(op.Minimum, [distinct(2, 3), floats(3)], "minimum"),
    "Where": Case(
        op.Where,
        [np.array([True, False, True]), floats(2, 3), floats(1)],
        "where",
    ),
    "MatMul": Case(op.MatMul, [floats(3, 4), floats(4, 5)], "matmul"),
    "MatMul of stacks": Case(op.MatMul, [floats(2, 1, 3, 4), floats(5, 4, 2)], "matmul"),
    "MatMul of a row": Case(op.MatMul, [floats(4), floats(5, 4, 2)], "matmul"),
    "MatMul of a column": Case(op.MatMul, [floats(5, 3, 4), floats(4)], "matmul"),
    "MatMul of vectors": Case(op.MatMul, [floats(4), floats(4)], "matmul"),
    "Gather": Case(
        lambda: op.Gather(1),
        [floats(2, 5, 3), TAKEN],
        lambda x, i: x[:, i % 5],
    ),
    "Split": Case(
        lambda: op.Split(1, (1, 3)),
        [floats(2, 4, 3)],
        lambda x: x.split((1, 3), 1),
    ),
    "Split into pieces": Case(
        lambda: op.Split(-1, pieces=3),
        [floats(2, 7)],
        lambda x: x.split((3, 3, 1), 1),
    ),
    "Concat": Case(
        lambda: op.Concat(-1),
        [floats(2, 4), floats(2, 1)],
        lambda *xs: torch.cat(xs, -1),
    ),
    "Convolution": Case(
        lambda: op.Convolution((2, 1), ((1, 1), (2, 2)), (1, 2), 2),
        [floats(2, 4, 6, 7), floats(6, 2, 3, 2), floats(6)],
        lambda x, w, b: nn_f.conv2d(x, w, b, (2, 1), (1, 2), (1, 2), 2),
    ),
    "Convolution with an odd element in front": Case(
        lambda: op.Convolution(padding="same_lower"),
        [floats(2, 3, 6), floats(5, 3, 4)],
        lambda x, w: nn_f.conv1d(nn_f.pad(x, (2, 1)), w),
    ),
    "TransposedConvolution": Case(
        lambda: op.TransposedConvolution((2, 1), (1, 0), (1, 0), 2, (1, 2)),
        [floats(2, 4, 5, 4), floats(4, 3, 3, 2), floats(6)],
        lambda x, w, b: nn_f.conv_transpose2d(x, w, b, (2, 1), (1, 0), (1, 0), 2, (1, 2)),
    ),
    "TransposedConvolution cut on one side": Case(
        lambda: op.TransposedConvolution(2, ((1, 0),)),
        [floats(2, 3, 5), floats(3, 2, 4)],
        lambda x, w: nn_f.conv_transpose1d(x, w, None, 2)[:, :, 1:],
    ),
    "Col2Im": Case(
        lambda: op.Col2Im(2, (1, 0), (1, 2)),
        [floats(2, 18, 12), whole(6, 9), whole(2, 3)],
        lambda x, size, kernel: nn_f.fold(x, (6, 9), (2, 3), (1, 2), (1, 0), 2),
    ),
    "PerChannel": Case(
        op.PerChannel,
        [floats(2, 4, 3), floats(4), floats(4)],
        lambda x, w, b: x * w[:, None] + b[:, None],
    ),
    "PerChannel of groups": Case(
        op.PerChannel,
        [floats(2, 4, 3, 2), floats(2), floats(2)],
        lambda x, w, b: (
            x * w.repeat_interleave(2)[:, None, None] + b.repeat_interleave(2)[:, None, None]
        ),
    ),
    "Standardize": Case(
        lambda: op.Standardize(-2, 1e-3),
        [floats(3, 4, 5)],
        lambda x: (nn_f.layer_norm(x, (4, 5), eps=1e-3),),
    ),
    "BatchNormalization": Case(
        lambda: op.BatchNormalization(1e-3),
        [floats(3, 4, 5), floats(4), floats(4), floats(4), positive(4)],
        lambda x, w, b, m, v: nn_f.batch_norm(x, m.detach(), v.detach(), w, b, eps=1e-3),
    ),
    "BatchNormalization of a batch": Case(
        lambda: op.BatchNormalization(1e-3, 0.9),
        [floats(3, 4, 5), floats(4), floats(4), floats(4), positive(4)],
        lambda x, w, b, m, v: (nn_f.batch_norm(x, None, None, w, b, True, eps=1e-3),),
    ),
    "NegativeLogLikelihood": Case(
        lambda: op.NegativeLogLikelihood("mean", 2),
        [floats(5, 4, 6), CLASSES, positive(4)],
        lambda x, y, w: nn_f.nll_loss(x, y, w.detach(), ignore_index=2),
    ),
    "NegativeLogLikelihood of each": Case(
        lambda: op.NegativeLogLikelihood("none"),
        [floats(5, 4, 6), CLASSES],
        lambda x, y: nn_f.nll_loss(x, y, reduction="none"),
    ),
    "NegativeLogLikelihood in all": Case(
        lambda: op.NegativeLogLikelihood("sum"),
        [floats(5, 4, 6), CLASSES],
        lambda x, y: nn_f.nll_loss(x, y, reduction="sum"),
    ),
    "Cast": Case(lambda: op.Cast("float64"), [floats(3)], lambda x: x.double()),
    "Cast to the same": Case(op.Cast, [floats(3), floats(2)], lambda x, like: x.double()),
}


def as_tuple(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, (tuple, list)) else (values,)
