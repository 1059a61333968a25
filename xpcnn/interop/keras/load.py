"""Weights of Keras layers, converted to our layout."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from xpcnn import layers
from xpcnn._registry import snake_case
from xpcnn.errors import ModelFileError
from xpcnn.interop.keras.files import Contents, Stored, read
from xpcnn.interop.network import network_of
from xpcnn.layers import Layer, Sequential
from xpcnn.layers.conv import Conv
from xpcnn.layers.conv_transpose import ConvTranspose
from xpcnn.layers.norm import BatchNorm
from xpcnn.layers.separable import SeparableConv
from xpcnn.training.model import Model

Arrays = dict[str, np.ndarray]


def load_keras_weights(model: Model | Layer, path: str | Path) -> None:
    """Load weights that Keras saved into a chain of layers of the same architecture.

    Parameters
    ----------
    model : Model or Sequential
        Each layer with weights takes those of the next one in the file. It is built already if it
        has a ``Flatten`` behind maps, since the order of the weights behind follows from their
        size.
    path : str or Path
        A ``.keras``, ``.weights.h5`` or ``.h5`` file.

    Raises
    ------
    ImportError
        If h5py is not installed.
    ModelFileError
        If the file is damaged, or not one of Keras.
    ValueError
        If the layers do not fit those in the file. Nothing has changed then.

    Notes
    -----
    Read are the weights of Conv, DepthwiseConv, SeparableConv, ConvTranspose, Dense,
    BatchNormalization, GroupNormalization, PReLU and Embedding layers. A SeparableConv goes into a
    layer of that name or into two convolutions. Mind what Keras does otherwise than PyTorch: its
    batch normalisation has ``eps=1e-3`` (checked where the file has it), and its ``padding="same"``
    is that of our layers.
    """
    network = network_of(model)
    if not isinstance(network, Sequential):
        raise ValueError(
            f"load_keras_weights: expected a chain of layers, got a {type(network).__name__}"
        )
    shape = _input_shape(model)
    source = _Source(read(Path(path)))
    state: Arrays = {}
    for name, layer, order in _weighted(network, shape):
        who = f"{type(layer).__name__} {name!r}"
        for ending, array in _arrays_for(layer, source, order, who).items():
            state[f"{name}.{ending}"] = array
    source.check_empty()
    network.load_state_dict(state)


def _input_shape(model: Model | Layer) -> tuple[int, ...] | None:
    if isinstance(model, Model) and model.input_shape is not None:
        return tuple(n or 1 for n in model.input_shape)
    return None


# -- Which weights follow which --------------------------------------------------------------------


class _Source:
    """The layers of a file, each to be taken once."""

    def __init__(self, contents: Contents) -> None:
        self.left = list(contents.layers)
        self.ordered = contents.ordered

    def take(self, kinds: tuple[str, ...], who: str) -> Stored:
        """Take the next layer, which must be of one of these classes."""
        if self.ordered:
            if not self.left:
                raise ValueError(f"{who}: the file has no more layers with weights")
            if self.left[0].kind not in (None, *kinds):
                raise ValueError(
                    f"{who}: the next layer in the file is a {self.left[0].kind}, "
                    f"{self.left[0].name!r}; expected {' or '.join(kinds)}"
                )
            return self.left.pop(0)
        # without an order, the next of a class; in the file's spelling
        spelled = [snake_case(kind) for kind in kinds]
        for kind in spelled:
            for number, stored in enumerate(self.left):
                if stored.kind == kind:
                    return self.left.pop(number)
        raise ValueError(f"{who}: the file has no more layers called {' or '.join(spelled)}")

    def put_back(self, stored: Stored) -> None:
        """Leave a part of a layer for the next one."""
        self.left.insert(0, stored)

    def check_empty(self) -> None:
        if self.left:
            names = ", ".join(stored.name for stored in self.left)
            raise ValueError(f"the file has layers with weights that the model lacks: {names}")


def _weighted(
    network: Sequential, shape: tuple[int, ...] | None
) -> Iterator[tuple[str, Layer, np.ndarray | None]]:
    """Yield the layers with weights, and the order that Keras has for the features they get."""
    order: np.ndarray | None = None
    is_open = False  # whether a Flatten stood before whose input has no known shape
    for name, layer in _flat(network, ""):
        if isinstance(layer, layers.Flatten):
            if shape is None:
                is_open = True
            elif len(shape) > 2:
                channels, positions = shape[1], prod(shape[2:])
                order = np.arange(positions * channels).reshape(positions, channels).T.ravel()
        elif layer.parameters() or layer.buffers():
            if is_open:
                raise ValueError(
                    f"{type(layer).__name__} {name!r}: comes after a Flatten, and the order of its "
                    "weights in Keras depends on the size of the images; build "
                    "the model first, e.g. model.build((None, 3, 32, 32))"
                )
            yield name, layer, order
            if isinstance(layer, layers.Linear):
                order, is_open = None, False
        shape = None if shape is None else layer.output_shape(shape)


def _flat(network: Sequential, where: str) -> Iterator[tuple[str, Layer]]:
    for name, layer in network.children().items():
        path = f"{where}.{name}" if where else name
        if isinstance(layer, Sequential):
            yield from _flat(layer, path)
        else:
            yield path, layer


# -- Arrays of each kind of layer ------------------------------------------------------------------


def _arrays_for(layer: Any, source: _Source, order: np.ndarray | None, who: str) -> Arrays:
    """Take the next weights from the file, and give them our names and layouts."""
    if isinstance(layer, layers.Linear):
        return _linear(source.take(("Dense",), who), layer, order, who)
    if isinstance(layer, BatchNorm):
        return _batch_norm(source.take(("BatchNormalization",), who), layer, order, who)
    if order is not None:
        raise ValueError(
            f"{who}: comes after a Flatten; only Linear and BatchNorm1d can be given Keras' "
            "weights there"
        )
    if isinstance(layer, Conv):
        return _conv(source, layer, who)
    if isinstance(layer, SeparableConv):
        stored = source.take((f"SeparableConv{layer.ndim}D",), who)
        depthwise, pointwise, *bias = _expect(stored, 3 if layer.bias is not None else 2, who)
        return {
            "depthwise_weight": _depthwise(depthwise),
            "pointwise_weight": _turned(pointwise),
        } | _bias(bias)
    if isinstance(layer, ConvTranspose):
        stored = source.take((f"Conv{layer.ndim}DTranspose",), who)
        kernel, *bias = _expect(stored, 1 + (layer.bias is not None), who)
        if layer.groups != 1:
            raise ValueError(f"{who}: Keras has no groups here, got groups={layer.groups}")
        return {"weight": _turned(kernel)} | _bias(bias)
    if isinstance(layer, layers.PReLU):
        (alpha,) = _expect(source.take(("PReLU",), who), 1, who)
        if alpha.size != alpha.shape[-1]:
            raise ValueError(
                f"{who}: in the file every position has a slope of its own, in an array of shape "
                f"{alpha.shape}; only slopes for channels are read (shared_axes in Keras)"
            )
        return {"weight": alpha.ravel()}
    if isinstance(layer, layers.GroupNorm):
        gamma, beta = _expect(source.take(("GroupNormalization",), who), 2, who)
        return {"weight": gamma, "bias": beta}
    if isinstance(layer, layers.Embedding):
        return {"weight": _expect(source.take(("Embedding",), who), 1, who)[0]}
    raise ValueError(f"{who}: Keras weights cannot be loaded into layers of this kind")


def _expect(stored: Stored, count: int, who: str) -> list[np.ndarray]:
    if len(stored.arrays) != count:
        raise ValueError(
            f"{who}: expected {count} arrays, the layer {stored.name!r} in the file has "
            f"{len(stored.arrays)}, of shapes {[a.shape for a in stored.arrays]}; do both have a "
            "bias?"
        )
    return stored.arrays


def _bias(rest: list[np.ndarray]) -> Arrays:
    return {"bias": rest[0]} if rest else {}


def _turned(kernel: np.ndarray) -> np.ndarray:
    """Bring a kernel (*size, in, out) to (out, in, *size)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _depthwise(kernel: np.ndarray) -> np.ndarray:
    """Bring a kernel (*size, C, M) to (C * M, 1, *size)."""
    if kernel.ndim < 3:
        raise ModelFileError(f"a depthwise kernel has the shape {kernel.shape}")
    return _turned(kernel.reshape(*kernel.shape[:-2], 1, -1))


def _conv(source: _Source, layer: Conv, who: str) -> Arrays:
    n = layer.ndim
    depthwise = (f"DepthwiseConv{n}D", f"SeparableConv{n}D", f"Conv{n}D")
    stored = source.take(depthwise if layer.groups > 1 else depthwise[::-1], who)
    roles = stored.roles or []
    kind = snake_case(stored.kind or "")
    if kind.startswith("separable") or "pointwise_kernel" in roles:
        first, *rest = stored.arrays
        source.put_back(Stored(stored.name, f"Conv{n}D" if source.ordered else f"conv{n}d", rest))
        stored = Stored(stored.name, None, [first])
        return {"weight": _depthwise(_expect(stored, 1 + (layer.bias is not None), who)[0])}
    kernel, *bias = _expect(stored, 1 + (layer.bias is not None), who)
    if kernel.ndim != n + 2:
        raise ValueError(f"{who}: the file has a kernel of shape {kernel.shape}")
    is_depthwise = kind.startswith("depthwise") or "depthwise_kernel" in roles
    if not kind and layer.groups > 1:
        is_depthwise |= kernel.shape[-2] == layer.groups
    return {"weight": _depthwise(kernel) if is_depthwise else _turned(kernel)} | _bias(bias)


def _linear(stored: Stored, layer: Any, order: np.ndarray | None, who: str) -> Arrays:
    kernel, *bias = _expect(stored, 1 + (layer.bias is not None), who)
    if order is not None:
        if kernel.shape[0] != len(order):
            raise ValueError(
                f"{who}: gets {len(order)} features, the layer {stored.name!r} in the file "
                f"{kernel.shape[0]}; the model was built for images of another size"
            )
        kernel = kernel[order]
    return {"weight": kernel.T} | _bias(bias)


def _batch_norm(stored: Stored, layer: Any, order: np.ndarray | None, who: str) -> Arrays:
    eps = stored.settings.get("epsilon", layer.eps)
    if abs(eps - layer.eps) > 1e-9:
        raise ValueError(
            f"{who}: has eps={layer.eps}, but the layer {stored.name!r} in the file {eps}; make it "
            f"with eps={eps}"
        )
    roles = stored.roles
    if roles is None:
        present = {
            "gamma": stored.settings.get("scale", len(stored.arrays) == 4),
            "beta": stored.settings.get("center", len(stored.arrays) == 4),
        }
        roles = [role for role, is_there in present.items() if is_there]
        roles += ["moving_mean", "moving_variance"]
    if len(roles) != len(stored.arrays):
        raise ValueError(
            f"{who}: the layer {stored.name!r} has {len(stored.arrays)} arrays, and the file does "
            "not say which; save the whole model as .keras"
        )
    found = dict(zip(roles, stored.arrays, strict=True))
    if order is not None:
        found = {role: array[order] for role, array in found.items()}
    mean, variance = found["moving_mean"], found["moving_variance"]
    arrays = {"running_mean": mean, "running_var": variance}
    if not layer.track_running_stats:
        raise ValueError(f"{who}: has no running statistics, which the file has")
    arrays["num_batches_tracked"] = np.zeros((), np.int64)
    if layer.affine:
        arrays["weight"] = found.get("gamma", np.ones_like(mean))
        arrays["bias"] = found.get("beta", np.zeros_like(mean))
    elif "gamma" in found or "beta" in found:
        raise ValueError(f"{who}: has no weight and bias (affine=False), but the file has")
    return arrays
