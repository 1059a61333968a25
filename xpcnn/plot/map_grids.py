"""Feature maps: what a layer gives for one sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcnn.plot import canvas
from xpcnn.plot.networks import find_layer
from xpcnn.plot.pictures import is_data_set
from xpcnn.plot.reading import as_array
from xpcnn.training import Model
from xpcnn.window import as_int

WHO = "plot.feature_maps"


def feature_maps(
    model: Model,
    x: Any,
    layer: str | int,
    *,
    sample: int = 0,
    count: int = 32,
    columns: int | None = None,
    ax: Any = None,
) -> Any:
    """Draw what a layer gives for one sample: a map for each channel, on one scale.

    Where any number is below 0, blue is below and red above it; otherwise dark is 0 or little.
    Maps of signals are lines, and the numbers of a layer without maps are bars.

    Parameters
    ----------
    model : Model
    x : array (N, ...), or one sample without the batch axis; data set; tuple, for several inputs
        Of any library. Of a data set, such as :class:`~xpcnn.data.ImageFolder`, one sample is read.
    layer : str or int
        The name of a layer, such as ``"features.0"``, or its place among ``model.layers``.
    sample : int
        Which of the batch.
    count : int
        How many channels to draw at most; the title says how many there are.
    columns : int, optional
        Of the grid, which is about square if left out.
    ax : Axes or figure, optional
        Where to draw; see :mod:`xpcnn.plot`.

    Returns
    -------
    array of Axes, (channels,)

    Raises
    ------
    ValueError, TypeError
        If there is no such layer or sample, its output has three spatial dimensions, or an argument
        is none.
    ImportError
        If matplotlib is not installed.

    See Also
    --------
    xpcnn.Model.outputs_of : The numbers.

    Examples
    --------
    >>> import xpcnn
    >>> (x, _), _ = xpcnn.data.load_digits_subset()
    >>> model = xpcnn.Model([xpcnn.Conv2d(1, 6, 5), xpcnn.ReLU()], device="cpu", seed=0)
    >>> len(xpcnn.plot.feature_maps(model, x, 0, sample=3))
    6
    """
    if not isinstance(model, Model):
        raise TypeError(f"{WHO}: model must be a Model, got {type(model).__name__}")
    most = as_int(count, WHO, "count", 1)
    wide = None if columns is None else as_int(columns, WHO, "columns", 1)
    name, _ = find_layer(model.network, layer, WHO)
    found = model.outputs_of(name, _one_sample(model, x, sample))
    if isinstance(found, tuple):
        raise ValueError(
            f"{WHO}: layer {name!r} has {len(found)} outputs; choose a layer behind it that takes "
            "one of them"
        )
    maps = as_array(found, WHO, "the output")[0]
    if maps.ndim == 0 or maps.ndim > 3 or not maps.size:
        raise ValueError(
            f"{WHO}: layer {name!r} gives {maps.shape} for each sample; maps are (channels, "
            "height, width), (channels, length) or (numbers,)"
        )
    if maps.ndim == 1:
        return _draw_bars(maps, name, ax)
    shown = maps[:most].astype(np.float64)
    title = f"Feature maps of layer {name!r}"
    title += f", {len(shown)} of {len(maps)} channels" if len(shown) < len(maps) else ""
    return (_draw_maps if maps.ndim == 3 else _draw_lines)(shown, title, wide, ax)


def _one_sample(model: Model, x: Any, sample: Any) -> Any:
    """Return a batch of one sample, of each input where there are several."""
    place = as_int(sample, WHO, "sample", 0)
    if isinstance(x, tuple):
        return tuple(_one_sample(model, each, place) for each in x)
    if is_data_set(x):
        if place >= len(x):
            raise ValueError(f"{WHO}: sample={place}, and x has {len(x)} samples, from 0")
        return as_array(x[place][0], WHO, "x")[None]
    array = as_array(x, WHO, "x")
    shape = model.input_shape
    if shape is not None and len(model.inputs) == 1 and array.ndim == len(shape) - 1:
        array = array[None]
    if place >= len(array):
        raise ValueError(f"{WHO}: sample={place}, and x has {len(array)} samples, from 0")
    return array[place : place + 1]


def _limits(maps: np.ndarray) -> tuple[float, float, str]:
    """Return the scale of all maps, and its colors."""
    finite = maps[np.isfinite(maps)]
    least, most = float(finite.min(initial=0.0)), float(finite.max(initial=0.0))
    if least < 0.0:
        most = max(-least, most)
        return -most, most, canvas.SIGNED
    return 0.0, most or 1.0, canvas.UNSIGNED


def _draw_maps(maps: np.ndarray, title: str, columns: int | None, ax: Any) -> np.ndarray:
    low, high, colors = _limits(maps)
    with canvas.panels(ax, len(maps), WHO, size=(1.3, 1.5), title=title, columns=columns) as axes:
        for number, (panel, plane) in enumerate(zip(axes, maps, strict=True)):
            canvas.without_ticks(panel)
            picture = panel.imshow(plane, cmap=colors, vmin=low, vmax=high)
            panel.set_title(str(number), fontsize="small")
        canvas.colorbar(picture, axes, "output")
    return axes


def _draw_lines(maps: np.ndarray, title: str, columns: int | None, ax: Any) -> np.ndarray:
    with canvas.panels(ax, len(maps), WHO, size=(2.4, 1.8), title=title, columns=columns) as axes:
        low, high, _ = _limits(maps)
        for number, (panel, line) in enumerate(zip(axes, maps, strict=True)):
            panel.plot(line, color=canvas.TRAINING, linewidth=1.0)
            panel.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
            panel.set_title(f"channel {number}", fontsize="small")
            panel.set_xlabel("position", fontsize="small")
            panel.tick_params(labelsize="x-small")
            panel.margins(x=0)
        axes[0].set_ylabel("output", fontsize="small")
    return axes


def _draw_bars(numbers: np.ndarray, name: str, ax: Any) -> np.ndarray:
    with canvas.one_axes(ax, WHO, (5.0, 3.0)) as place:
        place.bar(np.arange(len(numbers)), numbers, width=0.8, color=canvas.TRAINING)
        place.axhline(0.0, color="0.6", linewidth=0.8)
        place.set(xlabel="channel", ylabel="output", title=f"Outputs of layer {name!r}")
        canvas.whole_numbers(place.xaxis)
    return np.array([place])
