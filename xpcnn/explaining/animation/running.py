"""What an operation computes from an input, with the geometry of its window, on the host.

The numbers are those of the operation's own forward and backward, which run on a copy: the
operation itself stays as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcnn import _xp, layers
from xpcnn.device import Device
from xpcnn.explaining.animation.inputs import as_gradient, as_samples
from xpcnn.explaining.running import copy_of
from xpcnn.layers.conv import Conv
from xpcnn.layers.conv_transpose import ConvTranspose
from xpcnn.layers.pool import AvgPool, MaxPool
from xpcnn.ops.pool import avg_pool_divisor
from xpcnn.window import Ints, Window, as_window

WHO = "animate"


@dataclass(frozen=True)
class Run:
    """One forward, and perhaps one backward, of an operation with a window.

    Arrays are NumPy's, laid out as (N, C, *spatial), weights as the library's layers have them.

    Attributes
    ----------
    name : str
        Of the operation, as it writes itself.
    kind : {"conv", "conv_transpose", "max_pool", "avg_pool"}
    window : Window
        Over `x`; of a transposed convolution, over `y`.
    padding_mode : str
        What the padding of a convolution holds.
    divisor : array of the positions' shape, or None
        By what average pooling divides.
    drawn : bool
        Whether the weights were drawn here, since the operation had none yet.
    ones : bool
        Whether `dy` is made of ones, since none was given.
    """

    name: str
    kind: str
    window: Window
    x: np.ndarray
    y: np.ndarray
    dy: np.ndarray | None = None
    dx: np.ndarray | None = None
    w: np.ndarray | None = None
    b: np.ndarray | None = None
    groups: int = 1
    padding_mode: str = "zeros"
    divisor: np.ndarray | None = None
    drawn: bool = False
    ones: bool = False


def run(operation: Any, x: Any, dy: Any, backward: bool) -> Run:
    """Run a copy of an operation.

    Raises
    ------
    TypeError
        If it is none that a window slides over an image for, or `x` or `dy` hold no numbers.
    ValueError
        If `x` does not fit the operation, or `dy` not its output.
    """
    if isinstance(operation, (Conv, ConvTranspose, MaxPool, AvgPool)):
        return _run_layer(operation, x, dy, backward)
    if not isinstance(operation, type) and _is_of_a_course(operation):
        return _run_course(operation, x, dy, backward)
    raise _unknown(operation)


def _unknown(operation: Any) -> TypeError:
    kind = operation if isinstance(operation, type) else type(operation)
    fix = "make one of the class first" if isinstance(operation, type) else "give one of these"
    if isinstance(operation, layers.Layer) and operation.children():
        fix = "give one layer of the network, with what comes into it"
    what = "the class " * isinstance(operation, type) + kind.__name__
    return TypeError(
        f"{WHO}: operation must be a layer with a window that slides: Conv1d, Conv2d, "
        "ConvTranspose1d, ConvTranspose2d, MaxPool1d, MaxPool2d, AvgPool1d, AvgPool2d, or a "
        f"convolution or max pooling of xpcnn.scratch; got {what}; {fix}"
    )


def check_ndim(ndim: int, name: str) -> None:
    """Raise unless a picture can be drawn."""
    if ndim > 2:
        raise ValueError(
            f"{WHO}: {name} works on volumes, which cannot be drawn; take its twin for two "
            "dimensions and one plane of the input"
        )


# -- Layers ----------------------------------------------------------------------------------------


def _run_layer(layer: Any, x: Any, dy: Any, backward: bool) -> Run:
    check_ndim(layer.ndim, type(layer).__name__)
    x, twin, drawn = _twin(layer, x)
    y = twin.forward(x, training=backward)
    geometry: dict[str, Any] = {"window": _window(twin, x)}
    if isinstance(twin, AvgPool):
        geometry["divisor"] = _divisor(twin, geometry["window"], tuple(x.shape[2:]))
    if isinstance(twin, (Conv, ConvTranspose)):
        weight, bias = twin.weight.value, twin.bias
        geometry["w"] = weight
        geometry["b"] = None if bias is None else bias.value
        geometry["groups"] = twin.groups
        geometry["padding_mode"] = twin.padding_mode
    host_y = np.asarray(y)
    if backward:
        geometry["dy"], geometry["ones"] = as_gradient(dy, host_y.shape, WHO), dy is None
        geometry["dx"] = twin.backward(geometry["dy"].astype("float64"))
    kinds = {Conv: "conv", ConvTranspose: "conv_transpose", MaxPool: "max_pool"}
    kind = next((k for cls, k in kinds.items() if isinstance(layer, cls)), "avg_pool")
    return Run(repr(layer), kind, x=x, y=host_y, drawn=drawn, **geometry)


def _twin(layer: Any, x: Any) -> tuple[np.ndarray, Any, bool]:
    """Return the input for a layer, a copy of it that takes it, and whether that drew weights."""
    one_channel = not isinstance(layer, (Conv, ConvTranspose)) or layer.in_channels in (1, None)
    x = _xp.to_numpy(as_samples(x, layer.ndim, one_channel, layer.who)).astype("float64")
    twin, had_values = copy_of(layer, tuple(x.shape))
    return x, twin, bool(twin.parameters()) and not had_values


def _window(layer: Any, x: Any) -> Window:
    spatial = tuple(x.shape[2:])
    if isinstance(layer, ConvTranspose):
        return layer.transposed_window(spatial)[0]
    return layer.window(spatial)


def _divisor(layer: Any, window: Window, spatial: Ints) -> np.ndarray:
    asked = layer.window_without_ceil(spatial).padding
    counts = layer.count_include_pad, layer.divisor_override
    found = avg_pool_divisor(window, spatial, asked, *counts)
    return np.broadcast_to(np.asarray(found), window.output_shape(spatial))


# -- Objects of xpcnn.scratch ----------------------------------------------------------------------


def _is_of_a_course(operation: Any) -> bool:
    from_scratch = type(operation).__module__.startswith("xpcnn.scratch.") or any(
        base.__module__.startswith("xpcnn.scratch.") for base in type(operation).__mro__
    )
    return from_scratch and hasattr(operation, "stride") and hasattr(operation, "col")


def _run_course(operation: Any, x: Any, dy: Any, backward: bool) -> Run:
    own = copy.copy(operation)  # its forward and backward only set attributes
    weighted = hasattr(own, "W")
    w = _with_channels(_host(own.W)) if weighted else None
    kernel = tuple(w.shape[2:]) if w is not None else _pool_size(own)
    one_channel = w is None or w.shape[1] == 1
    x = _host(as_samples(x, len(kernel), one_channel, type(own).__name__))
    if weighted and np.ndim(_host(own.W)) == 1 and x.shape[1] != 1:
        raise ValueError(
            f"{WHO}: W of shape {np.shape(_host(own.W))} is a filter for one channel; got "
            f"{x.shape[1]} channels in an input of shape {x.shape}"
        )
    y = _host(own.forward(_like(operation, x)))
    window = as_window(x.shape[2:], kernel, own.stride, own.pad, 1, WHO)
    more: dict[str, Any] = {}
    if w is not None:
        edge = getattr(own, "pad_mode", "constant") == "edge"
        more = {"w": w, "b": _host(own.b).reshape(-1), "padding_mode": "replicate" * edge}
        more["padding_mode"] = more["padding_mode"] or "zeros"
    if backward:
        more["dy"], more["ones"] = as_gradient(dy, y.shape, WHO), dy is None
        more["dx"] = _host(own.backward(_like(operation, more["dy"])))
    name = type(operation).__name__ if weighted else repr(operation)  # a repr shows W as a shape
    return Run(name, "conv" if weighted else "max_pool", window, x, y, **more)


def _host(value: Any) -> np.ndarray:
    return _xp.to_numpy(value) if _xp.is_array(value) else np.asarray(value, dtype="float64")


def _like(operation: Any, x: np.ndarray) -> Any:
    """Return an array of the library that the weights are of."""
    w = getattr(operation, "W", None)
    return Device.of(w).asarray(x) if w is not None and _xp.is_array(w) else x


def _with_channels(w: np.ndarray) -> np.ndarray:
    return w.reshape(1, 1, -1) if w.ndim == 1 else w


def _pool_size(pooling: Any) -> Sequence[int]:
    if hasattr(pooling, "pool_size"):
        return (pooling.pool_size,)
    return pooling.pool_h, pooling.pool_w
