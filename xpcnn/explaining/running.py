"""Running what is to be explained, on a copy in float64, so that nothing of it changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpcnn import _xp
from xpcnn._checked import copied
from xpcnn.explaining.parts import Index, Numbers
from xpcnn.layers.activation import Activation, AlongAxis
from xpcnn.layers.conv import Conv
from xpcnn.layers.conv_transpose import ConvTranspose
from xpcnn.layers.layer import Layer
from xpcnn.layers.norm import ScaleAndShift
from xpcnn.layers.piecewise import PReLU
from xpcnn.layers.pool import AvgPool, GlobalPool, MaxPool

WHO = "explain"
SLIDING = (Conv, ConvTranspose, MaxPool, AvgPool, GlobalPool)
STARTING_ALIKE = (ScaleAndShift, PReLU)
"""Layers whose new parameters are not drawn: γ = 1 and β = 0."""


@dataclass(frozen=True)
class CourseRule:
    """Moving averages of a course: ``rho·old + (1 - rho)·new``; ``None`` is none yet."""

    rho: float
    moving_mean: np.ndarray | None
    moving_var: np.ndarray | None


@dataclass(frozen=True)
class Subject:
    """A layer to run, and what its owner calls its arrays.

    Attributes
    ----------
    who : str
        Name of the owner's class.
    layer : Layer
        A copy of its own on NumPy, in float64.
    x : numpy.ndarray
        The input as the layer takes it, with batch and channel axes.
    axes : tuple of int
        Which axes of `x` the owner's input has.
    out_axes : tuple of int
        Which axes of the output the owner's output has.
    names : mapping
        Name of a parameter to (the owner's name, the axes of the parameter that it has).
    notes : list of str
        Names of sentences to say about the input and the layer.
    rule : CourseRule or None
        How a course's class gathers its statistics, where that is not the layer's way.
    """

    who: str
    layer: Layer
    x: np.ndarray
    axes: Index
    out_axes: Index
    names: Mapping[str, tuple[str, Index]]
    notes: list[str] = field(default_factory=list)
    rule: CourseRule | None = None


@dataclass(frozen=True)
class Run:
    """A subject after its forward and backward; `params` and `grads` by the layer's names."""

    subject: Subject
    layer: Layer
    x: Numbers
    y: Numbers
    params: dict[str, Numbers]
    dy: Numbers
    dx: Numbers
    grads: dict[str, Numbers]
    dy_given: bool
    training: bool
    before: dict[str, np.ndarray]
    """Buffers before the forward."""


def as_numbers(value: Any, argument: str) -> np.ndarray:
    """Return numbers of any library, or in lists, as an array of float64 on the host."""
    problem = f"{WHO}: {argument} must hold numbers, as a list or an array of any library; got "
    if value is None or isinstance(value, (str, bytes, type)) or callable(value):
        raise TypeError(problem + repr(value)[:200])
    try:
        found = np.asarray(_xp.to_numpy(value))
    except ValueError:
        raise ValueError(f"{problem}lists of different lengths, {value!r:.200}") from None
    if found.dtype.kind not in "iufb":
        raise TypeError(f"{problem}{type(value).__name__} {value!r:.200}")
    if found.size == 0:
        raise ValueError(f"{problem}an array of shape {found.shape}; give at least one sample")
    return found.astype(np.float64)


def copy_of(layer: Layer, shape: Index) -> tuple[Layer, bool]:
    """Return a copy of a layer in float64 on NumPy, built for an input, and if it had values."""
    try:
        layer.state_for_reading()
    except RuntimeError:
        had_values = False
    else:
        had_values = True
    # what a layer has kept for its backward may name modules, which cannot be copied
    twin = copied(layer)
    twin.compute_in(None)
    twin.unfreeze()
    twin.zero_grad()
    twin.build(shape, dtype="float64", rng=np.random.default_rng(0))
    return twin, had_values


def subject_of(layer: Layer, x: np.ndarray) -> Subject:
    """Make a subject of one of the library's layers."""
    added, note = missing_axes(layer, x)
    full = x.reshape((1,) * added + x.shape)
    twin, had_values = copy_of(layer, full.shape)
    out = twin.output_shape(full.shape)
    names = {name: (name, tuple(range(p.value.ndim))) for name, p in twin.parameters().items()}
    is_new = not had_values and not isinstance(layer, STARTING_ALIKE)
    notes = [note] * bool(note) + ["new_weights"] * is_new
    # without a channel axis of the input there is one of the output only if it has several
    out_added = 1 if added == 2 and out[1] > 1 else added
    axes = tuple(range(added, full.ndim))
    return Subject(layer.who, twin, full, axes, tuple(range(out_added, len(out))), names, notes)


def missing_axes(layer: Layer, x: np.ndarray) -> tuple[int, str]:
    """Count the axes that an input lacks in front, and name the sentence that says so."""
    whole = getattr(layer, "sample_ndim", None)
    channels = getattr(layer, "in_channels", 1)
    if isinstance(layer, AlongAxis) and x.ndim == 1 and layer.dim == 1:
        return 1, "as_batch"
    if whole is not None and x.ndim == whole:
        return 1, "as_batch"
    if isinstance(layer, SLIDING) and whole == x.ndim + 1 and channels in (None, 1):
        return 2, "as_channel"
    if x.ndim == 0 and isinstance(layer, Activation):
        return 1, "as_array"
    return 0, ""


def run(subject: Subject, dy: np.ndarray | None, training: bool) -> Run:
    """Run forward and backward, and give every array the owner's name and indices."""
    layer, x = subject.layer, subject.x
    before = {name: np.asarray(b.value) for name, b in layer.buffers().items()}
    y = layer.forward(x, training=training)
    y_numbers = Numbers("y", np.asarray(y), subject.out_axes)
    gradient = np.ones(y.shape) if dy is None else as_full(dy, y_numbers)
    dx = layer.backward(gradient.copy()) if training else np.full(x.shape, math.nan)
    params, grads = {}, {}
    for name, parameter in layer.parameters().items():
        own, axes = subject.names[name]
        params[name] = Numbers(own, np.asarray(parameter.value), axes)
        if training:
            grads[name] = Numbers(f"d{own}", np.asarray(parameter.grad), axes)
    return Run(
        subject, layer, Numbers("x", x, subject.axes), y_numbers, params,
        Numbers("dy", gradient, subject.out_axes), Numbers("dx", np.asarray(dx), subject.axes),
        grads, dy is not None, training, before,
    )  # fmt: skip


def as_full(dy: np.ndarray, y: Numbers) -> np.ndarray:
    """Bring a gradient of the owner's shape to that of the layer's output."""
    if dy.size == 1 == y.values.size:
        dy = dy.reshape(y.shape)
    if dy.shape not in (y.shape, y.values.shape):
        raise ValueError(
            f"{WHO}: dy must have the shape of the output, {y.shape}, got {dy.shape}; leave it "
            "out for ones"
        )
    return dy.reshape(y.values.shape)
