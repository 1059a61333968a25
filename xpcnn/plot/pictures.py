"""Images and signals as they are displayed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpcnn.plot import canvas
from xpcnn.plot.reading import as_array

_MOST_CHANNELS = 12
"""What has more channels is no signal to draw, but probably images without a channel axis."""


def take(x: Any, places: Sequence[int], who: str) -> list[np.ndarray]:
    """Return some samples, (C, H, W) or (C, L) each, of an array or a data set.

    Raises
    ------
    ValueError, TypeError
        If they are neither images nor signals.
    """
    if is_data_set(x):
        found = [as_array(x[int(place)][0], who, "x") for place in places]
    else:
        array = as_array(x, who, "x")
        check_samples(array.shape, who)
        found = [array[place] for place in places]
    for each in found:
        check_samples((1, *each.shape), who)
    return found


def is_data_set(x: Any) -> bool:
    """Whether `x` is a data set that knows its labels, such as an ImageFolder."""
    return hasattr(x, "targets") and hasattr(x, "__getitem__")


def check_samples(shape: Sequence[int], who: str) -> None:
    """Raise unless a batch of this shape holds images (N, C, H, W) or signals (N, C, L)."""
    if len(shape) == 4 and shape[1] in (1, 3):
        return
    if len(shape) == 3 and shape[1] <= _MOST_CHANNELS:
        return
    fix = "reshape it"
    if len(shape) == 4 and shape[-1] in (1, 3):
        fix = "the channels come last: numpy.moveaxis(x, -1, 1)"
    elif len(shape) == 4:
        fix = "choose one channel, x[:, :1], or three"
    elif len(shape) == 3:
        fix = "gray images need their channel axis: x[:, None]"
    elif len(shape) == 2:
        fix = "rows of pixels need the shape of the images, as in x.reshape(-1, 1, 28, 28)"
    elif len(shape) == 5:
        fix = "choose a slice of each volume: x[:, :, depth]"
    raise ValueError(
        f"{who}: x must hold images (N, 1 or 3, height, width) or signals (N, up to "
        f"{_MOST_CHANNELS} channels, length), got shape {tuple(shape)}; {fix}"
    )


def limits(samples: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return which numbers are black and white: those of the dtype, or the least and the greatest.

    Bytes are drawn from 0 to 255. Floats that lie from 0 to 1 are drawn as they are; others, such
    as those of normalised images, are scaled, all of them together.
    """
    if all(each.dtype == np.uint8 for each in samples):
        return 0.0, 255.0
    numbers = [each[np.isfinite(each)] for each in samples]
    least = min((float(each.min()) for each in numbers if each.size), default=0.0)
    most = max((float(each.max()) for each in numbers if each.size), default=1.0)
    if least >= 0.0 and most <= 1.0:
        return 0.0, 1.0
    return (least, most) if most > least else (least - 0.5, least + 0.5)


def draw(ax: Any, sample: np.ndarray, low: float, high: float) -> None:
    """Draw one image (C, H, W), or one signal (C, L)."""
    if sample.ndim == 2:
        for channel, line in enumerate(sample):
            ax.plot(line, linewidth=1.0, **canvas.style_of(channel))
        ax.set_xlabel("position", fontsize="x-small")
        ax.tick_params(labelsize="x-small")
        ax.margins(x=0)
        return
    canvas.without_ticks(ax)
    if len(sample) == 1:
        ax.imshow(sample[0], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        return
    colors = (np.moveaxis(sample, 0, -1).astype(np.float64) - low) / (high - low)
    ax.imshow(np.clip(np.nan_to_num(colors), 0.0, 1.0), interpolation="nearest")
