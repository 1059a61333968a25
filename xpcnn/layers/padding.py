"""Layers that add elements around the spatial axes, or crop them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, ClassVar

from xpcnn._xp import Array
from xpcnn.errors import rank_error
from xpcnn.layers.layer import Layer, Shape
from xpcnn.ops.checks import LAYOUTS
from xpcnn.ops.pad import PAD, pad_pairs
from xpcnn.window import Ints, Pairs, as_int, as_number


class _Pad(Layer):
    ndim: ClassVar[int]
    mode: ClassVar[str]
    value: float = 0.0
    padding: Ints

    def __init__(self, padding: Any) -> None:
        self.padding = self._sides(padding)

    def _sides(self, padding: Any) -> Ints:
        who, count = type(self).__name__, 2 * self.ndim
        single = not hasattr(padding, "__iter__") or isinstance(padding, str)
        values = (padding,) * count if single else tuple(padding)
        if len(values) != count:
            raise ValueError(
                f"{who}: padding must be one integer, or {count}: before and after the last axis, "
                f"then before and after the one in front of it, and so on; got {padding!r}"
            )
        return tuple(as_int(n, who, "padding", -sys.maxsize) for n in values)

    @property
    def pairs(self) -> Pairs:
        """The (before, after) of each spatial axis, the first axis first."""
        return tuple(zip(self.padding[-2::-2], self.padding[::-2], strict=True))

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """Return (N, C, *spatial) with the padding added."""
        if len(input_shape) != self.ndim + 2:
            raise rank_error(self.who, self.ndim + 2, LAYOUTS[self.ndim], input_shape)
        spatial = tuple(input_shape[2:])
        pad_pairs(spatial, self.pairs, self.mode, self.who)
        padded = (n + sum(sides) for n, sides in zip(spatial, self.pairs, strict=True))
        return (*input_shape[:2], *padded)

    def _forward(self, xp: ModuleType, x: Array, training: bool) -> tuple[Array, Any]:
        self.output_shape(x.shape)
        return PAD.run(xp, x, self.pairs, self.mode, self.value)

    def _backward(self, xp: ModuleType, dy: Array, saved: Any, need_dx: bool) -> Array | None:
        return saved(dy) if need_dx else None


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = as_number(value, type(self).__name__, "value", finite=False)


class _ZeroPad(_Pad):
    mode = "constant"


class _ReflectionPad(_Pad):
    mode = "reflect"


class _ReplicationPad(_Pad):
    mode = "replicate"


class _CircularPad(_Pad):
    mode = "circular"


class ConstantPad1d(_ConstantPad):
    ndim = 1


class ConstantPad2d(_ConstantPad):
    ndim = 2


class ConstantPad3d(_ConstantPad):
    ndim = 3


class ZeroPad1d(_ZeroPad):
    ndim = 1


class ZeroPad2d(_ZeroPad):
    ndim = 2


class ZeroPad3d(_ZeroPad):
    ndim = 3


class ReflectionPad1d(_ReflectionPad):
    ndim = 1


class ReflectionPad2d(_ReflectionPad):
    ndim = 2


class ReflectionPad3d(_ReflectionPad):
    ndim = 3


class ReplicationPad1d(_ReplicationPad):
    ndim = 1


class ReplicationPad2d(_ReplicationPad):
    ndim = 2


class ReplicationPad3d(_ReplicationPad):
    ndim = 3


class CircularPad1d(_CircularPad):
    ndim = 1


class CircularPad2d(_CircularPad):
    ndim = 2


class CircularPad3d(_CircularPad):
    ndim = 3


_DOC = """Extend {axes} {how}.

    Parameters
    ----------
    padding : int or tuple of {count} int
        Elements to add on every side, or before and after the last axis, then before and after the
        one in front of it, and so on, as in PyTorch. Negative numbers crop.{value}

    Raises
    ------
    ValueError
        If an input has the wrong rank, or an axis {limit}.

    Notes
    -----
    Input {layout}, output the same with longer axes.
    """
_VALUE = """
    value : float
        What the added elements are."""
_TEXTS: dict[type[_Pad], tuple[str, str]] = {
    _ConstantPad: ("by a constant", "is cropped to nothing"),
    _ZeroPad: ("by zeros", "is cropped to nothing"),
    _ReflectionPad: ("by its mirror image, without repeating the edge", "is not longer than that"),
    _ReplicationPad: ("by copies of the edge", "is cropped to nothing"),
    _CircularPad: ("by what stands at the other end", "is shorter than that"),
}

_cls: type[_Pad]
for _base, (_how, _limit) in _TEXTS.items():
    for _cls in _base.__subclasses__():  # those above
        _cls.__doc__ = _DOC.format(
            axes="the spatial axis" if _cls.ndim == 1 else f"the {_cls.ndim} spatial axes",
            how=_how,
            count=2 * _cls.ndim,
            value=_VALUE if _base is _ConstantPad else "",
            limit=_limit,
            layout=LAYOUTS[_cls.ndim],
        )
