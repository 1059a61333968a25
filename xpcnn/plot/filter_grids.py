"""Filters of convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.layers import Layer
from xpcnn.layers.conv_transpose import ConvTranspose
from xpcnn.layers.parameter import Parameter
from xpcnn.plot import canvas
from xpcnn.plot.networks import find_layer, network_of
from xpcnn.plot.reading import as_array
from xpcnn.window import as_int

WHO = "plot.filters"
_CHANNELS = 8
"""Of each filter at most so many channels are drawn."""


def filters(
    source: Any,
    layer: str | int | None = None,
    *,
    channel: int | None = None,
    count: int = 32,
    columns: int | None = None,
    ax: Any = None,
) -> np.ndarray:
    """Draw the filters of a convolution.

    Those of one input channel are drawn as images, blue below 0 and red above. Those of three are
    colors: ``0.5 + weight / (2 * m)`` for each of red, green and blue, where m is the largest
    absolute weight of all that are drawn, so that 0 is gray. Those of more channels are rows with
    an image for each channel. Filters of one dimension are lines over the taps.

    Parameters
    ----------
    source : Model, Layer, Parameter, or array (filters, channels, height, width) or (..., taps)
        Where the filters are.
    layer : str or int, optional
        Which layer of a model or container: its name, such as ``"features.0"``, or its place. The
        first that has filters if left out.
    channel : int, optional
        Draw only this input channel of each filter.
    count : int
        How many filters to draw at most; and of each at most eight channels. The title says how
        many there are.
    columns : int, optional
        Of the grid, which is about square if left out. Not where channels are its columns.
    ax : Axes or figure, optional
        Where to draw; see :mod:`xpcnn.plot`.

    Returns
    -------
    array of Axes
        One for each filter, or (filters, channels) where channels have images of their own.

    Raises
    ------
    ValueError, TypeError
        If there are no such filters, they have three spatial dimensions, or an argument is none.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import xpcnn
    >>> model = xpcnn.Model([xpcnn.Conv2d(1, 6, 5), xpcnn.ReLU()], device="cpu", seed=0)
    >>> shape = model.build((None, 1, 28, 28))
    >>> len(xpcnn.plot.filters(model))
    6
    """
    most = as_int(count, WHO, "count", 1)
    wide = None if columns is None else as_int(columns, WHO, "columns", 1)
    weight, name = _weight(source, layer)
    channels = weight.shape[1]
    if channel is not None:
        at = as_int(channel, WHO, "channel", 0)
        if at >= channels:
            raise ValueError(f"{WHO}: channel={at}, and the filters have {channels} channels")
        weight = weight[:, at : at + 1]
    many = weight.ndim == 4 and weight.shape[1] not in (1, 3)
    if many and wide is not None:
        raise ValueError(
            f"{WHO}: the columns are the {channels} channels of each filter; leave columns out, or "
            "give channel= to draw one channel"
        )
    shown = weight[:most, :_CHANNELS].astype(np.float64)
    finite = np.abs(shown[np.isfinite(shown)])
    limit = float(finite.max(initial=0.0)) or 1.0
    lines = _title(name, weight, shown, channel)
    if shown.ndim == 3:
        return _draw_lines(shown, limit, lines, wide, ax)
    if shown.shape[1] == 3:
        lines += f"\ncolor = 0.5 + weight / (2 · {limit:.3g})"
        return _draw_colors(shown, limit, lines, wide, ax)
    planes = shown.reshape(-1, *shown.shape[2:])
    axes = _draw_signed(planes, limit, lines, shown.shape[1] if many else wide, ax)
    if many:
        _label(axes.reshape(shown.shape[:2]))
        return axes.reshape(shown.shape[:2])
    for number, panel in enumerate(axes):
        panel.set_title(str(number), fontsize="small")
    return axes


def _weight(source: Any, layer: Any) -> tuple[np.ndarray, str]:
    """Return filters (filters, channels, ...) and the name of their layer."""
    network = network_of(source)
    if network is None:
        if layer is not None:
            raise ValueError(
                f"{WHO}: layer is for a model or a container, and {type(source).__name__} has "
                "none; leave it out"
            )
        name = ""
        if isinstance(source, Parameter):
            _check_built(source, "the parameter")
            source = source.value
        weight = as_array(source, WHO, "source (a Model, a Layer, a Parameter or an array)")
    else:
        name, owner, parameter = _parameter(network, layer)
        _check_built(parameter, f"layer {name!r}" if name else "the layer")
        weight = as_array(parameter.value, WHO, "source")
        if isinstance(owner, ConvTranspose) and owner.groups == 1:
            weight = np.swapaxes(weight, 0, 1)  # filters come second there
    if weight.ndim == 5:
        raise ValueError(
            f"{WHO}: filters of shape {weight.shape} have three spatial dimensions; give a slice "
            "of them: weight[:, :, depth]"
        )
    if weight.ndim not in (3, 4) or not weight.size:
        raise ValueError(
            f"{WHO}: filters must be of shape (filters, channels, height, width) or (filters, "
            f"channels, taps), got {weight.shape}"
        )
    return weight, name


def _check_built(parameter: Parameter, what: str) -> None:
    if not parameter.is_built:
        raise ValueError(
            f"{WHO}: {what} has no weights yet; call fit first, or build it for the shape of an "
            "input, as in model.build((None, 1, 28, 28))"
        )


def _parameter(network: Layer, layer: Any) -> tuple[str, Layer, Parameter]:
    """Find the filters of a layer, or of the first layer inside it that has any."""
    top, start = find_layer(network, layer, WHO) if layer is not None else ("", network)
    for inner, each in start.layers_within():
        for key, value in vars(each).items():
            if isinstance(value, Parameter) and key.endswith("weight") and _may_be(value):
                return ".".join(filter(None, (top, inner))), each, value
    where = f"layer {top!r}, {type(start).__name__}," if top else type(start).__name__
    raise ValueError(f"{WHO}: {where} has no filters; choose a convolution")


def _may_be(parameter: Parameter) -> bool:
    shape = parameter.pattern if parameter.shape is None else parameter.shape
    return shape is not None and len(shape) >= 3


def _title(name: str, weight: np.ndarray, shown: np.ndarray, channel: int | None) -> str:
    parts = [f"Filters of layer {name!r}" if name else "Filters"]
    if len(shown) < len(weight):
        parts.append(f"{len(shown)} of {len(weight)}")
    if channel is not None:
        parts.append(f"channel {channel}")
    elif shown.shape[1] < weight.shape[1]:
        parts.append(f"{shown.shape[1]} of {weight.shape[1]} channels")
    return ", ".join(parts)


def _draw_signed(
    planes: np.ndarray, limit: float, title: str, columns: int | None, ax: Any
) -> np.ndarray:
    size = (1.0, 1.0 if columns == _CHANNELS else 1.25)
    with canvas.panels(ax, len(planes), WHO, size=size, title=title, columns=columns) as axes:
        for panel, plane in zip(axes, planes, strict=True):
            canvas.without_ticks(panel)
            picture = panel.imshow(plane, cmap=canvas.SIGNED, vmin=-limit, vmax=limit)
        canvas.colorbar(picture, axes, "weight")
    return axes


def _label(axes: np.ndarray) -> None:
    for number, panel in enumerate(axes[0]):
        panel.set_title(f"channel {number}" if number == 0 else str(number), fontsize="small")
    for number, panel in enumerate(axes[:, 0]):
        panel.set_ylabel(f"filter {number}" if number == 0 else str(number), fontsize="small")


def _draw_colors(
    shown: np.ndarray, limit: float, title: str, columns: int | None, ax: Any
) -> np.ndarray:
    colors = np.nan_to_num(0.5 + np.moveaxis(shown, 1, -1) / (2.0 * limit), nan=0.5)
    with canvas.panels(ax, len(shown), WHO, size=(1.1, 1.3), title=title, columns=columns) as axes:
        for number, (panel, plane) in enumerate(zip(axes, colors, strict=True)):
            canvas.without_ticks(panel)
            panel.imshow(np.clip(plane, 0.0, 1.0), interpolation="nearest")
            panel.set_title(str(number), fontsize="small")
    return axes


def _draw_lines(
    shown: np.ndarray, limit: float, title: str, columns: int | None, ax: Any
) -> np.ndarray:
    taps = np.arange(shown.shape[2])
    with canvas.panels(ax, len(shown), WHO, size=(2.2, 1.9), title=title, columns=columns) as axes:
        for number, (panel, rows) in enumerate(zip(axes, shown, strict=True)):
            panel.axhline(0.0, color="0.6", linewidth=0.8)
            for channel, row in enumerate(rows):
                style = canvas.style_of(channel)
                panel.plot(taps, row, marker="o", ms=3, label=f"channel {channel}", **style)
            panel.set_ylim(-1.1 * limit, 1.1 * limit)
            panel.set_title(f"filter {number}", fontsize="small")
            panel.set_xlabel("tap", fontsize="small")
            panel.tick_params(labelsize="x-small")
            canvas.whole_numbers(panel.xaxis)
        axes[0].set_ylabel("weight", fontsize="small")
        if shown.shape[1] > 1:
            axes[0].legend(fontsize="x-small")
    return axes
