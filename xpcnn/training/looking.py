"""What the layers inside a network give, by the names that state dicts have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.layers.inference import watch
from xpcnn.layers.layer import Layer
from xpcnn.training.network import PlacedNetwork

MOST_NAMES = 60
"""Names of layers that a message lists."""


def find_layers(network: Layer, names: Any, who: str) -> dict[str, Layer]:
    """Return the layers inside a network that have these names.

    Parameters
    ----------
    network : Layer
    names : str or sequence of str
        Dotted names, or shell patterns such as ``"features.*"``, which pick one layer or more.
    who : str
        For messages.

    Raises
    ------
    TypeError, ValueError
        If a name is no text, or there is no such layer; the message has those that are near, and
        all that there are.
    """
    known = {name: layer for name, layer in network.layers_within() if name}
    found: dict[str, Layer] = {}
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, Iterable) or isinstance(listed, dict):
        raise _not_a_name(names, who)
    listed = list(listed)
    if not listed:
        raise ValueError(f"{who}: names is empty; {_all_of(known)}")
    for name in listed:
        if not isinstance(name, str):
            raise _not_a_name(name, who)
        picked = [name] if name in known else [n for n in known if fnmatchcase(n, name)]
        if not picked:
            raise _unknown(name, known, who)
        found |= {each: known[each] for each in picked}
    return found


def is_one_name(network: Layer, names: Any) -> bool:
    """Whether a name is that of one layer, and neither a pattern nor a list."""
    return isinstance(names, str) and any(name == names for name, _ in network.layers_within())


def _not_a_name(given: Any, who: str) -> TypeError:
    shown = f"the layer {given.who}" if isinstance(given, Layer) else repr(given)
    return TypeError(
        f"{who}: names must be the name of a layer, such as 'conv1', or a list of names, got "
        f"{shown:.200}; model.summary() shows the names"
    )


def _unknown(name: str, known: Iterable[str], who: str) -> ValueError:
    near = difflib.get_close_matches(name, known, 4, 0.5)
    shown = f"near it: {', '.join(map(repr, near))}; " if near else ""
    return ValueError(f"{who}: there is no layer {name!r}; {shown}{_all_of(known)}")


def _all_of(known: Iterable[str]) -> str:
    names = list(map(repr, known))
    more = f", ... ({len(names)} in all)" if len(names) > MOST_NAMES else ""
    return f"the layers are {', '.join(names[:MOST_NAMES]) or '(none)'}{more}"


class LayerOutputs:
    """Runs a network without training, and gathers what some of its layers give.

    Parameters
    ----------
    model : PlacedNetwork
    layers : dict of str to Layer
        By name.
    """

    def __init__(self, model: PlacedNetwork, layers: dict[str, Layer]) -> None:
        self._model, self._layers = model, layers
        self._counts: dict[str, int] = {}
        """Arrays that each layer gives."""

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Return what all the layers give, one after the other."""
        with watch(self._layers) as seen:
            self._model.forward_apart(inputs)
        arrays: list[Array] = []
        for name, layer in self._layers.items():
            if name not in seen.outputs:
                raise RuntimeError(
                    f"Model.outputs_of: {name!r} did not run; the layer around it computes in its "
                    f"own way what a {type(layer).__name__} does, so look at that layer"
                )
            times = [ys if isinstance(ys, tuple) else (ys,) for ys in seen.outputs[name]]
            given = [y for ys in times for y in ys]
            if name in self._counts:
                _check_rows(name, given, int(inputs[0].shape[0]))
            self._counts[name] = len(given)
            arrays += given
        return tuple(self._model.widen(tuple(arrays)))

    def by_name(self, arrays: Sequence[np.ndarray]) -> dict[str, Any]:
        """Return the arrays, in the order of :meth:`run`, by name; several in a tuple."""
        found: dict[str, Any] = {}
        start = 0
        for name, count in self._counts.items():
            some = tuple(arrays[start : start + count])
            found[name] = some[0] if count == 1 else some
            start += count
        return found


def _check_rows(name: str, arrays: Sequence[Array], samples: int) -> None:
    """Raise unless the first axis of arrays is that of the samples, so that batches go together."""
    for y in arrays:
        if y.ndim == 0 or y.shape[0] % samples:
            raise ValueError(
                f"Model.outputs_of: {name!r} gives an array of shape {tuple(y.shape)} for "
                f"{samples} samples, so that several batches cannot be put together; give a "
                "batch_size of at least the number of samples"
            )
