"""Functions of torch and methods of tensors, as nodes of a graph.

A handler gets the :class:`~xpcnn.interop.torch.trace.Maker` and the arguments of the call, in which
arrays are values; it puts nodes, and returns the value that the call gives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

from xpcnn import layers, operations
from xpcnn.interop.torch import arithmetic, indexing
from xpcnn.interop.torch.problems import UnsupportedError
from xpcnn.interop.torch.values import BATCH, Value, axis_of, dims_of, shape_of

Handler = Callable[..., Any]


# Capitals and underscores do not count.
_BY_NAME = {name.lower(): cls for name, cls in vars(layers).items() if isinstance(cls, type)}


def _layer_called(function: str) -> type[Any]:
    return _BY_NAME[function.replace("_", "")]


# Functions that are a layer of the same name, but for capitals and underscores.
_LAYERS = (
    "relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish",
    "hardsigmoid", "hardtanh", "hardshrink", "softshrink", "tanhshrink", "softplus", "softsign",
    "logsigmoid", "log_sigmoid", "sigmoid", "tanh", "threshold", "glu", "softmax", "softmin",
    "log_softmax", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "unflatten",
    "local_response_norm",
)  # fmt: skip
_POOLS = ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "lp_pool")
DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout")

# The arguments of functions behind the array, in order, where they are not those of the layer.
# Weights are arrays too, perhaps the result of a computation.
_ARGUMENTS: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("softmax", "softmin", "log_softmax"), ("dim", "_stacklevel", "dtype")
)
_POOL = ("kernel_size", "stride", "padding")
_AVG = (*_POOL, "ceil_mode", "count_include_pad", "divisor_override")
_CONV = ("weight", "bias", "stride", "padding")

_CLASSES: dict[str, type[Any]] = {name: _layer_called(name) for name in (*_LAYERS, *DROPOUTS)}
for _n in (1, 2, 3):
    _CLASSES |= {f"{name}{_n}d": _layer_called(f"{name}{_n}d") for name in _POOLS}
    _CLASSES[f"conv{_n}d"] = operations.Convolution
    _CLASSES[f"conv_transpose{_n}d"] = operations.TransposedConvolution
    _ARGUMENTS |= {
        f"conv{_n}d": (*_CONV, "dilation", "groups"),
        f"conv_transpose{_n}d": (*_CONV, "output_padding", "groups", "dilation"),
        f"max_pool{_n}d": (*_POOL, "dilation", "ceil_mode", "return_indices"),
        f"avg_pool{_n}d": _AVG if _n > 1 else _AVG[:-1],
        f"lp_pool{_n}d": ("norm_type", "kernel_size", "stride", "ceil_mode"),
    }

# Functions that reduce some axes, and the operation that each is.
REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin"}


def always_drops(name: str, node: Any) -> bool:
    """Whether a node that torch.fx noted without training drops all the same."""
    if name == "stochastic_depth":
        training = node.args[3] if len(node.args) > 3 else node.kwargs.get("training", True)
        return training is True
    return name in DROPOUTS and node.kwargs.get("training", True) is True


def find(name: str) -> Handler | None:
    """Return the handler of a function or method, or ``None``."""
    if name in DROPOUTS:
        return partial(_dropout, name)
    if name in _CLASSES:
        return partial(_layer, name)
    return _HANDLERS.get(name) or arithmetic.HANDLERS.get(name) or indexing.HANDLERS.get(name)


def _layer(name: str, maker: Any, *given: Any, **options: Any) -> Value:
    cls = _CLASSES[name]
    names = _ARGUMENTS.get(name) or tuple(signature(cls).parameters)
    x, *rest = given if given else [options.pop("input")]
    if len(rest) > len(names):
        raise UnsupportedError(f"takes {len(names)} arguments, got {len(rest)}")
    arguments = dict(zip(names, rest, strict=False)) | options
    weights = [arguments.pop(key, None) for key in ("weight", "bias")]
    arguments.pop("_stacklevel", None)
    if arguments.pop("inplace", False):
        maker.overwrites = True
    if arguments.pop("dtype", None) is not None:
        raise UnsupportedError("does not change the dtype")
    if isinstance(arguments.get("stride"), list | tuple) and not arguments["stride"]:
        del arguments["stride"]
    arguments = {key: _plain(value) for key, value in arguments.items()}
    return maker.put(cls(**arguments), x, *(w for w in weights if w is not None))


def _plain(value: Any) -> Any:
    if value is BATCH:
        raise UnsupportedError("an argument is the size of the batch")
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _dropout(
    name: str, maker: Any, x: Value, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Value:
    if not training:  # even in training, as that is what was traced
        return x
    maker.overwrites = inplace
    return maker.put(_CLASSES[name](p), x)


def _stochastic_depth(maker: Any, x: Value, p: float, mode: str, training: bool = True) -> Value:
    return maker.put(layers.StochasticDepth(p, mode), x) if training else x


def _flatten(maker: Any, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    return maker.put(layers.Flatten(start_dim, end_dim), x)


def _cat(maker: Any, tensors: Any, dim: int = 0, axis: int | None = None) -> Value:
    return maker.put(operations.Concat(dim if axis is None else axis), *tensors)


def _stack(maker: Any, tensors: Any, dim: int = 0) -> Value:
    parts = [maker.put(operations.Unsqueeze(dims=(dim,)), x) for x in tensors]
    return maker.put(operations.Concat(dim), *parts)


def _reshape(maker: Any, x: Value, *shape: Any) -> Value:
    """Reshape; the length of the batch, wherever it stands, is left open."""
    asked = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], list | tuple) else [*shape]
    for position, length in enumerate(asked):
        if length is BATCH:
            own_batch = position == 0 and (x.shape is None or x.shape[0] == maker.batch)
            if own_batch:
                asked[position] = 0  # as long as it is
            elif -1 not in asked:
                asked[position] = -1
            else:
                raise UnsupportedError("the size of the batch cannot be told from the other sizes")
    return maker.put(operations.Reshape(shape=tuple(asked)), x)


def _permute(maker: Any, x: Value, *dims: Any) -> Value:
    return maker.put(operations.Transpose(dims=dims_of(dims)), x)


def _transpose(maker: Any, x: Value, dim0: int, dim1: int) -> Value:
    order = list(range(len(shape_of(x))))
    a, b = axis_of(x, dim0), axis_of(x, dim1)
    order[a], order[b] = order[b], order[a]
    return maker.put(operations.Transpose(dims=tuple(order)), x)


def _squeeze(maker: Any, x: Value, *dims: Any, dim: Any = None) -> Value:
    chosen = dims_of(dims if dim is None else (dim,))
    if not chosen:
        chosen = tuple(axis for axis, n in enumerate(shape_of(x)) if n == 1)
    elif x.shape is not None:
        chosen = tuple(d for d in chosen if x.shape[d] == 1)
    return maker.put(operations.Squeeze(dims=chosen), x) if chosen else x


def _unsqueeze(maker: Any, x: Value, dim: int) -> Value:
    return maker.put(operations.Unsqueeze(dims=(dim,)), x)


def _chunk(maker: Any, x: Value, chunks: int, dim: int = 0) -> Any:
    n = shape_of(x)[dim]
    return _split(maker, x, -(-n // chunks), dim)


def _split(maker: Any, x: Value, sizes: Any, dim: int = 0) -> Any:
    if isinstance(sizes, int):
        n = shape_of(x)[dim]
        if axis_of(x, dim) == 0 and n == maker.batch:
            raise UnsupportedError(
                "the batch cannot be split into pieces of a fixed size (if this is not the batch, "
                "give an example of another batch size)"
            )
        sizes = [min(sizes, n - start) for start in range(0, n, sizes)]
    sizes = tuple(_plain(sizes))
    if len(sizes) == 1:
        return (x,)
    return maker.put_several(operations.Split(dim=dim, sizes=sizes), x, len(sizes))


def _unbind(maker: Any, x: Value, dim: int = 0) -> Any:
    pieces = _split(maker, x, 1, dim)
    return tuple(maker.put(operations.Squeeze(dims=(dim,)), piece) for piece in pieces)


def _expand(maker: Any, x: Value, *shape: Any) -> Value:
    asked = dims_of(shape)
    if asked[0] is BATCH and len(asked) == len(shape_of(x)) and shape_of(x)[0] == 1:
        x = maker.put(operations.RepeatForBatch(), x, maker.first_input)
    return maker.put(operations.Expand(shape=tuple(1 if n in (-1, BATCH) else n for n in asked)), x)


def _interpolate(
    maker: Any,
    x: Value,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Value:
    if antialias:
        raise UnsupportedError("antialias=True")
    options: dict[str, Any] = {"mode": mode, "align_corners": align_corners}
    if recompute_scale_factor:
        options["recompute_scale_factor"] = True
    layer = layers.Upsample(size=_plain(size), scale_factor=_plain(scale_factor), **options)
    return maker.put(layer, x)


def _pad(maker: Any, x: Value, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """Pad: the amounts come in pairs, for the last axis first."""
    pad = _plain(pad)
    dims = tuple(-1 - number for number in range(len(pad) // 2))
    amounts = (*pad[0::2], *pad[1::2])
    return maker.put(operations.Pad(padding=amounts, mode=mode, value=value or 0.0, dims=dims), x)


def _reduce(kind: str) -> Handler:
    def handler(
        maker: Any, x: Value, dim: Any = None, keepdim: bool = False, **options: Any
    ) -> Any:
        if any(value is not None for value in options.values()):
            raise UnsupportedError(f"takes no {', '.join(options)}")
        dims = tuple(range(len(shape_of(x)))) if dim is None else dims_of((dim,))
        return maker.put(getattr(operations, kind)(dims=dims, keepdim=keepdim), x)

    return handler


def _linear(maker: Any, x: Value, weight: Value, bias: Value | None = None) -> Value:
    turned = maker.put(operations.Transpose(dims=(1, 0)), weight)
    y = maker.put(operations.MatMul(), x, turned)
    return y if bias is None else maker.put(operations.Add(), y, bias)


def _layer_norm(
    maker: Any,
    x: Value,
    normalized_shape: Any,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Value:
    layer = layers.LayerNorm(
        normalized_shape=_plain(normalized_shape), eps=eps, elementwise_affine=False
    )
    y = maker.put(layer, x)
    y = y if weight is None else maker.put(operations.Multiply(), y, weight)
    return y if bias is None else maker.put(operations.Add(), y, bias)


_HANDLERS: dict[str, Handler] = {
    "flatten": _flatten,
    "stochastic_depth": _stochastic_depth,
    "cat": _cat,
    "concat": _cat,
    "concatenate": _cat,
    "stack": _stack,
    "reshape": _reshape,
    "view": _reshape,
    "permute": _permute,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "chunk": _chunk,
    "split": _split,
    "unbind": _unbind,
    "expand": _expand,
    "interpolate": _interpolate,
    "upsample": _interpolate,
    "pad": _pad,
    **{name: _reduce(kind) for name, kind in REDUCTIONS.items()},
    "linear": _linear,
    "layer_norm": _layer_norm,
    # the same numbers; values are never changed, so that no copy is needed
    "contiguous": lambda maker, x, **_: x,
    "clone": lambda maker, x, **_: x,
    # what torch.fx writes for arguments that have a default
    "_assert": lambda maker, *_: None,
    "_assert_is_none": lambda maker, *_: None,
}
