"""A map of attributions over the sample that it explains."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.plot import canvas, pictures
from xpcnn.plot.reading import as_array

WHO = "plot.attribution"
STRONGEST = 0.85
"""How much of the sample the greatest number of a map covers."""


def attribution(image: Any, heat: Any, *, title: str = "Attribution", ax: Any = None) -> Any:
    """Draw which parts of an image or signal matter, over the sample in gray.

    The more a place matters, the less of the sample shows through. Where all numbers are 0 or more,
    as of saliency and Grad-CAM, yellow is little and dark red is much; otherwise red speaks for the
    class and blue against it.

    Parameters
    ----------
    image : array (1 or 3, height, width) or (channels, length)
        One sample, of any library.
    heat : array of the shape of `image`, or the same without channels
        What a function of :mod:`xpcnn.attribution` gives for it; channels are added up.
    title : str
    ax : Axes or figure, optional
        Where to draw; see :mod:`xpcnn.plot`.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If the two are not of one sample, or an argument is none.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import xpcnn
    >>> (x, _), _ = xpcnn.data.load_digits_subset()
    >>> layers = [xpcnn.Conv2d(1, 4, 5), xpcnn.ReLU(), xpcnn.Flatten()]
    >>> model = xpcnn.Model([*layers, xpcnn.Linear(out_features=10)], device="cpu", seed=0)
    >>> heat = xpcnn.attribution.saliency(model, x[:1])
    >>> xpcnn.plot.attribution(x[0], heat[0]).get_title()
    'Attribution'
    """
    if not isinstance(title, str):
        raise TypeError(f"{WHO}: title must be a text, got {title!r:.200}")
    sample, weights = as_array(image, WHO, "image"), as_array(heat, WHO, "heat")
    if sample.ndim == 4 or (sample.ndim == 3 and sample.shape[0] not in (1, 3)):
        raise ValueError(
            f"{WHO}: image must be one sample, (1 or 3, height, width) or (channels, length), got "
            f"shape {sample.shape}; take one of a batch, as in x[0] and heat[0]"
        )
    pictures.check_samples((1, *sample.shape), WHO)
    if weights.shape not in (sample.shape, sample.shape[1:]):
        raise ValueError(
            f"{WHO}: heat must have the shape of image, {sample.shape}, or that without channels, "
            f"{sample.shape[1:]}; got {weights.shape}"
        )
    total = weights.astype(np.float64)
    total = total.sum(axis=0) if weights.shape == sample.shape else total
    with canvas.one_axes(ax, WHO, (4.2, 3.4) if sample.ndim == 3 else (6.0, 3.0)) as place:
        (_draw_image if sample.ndim == 3 else _draw_signal)(place, sample, total)
        place.set_title(title, fontsize="medium", **canvas.fonts(title) | {"parse_math": True})
    return place


def _draw_image(ax: Any, image: np.ndarray, heat: np.ndarray) -> None:
    low, high = pictures.limits([image])
    gray = image.astype(np.float64).mean(axis=0)
    # pale, so that colors can be told apart where the image is black
    ax.imshow(gray, cmap="gray", vmin=low - 1.5 * (high - low), vmax=high)
    _draw_heat(ax, heat, {})
    ax.set(xlabel="column (pixels)", ylabel="row (pixels)")


def _draw_signal(ax: Any, signal: np.ndarray, heat: np.ndarray) -> None:
    for number, line in enumerate(signal):
        label = f"channel {number}" if len(signal) > 1 else None
        style = canvas.STYLES[number % len(canvas.STYLES)]
        ax.plot(line, color="black", linestyle=style, linewidth=1.2, label=label)
    bottom, top = ax.get_ylim()
    extent = (-0.5, len(heat) - 0.5, bottom, top)
    _draw_heat(ax, heat[None], {"extent": extent, "aspect": "auto", "zorder": 0})
    ax.set(xlim=extent[:2], ylim=(bottom, top), xlabel="position", ylabel="value")
    if len(signal) > 1:
        ax.legend(fontsize="small")


def _draw_heat(ax: Any, heat: np.ndarray, options: dict[str, Any]) -> None:
    """Draw a map that covers what it is drawn over where it is far from 0."""
    finite = heat[np.isfinite(heat)]
    largest = float(abs(finite).max(initial=0.0)) or 1.0
    signed = bool((finite < 0).any())
    picture = ax.imshow(
        heat,
        cmap=canvas.SIGNED if signed else "YlOrRd",
        vmin=-largest if signed else 0.0,
        vmax=largest,
        alpha=STRONGEST * np.sqrt(np.minimum(np.nan_to_num(abs(heat) / largest), 1.0)),
        **options,
    )
    bar = ax.figure.colorbar(picture, ax=ax, label="attribution", pad=0.02)
    bar.solids.set_alpha(1.0)
