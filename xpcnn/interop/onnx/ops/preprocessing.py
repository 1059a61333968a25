"""Preprocessing: it is part of a network, and so of its file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xpcnn import _registry, layers
from xpcnn.interop.onnx.ops.pad import pad
from xpcnn.interop.onnx.ops.resize import by_tables
from xpcnn.interop.onnx.table import writes
from xpcnn.interop.onnx.writer import LayerCall, Writer, fixed
from xpcnn.layers.augmentation import Augmentation


@writes(layers.Rescale)
def _write_rescale(w: Writer, call: LayerCall) -> str:
    x = w.node("Mul", call.x, w.number(call.layer.scale))
    return w.node("Add", x, w.number(call.layer.offset)) if call.layer.offset else x


@writes(layers.Normalize)
def _write_normalize(w: Writer, call: LayerCall) -> str:
    mean, std = (
        w.constant(np.asarray(numbers).reshape(-1, *(1,) * (call.x.rank - 2)))
        for numbers in (call.layer.mean, call.layer.std)
    )
    return w.node("Div", w.node("Sub", call.x, mean), std)


@writes(layers.Resize)
def _write_resize(w: Writer, call: LayerCall) -> str:
    tables = call.layer.taps((1, 1, *call.spatial), w.dtype)
    return by_tables(w, call.x.name, call.x.rank, tables) if tables else call.x.name


@writes(layers.CenterCrop)
def _write_center_crop(w: Writer, call: LayerCall) -> str:
    pairs = call.layer.pairs((1, 1, *call.spatial))
    return pad(w, call.x, call.x.shape, pairs, "constant")


@writes(layers.Grayscale)
def _write_grayscale(w: Writer, call: LayerCall) -> str:
    (channels,) = fixed(call.x.shape[1:2], "the number of its channels")
    if channels == 1 and call.layer.num_output_channels == 1:
        return call.x.name
    return w.node("Conv", call.x, w.constant(call.layer.matrix(channels)[:, :, None, None]))


@writes(*_registry.public(vars(layers), Augmentation).values())
def _write_augmentation(w: Writer, call: LayerCall) -> str | tuple[str, ...]:
    """Write what it does without training: nothing, as a rule."""
    quiet = call.layer.at_inference()
    return call.x.name if quiet is None else w.write(replace(call, layer=quiet))
