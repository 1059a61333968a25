"""Images whose colours change at random."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.kernels.half import narrow, widen
from xpcnn.layers.augmentation.base import Augmentation, as_range, uniform
from xpcnn.layers.augmentation.noise import as_max_value
from xpcnn.layers.layer import Shape
from xpcnn.layers.preprocessing.gray import check_colors
from xpcnn.ops import color
from xpcnn.ops.tables import pick
from xpcnn.window import as_number, is_sequence

Range = tuple[float, float] | None
STEPS = (
    color.adjust_brightness, color.adjust_contrast, color.adjust_saturation, color.adjust_hue,
)  # fmt: skip


class ColorJitter(Augmentation, ndim=2):
    """Change brightness, contrast, saturation and hue of images at random in training.

    Parameters
    ----------
    brightness, contrast, saturation : float or (float, float), optional
        Lowest and highest factor; one number stands for 1 minus it, but 0 at least, to 1 plus it.
        A factor of 1 changes nothing, and 0 makes an image black, evenly gray, or leaves shades
        of gray.
    hue : float or (float, float), optional
        Lowest and highest turn of the hue, from -0.5 to 0.5, where 1 is all the way round; one
        number stands for both sides.
    max_value : float
        The largest number that an image holds: 1 behind ``Rescale(1 / 255)``, and 255 in front of
        it. Numbers stay between 0 and this.

    Raises
    ------
    ValueError
        If an argument is out of range, or an input has neither one channel nor three.
    RuntimeError
        If the gradient of the input is asked for: the layer has none, and stands in front of all
        layers with parameters.

    Notes
    -----
    Input (N, 1 or 3, H, W), output of the same shape. Each image draws for itself, the order of
    the four changes too; see :class:`~xpcnn.layers.augmentation.Augmentation`. ``ColorJitter`` of
    ``torchvision.transforms.v2`` is the same. Images of one channel have neither saturation nor
    hue.

    Examples
    --------
    >>> import numpy as np
    >>> import xpcnn
    >>> layer = xpcnn.ColorJitter(brightness=(0.5, 0.5))
    >>> layer(np.ones((1, 1, 1, 2)), training=True)
    array([[[[0.5, 0.5]]]])
    """

    def __init__(
        self,
        brightness: Any = None,
        contrast: Any = None,
        saturation: Any = None,
        hue: Any = None,
        max_value: float = 1.0,
    ) -> None:
        self.brightness = _factors(brightness, "brightness")
        self.contrast = _factors(contrast, "contrast")
        self.saturation = _factors(saturation, "saturation")
        self.hue = _factors(hue, "hue", 0.0, -0.5, 0.5)
        self.max_value = as_max_value(max_value, "ColorJitter")
        if all(limits is None for limits in self._limits):
            raise ValueError(
                "ColorJitter: give at least one of brightness, contrast, saturation and hue, as in "
                "ColorJitter(brightness=0.2)"
            )

    @property
    def _limits(self) -> tuple[Range, ...]:
        return self.brightness, self.contrast, self.saturation, self.hue

    @property
    def clips_at(self) -> float | None:
        """The largest number that the output may hold."""
        return self.max_value

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return the input's shape."""
        shape = super().output_shape(input_shape)
        check_colors(shape, self.who)
        return shape

    def _draw(self, generator: np.random.Generator, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
        """Return the order of the changes of each image, (N, 4), and their factors, (4, N)."""
        order = generator.permuted(np.tile(np.arange(4), (shape[0], 1)), axis=1)
        limits = [(0.0, 0.0) if pair is None else pair for pair in self._limits]
        return order, np.stack([uniform(generator, pair, shape[0]) for pair in limits])

    def _change(self, xp: ModuleType, x: Array, drawn: Any) -> tuple[Array, Any]:
        order, factors = drawn
        y = widen(xp, x) / self.max_value
        for round_ in range(4):
            y = self._in_groups(xp, y, order[:, round_], factors)
        return narrow(xp, y * self.max_value, x.dtype), None

    def _in_groups(self, xp: ModuleType, x: Array, kinds: np.ndarray, factors: np.ndarray) -> Array:
        """Change each image in the way whose turn it is; those with the same one together."""
        groups, parts = [], []
        for kind, limits in enumerate(self._limits):
            group = np.flatnonzero(kinds == kind)
            if len(group):
                part = pick(xp, x, 0, group)
                groups.append(group)
                parts.append(
                    part if limits is None else STEPS[kind](xp, part, factors[kind, group])
                )
        together = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
        return pick(xp, together, 0, np.argsort(np.concatenate(groups)))

    def _change_back(self, xp: ModuleType, dy: Array, saved: Any) -> Array:
        raise RuntimeError(
            f"{self.who}: it has no gradient; put it in front of all layers with parameters, where "
            "none is needed"
        )


def _factors(
    value: Any, argument: str, center: float = 1.0, least: float = 0.0, most: float = np.inf
) -> Range:
    """Return lowest and highest factor; ``None`` if there is nothing to change."""
    if value is None:
        return None
    if not is_sequence(value):
        number = as_number(value, "ColorJitter", argument, 0.0, most)
        value = max(center - number, least), center + number
    low, high = as_range(value, "ColorJitter", argument, least, most)
    return low, high
