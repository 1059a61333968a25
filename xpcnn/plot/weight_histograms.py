"""Histograms of weights: by layer, and by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xpcnn._patterns import check_pattern, matches, no_match_error
from xpcnn.layers import Layer
from xpcnn.plot import canvas
from xpcnn.plot.reading import as_array
from xpcnn.training import Model
from xpcnn.training.callbacks import WeightHistory
from xpcnn.training.callbacks.weights import Histogram, histogram
from xpcnn.window import as_int, is_sequence

WHO = "plot.weights"
_PANELS = 16
"""At most so many parameters are drawn, unless they are chosen by name."""

Epochs = dict[str, dict[int, Histogram]]
"""The histogram of each parameter at each epoch."""


def weights(
    source: Any,
    names: str | Sequence[str] | None = None,
    *,
    bins: int | None = None,
    columns: int | None = None,
    ax: Any = None,
) -> np.ndarray:
    """Draw how the numbers of each parameter are spread, now or epoch by epoch.

    Parameters
    ----------
    source : Model, Layer, state dict, WeightHistory, or sequence of state dicts
        A model, a layer or a dict of arrays has one histogram for each parameter. A
        :class:`~xpcnn.callbacks.WeightHistory`, or a list of state dicts, one an epoch, has a ridge
        for each epoch, the first at the foot.
    names : str or sequence of str, optional
        Which parameters: names or shell patterns, such as ``"*.weight"`` or ``"features.0"``. The
        first sixteen with two axes or more, which leaves out biases, if left out.
    bins : int, optional
        Of equal width; 50 if left out. A WeightHistory has its own.
    columns : int, optional
        Of the grid, which is about square if left out.
    ax : Axes or figure, optional
        Where to draw; see :mod:`xpcnn.plot`.

    Returns
    -------
    array of Axes
        One for each parameter.

    Raises
    ------
    ValueError, TypeError
        If there is no such parameter, one has no values yet, or an argument is none.
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> import xpcnn
    >>> layers = [xpcnn.Conv2d(1, 6, 5), xpcnn.Flatten(), xpcnn.Linear(6 * 24 * 24, 10)]
    >>> model = xpcnn.Model(layers, device="cpu", seed=0)
    >>> shape = model.build((None, 1, 28, 28))
    >>> axes = xpcnn.plot.weights(model)
    >>> [panel.get_title() for panel in axes]
    ['0.weight', '2.weight']
    """
    wide = None if columns is None else as_int(columns, WHO, "columns", 1)
    if isinstance(source, WeightHistory):
        if bins is not None:
            raise ValueError(
                f"{WHO}: bins are those of the WeightHistory, {source.bins}; give them to it"
            )
        found, shapes = source.histograms, source.shapes
    else:
        found, shapes = _counted(source, 50 if bins is None else as_int(bins, WHO, "bins", 1))
    chosen, all_there = _chosen(shapes, names)
    if not found[chosen[0]]:
        raise ValueError(f"{WHO}: nothing is recorded yet; call fit with the WeightHistory first")
    ridges = isinstance(source, WeightHistory) or is_sequence(source)
    title = "Weights by epoch" if ridges else "Weights"
    title += "" if len(chosen) == all_there else f", {len(chosen)} of {all_there} parameters"
    size = (2.9, 3.0) if ridges else (2.9, 2.2)
    with canvas.panels(ax, len(chosen), WHO, size=size, title=title, columns=wide) as axes:
        for panel, name in zip(axes, chosen, strict=True):
            (_draw_ridges if ridges else _draw_one)(panel, found[name])
            panel.set_title(name, fontsize="small", **canvas.fonts(name))
            panel.set_xlabel("weight", fontsize="small")
            panel.tick_params(labelsize="x-small")
    return axes


def _counted(source: Any, bins: int) -> tuple[Epochs, dict[str, tuple[int, ...]]]:
    """Return histograms of what is given: arrays by name, once or for each epoch."""
    states = list(source) if is_sequence(source) else [source]
    if not states:
        raise ValueError(f"{WHO}: the list of state dicts is empty")
    arrays = [_arrays(state) for state in states]
    names = list(arrays[0])
    for number, each in enumerate(arrays):
        if list(each) != names:
            raise ValueError(
                f"{WHO}: state dict {number} has other names than the first, "
                f"{canvas.listed(set(each) ^ set(names))}"
            )
    found = {
        name: {n: histogram(each[name], bins) for n, each in enumerate(arrays)} for name in names
    }
    return found, {name: arrays[0][name].shape for name in names}


def _arrays(source: Any) -> dict[str, np.ndarray]:
    if isinstance(source, (Model, Layer)):
        parameters = source.parameters()
        missing = [name for name, parameter in parameters.items() if not parameter.is_built]
        if missing:
            raise ValueError(
                f"{WHO}: {canvas.listed(missing)} has no values yet; call fit first, or build "
                "it for the shape of an input, as in model.build((None, 1, 28, 28))"
            )
        source = {name: parameter.value for name, parameter in parameters.items()}
    if not isinstance(source, Mapping):
        raise TypeError(
            f"{WHO}: source must be a Model, a Layer, a state dict, a WeightHistory or a list of "
            f"state dicts, got {type(source).__name__}"
        )
    arrays = {str(name): as_array(value, WHO, str(name)) for name, value in source.items()}
    if not arrays:
        raise ValueError(f"{WHO}: there are no parameters")
    return arrays


def _chosen(shapes: Mapping[str, tuple[int, ...]], names: Any) -> tuple[list[str], int]:
    """Return the names to draw, and how many there are of their kind."""
    if not shapes:
        raise ValueError(f"{WHO}: nothing is recorded yet; call fit with the WeightHistory first")
    if names is None:
        wide = [name for name, shape in shapes.items() if len(shape) > 1] or list(shapes)
        return wide[:_PANELS], len(wide)
    patterns = [names] if isinstance(names, str) else names
    if not is_sequence(patterns) or not patterns:
        raise TypeError(f"{WHO}: names must be a name or a list of names, got {names!r:.100}")
    for pattern in patterns:
        check_pattern(pattern, f"{WHO}: names")
        if not any(matches(pattern, name) for name in shapes):
            raise no_match_error(pattern, shapes, f"{WHO}: names")
    chosen = [name for name in shapes if any(matches(p, name) for p in patterns)]
    return chosen, len(chosen)


def _draw_one(ax: Any, by_epoch: Mapping[int, Histogram]) -> None:
    (found,) = by_epoch.values()
    ax.stairs(found.counts, found.edges, fill=True, color=canvas.TRAINING, alpha=0.75)
    ax.axvline(0.0, color="0.6", linewidth=0.8)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("count", fontsize="small")


def _draw_ridges(ax: Any, by_epoch: Mapping[int, Histogram]) -> None:
    """Draw the density of each epoch above the one before; the highest reaches over two rows."""
    from matplotlib import colormaps

    epochs = list(by_epoch)
    step = min((b - a for a, b in pairwise(epochs)), default=1)
    densities = [
        each.counts / np.maximum(np.diff(each.edges), 1e-300) for each in by_epoch.values()
    ]
    densities = [
        each / max(found.counts.sum(), 1)
        for each, found in zip(densities, by_epoch.values(), strict=True)
    ]
    tallest = max(float(each.max(initial=0.0)) for each in densities) or 1.0
    scale = 2.0 * step / tallest
    for number, (epoch, found) in reversed(list(enumerate(by_epoch.items()))):
        middles = (found.edges[1:] + found.edges[:-1]) / 2.0
        color = colormaps["viridis"](0.9 * number / max(len(epochs) - 1, 1))
        top = epoch + scale * densities[number]
        ax.fill_between(middles, epoch, top, color=color, alpha=0.75, linewidth=0)
        ax.plot(middles, top, color="white", linewidth=0.5)
    ax.set_ylabel("epoch", fontsize="small")
    ax.set_ylim(epochs[0] - 0.3 * step, epochs[-1] + 2.2 * step)
    canvas.whole_numbers(ax.yaxis)
    ax.grid(axis="x", alpha=0.25)
