"""Backward behind a forward without training, and the arrays that pass between layers.

A forward without training keeps nothing but a reference to its input, until the next forward. A
backward runs it once more, now keeping what it needs: inference takes no time for a backward that
hardly ever comes, and no memory for what lies between the layers inside. With :func:`watch`
forwards keep all that at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class LastInputs(tuple[Any, ...]):
    """What the last forward without training was given; copies and pickles are empty."""

    __slots__ = ()

    def __reduce__(self) -> Any:
        return type(self), ()


_inside: ContextVar[bool] = ContextVar("xpcnn_inside", default=False)


def within(run: Callable[..., Any], *arguments: Any) -> Any:
    """Call what a layer's forward does; layers that this runs in turn keep no inputs."""
    token = _inside.set(True)
    try:
        return run(*arguments)
    finally:
        _inside.reset(token)


def is_within() -> bool:
    """Whether a layer runs that another one runs."""
    return _inside.get()


class Watch:
    """What is wanted of the layers that run meanwhile.

    Parameters
    ----------
    layers : mapping of str to Layer
        Layers to look at, by name.
    keeps : bool
        Whether forwards without training keep what their backward needs.

    Attributes
    ----------
    outputs, gradients : dict
        By the name of the layer, what it gave and the gradients of that; one for each time that the
        layer ran, in that order.
    """

    def __init__(self, layers: Mapping[str, Any], keeps: bool) -> None:
        self.keeps = keeps
        self._names = {id(layer): name for name, layer in layers.items()}
        self.outputs: dict[str, list[Any]] = {}
        self.gradients: dict[str, list[Any]] = {}

    def saw(self, layer: Any, outputs: Any, *, backward: bool = False) -> None:
        """Note what a layer gave, or the gradient of it, if anybody wants to know."""
        name = self._names.get(id(layer))
        if name is not None:
            found = self.gradients if backward else self.outputs
            found.setdefault(name, []).append(outputs)


watching: ContextVar[Watch | None] = ContextVar("xpcnn_watching", default=None)
"""What is wanted of the layers that run in this thread."""


@contextmanager
def watch(layers: Mapping[str, Any] | None = None, *, keeps: bool = False) -> Iterator[Watch]:
    """Watch layers that run in a ``with``; see :class:`Watch`."""
    found = Watch(layers or {}, keeps)
    token = watching.set(found)
    try:
        yield found
    finally:
        watching.reset(token)


def keeps_for_backward(training: bool) -> bool:
    """Whether a forward is to keep what its backward needs."""
    wanted = watching.get()
    return training or (wanted is not None and wanted.keeps)


@contextmanager
def undisturbed(network: Any) -> Iterator[None]:
    """Leave gradients of parameters, and what forwards have kept, as they were, in a ``with``."""
    layers = [(layer, layer._saved, layer._seen) for _, layer in network.layers_within()]
    gradients = [(parameter, parameter.grad) for parameter in network.parameters().values()]
    for parameter, _ in gradients:
        parameter.zero_grad()
    try:
        yield
    finally:
        for layer, saved, seen in layers:
            layer._saved, layer._seen = saved, seen
        for parameter, gradient in gradients:
            parameter.grad = gradient
