"""Mixed precision: in which dtype a model computes, and the scale that saves small gradients.

Weights, what optimizers keep, losses and the statistics of batch normalisation stay in float32;
images, activations and products are in half precision (Micikevicius et al., 2018). float16 ends at
6e-8, and gradients are often smaller, so the loss is multiplied by a large number before the
backward pass and the gradients are divided by it afterwards. bfloat16 reaches as far as float32
and needs none of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpcnn import _xp
from xpcnn._xp import Array
from xpcnn.device import OTHER_DTYPES, Device
from xpcnn.errors import DeviceError, choice_error
from xpcnn.layers.parameter import Parameter

PRECISIONS = ("float32", "tf32", "float16", "bfloat16")
HALVES = ("float16", "bfloat16")


def half_of(precision: str, dtype: str, device: Device, who: str) -> str | None:
    """Return the dtype to compute in, where it is not that of the parameters.

    Raises
    ------
    ValueError
        If there is no such precision, or it does not go together with the dtype.
    DeviceError
        If the array library of the device has no such dtype.
    """
    if precision not in PRECISIONS:
        raise choice_error(who, "precision", precision, PRECISIONS)
    if precision != "float32" and dtype != "float32":
        raise ValueError(
            f"{who}: precision={precision!r} is a way to compute with float32 parameters, and "
            f"dtype={dtype!r} asks for others; leave dtype out, or precision"
        )
    if precision not in HALVES:
        return None
    try:
        device.dtype(precision)
    except DeviceError as error:
        others = " or 'float16'" if precision == "bfloat16" else ""
        raise DeviceError(
            f"{who}: {str(error).removesuffix(OTHER_DTYPES)}; or use precision='float32'{others}, "
            "or another device, such as 'torch:cpu'"
        ) from None
    return precision


class LossScale:
    """The number that the loss is multiplied by for the backward pass in float16.

    It is halved when a gradient is not finite, and that step is left out; it is doubled after
    `interval` good steps in a row. All scales are powers of two, so nothing is rounded.

    Parameters
    ----------
    scale : float
        The first one.
    interval : int

    Attributes
    ----------
    scale : float
    good_steps : int
        Steps since the scale was changed last.
    """

    LARGEST, SMALLEST = 2.0**40, 2.0**-24
    """With these no gradient comes out finite, or none is left: the search for a scale ends."""

    def __init__(self, scale: float = 65536.0, interval: int = 2000) -> None:
        self.scale = scale
        self.interval = interval
        self.good_steps = 0

    def multiply(self, gradient: Array) -> Array:
        """Return the gradient of the scaled loss, for that of the loss."""
        return gradient * self.scale

    def unscale(self, parameters: Mapping[str, Parameter]) -> bool:
        """Divide the gradients by the scale, and choose the next one.

        Returns
        -------
        bool
            Whether all gradients are finite: else the step must be left out. This is the one
            number for which the host waits for the device.
        """
        finite: Any = True
        for parameter in parameters.values():
            if parameter.grad is None or not parameter.requires_grad:
                continue
            xp = _xp.namespace(parameter.grad)
            good = xp.all(xp.isfinite(parameter.grad))
            finite = good if finite is True else xp.logical_and(finite, good)
            parameter.grad = parameter.grad * (1.0 / self.scale)
        self._learn(bool(finite))
        return bool(finite)

    def _learn(self, finite: bool) -> None:
        if not finite:
            self.scale, self.good_steps = 0.5 * self.scale, 0
            return
        self.good_steps += 1
        if self.good_steps >= self.interval:
            self.scale, self.good_steps = min(2.0 * self.scale, self.LARGEST), 0

    @property
    def is_exhausted(self) -> bool:
        """Whether no scale is left to try: the gradients themselves are not finite."""
        return self.scale < self.SMALLEST

    def state_dict(self) -> dict[str, float]:
        """Return what training needs to resume."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a state that :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            If it is none.
        """
        scale: Any = state.get("scale")
        good_steps: Any = state.get("good_steps")
        good = isinstance(scale, (int, float)) and 0.0 < scale <= self.LARGEST
        if not good or type(good_steps) is not int or good_steps < 0:
            raise ValueError(f"a loss scale has a number above 0 and a count, got {state!r:.80}")
        self.scale, self.good_steps = float(scale), good_steps
