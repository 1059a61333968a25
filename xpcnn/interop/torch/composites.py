"""Modules for what torch.nn has no class for: containers, and operations on several arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from xpcnn.interop.torch.arithmetic import UNARY
from xpcnn.interop.torch.functions import REDUCTIONS
from xpcnn.interop.torch.modules import plain
from xpcnn.interop.torch.preprocessing import FUNCTIONS as PREPROCESSING
from xpcnn.layers import Layer, StochasticDepth
from xpcnn.layers.augmentation import Augmentation
from xpcnn.operations.weights import Weights


class Call(nn.Module):
    """A function without weights."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        super().__init__()
        self.function = function
        self.name = name

    def forward(self, *arrays: Any) -> Any:
        return self.function(*arrays)

    def extra_repr(self) -> str:
        return self.name


class ResidualModule(nn.Module):
    """``body(x) + shortcut(x)``."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Any) -> Any:
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


class ParallelModule(nn.Module):
    """Branches side by side, joined."""

    def __init__(self, branches: Sequence[nn.Module], join: str) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.join = join

    def forward(self, x: Any) -> Any:
        outputs = [branch(x) for branch in self.branches]
        return torch.cat(outputs, 1) if self.join == "concat" else _total(*outputs)


class StochasticDepthModule(nn.Module):
    """Drop whole samples in training."""

    def __init__(self, p: float, mode: str) -> None:
        super().__init__()
        self.p = p
        self.mode = mode

    def forward(self, x: Any) -> Any:
        if not self.training or self.p == 0.0:
            return x
        shape = [x.shape[0] if self.mode == "row" else 1] + [1] * (x.ndim - 1)
        return x * F.dropout(torch.ones(shape, dtype=x.dtype, device=x.device), self.p)


class GraphModule(nn.Module):
    """Steps that take and give values with names."""

    def __init__(self, inputs: list[str], steps: list[Any], outputs: list[str]) -> None:
        super().__init__()
        self.inputs = inputs
        self.steps = steps
        self.outputs = outputs

    def forward(self, *arrays: Any) -> Any:
        values = dict(zip(self.inputs, arrays, strict=True))
        for run, inputs, outputs in self.steps:
            given = run(*(values.get(name) for name in inputs))
            given = given if isinstance(given, (tuple, list)) else (given,)
            values.update(zip(outputs, given, strict=True))
        found = tuple(values[name] for name in self.outputs)
        return found[0] if len(found) == 1 else found


def register(owner: nn.Module, weights: Weights) -> None:
    """Give a module the arrays of its own."""
    for name, shape in weights.arrays:
        if name in weights.fixed:
            owner.register_buffer(name, torch.zeros(shape))
        else:
            owner.register_parameter(name, nn.Parameter(torch.zeros(shape)))


def reader(owner: nn.Module, names: Sequence[str]) -> Callable[[], Any]:
    """Return what reads arrays from a module."""
    return lambda: tuple(getattr(owner, name) for name in names)


def simple(layer: Layer) -> nn.Module | None:
    """Make a module of a layer or operation that is a function, or return ``None``."""
    if isinstance(layer, StochasticDepth):
        return StochasticDepthModule(layer.p, layer.mode)
    if isinstance(layer, Augmentation):
        quiet = layer.at_inference()
        return nn.Identity() if quiet is None else simple(quiet)
    kind = type(layer).__name__
    if kind in _MADE:
        return Call(_MADE[kind](layer), repr(layer))
    return Call(_PLAIN[kind], repr(layer)) if kind in _PLAIN else None


def _pooled(function: Any) -> Callable[[Any], Callable[..., Any]]:
    def make(layer: Any) -> Callable[..., Any]:
        dims = tuple(range(2, layer.ndim + 2))
        return lambda x: function(x, dim=dims, keepdim=layer.keepdims)

    return make


def _reduced(function: Any) -> Callable[[Any], Callable[..., Any]]:
    return lambda layer: lambda x: function(x, dim=layer.dims, keepdim=layer.keepdim)


def _total(*arrays: Any) -> Any:
    return sum(arrays[1:], arrays[0])


def _reshape(layer: Any) -> Callable[..., Any]:
    def run(x: Any) -> Any:
        shape = [x.shape[i] if n == 0 and not layer.allow_zero else n for i, n in enumerate(asked)]
        return x.reshape(shape)

    asked = layer.shape
    return run


def _slice(layer: Any) -> Callable[..., Any]:
    def run(x: Any) -> Any:
        index = [slice(None)] * x.ndim
        dims = range(len(layer.starts)) if layer.dims is None else layer.dims
        steps = layer.steps or (1,) * len(layer.starts)
        for dim, *part in zip(dims, layer.starts, layer.ends, steps, strict=True):
            index[dim] = slice(*part)
        return x[tuple(index)]

    return run


def _unsqueeze(layer: Any) -> Callable[..., Any]:
    def run(x: Any) -> Any:
        ndim = x.ndim + len(layer.dims)
        for dim in sorted(d % ndim for d in layer.dims):
            x = x.unsqueeze(dim)
        return x

    return run


def _pad(layer: Any) -> Callable[..., Any]:
    def run(x: Any) -> Any:
        dims = range(x.ndim) if layer.dims is None else [d % x.ndim for d in layer.dims]
        count = len(layer.padding) // 2
        before, after = layer.padding[:count], layer.padding[count:]
        pairs = dict(zip(dims, zip(before, after, strict=True), strict=True))
        first = min(pairs)
        flat = [n for dim in reversed(range(first, x.ndim)) for n in pairs.get(dim, (0, 0))]
        value = layer.value if layer.mode == "constant" else None
        return F.pad(x, flat, layer.mode, value)

    return run


def _convolution(name: str) -> Callable[[Any], Callable[..., Any]]:
    def make(layer: Any) -> Callable[..., Any]:
        arguments = layer.arguments()

        def run(x: Any, weight: Any, bias: Any = None) -> Any:
            settings = {key: plain(value) for key, value in arguments.items()}
            return getattr(F, f"{name}{x.ndim - 2}d")(x, weight, bias, **settings)

        return run

    return make


# Operations without arguments that are a function.
_PLAIN: dict[str, Callable[..., Any]] = {
    "Add": _total,
    "Subtract": torch.sub,
    "Multiply": torch.mul,
    "Divide": torch.div,
    "MatMul": torch.matmul,
    "Negative": torch.neg,
    "RepeatForBatch": lambda x, like: x.expand(like.shape[0], *x.shape[1:]),
    **{kind: getattr(torch, name) for name, kind in UNARY.items()},
}
# Functions of an operation or layer that give the function it is.
_MADE: dict[str, Callable[[Any], Callable[..., Any]]] = {
    "Concat": lambda layer: lambda *arrays: torch.cat(arrays, layer.dim),
    "Affine": lambda layer: lambda x: x * layer.scale + layer.shift,
    "Reshape": _reshape,
    "Transpose": lambda layer: lambda x: x.permute(layer.dims or (*reversed(range(x.ndim)),)),
    "Squeeze": lambda layer: lambda x: torch.squeeze(x, layer.dims) if layer.dims else x,
    "Unsqueeze": _unsqueeze,
    "Expand": lambda layer: lambda x: x * torch.ones(layer.shape, dtype=x.dtype, device=x.device),
    "Slice": _slice,
    "Split": lambda layer: lambda x: torch.split(x, list(layer.sizes), layer.dim),
    "Pad": _pad,
    "Convolution": _convolution("conv"),
    "TransposedConvolution": _convolution("conv_transpose"),
    "Clip": lambda layer: lambda x: torch.clamp(x, layer.min, layer.max),
    **{kind: _reduced(getattr(torch, name)) for name, kind in REDUCTIONS.items()},
    **PREPROCESSING,
}
for _ndim in (1, 2, 3):
    _MADE[f"GlobalAvgPool{_ndim}d"] = _pooled(torch.mean)
    _MADE[f"GlobalMaxPool{_ndim}d"] = _pooled(torch.amax)
