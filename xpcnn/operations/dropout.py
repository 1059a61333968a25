"""Dropout whose mask is an output, or that inputs steer."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from xpcnn import _xp, rng
from xpcnn.device import Device
from xpcnn.layers.layer import Shape
from xpcnn.layers.operation import Arrays, Needs, Operation
from xpcnn.layers.random import RandomLayer


class MaskedDropout(RandomLayer, Operation):
    """Dropout that gives its mask too: which elements are kept.

    Inputs are x and, where they are there, the probability of an element to be dropped, and
    whether to drop any at all. Without the last one it does in training, as
    :class:`xpcnn.Dropout`.

    Parameters
    ----------
    p : float
        The probability, if no input holds it.

    Attributes
    ----------
    seed, step : int
        The mask follows from these two alone, and `step` counts the masks, as that of
        :class:`xpcnn.Dropout`.

    Examples
    --------
    >>> import numpy as np
    >>> from xpcnn.operations import MaskedDropout
    >>> dropout = MaskedDropout(0.5)
    >>> y, kept = dropout.forward(np.ones((4, 8)), training=True)
    >>> bool((y == np.where(kept, 2.0, 0.0)).all())  # what is kept is divided by 1 - p
    True
    >>> y, kept = dropout(np.ones((4, 8)))
    >>> bool(kept.all())
    True
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = float(p)

    def output_shapes(self, *input_shapes: Shape | None) -> tuple[Shape, ...]:
        """Return the input's shape, twice."""
        shape = tuple(input_shapes[0] or ())
        return shape, shape

    def _run(self, xp: ModuleType, inputs: Arrays, training: bool) -> tuple[Arrays, Any]:
        x, p, switch = (*inputs, None, None)[:3]
        share = self.p if p is None else float(_xp.to_numpy(p).reshape(()))
        if not 0.0 <= share < 1.0:
            raise ValueError(f"{self.who}: the probability must be in [0, 1), got {share}")
        drops = training if switch is None else bool(_xp.to_numpy(switch).reshape(()))
        shape = tuple(x.shape)
        if not drops or share == 0.0:
            kept = xp.ones(shape, dtype=xp.bool, device=_xp.device_of(x))
            return (x, kept), None
        seed, step = self._next_draw()
        drawn = rng.uniform(rng.key(seed, "dropout", step), shape)
        kept = Device.of(x).asarray(drawn >= share)
        scale = xp.astype(kept, x.dtype) * rng.scale_of_kept(share)
        return (x * scale, kept), scale

    def _run_backward(self, xp: ModuleType, dys: Arrays, saved: Any, need: Needs) -> Arrays:
        (dx, _) = dys
        return (dx if saved is None or dx is None else dx * saved,)
