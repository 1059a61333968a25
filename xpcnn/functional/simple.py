"""Functions on plain arrays that need no geometry: linear map, activations, one-hot, padding."""

from __future__ import annotations

from typing import Any

from xpcnn import _xp, kernels
from xpcnn._xp import Array
from xpcnn.errors import choice_error
from xpcnn.functional._check import check_float, check_integers
from xpcnn.window import Pairs

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def run(op: str, x: Array, *arguments: Any, who: str) -> tuple[Array, kernels.Saved]:
    """Run the forward of an operation that takes one array, and keep what backward needs."""
    xp = _xp.namespace(x, who=who)
    check_float(x, who)
    result = kernels.run(xp, op, x, *arguments)
    assert result is not None, f"the generic kernels have {op}"
    return result


def run_if_any(op: str, x: Array, *arguments: Any) -> tuple[Array, kernels.Saved] | None:
    """Run the forward of an operation that not every kernel set has; ``None`` if none takes it."""
    return kernels.run(_xp.namespace(x), op, x, *arguments)


def in_order(x: Array) -> Array:
    """Return x in the memory order of its axes, where a kernel does that faster than reshaping."""
    xp = _xp.namespace(x)
    result = kernels.run(xp, "in_order", x) if kernels.select(xp, "in_order") else None
    return x if result is None else result[0]


def run_backward(dy: Array, saved: kernels.Saved, *arguments: Any) -> Any:
    """Run the backward that belongs to `saved`."""
    return saved.backward(_xp.namespace(dy), dy, saved.state, *arguments)


def linear_forward(
    x: Array, w: Array, b: Array | None, *, who: str = "linear"
) -> tuple[Array, kernels.Saved]:
    """Multiply the last axis of `x` by `w` and add `b`; keep what the backward pass needs."""
    xp = _xp.namespace(x, w, b, who=who)
    check_float(x, who)
    if x.shape[-1] != w.shape[1]:
        flat = 1
        for n in x.shape[1:]:
            flat *= n
        hint = "; put a Flatten layer in front" if flat == w.shape[1] and x.ndim > 2 else ""
        raise ValueError(
            f"{who}: expected {w.shape[1]} input features (last axis), got {x.shape[-1]} in an "
            f"input of shape {tuple(x.shape)}{hint}"
        )
    result = kernels.run(xp, "linear", x, w, b)
    assert result is not None, "the generic kernels take every linear map"
    return result


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Return ``x @ weight.T + bias``: (..., I) to (..., O), with weight (O, I)."""
    return linear_forward(x, weight, bias)[0]


def pad_pairs(spatial: tuple[int, ...], padding: Pairs, mode: str, who: str) -> None:
    """Raise unless an input of that size can be padded so."""
    if len(padding) != len(spatial):
        raise ValueError(
            f"{who}: expected one (before, after) pair for each of {len(spatial)} spatial axes, "
            f"got {padding!r}"
        )
    for n, sides in zip(spatial, padding, strict=True):
        if n + sum(sides) < 1:
            raise ValueError(
                f"{who}: padding {sides} leaves nothing of an axis of length {n}; crop less"
            )
        left = max(n + min(sides[0], 0) + min(sides[1], 0), 0)
        limit = {"reflect": n - 1, "circular": left}.get(mode)
        if limit is not None and max(sides) > limit:
            raise ValueError(
                f"{who}: padding_mode {mode!r} can add at most {limit} elements to an axis of "
                f"length {n}, asked for {sides}; use less padding or 'replicate'"
            )


def pad(x: Array, padding: Pairs, mode: str = "reflect", value: float = 0.0) -> Array:
    """Extend the spatial axes of x (N, C, *spatial) by (before, after) elements each.

    `mode` is "reflect", "replicate", "circular", or "constant", which adds `value`. Negative
    numbers crop.
    """
    modes = ("constant", *PADDING_MODES[1:])
    if mode not in modes:
        raise choice_error("pad", "mode", mode, modes)
    pad_pairs(tuple(x.shape[2:]), padding, mode, "pad")
    return run("pad", x, padding, mode, value, who="pad")[0]


def embedding_forward(
    w: Array, indices: Array, *, who: str = "embedding"
) -> tuple[Array, kernels.Saved]:
    """Return the rows of w (V, D) that the integers in `indices` name, and what backward needs.

    Raises
    ------
    ValueError
        If an index is not from 0 to V - 1.
    """
    xp = _xp.namespace(w, indices, who=who)
    check_integers(indices, who)
    host = _xp.to_numpy(indices)
    if host.min() < 0 or host.max() >= w.shape[0]:
        raise ValueError(
            f"{who}: expected indices from 0 to {w.shape[0] - 1}, got some from {host.min()} to "
            f"{host.max()}"
        )
    result = kernels.run(xp, "embedding", w, host.astype("int64"))
    assert result is not None, "the generic kernels have embedding"
    return result


def one_hot(labels: Array, num_classes: int, dtype: Any) -> Array:
    """Turn integer labels (N, ...) into rows of zeros with a one: (N, num_classes, ...)."""
    xp = _xp.namespace(labels, who="one_hot")
    classes = xp.arange(num_classes, dtype=labels.dtype, device=_xp.device_of(labels))
    classes = xp.reshape(classes, (1, -1, *(1,) * (labels.ndim - 1)))
    return xp.astype(xp.expand_dims(labels, axis=1) == classes, dtype)


def relu(x: Array) -> Array:
    """Return max(x, 0), element by element."""
    return run("relu", x, who="relu")[0]


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), element by element."""
    return run("sigmoid", x, who="sigmoid")[0]


def tanh(x: Array) -> Array:
    """Return the hyperbolic tangent, element by element."""
    return run("tanh", x, who="tanh")[0]


def silu(x: Array) -> Array:
    """Return x * sigmoid(x), element by element."""
    return run("silu", x, who="silu")[0]


def softmax(x: Array, axis: int = 1) -> Array:
    """Return exp(x) normalised to sum to one along `axis`."""
    return run("softmax", x, axis, who="softmax")[0]


def log_softmax(x: Array, axis: int = 1) -> Array:
    """Return the logarithm of :func:`softmax` without losing small probabilities."""
    return run("log_softmax", x, axis, who="log_softmax")[0]
