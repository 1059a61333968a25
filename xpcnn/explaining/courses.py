"""The classes of :mod:`xpcnn.scratch` as layers of the library, under their own names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from xpcnn.errors import rank_error
from xpcnn.explaining.parts import Index
from xpcnn.explaining.running import WHO, CourseRule, Subject, as_numbers
from xpcnn.layers.activation import LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from xpcnn.layers.conv import Conv1d, Conv2d
from xpcnn.layers.layer import Layer
from xpcnn.layers.linear import Linear
from xpcnn.layers.norm import BatchNorm1d, BatchNorm2d
from xpcnn.layers.pool import MaxPool1d, MaxPool2d
from xpcnn.layers.shape import Flatten
from xpcnn.ops.checks import LAYOUTS
from xpcnn.scratch import conv1d, deep_conv_net

ACTIVATIONS = (
    (deep_conv_net.ReLU, ReLU),
    (deep_conv_net.Sigmoid, Sigmoid),
    (deep_conv_net.Tanh, Tanh),
    (conv1d.Softmax, Softmax),
    (conv1d.Flatten, Flatten),
)


def course_subject(operation: Any, x: np.ndarray) -> Subject | None:
    """Make a subject of a course's layer; ``None`` if it is not one that is explained."""
    if isinstance(operation, conv1d.Conv1d):
        return _conv1d(operation, x)
    if isinstance(operation, deep_conv_net.Convolution):
        return _conv2d(operation, x)
    if isinstance(operation, conv1d.MaxPooling1D):
        full, axes = _signals(operation, x)
        signals = MaxPool1d(operation.pool_size, operation.stride, operation.pad)
        return _subject(operation, signals, full, axes, axes)
    if isinstance(operation, deep_conv_net.Pooling):
        _check_rank(operation, x, 4)
        kernel = (operation.pool_h, operation.pool_w)
        pool = MaxPool2d(kernel, operation.stride, operation.pad)
        return _subject(operation, pool, x, (0, 1, 2, 3), (0, 1, 2, 3))
    if isinstance(operation, conv1d.Affine):
        return _affine(operation, x)
    if isinstance(operation, deep_conv_net.BatchNormalization):
        return _batch_norm(operation, x)
    if isinstance(operation, deep_conv_net.LeakyReLU):
        axes = tuple(range(x.ndim))
        return _subject(operation, LeakyReLU(operation.alpha), x, axes, axes)
    for kind, layer_type in ACTIVATIONS:
        if isinstance(operation, kind):
            layer: Layer = layer_type(x.ndim - 1) if layer_type is Softmax else layer_type()
            out = tuple(range(2 if layer_type is Flatten else x.ndim))
            return _subject(operation, layer, x, tuple(range(x.ndim)), out)
    return None


def _subject(
    operation: Any,
    layer: Layer,
    x: np.ndarray,
    axes: Index,
    out_axes: Index,
    **arrays: tuple[str, np.ndarray, Index],
) -> Subject:
    """Build the layer with the course's arrays: parameter=(course's name, values, axes)."""
    if arrays:
        layer.load_state_dict({name: values for name, (_, values, _) in arrays.items()}, False)
    layer.build(x.shape, dtype="float64", rng=np.random.default_rng(0))
    names = {name: (own, own_axes) for name, (own, _, own_axes) in arrays.items()}
    return Subject(type(operation).__name__, layer, x, axes, out_axes, names)


def _check_rank(operation: Any, x: np.ndarray, ndim: int) -> None:
    if x.ndim != ndim:
        raise rank_error(f"{WHO}: {type(operation).__name__}", ndim, LAYOUTS[ndim - 2], x.shape)


def _signals(operation: Any, x: np.ndarray) -> tuple[np.ndarray, Index]:
    """Give signals a batch and a channel axis, as the course reads the axes there are."""
    if x.ndim == 3:
        return x, (0, 1, 2)
    if x.ndim == 1:
        return x[None, None], (2,)
    if x.ndim == 2:
        return x[None], (1, 2)
    raise rank_error(f"{WHO}: {type(operation).__name__}", 3, LAYOUTS[1], x.shape)


def _conv1d(operation: Any, x: np.ndarray) -> Subject:
    w, b = as_numbers(operation.W, "W"), _vector(operation.b)
    if w.ndim == 1 and x.ndim == 2:  # a batch of signals without a channel axis
        full = x[:, None]
        axes: Index = (0, 2)
    else:
        full, axes = _signals(operation, x)
    # one filter (F,) keeps the axes of the signal; filters (O, C, F) give an axis of outputs
    out_axes = axes if w.ndim == 1 or len(axes) > 1 else (1, 2)
    w_axes = (2,) if w.ndim == 1 else (0, 1, 2)
    w = w.reshape(1, 1, -1) if w.ndim == 1 else w
    if w.ndim != 3:
        raise rank_error(f"{WHO}: {type(operation).__name__} W", 3, "(O, C, F)", w.shape)
    mode = "replicate" if operation.pad_mode == "edge" else "zeros"
    layer = Conv1d(
        w.shape[1], w.shape[0], w.shape[2], operation.stride, operation.pad, padding_mode=mode
    )
    return _subject(
        operation, layer, full, axes, out_axes, weight=("W", w, w_axes), bias=("b", b, (0,))
    )


def _conv2d(operation: Any, x: np.ndarray) -> Subject:
    w, b = as_numbers(operation.W, "W"), _vector(operation.b)
    _check_rank(operation, x, 4)
    if w.ndim != 4:
        raise rank_error(f"{WHO}: {type(operation).__name__} W", 4, "(FN, C, FH, FW)", w.shape)
    layer = Conv2d(w.shape[1], w.shape[0], w.shape[2:], operation.stride, operation.pad)
    axes = (0, 1, 2, 3)
    return _subject(operation, layer, x, axes, axes, weight=("W", w, axes), bias=("b", b, (0,)))


def _affine(operation: Any, x: np.ndarray) -> Subject:
    w, b = as_numbers(operation.W, "W"), _vector(operation.b)
    if w.ndim != 2:
        raise rank_error(f"{WHO}: {type(operation).__name__} W", 2, "(D, M)", w.shape)
    if x.ndim > 2:
        raise rank_error(f"{WHO}: {type(operation).__name__}", 2, "(N, D)", x.shape)
    alone = int(x.ndim == 1)
    full, axes = x.reshape(-1, x.shape[-1]), tuple(range(alone, 2))
    layer = Linear(w.shape[0], w.shape[1])
    names = {"weight": ("W", w.T, (1, 0)), "bias": ("b", b, (0,))}
    return _subject(operation, layer, full, axes, axes, **names)


def _batch_norm(operation: Any, x: np.ndarray) -> Subject:
    if x.ndim not in (2, 4):
        raise ValueError(
            f"{WHO}: {type(operation).__name__} takes (N, D) or (N, C, H, W), got an input of "
            f"shape {x.shape}"
        )
    channels = x.shape[1]
    kind = BatchNorm1d if x.ndim == 2 else BatchNorm2d
    layer = kind(channels, operation.epsilon, 1.0 - operation.rho)
    given = {
        "weight": ("gamma", operation.gamma, 1.0),
        "bias": ("beta", operation.beta, 0.0),
        "running_mean": ("", operation.moving_mean, 0.0),
        "running_var": ("", operation.moving_var, 1.0),
    }
    arrays = {
        name: (own, np.full(channels, new) if old is None else _vector(old), (0,))
        for name, (own, old, new) in given.items()
    }
    axes = tuple(range(x.ndim))
    made = _subject(operation, layer, x, axes, axes, **arrays)
    old = [None if a is None else _vector(a) for a in (operation.moving_mean, operation.moving_var)]
    return replace(made, rule=CourseRule(operation.rho, *old))


def _vector(values: Any) -> np.ndarray:
    """Return a bias, which may be a single number, as a vector."""
    return as_numbers(np.reshape(values, (-1,)) if np.ndim(values) == 0 else values, "b").ravel()
