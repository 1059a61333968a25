"""Inputs and gradients as learners give them: lists, integers, samples without a batch axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn import _xp

LAYOUTS = {1: "(N, C, L), (C, L) or, of one channel, (L,)", 2: "(N, C, H, W), (C, H, W) or (H, W)"}


def as_samples(x: Any, ndim: int, one_channel: bool, who: str) -> Any:
    """Return an input as (N, C, *spatial), in floats; arrays stay in their library.

    `one_channel` says that an input of the spatial axes alone is one channel of one sample.
    """
    x = _numbers(x, "x")
    missing = ndim + 2 - x.ndim
    if missing not in ((0, 1, 2) if one_channel else (0, 1)):
        raise ValueError(
            f"animate: x must be laid out as {LAYOUTS[ndim]} for {who}; got shape {tuple(x.shape)}"
        )
    if not all(x.shape):
        raise ValueError(f"animate: x holds no numbers, its shape is {tuple(x.shape)}")
    xp = _xp.namespace(x)
    return xp.reshape(x, (1,) * missing + tuple(x.shape)) if missing else x


def as_gradient(dy: Any, shape: tuple[int, ...], who: str) -> np.ndarray:
    """Return the gradient of an output of a shape, on the host; ones if there is none."""
    if dy is None:
        return np.ones(shape)
    host = _xp.to_numpy(_numbers(dy, "dy"))
    if host.shape == shape:
        return host
    without = shape
    while without[:1] == (1,) and len(without) > 1:  # as x may be given without these axes
        without = without[1:]
        if host.shape == without:
            return host.reshape(shape)
    raise ValueError(f"{who}: dy must have the shape of the output, {shape}; got {host.shape}")


def _numbers(value: Any, argument: str) -> Any:
    """Return an array of floats: NumPy's for lists, otherwise of its own library."""
    if not (hasattr(value, "ndim") and _xp.is_array(value)):
        try:
            value = np.asarray(value)
        except ValueError:  # rows of different lengths
            raise ValueError(
                f"animate: {argument} must be an array, or lists of the same length; got lists of "
                "different lengths"
            ) from None
    xp = _xp.namespace(value)
    kind = _xp.dtype_name(value)
    if "float" in kind:
        return value
    if not kind.startswith(("int", "uint", "bool")):
        raise TypeError(
            f"animate: {argument} must hold real numbers, got "
            f"{'no array' if kind == 'object' else f'an array of dtype {kind}'}"
        )
    host = _xp.to_numpy(value).astype("float64")
    return host if _xp.is_numpy(xp) else xp.asarray(value, dtype=xp.float32)
