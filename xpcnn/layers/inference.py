"""Backward behind a forward without training, and the arrays that pass between layers.

A forward without training keeps nothing. It leaves a weak reference to its input, so that a
backward can run it once more, now keeping what it needs: inference takes neither memory nor time
for a backward that hardly ever comes. Where the input would be gone by then, :func:`watch` has
forwards keep all that at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import ref


class LastInputs:
    """Weak references to what the last forward without training was given.

    Parameters
    ----------
    *inputs : array or None
        ``None`` stands for one that was left out.
    """

    __slots__ = ("_references",)

    def __init__(self, *inputs: Any) -> None:
        try:
            self._references = [None if x is None else ref(x) for x in inputs]
        except TypeError:  # a library whose arrays have no weak references
            self._references = []

    def __reduce__(self) -> Any:
        return type(self), ()  # a copy has no forward to go back to

    def arrays(self) -> tuple[Any, ...] | None:
        """Return the inputs; ``None`` if nobody has kept them."""
        found = []
        for reference in self._references:
            x = None if reference is None else reference()
            if x is None and reference is not None:
                return None
            found.append(x)
        return tuple(found) or None


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
