"""What the layers that change images at random have in common."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xpcnn import rng
from xpcnn._xp import Array
from xpcnn.errors import check_choice
from xpcnn.layers.layer import Shape
from xpcnn.layers.preprocessing.base import Preprocessing
from xpcnn.layers.random import RandomLayer
from xpcnn.ops.checks import check_rank
from xpcnn.window import as_number, is_sequence


class _OfTraining(NamedTuple):
    """What a training forward has left."""

    saved: Any


class Augmentation(RandomLayer, Preprocessing):
    """A layer that changes each sample at random in training, and none otherwise.

    Each sample of a batch draws for itself, as where a data loader calls the transforms of
    torchvision on one image after the other; those called on a batch draw once for all of it. What
    is drawn follows from the seed of the model and the number of its training forward, and comes
    from the host, so that all array libraries see the same, and training that is resumed draws
    what it would have drawn.

    A subclass implements `_draw` and `_change`, which return what was drawn, and the changed
    samples with what `_change_back` needs for the gradient.

    Attributes
    ----------
    seed, step : int
        See :class:`~xpcnn.layers.random.RandomLayer`.
    """

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        check_rank(input_shape, self.ndim, self.who)
        return tuple(input_shape)

    def at_inference(self) -> Preprocessing | None:
        """Return the layer that does what this one does without training; ``None``: nothing."""
        return None

    def draw(self, shape: Sequence[int]) -> Any:
        """Draw for a batch of this shape what the next training forward would, and count it.

        Returns
        -------
        numpy.ndarray, or tuple of numpy.ndarray
            With a row or number for each sample.
        """
        seed, step = self._next_draw()
        return self._draw(rng.generator(seed, "augmentation", step), tuple(shape))

    def _draw(self, generator: np.random.Generator, shape: Shape) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not implement _draw")

    def _change(self, xp: ModuleType, x: Array, drawn: Any) -> tuple[Array, Any]:
        raise NotImplementedError(f"{type(self).__name__} does not implement _change")

    def _change_back(self, xp: ModuleType, dy: Array, saved: Any) -> Array:
        return saved(dy)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        if training:
            y, saved = self._change(xp, x, self.draw(x.shape))
            return y, _OfTraining(saved)
        quiet = self.at_inference()
        return (x, None) if quiet is None else quiet.halves()[0](xp, x, False)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        if isinstance(saved, _OfTraining):
            return self._change_back(xp, dy, saved.saved)
        quiet = self.at_inference()
        return dy if quiet is None else quiet.halves()[1](xp, dy, saved, need_dx)


def uniform(generator: np.random.Generator, limits: Sequence[float], shape: Any) -> np.ndarray:
    """Draw numbers that are evenly spread from the first limit to the second."""
    return limits[0] + (limits[1] - limits[0]) * generator.random(shape)


def whole(generator: np.random.Generator, count: np.ndarray) -> np.ndarray:
    """Draw for each sample one of the whole numbers from 0 to below a count of its own."""
    return np.asarray(generator.integers(0, count))


def as_range(
    value: Any, who: str, argument: str, least: float = -np.inf, most: float = np.inf
) -> tuple[float, float]:
    """Return two limits, the lower one first."""
    if not is_sequence(value) or len(tuple(value)) != 2:
        raise TypeError(f"{who}: {argument} must be a pair (lowest, highest), got {value!r}")
    low, high = (as_number(number, who, argument, least, most) for number in value)
    if low > high:
        raise ValueError(
            f"{who}: {argument} must be a pair (lowest, highest), with the lower number first; got "
            f"{value!r}"
        )
    return low, high


def as_fill(value: Any, who: str, argument: str = "fill") -> float | tuple[float, ...]:
    """Return one number, or one for each channel."""
    if not is_sequence(value):
        return as_number(value, who, argument)
    found = tuple(as_number(number, who, argument) for number in value)
    if not found:
        raise ValueError(f"{who}: {argument} must be a number, or one for each channel, got ()")
    return found


def as_outside(
    padding_mode: str, modes: Sequence[str], fill: Any, who: str
) -> tuple[str, float | tuple[float, ...]]:
    """Check how what lies outside of a sample is filled up: the mode, and the number of "constant".

    Raises
    ------
    ValueError, TypeError
        If the mode is none of these, or there is a number and the mode has no use for it.
    """
    found = as_fill(fill, who)
    check_choice(who, "padding_mode", padding_mode, modes)
    if padding_mode != "constant" and found != 0.0:
        raise ValueError(
            f"{who}: fill is for padding_mode='constant'; leave it out with "
            f"padding_mode={padding_mode!r}"
        )
    return padding_mode, found


def check_fill(value: Any, shape: Sequence[int], who: str, argument: str = "fill") -> None:
    """Raise unless there is one number, or one for each channel of an input."""
    if isinstance(value, tuple) and len(value) not in (1, shape[1]):
        raise ValueError(
            f"{who}: expected {len(value)} channels, as {argument} has numbers, got {shape[1]} in "
            f"an input of shape {tuple(shape)}"
        )
